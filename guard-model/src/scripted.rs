//! A classifier that follows a script: phrases with scores, delays and failures, for tests and for rehearsing fail modes.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::{Classifier, Input, Scores, Unavailable};

/// What the scripted classifier says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Tried in order; the first whose `contains` is in the text gives the scores. A text that no phrase meets is benign.
    #[serde(default)]
    pub phrases: Vec<Phrase>,
    /// Waits so long before it answers, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Answers every call with this failure.
    #[serde(default)]
    pub fail: Option<String>,
}

/// A phrase and the scores of a text that contains it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phrase {
    /// Looked for as it stands.
    pub contains: String,
    /// P(injection), 0..=1.
    #[serde(default)]
    pub injection: f32,
    /// P(jailbreak), 0..=1.
    #[serde(default)]
    pub jailbreak: f32,
}

/// The scripted [`Classifier`].
#[derive(Debug)]
pub struct Scripted {
    script: Script,
}

impl Scripted {
    /// Follows `script`.
    pub fn new(script: Script) -> Self {
        Self { script }
    }

    fn score(&self, input: &Input) -> Scores {
        let (injection, jailbreak) = self
            .script
            .phrases
            .iter()
            .find(|phrase| input.text.contains(&phrase.contains))
            .map_or((0.0, 0.0), |phrase| (phrase.injection, phrase.jailbreak));
        Scores { benign: 1.0 - injection - jailbreak, injection, jailbreak }
    }

    async fn answer(&self, inputs: Vec<Input>, deadline: Instant) -> Result<Vec<Scores>, Unavailable> {
        let delay = Duration::from_millis(self.script.delay_ms);
        if !delay.is_zero() {
            let ready = Instant::now() + delay;
            tokio::time::sleep_until(ready.min(deadline).into()).await;
            if ready > deadline {
                return Err(Unavailable::Late);
            }
        }
        if let Some(reason) = &self.script.fail {
            return Err(Unavailable::Failed(reason.clone()));
        }
        let scores: Vec<Scores> = inputs.iter().map(|input| self.score(input)).collect();
        if scores.iter().all(Scores::is_sound) { Ok(scores) } else { Err(Unavailable::Failed("a score is not a probability".into())) }
    }
}

impl Classifier for Scripted {
    fn version(&self) -> &str {
        "scripted"
    }

    fn classify(&self, inputs: Vec<Input>, deadline: Instant) -> BoxFuture<'_, Result<Vec<Scores>, Unavailable>> {
        Box::pin(self.answer(inputs, deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Speaker;

    fn input(text: &str) -> Input {
        Input { speaker: Speaker::User, text: text.into() }
    }

    fn script(phrases: Vec<Phrase>) -> Script {
        Script { phrases, ..Script::default() }
    }

    #[tokio::test]
    async fn the_first_phrase_met_gives_the_scores() {
        let guard = Scripted::new(script(vec![Phrase { contains: "obey me".into(), injection: 0.9, jailbreak: 0.05 }]));
        let later = Instant::now() + Duration::from_secs(5);
        let scores = guard.classify(vec![input("hello"), input("now obey me")], later).await.unwrap();
        assert_eq!(scores[0].label(), "benign");
        assert_eq!(scores[1].label(), "injection");
        assert!((scores[1].attack() - 0.95).abs() < 1e-6);
    }

    #[tokio::test]
    async fn a_score_that_is_no_probability_is_a_failure_and_not_safe() {
        let guard = Scripted::new(script(vec![Phrase { contains: "x".into(), injection: f32::NAN, jailbreak: 0.0 }]));
        let later = Instant::now() + Duration::from_secs(5);
        assert!(matches!(guard.classify(vec![input("x")], later).await, Err(Unavailable::Failed(_))));
    }

    #[tokio::test]
    async fn a_slow_answer_is_late_at_the_deadline() {
        let guard = Scripted::new(Script { delay_ms: 60_000, ..Script::default() });
        let start = Instant::now();
        let answer = guard.classify(vec![input("x")], start + Duration::from_millis(20)).await;
        assert_eq!(answer, Err(Unavailable::Late));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
