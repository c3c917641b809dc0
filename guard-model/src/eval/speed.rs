//! What a network costs: the time of one window by its length, windows a second by the size of the batch; and how far the scores of a
//! window alone and among others lie apart.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{Network, Scores, Speaker, Verdict, Window, error::ModelError, tokenize::Tokenizer, train::random::Random};

/// Runs of a single window that are timed, at least: a 99th percentile needs some.
const RUNS_MIN: usize = 100;
/// Runs of a batch that are timed, at least.
const BATCHES_MIN: usize = 3;
/// Runs that are timed, at most.
const RUNS_MAX: usize = 100_000;
/// Different windows (or batches) that take turns.
const TURNS: usize = 8;
/// Windows whose scores are compared, alone and all together.
const COMPARED: usize = 64;

/// Words that texts to measure with are made of.
const WORDS: [&str; 40] = [
    "please",
    "summarise",
    "the",
    "minutes",
    "of",
    "yesterday's",
    "meeting",
    "and",
    "send",
    "everyone",
    "who",
    "was",
    "there",
    "a",
    "short",
    "list",
    "with",
    "dates",
    "invoice",
    "4711",
    "garden",
    "Bitte",
    "schicken",
    "Sie",
    "Rechnung",
    "mir",
    "gracias",
    "por",
    "el",
    "informe",
    "merci",
    "beaucoup",
    "请",
    "把",
    "会议",
    "纪要",
    "спасибо",
    "отчёт",
    "שלום",
    "ありがとう",
];

/// Texts of everyday words in several languages, and windows of them; the same ones each time.
pub struct Samples<'a> {
    tokenizer: &'a Tokenizer,
    /// Words with their tokens.
    words: Vec<(&'static str, Vec<u32>)>,
    /// Tokens of a window that are none of its text.
    special: usize,
    random: Random,
}

/// Time of one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Tokens of the window.
    pub tokens: usize,
    /// Runs that were timed.
    pub runs: usize,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Windows a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Windows given at once.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Runs that were timed.
    pub runs: usize,
    /// Windows a second.
    pub windows_per_s: f64,
}

/// A window and what the network says of it alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// Its token ids, special ones included.
    pub ids: Vec<u32>,
    /// Calibrated probabilities, in the order of [`crate::config::LABELS`].
    pub scores: [f32; 3],
}

impl<'a> Samples<'a> {
    /// Samples for the model of this tokenizer.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn new(tokenizer: &'a Tokenizer) -> Result<Self, ModelError> {
        let read = |word: &'static str| tokenizer.ids(word).map(|ids| (word, ids));
        let words: Vec<_> = WORDS.into_iter().map(read).collect::<Result<_, _>>().map_err(ModelError::Setting)?;
        let words: Vec<_> = words.into_iter().filter(|(_, ids)| !ids.is_empty()).collect();
        if words.is_empty() {
            return Err(ModelError::Setting("the tokenizer makes no token of any common word".into()));
        }
        let special = tokenizer.window(Speaker::User, &[]).ids.len();
        Ok(Self { tokenizer, words, special, random: Random::new(1) })
    }

    /// Tokens of the longest window.
    pub fn window_tokens_max(&self) -> usize {
        self.special + self.tokenizer.body()
    }

    /// A text of one window, of `tokens` tokens or a few fewer.
    pub fn text(&mut self, tokens: usize) -> String {
        let (mut text, mut left) = (String::new(), tokens.saturating_sub(self.special));
        loop {
            let (word, ids) = &self.words[self.random.below(self.words.len())];
            let Some(rest) = left.checked_sub(ids.len()) else { return text };
            left = rest;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
    }

    /// A user's window of `tokens` tokens, but never fewer than the special ones and one more.
    pub fn window(&mut self, tokens: usize) -> Window {
        let wanted = tokens.saturating_sub(self.special).max(1);
        let mut ids = Vec::with_capacity(wanted);
        while ids.len() < wanted {
            let (_, more) = &self.words[self.random.below(self.words.len())];
            ids.extend(more.iter().take(wanted - ids.len()));
        }
        self.tokenizer.window(Speaker::User, &ids)
    }

    fn batches(&mut self, batch: usize, tokens: usize) -> Vec<Vec<Window>> {
        (0..TURNS).map(|_| (0..batch).map(|_| self.window(tokens)).collect()).collect()
    }
}

/// The time of one window of `tokens` tokens, measured for `time`.
///
/// # Errors
/// What the network says.
pub fn latency(network: &mut dyn Network, samples: &mut Samples<'_>, tokens: usize, time: Duration) -> Result<Latency, ModelError> {
    let mut times = timed(network, &samples.batches(1, tokens), RUNS_MIN, time)?;
    let runs = times.len();
    let [p50_ms, p99_ms] = quantiles_ms(&mut times);
    Ok(Latency { tokens, runs, p50_ms, p99_ms })
}

/// Windows of `tokens` tokens a second in batches of `batch`, measured for `time`.
///
/// # Errors
/// What the network says.
pub fn throughput(
    network: &mut dyn Network,
    samples: &mut Samples<'_>,
    (batch, tokens): (usize, usize),
    time: Duration,
) -> Result<Throughput, ModelError> {
    let times = timed(network, &samples.batches(batch, tokens), BATCHES_MIN, time)?;
    let seconds = times.iter().sum::<Duration>().as_secs_f64();
    Ok(Throughput { batch, tokens, runs: times.len(), windows_per_s: (batch * times.len()) as f64 / seconds })
}

/// How far apart, at most, a probability of a window alone and among windows of all lengths lies; and the windows.
///
/// # Errors
/// What the network says.
pub fn agreement(network: &mut dyn Network, samples: &mut Samples<'_>) -> Result<(f32, Vec<Scored>), ModelError> {
    let most = samples.window_tokens_max();
    let windows: Vec<Window> = (0..COMPARED).map(|n| samples.window(most * (n * 37 % COMPARED + 1) / COMPARED)).collect();
    let mut alone = Vec::with_capacity(windows.len());
    for window in &windows {
        alone.extend(run(network, std::slice::from_ref(window))?);
    }
    let together = run(network, &windows)?;
    let difference = |(a, b): (&Verdict, &Verdict)| {
        probabilities(a.scores).into_iter().zip(probabilities(b.scores)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let apart = alone.iter().zip(&together).map(difference).fold(0.0, f32::max);
    let scored = windows.into_iter().zip(&alone).map(|(window, verdict)| Scored { ids: window.ids, scores: probabilities(verdict.scores) });
    Ok((apart, scored.collect()))
}

/// The median and the 99th percentile, in milliseconds; sorts. NaN of none.
pub fn quantiles_ms(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [0.5, 0.99].map(|quantile| {
        let at = (times.len() as f64 * quantile).ceil() as usize;
        times.get(at.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    })
}

fn probabilities(scores: Scores) -> [f32; 3] {
    [scores.benign, scores.injection, scores.jailbreak]
}

fn run(network: &mut dyn Network, windows: &[Window]) -> Result<Vec<Verdict>, ModelError> {
    network.run(windows).map_err(|e| ModelError::Setting(e.to_string()))
}

/// Times of runs, for `time` and at least `least` of them. A first round is not counted: it fills caches, and compiles on some devices.
fn timed(network: &mut dyn Network, batches: &[Vec<Window>], least: usize, time: Duration) -> Result<Vec<Duration>, ModelError> {
    for batch in batches.iter().take(least) {
        run(network, batch)?;
    }
    let (began, mut times) = (Instant::now(), Vec::new());
    for batch in batches.iter().cycle().take(RUNS_MAX) {
        if times.len() >= least && began.elapsed() >= time {
            break;
        }
        let one = Instant::now();
        run(network, batch)?;
        times.push(one.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Place, toy};

    fn with_model(test: impl Fn(&mut dyn Network, &mut Samples<'_>)) {
        let dir = tempfile::tempdir().unwrap();
        toy::headed(dir.path());
        let model = Model::open(dir.path(), Place::Cpu(1)).unwrap();
        let tokenizer = model.tokenizer();
        test(&mut *model.into_network(), &mut Samples::new(&tokenizer).unwrap());
    }

    #[test]
    fn samples_have_the_lengths_asked_for_and_differ() {
        with_model(|_, samples| {
            assert_eq!(samples.window_tokens_max(), 24);
            for tokens in [4, 8, 24] {
                assert_eq!(samples.window(tokens).ids.len(), tokens);
                let text = samples.text(tokens);
                let windows = samples.tokenizer.windows(Speaker::User, &text).unwrap();
                assert!(windows.len() == 1 && windows[0].ids.len() <= tokens && windows[0].ids.len() + 8 >= tokens, "{text}");
            }
            assert_ne!(samples.text(24), samples.text(24));
        });
    }

    #[test]
    fn a_network_is_timed_alone_and_in_batches_and_agrees_with_itself() {
        with_model(|network, samples| {
            let time = Duration::from_millis(5);
            let one = latency(network, samples, 8, time).unwrap();
            assert!(one.runs >= RUNS_MIN && one.p50_ms > 0.0 && one.p50_ms <= one.p99_ms, "{one:?}");
            let many = throughput(network, samples, (32, 8), time).unwrap();
            assert!(many.runs >= BATCHES_MIN && many.windows_per_s > 0.0, "{many:?}");
            let (apart, windows) = agreement(network, samples).unwrap();
            assert!(apart < 1e-3, "{apart}");
            let lengths: std::collections::BTreeSet<usize> = windows.iter().map(|window| window.ids.len()).collect();
            assert!(windows.len() == COMPARED && lengths.len() > 15 && lengths.last() == Some(&24), "{lengths:?}");
        });
    }

    /// Says another thing of a window when it is not alone.
    struct Swayed;

    impl Network for Swayed {
        fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, crate::NetworkError> {
            let injection = if windows.len() == 1 { 0.25 } else { 0.5 };
            let scores = Scores { benign: 1.0 - injection, injection, jailbreak: 0.0 };
            Ok(vec![Verdict { scores, vector: Vec::new() }; windows.len()])
        }
    }

    #[test]
    fn a_network_that_is_swayed_by_others_is_told_from_one_that_is_not() {
        with_model(|_, samples| assert_eq!(agreement(&mut Swayed, samples).unwrap().0, 0.25));
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(quantiles_ms(&mut times), [100.0, 198.0]);
        assert_eq!(quantiles_ms(&mut times[..1]), [1.0, 1.0]);
        assert!(quantiles_ms(&mut []).iter().all(|time| time.is_nan()));
    }
}
