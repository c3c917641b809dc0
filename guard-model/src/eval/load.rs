//! How long requests wait that come at a fixed rate: through the batcher, as in the gateway, tokenizer included.
//!
//! A request's time counts from the moment it was due, not from the moment it could be sent: a stall is charged to every request it delays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::speed::quantiles_ms;
use crate::{Batcher, Classifier as _, Input, Serving, Source, Speaker, error::ModelError};

/// Requests that a 99th percentile needs; fewer where they would take longer than [`LONGER_MAX`].
const REQUESTS_WANTED: usize = 200;
/// How much longer than asked for requests are sent, to have enough of them.
const LONGER_MAX: Duration = Duration::from_secs(10);
/// Requests, at most.
const REQUESTS_MAX: usize = 200_000;
/// How long a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that requests run on, beside the one that owns the network.
const THREADS: usize = 2;

/// What requests at a fixed rate felt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Served {
    /// Requests a second that came.
    pub per_s: f64,
    /// Requests that came, one text each.
    pub requests: usize,
    /// Those of them that got no scores.
    pub unavailable: usize,
    /// Median of the others, in milliseconds.
    pub p50_ms: f64,
    /// Their 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Sends `texts`, in turns, at `per_s` a second for `time`, or for some seconds more until there are a few hundred.
///
/// # Errors
/// A rate that is none, and a model that does not run.
pub fn served(source: Source, serving: Serving, texts: &[String], per_s: f64, time: Duration) -> Result<Served, ModelError> {
    if texts.is_empty() || !(per_s.is_finite() && per_s > 0.0) {
        return Err(ModelError::Setting(format!("nothing can be sent: {} texts, {per_s} a second", texts.len())));
    }
    let setting = |e: &dyn std::fmt::Display| ModelError::Setting(e.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_time().build().map_err(|e| setting(&e))?;
    let batcher = Arc::new(Batcher::start(source, Vec::new(), serving, |_| {}).map_err(|e| setting(&e))?);
    let least = REQUESTS_WANTED.min((per_s * LONGER_MAX.as_secs_f64()) as usize).max(1);
    let requests = ((per_s * time.as_secs_f64()) as usize).clamp(least, REQUESTS_MAX);
    let mut running = Vec::with_capacity(requests);
    let began = Instant::now();
    for (n, text) in texts.iter().cycle().take(requests).enumerate() {
        let due = began + Duration::from_secs_f64(n as f64 / per_s);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        let (batcher, input) = (Arc::clone(&batcher), Input { speaker: Speaker::User, text: text.clone() });
        running.push(runtime.spawn(async move { batcher.classify(vec![input], due + PATIENCE).await.ok().map(|_| due.elapsed()) }));
    }
    let mut times = Vec::with_capacity(requests);
    runtime.block_on(async {
        for one in running {
            times.extend(one.await.ok().flatten());
        }
    });
    let [p50_ms, p99_ms] = quantiles_ms(&mut times);
    Ok(Served { per_s, requests, unavailable: requests - times.len(), p50_ms, p99_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, toy};

    fn sent(serving: Serving, per_s: f64) -> Result<Served, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        toy::headed(dir.path());
        let texts: Vec<String> = toy::rows(40, 3).into_iter().map(|row| row.text).collect();
        served(Source::open(dir.path(), Place::Cpu(1)).unwrap(), serving, &texts, per_s, Duration::from_millis(10))
    }

    #[test]
    fn every_request_is_answered_or_counted() {
        let calm = sent(Serving { cache_windows_max: 0, ..Serving::default() }, 2000.0).unwrap();
        assert_eq!((calm.requests, calm.unavailable), (REQUESTS_WANTED, 0));
        assert!(calm.p50_ms > 0.0 && calm.p50_ms <= calm.p99_ms, "{calm:?}");
        let crowded = sent(Serving { cache_windows_max: 0, queue_windows_max: 1, ..Serving::default() }, 1e5).unwrap();
        assert!(crowded.unavailable > 0 && crowded.unavailable < crowded.requests, "{crowded:?}");
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for per_s in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(sent(Serving::default(), per_s).unwrap_err().to_string().contains("nothing can be sent"));
        }
    }
}
