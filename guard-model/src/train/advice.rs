//! Which way to fine-tune suits the rows at hand, and what is odd about them.
//!
//! By size: a method with more parameters needs more rows before it generalises better than a smaller one. A comparison measured on rows
//! like these says more than the rule of thumb, and is quoted.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{
    comparison::{Comparison, memory, time},
    data::{Label, Row},
    fine_tune::Outcome,
    method::Method,
};
use crate::{
    config::LABELS,
    eval::table::{percent, ratio},
};

/// More rows than this: every tensor is trained.
const FULL_ROWS: usize = 10_000;
/// From here on: low-rank corrections.
const LORA_ROWS: usize = 1_000;
/// From here on: a prefix or adapters. Below: rules and known attacks.
const SMALL_ROWS: usize = 100;
/// Fewer rows of a label are too few to learn it, and to judge by.
const LABEL_ROWS_MIN: usize = 50;
/// Fewer rows of a language say nothing about it.
const LANGUAGE_ROWS_MIN: usize = 20;
/// A share of copies from which they are worth a word.
const COPIES_SHARE: f64 = 0.01;
/// A method is only called better when its area is larger by more than this.
const AUC_MARGIN: f64 = 0.005;
/// The languages that the shipped model is trained for.
pub const LANGUAGES: [&str; 16] = ["en", "zh", "es", "fr", "de", "pt", "it", "ru", "ja", "ko", "ar", "hi", "tr", "vi", "id", "th"];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Train every tensor.
    Full,
    /// Train low-rank corrections.
    Lora,
    /// Train a prefix or adapters.
    PrefixOrAdapter,
    /// Do not train: write rules, and put the texts among the known attacks.
    RulesAndExamples,
}

/// An advice with its reasons.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// What to do.
    pub way: Way,
    /// The method to name to `guard train`; none when nothing is to be trained.
    pub method: Option<Method>,
    /// Different texts.
    pub texts: usize,
    /// Of each label, in the order of the labels.
    pub labels: [usize; 3],
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// What is odd about the rows, a sentence each.
    pub warnings: Vec<String>,
}

/// Looks at the rows, and at what was measured.
pub fn advise(rows: &[Row], measured: Option<&Comparison>) -> Advice {
    let mut texts: HashMap<String, Label> = HashMap::with_capacity(rows.len());
    let (mut labels, mut copies, mut torn) = ([0; 3], 0, 0);
    for row in rows {
        let plain = row.text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        match texts.get(&plain) {
            None => {
                labels[row.label as usize] += 1;
                texts.insert(plain, row.label);
            }
            Some(label) if *label == row.label => copies += 1,
            Some(_) => torn += 1,
        }
    }
    let (way, by_size) = by_size(texts.len());
    let mut method = match way {
        Way::Full => Some(Method::Full),
        Way::Lora => Some(Method::Lora),
        Way::PrefixOrAdapter => Some(Method::Prefix),
        Way::RulesAndExamples => None,
    };
    let mut reasons = vec![by_size];
    if let Some(comparison) = measured {
        reasons.extend(quoted(comparison, way, &mut method));
    }
    let mut warnings = thin_labels(&labels);
    if copies as f64 > COPIES_SHARE * rows.len() as f64 {
        warnings
            .push(format!("{copies} of {} rows are copies of others, but for case and blanks; they count twice in training", rows.len()));
    }
    if torn > 0 {
        warnings.push(format!("{torn} rows have the text of another row and another label; decide which is right"));
    }
    warnings.extend(thin_languages(rows));
    warnings.extend(one_source(rows));
    Advice { way, method, texts: texts.len(), labels, reasons, warnings }
}

fn by_size(texts: usize) -> (Way, String) {
    if texts > FULL_ROWS {
        (Way::Full, format!("{texts} different texts are more than {FULL_ROWS}: enough to train every tensor (full)"))
    } else if texts >= LORA_ROWS {
        (
            Way::Lora,
            format!(
                "{texts} different texts are from {LORA_ROWS} to {FULL_ROWS}: low-rank corrections (lora) learn from them and forget less of what the network knows"
            ),
        )
    } else if texts >= SMALL_ROWS {
        (
            Way::PrefixOrAdapter,
            format!(
                "{texts} different texts are from {SMALL_ROWS} to {LORA_ROWS}: few parameters (prefix or adapter), or they are learned by heart"
            ),
        )
    } else {
        (
            Way::RulesAndExamples,
            format!(
                "{texts} different texts are fewer than {SMALL_ROWS}: too few to train on; write rules for them, and put the attacks among the known attacks"
            ),
        )
    }
}

/// What a comparison says for and against the way, and which of two methods it prefers.
fn quoted(comparison: &Comparison, way: Way, method: &mut Option<Method>) -> Vec<String> {
    let auc = |one: &Outcome| one.held.as_ref().map_or(f64::NEG_INFINITY, |held| held.auc);
    let mut ranked: Vec<&Outcome> = comparison.outcomes.iter().filter(|one| auc(one).is_finite()).collect();
    ranked.sort_by(|a, b| auc(b).total_cmp(&auc(a)));
    let Some(best) = ranked.first() else { return vec!["the comparison holds no figures on rows held out".into()] };
    let mut reasons: Vec<String> = ranked
        .iter()
        .map(|one| {
            let accuracy = one.held.as_ref().map_or(f64::NAN, |held| held.accuracy);
            let (rows, name) = (one.rows, one.method.name());
            let cost = format!("{} parameters, {}, {}", one.trained, memory(one.memory_bytes_max), time(one.seconds));
            format!("measured on {rows} rows: {name} reached AUC {}, accuracy {}, with {cost}", ratio(auc(one)), percent(accuracy))
        })
        .collect();
    if way == Way::PrefixOrAdapter
        && let Some(better) = ranked.iter().find(|one| matches!(one.method, Method::Prefix | Method::Adapter))
    {
        *method = Some(better.method);
        reasons.push(format!("of prefix and adapter, {} did better there", better.method.name()));
    }
    let own = ranked.iter().find(|one| Some(one.method) == *method);
    if let Some(own) = own.filter(|own| auc(best) - auc(own) > AUC_MARGIN) {
        let (name, better) = (own.method.name(), best.method.name());
        reasons.push(format!(
            "the size speaks for {name}, the comparison for {better} (AUC {} and {}): if its rows are like these, take {better}",
            ratio(auc(own)),
            ratio(auc(best))
        ));
    }
    reasons
}

fn thin_labels(labels: &[usize; 3]) -> Vec<String> {
    let name = |n: usize| LABELS[n];
    (0..LABELS.len())
        .filter(|n| labels[*n] < LABEL_ROWS_MIN)
        .map(|n| match labels[n] {
            0 => format!("there are no rows labelled {}: the network forgets what it knew of them; add some", name(n)),
            count => {
                format!("there are only {count} different rows labelled {}; fewer than {LABEL_ROWS_MIN} are learned by heart", name(n))
            }
        })
        .collect()
}

fn thin_languages(rows: &[Row]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.lang.split(['-', '_']).next().unwrap_or_default()).or_default() += 1);
    let unsaid = counts.get("").copied().unwrap_or_default();
    let mut warnings = Vec::new();
    if unsaid == rows.len() {
        return vec!["no row says its language (`lang`), so languages could not be looked at".into()];
    }
    if unsaid > 0 {
        warnings.push(format!("{unsaid} rows do not say their language (`lang`)"));
    }
    let (mut none, mut few) = (Vec::new(), Vec::new());
    for lang in LANGUAGES {
        match counts.get(lang).copied().unwrap_or_default() {
            0 => none.push(lang.to_owned()),
            count if count < LANGUAGE_ROWS_MIN => few.push(format!("{lang} ({count})")),
            _ => {}
        }
    }
    if !none.is_empty() {
        warnings.push(format!("no rows in {}: what the network knows of these languages may fade; mix some in", none.join(", ")));
    }
    if !few.is_empty() {
        warnings.push(format!("fewer than {LANGUAGE_ROWS_MIN} rows in {}", few.join(", ")));
    }
    warnings
}

/// Without a second source there is none to hold out.
fn one_source(rows: &[Row]) -> Option<String> {
    let first = rows.first()?;
    rows.iter().all(|row| row.source == first.source).then(|| {
        "all rows are of one source (file): rows of one source are alike, so hold out rows of another one to see what was learned".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::comparison::tests::comparison;

    fn rows(count: usize) -> Vec<Row> {
        (0..count)
            .map(|n| Row {
                text: format!("text {n}"),
                label: [Label::Benign, Label::Injection, Label::Jailbreak][n % 3],
                speaker: None,
                lang: LANGUAGES[n % 16].into(),
                source: format!("s{}", n % 2),
                kind: String::new(),
            })
            .collect()
    }

    #[test]
    fn the_size_names_the_way_at_and_around_each_bound() {
        for (count, way) in [
            (1, Way::RulesAndExamples),
            (99, Way::RulesAndExamples),
            (100, Way::PrefixOrAdapter),
            (999, Way::PrefixOrAdapter),
            (1_000, Way::Lora),
            (10_000, Way::Lora),
            (10_001, Way::Full),
        ] {
            assert_eq!(advise(&rows(count), None).way, way, "{count}");
        }
        assert!(advise(&rows(1_000), None).warnings.is_empty());
    }

    #[test]
    fn copies_do_not_count_and_are_told_as_is_a_text_with_two_labels() {
        let mut twice = rows(60);
        twice.extend(rows(60));
        twice.iter_mut().skip(60).for_each(|row| row.text = row.text.to_uppercase());
        twice[119].label = Label::Benign;
        let advice = advise(&twice, None);
        assert_eq!((advice.texts, advice.way, advice.labels), (60, Way::RulesAndExamples, [20, 20, 20]));
        assert!(advice.warnings.iter().any(|one| one.contains("59 of 120 rows are copies")), "{:?}", advice.warnings);
        assert!(advice.warnings.iter().any(|one| one.contains("1 rows have the text")), "{:?}", advice.warnings);
    }

    #[test]
    fn thin_labels_languages_and_a_lone_source_are_told() {
        let mut some = rows(300);
        some.retain(|row| row.label != Label::Jailbreak);
        some.iter_mut().for_each(|row| (row.lang, row.source) = ("zh-CN".into(), "s".into()));
        some[0].lang = "de".into();
        some[1].lang = String::new();
        let said = advise(&some, None).warnings.join("\n");
        for part in ["no rows labelled jailbreak", "no rows in en, es", "fewer than 20 rows in de (1)", "1 rows do not say", "one source"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn a_comparison_is_quoted_and_chooses_between_two() {
        let one = comparison(&[(Method::Prefix, 0.8), (Method::Adapter, 0.85), (Method::Lora, 0.9)], 500);
        let advice = advise(&rows(500), Some(&one));
        assert_eq!(advice.method, Some(Method::Adapter));
        let said = advice.reasons.join("\n");
        assert!(said.contains("adapter did better") && said.contains("take lora") && said.contains("300 MiB"), "{said}");
        let near = comparison(&[(Method::Lora, 0.9), (Method::Full, 0.904)], 2_000);
        assert!(!advise(&rows(2_000), Some(&near)).reasons.join("\n").contains("the comparison for"));
    }
}
