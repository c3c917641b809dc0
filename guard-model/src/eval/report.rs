//! The figures of a model over rows: all together, and per source, language and kind.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::{self, Bin};
use crate::{
    Scores,
    config::LABELS,
    train::data::{Label, Row},
};

/// Rates of false alarms at which recall is told.
pub const RATES: [f64; 2] = [0.01, 0.001];
/// The scores from which the shipped policy flags and blocks.
pub const POLICY: [f64; 2] = [0.7, 0.9];
/// Points of the ROC curve.
const ROC_POINTS: usize = 200;

/// The figures of one group of rows. A figure that has no rows is NaN, in JSON null.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Rows that attack.
    pub attacks: usize,
    /// Area under the ROC curve: these attacks against all benign rows.
    pub auc: f64,
    /// Share of the attacks found at the threshold of each rate of [`RATES`].
    pub recall: [f64; 2],
    /// Share of the attacks that reach each score of [`POLICY`].
    pub caught: [f64; 2],
    /// Rows that do not attack.
    pub benign: usize,
    /// Share of the benign rows that are false alarms at the threshold of each rate of [`RATES`].
    pub alarms: [f64; 2],
    /// Share of the benign rows that reach each score of [`POLICY`].
    pub stopped: [f64; 2],
}

/// A group by its name.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// A source, a language or a kind; empty: the rows do not say.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The model: name, version, fingerprint.
    pub model: String,
    /// The thresholds that belong to [`RATES`] over all benign rows.
    pub thresholds: [f64; 2],
    /// All rows.
    pub all: Figures,
    /// The means of AUC and of recall over the sources that have attacks: no source counts more for its size.
    pub mean: Mean,
    /// By source.
    pub sources: Vec<Group>,
    /// By language.
    pub languages: Vec<Group>,
    /// By kind.
    pub kinds: Vec<Group>,
    /// Rows by their label (first index) and the most probable label (second), in the order of the labels.
    pub confusion: [[usize; 3]; 3],
    /// The expected calibration error.
    pub calibration_error: f64,
    /// What it is the mean of.
    pub calibration: Vec<Bin>,
    /// Shares of benign rows and of attacks from a threshold on.
    pub roc: Vec<(f64, f64)>,
}

/// Means over the sources that have attacks.
#[derive(Clone, Debug, Serialize)]
pub struct Mean {
    /// Of the areas under the ROC curves.
    pub auc: f64,
    /// Of the recalls at [`RATES`].
    pub recall: [f64; 2],
}

impl Report {
    /// Counts. `scores` are those of `rows`, in their order.
    pub fn of(model: &str, rows: &[Row], scores: &[Scores]) -> Self {
        let attack: Vec<f64> = scores.iter().map(|scores| f64::from(scores.attack())).collect();
        let is_attack = |at: usize| rows[at].label != Label::Benign;
        let benign: Vec<f64> = (0..rows.len()).filter(|at| !is_attack(*at)).map(|at| attack[at]).collect();
        let thresholds = RATES.map(|rate| metrics::threshold(&benign, rate));
        let figures = |which: &[usize]| {
            let some = |attacks: bool| which.iter().filter(|at| is_attack(**at) == attacks).map(|at| attack[*at]).collect::<Vec<f64>>();
            let (attacks, own) = (some(true), some(false));
            Figures {
                attacks: attacks.len(),
                auc: metrics::auc(&attacks, &benign),
                recall: thresholds.map(|threshold| metrics::share(&attacks, threshold)),
                caught: POLICY.map(|score| metrics::share(&attacks, score)),
                benign: own.len(),
                alarms: thresholds.map(|threshold| metrics::share(&own, threshold)),
                stopped: POLICY.map(|score| metrics::share(&own, score)),
            }
        };
        let groups = |name: fn(&Row) -> &str| {
            let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            rows.iter().enumerate().for_each(|(at, row)| groups.entry(name(row)).or_default().push(at));
            groups.into_iter().map(|(name, which)| Group { name: name.to_owned(), figures: figures(&which) }).collect::<Vec<_>>()
        };
        let everything: Vec<usize> = (0..rows.len()).collect();
        let mut confusion = [[0; 3]; 3];
        for (row, scores) in rows.iter().zip(scores) {
            let said = LABELS.iter().position(|label| *label == scores.label()).unwrap_or_default();
            confusion[row.label as usize][said] += 1;
        }
        let sources = groups(|row| &row.source);
        let told: Vec<(f64, bool)> = attack.iter().enumerate().map(|(at, score)| (*score, is_attack(at))).collect();
        let (calibration, calibration_error) = metrics::calibration(&told);
        let attacks: Vec<f64> = told.iter().filter(|(_, attack)| *attack).map(|(score, _)| *score).collect();
        Self {
            model: model.to_owned(),
            thresholds,
            all: figures(&everything),
            mean: Mean::of(&sources),
            sources,
            languages: groups(|row| &row.lang),
            kinds: groups(|row| &row.kind),
            confusion,
            calibration_error,
            calibration,
            roc: metrics::roc(&attacks, &benign, ROC_POINTS),
        }
    }
}

impl Mean {
    fn of(sources: &[Group]) -> Self {
        let with: Vec<&Figures> = sources.iter().map(|group| &group.figures).filter(|figures| figures.attacks > 0).collect();
        let mean = |figure: &dyn Fn(&Figures) -> f64| with.iter().map(|figures| figure(figures)).sum::<f64>() / with.len() as f64;
        Self { auc: mean(&|figures| figures.auc), recall: [0, 1].map(|rate| mean(&|figures| figures.recall[rate])) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::toy;

    /// Rows with scores that are right for all but each tenth.
    pub fn report() -> Report {
        let rows = toy::rows(400, 1);
        let scores: Vec<Scores> = rows
            .iter()
            .enumerate()
            .map(|(n, row)| {
                let wrong = n % 10 == 0;
                let low = 0.05 + (n % 7) as f32 / 100.0;
                match (row.label, wrong) {
                    (Label::Benign, false) => Scores { benign: 1.0 - low, injection: low, jailbreak: 0.0 },
                    (Label::Injection, false) | (Label::Benign, true) => Scores { benign: low, injection: 1.0 - low, jailbreak: 0.0 },
                    (Label::Jailbreak, false) => Scores { benign: low, injection: 0.0, jailbreak: 1.0 - low },
                    (_, true) => Scores { benign: 0.6, injection: 0.2, jailbreak: 0.2 },
                }
            })
            .collect();
        Report::of("toy-1+0123456789ab", &rows, &scores)
    }

    #[test]
    fn figures_count_what_they_say() {
        let report = report();
        assert_eq!((report.all.attacks, report.all.benign), (200, 200));
        // Rows 0, 10, .. are wrong: all even ones, that is benign rows.
        assert_eq!(report.confusion, [[160, 40, 0], [0, 100, 0], [0, 0, 100]]);
        assert_eq!((report.all.stopped, report.all.caught), ([0.2, 0.14], [1.0, 0.715]));
        assert!(report.all.alarms[0] <= 0.01 && report.all.alarms[1] <= 0.001);
        let names = |groups: &[Group]| groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&report.sources), "injections jailbreaks plain twins");
        assert_eq!((names(&report.languages), names(&report.kinds)), ("en zh".into(), "long short".into()));
        let plain = &report.sources[2].figures;
        assert!(plain.attacks == 0 && plain.auc.is_nan() && plain.benign == 100);
        assert!((report.mean.auc - report.all.auc).abs() < 1e-9, "two sources of one size");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["sources"][2]["auc"].is_null() && json["sources"][0]["recall"][0].is_number());
    }
}
