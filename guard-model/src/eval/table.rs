//! A report as tables that read well in a terminal and are Markdown in a model card.

use std::fmt::Write as _;

use super::report::{Figures, Group, POLICY, RATES, Report};
use crate::config::LABELS;

/// The whole report as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = summary(report);
    for (title, groups) in [("By source", &report.sources), ("By language", &report.languages), ("By kind", &report.kinds)] {
        let _ = write!(text, "\n### {title}\n\n{}", groups_table(groups));
    }
    let _ = write!(text, "\n### Labels\n\n{}", confusion(report));
    text
}

/// What stands above the tables.
fn summary(report: &Report) -> String {
    let Report { all, mean, thresholds, .. } = report;
    let mut text = format!("Model {}, {} attacks and {} benign rows.\n\n", report.model, all.attacks, all.benign);
    let head = ["figure", "all rows", "mean of the sources"].map(str::to_owned);
    let mut rows = vec![vec!["AUC".into(), ratio(all.auc), ratio(mean.auc)]];
    for (at, rate) in RATES.iter().enumerate() {
        rows.push(vec![format!("recall at {} false positives", percent(*rate)), percent(all.recall[at]), percent(mean.recall[at])]);
    }
    for (at, score) in POLICY.iter().enumerate() {
        rows.push(vec![format!("attacks from {score} on"), percent(all.caught[at]), String::new()]);
        rows.push(vec![format!("false positives from {score} on"), percent(all.stopped[at]), String::new()]);
    }
    rows.push(vec!["expected calibration error".into(), ratio(report.calibration_error), String::new()]);
    text.push_str(&table(&head, &rows));
    for (rate, threshold) in RATES.iter().zip(thresholds) {
        let few = if rate * (all.benign as f64) < 1.0 { "; there are too few benign rows for one false positive at it" } else { "" };
        let _ = write!(text, "\nThe threshold at {} is {threshold:.4}{few}.", percent(*rate));
    }
    text.push('\n');
    text
}

fn groups_table(groups: &[Group]) -> String {
    let head = ["", "attacks", "AUC", "recall 1 %", "recall 0.1 %", "from 0.9", "benign", "FP 1 %", "FP 0.7", "FP 0.9"].map(str::to_owned);
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            let Figures { attacks, auc, recall, caught, benign, alarms, stopped } = &group.figures;
            let name = if group.name.is_empty() { "not said".to_owned() } else { cell(&group.name) };
            let (attacks, benign) = (attacks.to_string(), benign.to_string());
            let [first, second] = recall.map(percent);
            let shares = [alarms[0], stopped[0], stopped[1]].map(percent);
            [name, attacks, ratio(*auc), first, second, percent(caught[1]), benign].into_iter().chain(shares).collect()
        })
        .collect();
    table(&head, &rows)
}

fn confusion(report: &Report) -> String {
    let head: Vec<String> = std::iter::once("rows, by what was said of them".to_owned()).chain(LABELS.map(str::to_owned)).collect();
    let rows: Vec<Vec<String>> = LABELS
        .iter()
        .zip(&report.confusion)
        .map(|(label, counts)| std::iter::once((*label).to_owned()).chain(counts.map(|count| count.to_string())).collect())
        .collect();
    table(&head, &rows)
}

/// A Markdown table with columns of even width; all but the first to the right.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |n: usize| rows.iter().map(|row| &row[n]).chain([&head[n]]).map(|cell| cell.chars().count()).max().unwrap_or(0).max(2);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = if n == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text.push_str("|\n");
    };
    line(head);
    line(
        &widths
            .iter()
            .enumerate()
            .map(|(n, width)| if n == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
            .collect::<Vec<_>>(),
    );
    rows.iter().for_each(|row| line(row));
    text
}

/// A name from a data file: it may not end its cell, nor do anything to the terminal.
pub fn cell(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || c == '|' { '?' } else { c }).collect()
}

/// A figure from 0 to 1; a dash where there is none.
pub fn ratio(figure: f64) -> String {
    if figure.is_finite() { format!("{figure:.3}") } else { "-".into() }
}

/// A share as percents, one that is more than none never as 0; a dash where there is none.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "-".into();
    }
    if share > 0.0 && share < 0.001 {
        return "<0.1 %".into();
    }
    let number = format!("{:.1}", share * 100.0);
    format!("{} %", number.strip_suffix(".0").unwrap_or(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::tests::report;

    #[test]
    fn tables_are_even_and_say_what_is_not_known() {
        let text = markdown(&report());
        assert!(text.contains("| plain      |       0 |     - |"), "{text}");
        assert!(text.contains("too few benign rows") && text.contains("expected calibration error"), "{text}");
        for block in text.split("\n\n").filter(|block| block.starts_with('|')) {
            let table = block.lines().filter(|line| line.starts_with('|'));
            let widths: Vec<usize> = table.map(|line| line.chars().count()).collect();
            assert!(widths.len() > 2 && widths.iter().all(|width| *width == widths[0]), "{block}");
        }
    }

    #[test]
    fn shares_and_names_are_shown_as_people_read_them() {
        assert_eq!(
            [0.0, 1e-5, 0.0009, 0.001, 0.0125, 1.0, f64::NAN].map(percent),
            ["0 %", "<0.1 %", "<0.1 %", "0.1 %", "1.2 %", "100 %", "-"]
        );
        assert_eq!(cell("a|b\u{1b}[0m"), "a?b?[0m");
    }
}
