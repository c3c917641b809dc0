//! A classifier that follows a script: phrases with scores, delays and failures, for tests and for rehearsing fail modes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::{Answer, Classifier, Input, Judged, Near, Scores, Unavailable};

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
    /// Id of the known attack that such a text is near to.
    #[serde(default)]
    pub known: Option<String>,
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

    fn judged(&self, input: &Input) -> Judged {
        let phrase = self.script.phrases.iter().find(|phrase| input.text.contains(&phrase.contains));
        let (injection, jailbreak) = phrase.map_or((0.0, 0.0), |phrase| (phrase.injection, phrase.jailbreak));
        let scores = Scores { benign: 1.0 - injection - jailbreak, injection, jailbreak };
        let known = phrase.and_then(|phrase| phrase.known.as_deref()).map(|id| Near { id: id.into(), similarity: 1.0 });
        Judged { scores, known }
    }

    async fn answer(&self, inputs: Vec<Input>, deadline: Instant) -> Result<Answer, Unavailable> {
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
        let judged: Vec<Judged> = inputs.iter().map(|input| self.judged(input)).collect();
        if !judged.iter().all(|one| one.scores.is_sound()) {
            return Err(Unavailable::Failed("a score is not a probability".into()));
        }
        Ok(Answer { version: self.version(), judged })
    }
}

impl Classifier for Scripted {
    fn version(&self) -> Arc<str> {
        "scripted".into()
    }

    fn classify(&self, inputs: Vec<Input>, deadline: Instant) -> BoxFuture<'_, Result<Answer, Unavailable>> {
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
        let phrase = Phrase { contains: "obey me".into(), injection: 0.9, jailbreak: 0.05, known: Some("a-7".into()) };
        let later = Instant::now() + Duration::from_secs(5);
        let answer = Scripted::new(script(vec![phrase])).classify(vec![input("hello"), input("now obey me")], later).await.unwrap();
        let [first, second] = &answer.judged[..] else { panic!("{answer:?}") };
        assert_eq!((first.scores.label(), &first.known), ("benign", &None));
        assert_eq!(second.scores.label(), "injection");
        assert!((second.scores.attack() - 0.95).abs() < 1e-6);
        assert_eq!(second.known.as_ref().map(|near| &*near.id), Some("a-7"));
    }

    #[tokio::test]
    async fn a_score_that_is_no_probability_is_a_failure_and_not_safe() {
        let guard = Scripted::new(script(vec![Phrase { contains: "x".into(), injection: f32::NAN, jailbreak: 0.0, known: None }]));
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
