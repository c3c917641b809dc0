//! Load on one address: a closed loop (each connection sends when it has its answer) or an open one (requests come at a fixed rate).
//!
//! In the open loop a request's latency counts from the moment it was due, not from the moment it could be sent: a stall of the
//! server is charged to every request it delays, not to one (coordinated omission). The moments come from a thread of their own,
//! because the timer of the async runtime has a resolution of a millisecond.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::connection::Connection;

/// Longest latency told apart, in microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// Connections of the open loop: as many requests run at a time at most, the others wait and the wait counts.
const OPEN_CONNECTIONS: usize = 64;
/// Requests that may be due and not yet sent; past it the point counts as saturated.
const DUE_MAX: usize = 20_000;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So many connections, each with one request at a time.
    Closed {
        /// Connections.
        connections: usize,
    },
    /// So many requests a second, evenly spaced.
    Open {
        /// Requests per second.
        per_second: u32,
    },
}

/// Requests that are sent in turns, by all connections together.
#[derive(Debug)]
pub struct Requests {
    list: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Requests {
    /// Different ones. What was sent before comes again only when all others were.
    pub fn new(list: Vec<Vec<u8>>) -> Arc<Self> {
        assert!(!list.is_empty(), "there is a request to send");
        Arc::new(Self { list, next: AtomicUsize::new(0) })
    }

    /// The same one again and again.
    pub fn one(request: Vec<u8>) -> Arc<Self> {
        Self::new(vec![request])
    }

    fn next(&self) -> &[u8] {
        &self.list[self.next.fetch_add(1, Ordering::Relaxed) % self.list.len()]
    }
}

/// What was measured at one point.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Latencies in microseconds.
    pub latency_us: Histogram<u64>,
    /// Answers with another status than 200, and broken exchanges.
    pub errors: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether more requests were due than could be kept in mind: the rate is beyond what the address serves.
    pub saturated: bool,
}

impl Measured {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        self.latency_us.len() as f64 / self.took.as_secs_f64()
    }

    /// A quantile in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Drives `address` with `requests` for `duration`.
pub async fn drive(address: SocketAddr, requests: &Arc<Requests>, load: Load, duration: Duration) -> Measured {
    match load {
        Load::Closed { connections } => closed(address, requests, connections, duration).await,
        Load::Open { per_second } => open(address, requests, per_second, duration).await,
    }
}

/// One worker's share.
struct Share {
    latency_us: Histogram<u64>,
    errors: u64,
}

impl Share {
    fn new() -> Self {
        Self { latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("sound bounds"), errors: 0 }
    }

    fn note(&mut self, since: Instant, answer: std::io::Result<u16>) -> bool {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
        let good = matches!(answer, Ok(200));
        if good {
            self.latency_us.saturating_record(micros);
        } else {
            self.errors += 1;
        }
        answer.is_ok()
    }
}

async fn closed(address: SocketAddr, requests: &Arc<Requests>, connections: usize, duration: Duration) -> Measured {
    let mut workers = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..connections {
        let requests = Arc::clone(requests);
        workers.spawn(async move {
            let mut share = Share::new();
            let mut connection = Connection::open(address).await.expect("the address accepts");
            while begun.elapsed() < duration {
                let sent = Instant::now();
                let answer = connection.exchange(requests.next()).await;
                if !share.note(sent, answer) {
                    connection = Connection::open(address).await.expect("the address accepts");
                }
            }
            share
        });
    }
    gather(workers, begun, false).await
}

async fn open(address: SocketAddr, requests: &Arc<Requests>, per_second: u32, duration: Duration) -> Measured {
    let (due, taken) = mpsc::channel::<Instant>(DUE_MAX);
    let taken = Arc::new(Mutex::new(taken));
    let mut workers = JoinSet::new();
    for _ in 0..OPEN_CONNECTIONS {
        let (requests, taken) = (Arc::clone(requests), Arc::clone(&taken));
        let mut connection = Connection::open(address).await.expect("the address accepts");
        workers.spawn(async move {
            let mut share = Share::new();
            loop {
                let next = taken.lock().await.recv().await;
                let Some(moment) = next else { return share };
                let answer = connection.exchange(requests.next()).await;
                if !share.note(moment, answer) {
                    connection = Connection::open(address).await.expect("the address accepts");
                }
            }
        });
    }
    let begun = Instant::now();
    let pace = std::thread::spawn(move || pace(&due, per_second, duration));
    let mut measured = gather(workers, begun, false).await;
    measured.saturated = pace.join().expect("the pace is kept to its end");
    measured
}

/// Says when each request is due, at that moment. Returns whether it had to give up.
fn pace(due: &mpsc::Sender<Instant>, per_second: u32, duration: Duration) -> bool {
    let begun = Instant::now();
    let mut count = 0_u32;
    loop {
        let moment = begun + Duration::from_secs(1) * count / per_second;
        if moment.duration_since(begun) >= duration {
            return false;
        }
        if let Some(wait) = moment.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        if due.try_send(moment).is_err() {
            return true;
        }
        count += 1;
    }
}

async fn gather(mut workers: JoinSet<Share>, begun: Instant, saturated: bool) -> Measured {
    let mut all = Share::new();
    while let Some(share) = workers.join_next().await {
        let share = share.expect("a worker runs to its end");
        all.latency_us.add(&share.latency_us).expect("the same bounds");
        all.errors += share.errors;
    }
    Measured { latency_us: all.latency_us, errors: all.errors, took: begun.elapsed(), saturated }
}

#[cfg(test)]
mod tests {
    use harness::{Backend, Key, Request, canned};

    use super::*;

    async fn measured(load: Load) -> Measured {
        let backend = Backend::start_unrecorded().await;
        let requests = Requests::one(Request::chat(&Key::named("bench"), &canned::chat("hi")).bytes());
        drive(backend.address(), &requests, load, Duration::from_millis(300)).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_closed_loop_measures_every_answer() {
        let measured = measured(Load::Closed { connections: 2 }).await;
        assert!(measured.latency_us.len() > 10 && measured.errors == 0, "{measured:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_loop_keeps_its_rate() {
        let measured = measured(Load::Open { per_second: 200 }).await;
        assert_eq!((measured.latency_us.len(), measured.errors, measured.saturated), (60, 0, false));
    }

    #[test]
    fn requests_take_turns() {
        let requests = Requests::new(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
        let sent: Vec<&[u8]> = (0..5).map(|_| requests.next()).collect();
        assert_eq!(sent.concat(), b"abcab");
    }

    #[test]
    fn a_rate_nobody_takes_is_given_up() {
        let (due, _taken) = mpsc::channel(3);
        assert!(pace(&due, 1_000_000, Duration::from_secs(5)));
    }
}
