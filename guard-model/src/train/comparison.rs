//! Ways to fine-tune side by side: what each reached on the rows held out, and what it cost.

use serde::{Deserialize, Serialize};

use super::fine_tune::Outcome;
use crate::eval::{
    plot::{self, Panel},
    table::{percent, ratio, table},
};

/// Outcomes on the same rows, and where they were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// The model that each started from.
    pub model: String,
    /// Cores of the machine.
    pub cores: usize,
    /// The methods' outcomes.
    pub outcomes: Vec<Outcome>,
}

impl Comparison {
    /// The table.
    pub fn markdown(&self) -> String {
        let head = ["method", "accuracy", "AUC", "recall 1 %", "trained", "of all", "peak memory", "steps", "time"].map(str::to_owned);
        let rows: Vec<Vec<String>> = self
            .outcomes
            .iter()
            .map(|one| {
                let held = one.held.as_ref();
                vec![
                    one.method.name().to_owned(),
                    percent(held.map_or(f64::NAN, |held| held.accuracy)),
                    ratio(held.map_or(f64::NAN, |held| held.auc)),
                    percent(held.map_or(f64::NAN, |held| held.recall)),
                    one.trained.to_string(),
                    percent(one.trained as f64 / one.total.max(1) as f64),
                    memory(one.memory_bytes_max),
                    one.steps.to_string(),
                    time(one.seconds),
                ]
            })
            .collect();
        format!("{}\n{}\n", table(&head, &rows), self.said())
    }

    /// What the figures are of.
    fn said(&self) -> String {
        let (rows, held) = self.rows();
        format!("Started from {}, {rows} rows, {held} rows held out, {} cores.", self.model, self.cores)
    }

    /// Rows learned from and rows held out.
    pub fn rows(&self) -> (usize, usize) {
        let held = |one: &Outcome| one.held.as_ref().map_or(0, |held| held.rows);
        self.outcomes.first().map_or((0, 0), |one| (one.rows, held(one)))
    }

    /// The same as bars.
    pub fn plot(&self) -> String {
        let names: Vec<String> = self.outcomes.iter().map(|one| one.method.name().to_owned()).collect();
        let panel = |title: &str, value: &dyn Fn(&Outcome) -> f64, said: &dyn Fn(&Outcome) -> String| Panel {
            title: title.to_owned(),
            values: self.outcomes.iter().map(value).collect(),
            said: self.outcomes.iter().map(said).collect(),
        };
        let held = |figure: fn(&super::fine_tune::Held) -> f64| move |one: &Outcome| one.held.as_ref().map_or(f64::NAN, figure);
        let (accuracy, auc) = (held(|held| held.accuracy), held(|held| held.auc));
        let panels = [
            panel("accuracy on rows held out", &accuracy, &|one| percent(accuracy(one))),
            panel("AUC on rows held out", &auc, &|one| ratio(auc(one))),
            panel("parameters in training", &|one| one.trained as f64, &|one| one.trained.to_string()),
            panel("peak memory", &|one| one.memory_bytes_max.map_or(f64::NAN, |bytes| bytes as f64), &|one| memory(one.memory_bytes_max)),
            panel("time", &|one| one.seconds, &|one| time(one.seconds)),
        ];
        let (rows, held) = self.rows();
        plot::panels(&format!("Ways to fine-tune: {rows} rows, {held} held out"), &names, &panels)
    }
}

/// Bytes in MiB; a dash where they are not known.
pub fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
}

/// Seconds as people read them.
pub fn time(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::train::{fine_tune::Held, method::Method};

    /// Methods with these areas.
    pub fn comparison(areas: &[(Method, f64)], rows: usize) -> Comparison {
        let outcome = |(method, auc): &(Method, f64)| Outcome {
            method: *method,
            version: "toy-1".into(),
            rows,
            trained: 1000,
            total: 4000,
            steps: 10,
            seconds: 90.0,
            memory_bytes_max: Some(300 << 20),
            temperature: 1.2,
            held: Some(Held { rows: 200, accuracy: 0.8, auc: *auc, recall: 0.5, calibration_error: 0.03 }),
        };
        Comparison { model: "toy-1".into(), cores: 2, outcomes: areas.iter().map(outcome).collect() }
    }

    #[test]
    fn methods_stand_side_by_side_in_table_plot_and_json() {
        let one = comparison(&[(Method::Full, 0.91), (Method::Lora, 0.9)], 500);
        let text = one.markdown();
        assert!(text.contains("| lora   |     80 % | 0.900 |") && text.contains("500 rows, 200 rows held out"), "{text}");
        assert!(text.contains("300 MiB") && text.contains("1.5 min") && text.contains("25 %"), "{text}");
        let plot = one.plot();
        assert!(plot.contains("peak memory") && plot.contains("0.910"), "{plot}");
        let back: Comparison = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(back.markdown(), text);
    }
}
