//! The gateway's `/metrics` as numbers.

use std::collections::{BTreeMap, BTreeSet};

/// One sample: its labels and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// A parsed exposition.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: BTreeMap<String, Vec<Sample>>,
    text: String,
}

impl Metrics {
    /// Parses the Prometheus text format; a line that is not in it fails the test.
    pub fn parse(text: &str) -> Self {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, parse_labels(labels.trim_end_matches('}'))),
                None => (series, BTreeMap::new()),
            };
            samples.entry(name.to_owned()).or_default().push((labels, value));
        }
        Self { samples, text: text.to_owned() }
    }

    /// The exposition itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every metric's name.
    pub fn names(&self) -> Vec<&str> {
        self.samples.keys().map(String::as_str).collect()
    }

    /// The samples of one metric.
    pub fn samples(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum over the samples of `name` that carry all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |have: &BTreeMap<String, String>| labels.iter().all(|(n, v)| have.get(*n).is_some_and(|value| value == v));
        self.samples(name).iter().filter(|(have, _)| carries(have)).map(|(_, value)| value).sum()
    }

    /// How many series each metric has.
    pub fn series(&self) -> BTreeMap<&str, usize> {
        self.samples.iter().map(|(name, samples)| (name.as_str(), samples.len())).collect()
    }

    /// Every label value in use.
    pub fn label_values(&self) -> BTreeSet<&str> {
        self.samples.values().flatten().flat_map(|(labels, _)| labels.values().map(String::as_str)).collect()
    }
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.char_indices();
        let mut end = after.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                '"' => {
                    end = at + 1;
                    break;
                }
                other => value.push(other),
            }
        }
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &after[end..];
    }
    labels
}
