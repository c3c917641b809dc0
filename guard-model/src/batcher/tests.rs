//! The batcher with networks that follow a script.
#![allow(clippy::disallowed_methods, reason = "callers of a test are tasks that the test waits for")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::{Build, Network, NetworkError, Scores, Speaker, Verdict, Windows};

/// How long a test waits for what must happen soon.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of text in a window.
const WINDOW_BYTES: usize = 40;
/// Bytes that a window shares with the one before.
const OVERLAP: usize = 8;

/// One id per byte, after the speaker's.
pub(super) struct Bytes;

impl Windows for Bytes {
    fn windows(&self, speaker: Speaker, text: &str) -> Result<Vec<Window>, String> {
        if text.contains("uncuttable") {
            return Err("it cannot be cut".into());
        }
        let speaker = 1000 + speaker as u32;
        let window = |bytes: &[u8]| Window { ids: std::iter::once(speaker).chain(bytes.iter().map(|byte| u32::from(*byte))).collect() };
        let bytes = text.as_bytes();
        let mut all = vec![window(&bytes[..bytes.len().min(WINDOW_BYTES)])];
        let mut end = WINDOW_BYTES;
        while end < bytes.len() {
            let start = end - OVERLAP;
            end = start + WINDOW_BYTES;
            all.push(window(&bytes[start..bytes.len().min(end)]));
        }
        Ok(all)
    }
}

fn text_of(window: &Window) -> String {
    window.ids[1..].iter().map(|id| char::from(u8::try_from(*id).unwrap())).collect()
}

/// What the network is to do with a batch whose texts are these; `Ok(None)`: what it always does.
type Act = dyn Fn(&[String]) -> Result<Option<Vec<Verdict>>, NetworkError> + Send + Sync;

/// The stage: what the network does, what it was asked, and a barrier to hold it at.
#[derive(Default)]
struct Stage {
    held: Mutex<Held>,
    bell: Condvar,
    act: Mutex<Option<Box<Act>>>,
    /// The texts of each batch since the last warm-up.
    log: Mutex<Vec<Vec<String>>>,
    made: AtomicUsize,
    alive: AtomicUsize,
}

#[derive(Default)]
struct Held {
    /// This version of the network stops inside its next batch.
    version: Option<u8>,
    inside: bool,
}

impl Stage {
    fn act(&self, act: impl Fn(&[String]) -> Result<Option<Vec<Verdict>>, NetworkError> + Send + Sync + 'static) {
        *self.act.lock().unwrap() = Some(Box::new(act));
    }

    fn hold(&self) {
        self.held.lock().unwrap().version = Some(5);
    }

    fn release(&self) {
        self.held.lock().unwrap().version = None;
        self.bell.notify_all();
    }

    /// Waits until the network is inside a batch that is held.
    async fn entered(&self) {
        until(|| self.held.lock().unwrap().inside).await;
    }

    fn log(&self) -> Vec<Vec<String>> {
        self.log.lock().unwrap().clone()
    }
}

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never was");
        tokio::task::yield_now().await;
    }
}

/// Its benign scores tell its version: that of version n lie in n/10 ..= n/10 + 0.05; an attack has a `!`.
struct Play {
    stage: Arc<Stage>,
    version: u8,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.stage.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn verdict(version: u8, text: &str) -> Verdict {
    let base = f32::from(version) / 10.0;
    let benign = if text.contains('!') { base } else { base + 0.05 };
    // Letters as directions: texts of the same letters lie close.
    let mut vector = vec![0.0_f32; 26];
    for byte in text.bytes().filter(u8::is_ascii_lowercase) {
        vector[usize::from(byte - b'a')] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
    vector.iter_mut().for_each(|x| *x /= length);
    Verdict { scores: Scores { benign, injection: 1.0 - benign, jailbreak: 0.0 }, vector }
}

impl Network for Play {
    fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, NetworkError> {
        let texts: Vec<String> = windows.iter().map(text_of).collect();
        self.stage.log.lock().unwrap().push(texts.clone());
        let mut held = self.stage.held.lock().unwrap();
        while held.version == Some(self.version) {
            held.inside = true;
            held = self.stage.bell.wait(held).unwrap();
        }
        held.inside = false;
        drop(held);
        let acted = self.stage.act.lock().unwrap().as_ref().map_or(Ok(None), |act| act(&texts))?;
        Ok(acted.unwrap_or_else(|| texts.iter().map(|text| verdict(self.version, text)).collect()))
    }
}

fn source(stage: &Arc<Stage>, version: u8) -> Source {
    let made = Arc::clone(stage);
    let build: Build = Box::new(move || {
        made.made.fetch_add(1, Ordering::SeqCst);
        made.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Play { stage: Arc::clone(&made), version }))
    });
    Source { version: format!("play-{version}").into(), windows: Arc::new(Bytes), build }
}

/// An edition with nothing behind it.
pub(super) fn edition() -> Arc<Edition> {
    let prepared = Prepared::new(source(&Arc::new(Stage::default()), 5), 0, &[], &Serving::default()).unwrap();
    Arc::new(prepared.edition)
}

/// A batcher, its stage and what it told.
struct Rig {
    batcher: Arc<Batcher>,
    stage: Arc<Stage>,
    news: Arc<Mutex<Vec<News>>>,
}

fn known(attacks: &[(&str, &str)]) -> Vec<KnownAttack> {
    attacks.iter().map(|&(id, text)| KnownAttack { id: id.into(), text: text.into() }).collect()
}

fn rig_with(serving: Serving, attacks: &[(&str, &str)]) -> Rig {
    let (stage, news) = (Arc::new(Stage::default()), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&news);
    let batcher = Batcher::start(source(&stage, 5), known(attacks), serving, move |one| told.lock().unwrap().push(one)).unwrap();
    stage.log.lock().unwrap().clear();
    Rig { batcher: Arc::new(batcher), stage, news }
}

fn rig() -> Rig {
    rig_with(Serving::default(), &[])
}

fn inputs(texts: &[&str]) -> Vec<Input> {
    texts.iter().map(|&text| Input { speaker: Speaker::User, text: text.into() }).collect()
}

type Asking = tokio::task::JoinHandle<Result<Answer, Unavailable>>;

impl Rig {
    async fn ask(&self, texts: &[&str]) -> Result<Answer, Unavailable> {
        self.batcher.classify(inputs(texts), Instant::now() + PATIENCE).await
    }

    /// Asks beside the test, and waits until the windows are in the queue.
    async fn ask_aside(&self, texts: &[&str], deadline: Duration) -> Asking {
        let (batcher, inputs, before) = (Arc::clone(&self.batcher), inputs(texts), self.batcher.state().queued_windows);
        let asking = tokio::spawn(async move { batcher.classify(inputs, Instant::now() + deadline).await });
        until(|| self.batcher.state().queued_windows > before || asking.is_finished()).await;
        asking
    }

    /// Holds the network inside a batch of its own, so that what is asked meanwhile waits.
    async fn occupied(&self) -> Asking {
        self.stage.hold();
        let batcher = Arc::clone(&self.batcher);
        let first = tokio::spawn(async move { batcher.classify(inputs(&["occupied"]), Instant::now() + PATIENCE).await });
        self.stage.entered().await;
        first
    }

    fn told(&self, what: impl Fn(&News) -> bool) -> usize {
        self.news.lock().unwrap().iter().filter(|news| what(news)).count()
    }
}

fn attack(answer: &Answer) -> Vec<f32> {
    answer.judged.iter().map(|judged| (judged.scores.attack() * 100.0).round() / 100.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_counts_as_its_worst_window_and_every_part_of_it_is_seen() {
    let rig = rig();
    let long = |at: usize| format!("{}!{}", "a".repeat(at), "a".repeat(300 - at));
    for at in [0, 39, 40, 41, 150, 299] {
        let answer = rig.ask(&["a good text", &long(at), ""]).await.unwrap();
        assert_eq!(attack(&answer), [0.45, 0.5, 0.45], "at {at}");
        assert_eq!(&*answer.version, "play-5");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_cannot_be_cut_is_a_failure_and_not_safe_and_a_very_long_one_is_judged_whole() {
    let rig = rig_with(Serving { queue_windows_max: 4096, ..Serving::default() }, &[]);
    assert_eq!(rig.ask(&["fine", "uncuttable"]).await, Err(Unavailable::Failed("it cannot be cut".into())));
    let long = format!("{}!", "words and words ".repeat(6000));
    assert!(long.len() > INLINE_BYTES_MAX);
    assert_eq!(attack(&rig.ask(&[&long]).await.unwrap()), [0.5], "its last letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_many_requests_run_in_one_batch_and_each_gets_its_own_verdict() {
    let rig = rig();
    let first = rig.occupied().await;
    let mut asking = Vec::new();
    for text in ["one", "two!", "three"] {
        asking.push(rig.ask_aside(&[text], PATIENCE).await);
    }
    rig.stage.release();
    let mut scores = Vec::new();
    for asked in asking {
        scores.extend(attack(&asked.await.unwrap().unwrap()));
    }
    assert_eq!(scores, [0.45, 0.5, 0.45]);
    assert_eq!(rig.stage.log(), [vec!["occupied".to_owned()], vec!["one".into(), "two!".into(), "three".into()]]);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(rig.told(|news| matches!(news, News::Ran { windows: 3, tokens: 15, .. })), 1, "{:?}", rig.news);
    assert_eq!(rig.told(|news| matches!(news, News::Waited(_))), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_windows_are_computed_once_in_a_batch_and_never_again() {
    let rig = rig();
    let first = rig.occupied().await;
    let a = rig.ask_aside(&["same", "same", "other"], PATIENCE).await;
    let b = rig.ask_aside(&["same"], PATIENCE).await;
    rig.stage.release();
    for asked in [first, a, b] {
        asked.await.unwrap().unwrap();
    }
    rig.ask(&["same", "other"]).await.unwrap();
    assert_eq!(rig.stage.log(), [vec!["occupied".to_owned()], vec!["same".into(), "other".into()]]);
    let cached: usize = rig.news.lock().unwrap().iter().map(|news| if let News::Cached { windows } = news { *windows } else { 0 }).sum();
    assert_eq!(cached, 4);
    // The same words of another speaker are another window.
    let tool = vec![Input { speaker: Speaker::Tool, text: "same".into() }];
    rig.batcher.classify(tool, Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(rig.stage.log().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_past_the_deadline_and_late_windows_are_not_computed() {
    let rig = rig();
    let first = rig.occupied().await;
    let began = Instant::now();
    let late = rig.ask_aside(&["late"], Duration::from_millis(30)).await;
    assert_eq!(late.await.unwrap(), Err(Unavailable::Late));
    assert!(began.elapsed() < PATIENCE, "while the network stands still");
    assert_eq!(rig.batcher.state().queued_windows, 0);
    rig.stage.release();
    first.await.unwrap().unwrap();
    rig.ask(&["next"]).await.unwrap();
    assert!(!rig.stage.log().concat().contains(&"late".to_owned()), "{:?}", rig.stage.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_is_taken_out_of_the_queue_at_once() {
    let rig = rig();
    let first = rig.occupied().await;
    let mut leaving = rig.batcher.classify(inputs(&["left", "behind"]), Instant::now() + PATIENCE);
    assert!(matches!(leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    assert_eq!(rig.batcher.state().queued_windows, 2);
    drop(leaving);
    assert_eq!(rig.batcher.state().queued_windows, 0);
    rig.stage.release();
    first.await.unwrap().unwrap();
    rig.ask(&["next"]).await.unwrap();
    assert_eq!(rig.stage.log(), [vec!["occupied".to_owned()], vec!["next".into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_at_once_and_takes_what_fits_again_later() {
    let rig = rig_with(Serving { queue_windows_max: 3, ..Serving::default() }, &[]);
    assert_eq!(rig.ask(&["1", "2", "3", "4"]).await, Err(Unavailable::Overloaded), "more than the whole queue");
    let first = rig.occupied().await;
    let fits = rig.ask_aside(&["1", "2", "3"], PATIENCE).await;
    assert_eq!(rig.ask(&["4"]).await, Err(Unavailable::Overloaded));
    rig.stage.release();
    for asked in [first, fits] {
        asked.await.unwrap().unwrap();
    }
    rig.ask(&["4"]).await.unwrap();
}

/// Verdicts as always, but no number for texts with this in them.
fn nan_for(texts: &[String], mark: &str) -> Option<Vec<Verdict>> {
    let judged = |text: &String| {
        let mut verdict = verdict(5, text);
        if text.contains(mark) {
            verdict.scores.benign = f32::NAN;
        }
        verdict
    };
    Some(texts.iter().map(judged).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_without_a_sound_verdict_fails_its_request_and_not_its_batch_mates() {
    for whole_batch in [false, true] {
        let rig = rig();
        rig.stage.act(move |texts| {
            // Some networks give the number, some give up on the batch.
            if whole_batch && texts.iter().any(|text| text.contains("poison")) {
                Err(NetworkError::NotFinite)
            } else {
                Ok(nan_for(texts, "poison"))
            }
        });
        let first = rig.occupied().await;
        let good = rig.ask_aside(&["good"], PATIENCE).await;
        let bad = rig.ask_aside(&["fine", "poison"], PATIENCE).await;
        let other = rig.ask_aside(&["other!"], PATIENCE).await;
        rig.stage.release();
        first.await.unwrap().unwrap();
        assert_eq!(attack(&good.await.unwrap().unwrap()), [0.45]);
        assert!(matches!(bad.await.unwrap(), Err(Unavailable::Failed(_))));
        assert_eq!(attack(&other.await.unwrap().unwrap()), [0.5]);
        // Nor does it open the circuit for the others, however often it comes, nor is it taken from the cache.
        for _ in 0..10 {
            assert!(matches!(rig.ask(&["poison"]).await, Err(Unavailable::Failed(_))));
        }
        rig.ask(&["good again"]).await.unwrap();
        assert!(rig.told(|news| *news == News::Failed(Failure::NotFinite)) >= 11);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_fails_alone_and_the_next_one_is_tried() {
    let rig = rig();
    rig.stage.act(|texts| if texts[0] == "oom" { Err(NetworkError::Device("out of memory".into())) } else { Ok(None) });
    assert_eq!(rig.ask(&["oom"]).await, Err(Unavailable::Failed("the device failed: out of memory".into())));
    rig.ask(&["good"]).await.unwrap();
    rig.stage.act(|texts| Ok((texts[0] == "short").then(Vec::new)));
    assert!(matches!(rig.ask(&["short"]).await, Err(Unavailable::Failed(_))), "another number of verdicts");
    rig.ask(&["good too"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_batch_and_the_network_is_made_anew() {
    let rig = rig();
    rig.stage.act(|texts| {
        assert!(texts[0] != "boom", "as the script says");
        Ok(None)
    });
    assert_eq!(rig.stage.made.load(Ordering::SeqCst), 1);
    assert_eq!(rig.ask(&["boom"]).await, Err(Unavailable::Failed("the network panicked".into())));
    // The stage's own lock is poisoned by the panic; a fresh script heals it.
    rig.stage.act.clear_poison();
    rig.ask(&["good"]).await.unwrap();
    assert_eq!((rig.stage.made.load(Ordering::SeqCst), rig.stage.alive.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_failures_in_a_row_nobody_is_made_to_wait_until_a_probe_succeeds() {
    let pause = Duration::from_millis(20);
    let rig = rig_with(Serving { failures_max: 3, circuit_pause: Duration::from_secs(3600), ..Serving::default() }, &[]);
    let lost = || Err(NetworkError::Device("lost".into()));
    rig.stage.act(move |_| lost());
    for n in 0..3 {
        assert!(matches!(rig.ask(&[&format!("text {n}")]).await, Err(Unavailable::Failed(_))));
    }
    until(|| rig.batcher.state().circuit == CircuitState::Open).await;
    let asked = rig.stage.log().len();
    assert!(matches!(rig.ask(&["refused"]).await, Err(Unavailable::Failed(why)) if why.contains("in a row")));
    assert_eq!(rig.stage.log().len(), asked, "the network was not asked");

    let rig = rig_with(Serving { failures_max: 1, circuit_pause: pause, ..Serving::default() }, &[]);
    rig.stage.act(move |_| lost());
    assert!(rig.ask(&["text"]).await.is_err());
    // Probes fail while the device is lost; then one succeeds, with a network made anew.
    until(|| rig.told(|news| *news == News::Circuit(CircuitState::HalfOpen)) >= 2).await;
    let made = rig.stage.made.load(Ordering::SeqCst);
    rig.stage.act(|_| Ok(None));
    until(|| rig.batcher.state().circuit == CircuitState::Closed).await;
    assert!(rig.stage.made.load(Ordering::SeqCst) > made);
    rig.ask(&["good"]).await.unwrap();
    let log = rig.stage.log();
    assert!(log[1..log.len() - 1].iter().all(|batch| *batch == ["word"]), "probes are our own text: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_when_the_circuit_opens_is_told_so() {
    let rig =
        rig_with(Serving { failures_max: 1, batch_tokens_max: 1, circuit_pause: Duration::from_secs(3600), ..Serving::default() }, &[]);
    rig.stage.act(|_| Err(NetworkError::Device("lost".into())));
    let first = rig.occupied().await;
    let waiting = rig.ask_aside(&["waiting"], PATIENCE).await;
    rig.stage.release();
    for asked in [first, waiting] {
        assert!(matches!(asked.await.unwrap(), Err(Unavailable::Failed(_))));
    }
    assert_eq!(rig.stage.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_cannot_be_started_is_told_and_nothing_runs() {
    let start = |source| Batcher::start(source, Vec::new(), Serving::default(), |_| {}).map(drop).unwrap_err();
    let stage = Arc::new(Stage::default());
    let cannot = Source { build: Box::new(|| Err(NetworkError::Device("no such device".into()))), ..source(&stage, 5) };
    assert_eq!(start(cannot).to_string(), "the guard model play-5 does not run: the device failed: no such device");
    stage.act(|texts| Ok(nan_for(texts, "")));
    assert!(start(source(&stage, 5)).to_string().contains("no probability"));
    assert_eq!(stage.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_swap_under_load_loses_nobody_and_every_request_is_judged_whole_by_one_version() {
    let rig = rig_with(Serving { batch_tokens_max: 64, cache_windows_max: 64, ..Serving::default() }, &[]);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut callers = Vec::new();
    for caller in 0..8 {
        let (batcher, stop) = (Arc::clone(&rig.batcher), Arc::clone(&stop));
        callers.push(tokio::spawn(async move {
            let mut versions = BTreeSet::new();
            for round in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let texts = [format!("caller {caller} {round}"), format!("{caller}! {}", "long ".repeat(round % 60))];
                let answer = batcher.classify(inputs(&[&texts[0], &texts[1]]), Instant::now() + PATIENCE).await.unwrap();
                let version = answer.version.strip_prefix("play-").unwrap().parse::<f32>().unwrap() / 10.0;
                let benign: Vec<f32> = answer.judged.iter().map(|judged| judged.scores.benign).collect();
                assert_eq!(benign, [version + 0.05, version], "by {} alone", answer.version);
                versions.insert(answer.version);
            }
            versions.len()
        }));
    }
    for version in [1, 2, 3, 4] {
        let ran = rig.stage.log().len();
        until(|| rig.stage.log().len() > ran + 20).await;
        while rig.batcher.swap(source(&rig.stage, version)).await == Err(SwapError::Busy) {
            tokio::task::yield_now().await;
        }
        assert_eq!(*rig.batcher.version(), format!("play-{version}"));
    }
    let ran = rig.stage.log().len();
    until(|| rig.stage.log().len() > ran + 20).await;
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 1, "it saw a swap");
    }
    until(|| rig.stage.alive.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_before_a_swap_keep_their_version_and_the_old_network_goes_with_the_last() {
    let rig = rig();
    let first = rig.occupied().await;
    let before = rig.ask_aside(&["before"], PATIENCE).await;
    rig.batcher.swap(source(&rig.stage, 7)).await.unwrap();
    assert_eq!(rig.batcher.swap(source(&rig.stage, 8)).await, Err(SwapError::Busy), "two networks live already");
    let after = rig.ask_aside(&["before"], PATIENCE).await;
    rig.stage.release();
    let after = after.await.unwrap().unwrap();
    assert_eq!((&*after.version, attack(&after)), ("play-7", vec![0.25]), "judged anew by the new version");
    for asked in [first, before] {
        assert_eq!(&*asked.await.unwrap().unwrap().version, "play-5");
    }
    until(|| rig.stage.alive.load(Ordering::SeqCst) == 1).await;
    let broken = Source { build: Box::new(|| Err(NetworkError::Device("torn".into()))), ..source(&rig.stage, 8) };
    assert!(matches!(rig.batcher.swap(broken).await, Err(SwapError::Start(StartError::Network { .. }))));
    assert_eq!(&*rig.ask(&["still"]).await.unwrap().version, "play-7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_near_a_known_attack_is_told_with_its_id_and_how_near() {
    let rig = rig_with(Serving { known_threshold: 0.94, ..Serving::default() }, &[("a-1", "zebra xylophone"), ("a-2", "quiet queen")]);
    let answer =
        rig.ask(&["hello there", "zebra xylophones", "quiet queen", &format!("{} zebra xylophone", "m".repeat(70))]).await.unwrap();
    let ids: Vec<Option<&str>> = answer.judged.iter().map(|judged| judged.known.as_ref().map(|near| &*near.id)).collect();
    assert_eq!(ids[..3], [None, Some("a-1"), Some("a-2")]);
    let similarity = |n: usize| answer.judged[n].known.as_ref().unwrap().similarity;
    assert!(similarity(1) >= 0.94 && similarity(1) < 0.9999 && similarity(2) > 0.9999, "{answer:?}");
    assert_eq!(attack(&answer)[1], 0.45, "beside the score, not instead of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_attack_put_in_while_requests_run_is_caught_at_once_though_its_text_was_judged_before() {
    let rig = rig_with(Serving::default(), &[("old", "zebra xylophone")]);
    let seen = async |text: &str| rig.ask(&[text]).await.unwrap().judged.remove(0).known.map(|near| near.id.to_string());
    assert_eq!(seen("quiet queen").await, None);
    rig.stage.log.lock().unwrap().clear();
    rig.batcher.replace_known(known(&[("renamed", "zebra xylophone"), ("new", "quiet queen")])).await.unwrap();
    assert_eq!(rig.stage.log().concat(), ["quiet queen", "quiet queen"], "as a user's words and as a tool's; the old one was read before");
    assert_eq!(seen("quiet queen").await, Some("new".into()));
    assert_eq!(seen("zebra xylophone").await, Some("renamed".into()));
    assert_eq!(rig.batcher.state().known_attacks, 2);
    // They go along to another version, and stay when others cannot be read.
    rig.batcher.swap(source(&rig.stage, 6)).await.unwrap();
    assert_eq!(seen("quiet queens").await, Some("new".into()));
    rig.stage.act(|texts| if texts[0] == "lost" { Err(NetworkError::Device("lost".into())) } else { Ok(None) });
    assert!(matches!(rig.batcher.replace_known(known(&[("x", "lost")])).await, Err(SwapError::Known(_))));
    assert_eq!(seen("quiet queen").await, Some("new".into()));
    rig.batcher.replace_known(Vec::new()).await.unwrap();
    assert_eq!(seen("quiet queen").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_does_not_keep_short_ones_waiting() {
    let rig = rig_with(Serving { batch_tokens_max: 4 * (WINDOW_BYTES + 1), ..Serving::default() }, &[]);
    let first = rig.occupied().await;
    let long: String = (0..500).map(|n| format!("{n:03}")).collect();
    let long = rig.ask_aside(&[&long], PATIENCE).await;
    let short = rig.ask_aside(&[&"short ".repeat(6)], PATIENCE).await;
    rig.stage.release();
    for asked in [first, short, long] {
        asked.await.unwrap().unwrap();
    }
    let at = rig.stage.log().iter().position(|batch| batch.iter().any(|text| text.starts_with("short"))).unwrap();
    assert_eq!(at, 1, "in the first batch after the one that ran: {:?}", rig.stage.log());
    assert!(rig.stage.log()[1..].iter().all(|batch| batch.len() <= 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_batcher_ends_its_thread_and_frees_the_network() {
    let Rig { batcher, stage, .. } = rig();
    assert_eq!(stage.alive.load(Ordering::SeqCst), 1);
    drop(batcher);
    until(|| stage.alive.load(Ordering::SeqCst) == 0).await;
}
