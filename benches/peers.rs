//! The same texts through this engine, through a set of plain expressions, and through Presidio's recognizers: what each reads a second.
//!
//! Everyone reads the same paragraphs of a few kilobytes, on one thread; a rate is bytes by time on a core. `benches/README.md` says how
//! to read the table.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints its result, and one that cannot run stops and says why"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::repository;
use portcullis_benches::{Clock, Kind, machine, packs_of, patterns_of, text};
use portcullis_policies::{BENIGN, Direction, Encoding, Policy, Role, Text};
use regex::bytes::{Regex, RegexBuilder, RegexSetBuilder};
use serde::Deserialize;

const TEXT_BYTES: usize = 1 << 20;
/// About how long a paragraph is, in bytes.
const PARAGRAPH_BYTES: usize = 4096;
/// Work up to which a reader begins again, and after which it stops at a paragraph's end.
const WORK_MIN: Duration = Duration::from_secs(2);
const WORK_MAX: Duration = Duration::from_secs(10);
/// Largest compiled form of one plain expression, and of all of them in one set, in bytes.
const PATTERN_BYTES_MAX: usize = 16 << 20;
const SET_BYTES_MAX: usize = 1 << 30;
/// Memory for the states met: much, and what `regex` takes where nothing is said.
const STATES_BYTES_MAX: usize = 256 << 20;
const STATES_BYTES_DEFAULT: usize = 2 << 20;

const OURS: &str = "**Portcullis, every pack**";

const INSTALL: &str = "benches/presidio/setup.sh";

/// One text, cut into paragraphs.
struct Sample {
    name: &'static str,
    paragraphs: Vec<String>,
}

/// Somebody who reads a paragraph and says how much was found.
type Reader = Box<dyn FnMut(&str) -> usize>;

/// What one reader made of one text.
struct Reading {
    /// MB (10^6 bytes) by second on a core, the first time and later.
    first: f64,
    later: f64,
    /// In one pass over the text, or over what was read of it.
    findings: String,
    /// Bytes read in the time there was, where that was not all.
    part: Option<usize>,
}

/// One reader and what it made of each text; memory in bytes, its states with it, where this process holds them.
struct Row {
    name: String,
    readings: Vec<Reading>,
    memory: Option<usize>,
}

/// A line of what `presidio/bench.py` says.
#[derive(Deserialize)]
struct Told {
    text: String,
    set: String,
    bytes: usize,
    seconds: f64,
    findings: usize,
    all_findings: usize,
    recognizers: usize,
    whole: bool,
}

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("# What others take for the same texts\n\n{}", machine("cargo bench -p portcullis-benches --bench peers"));
    let made =
        [("prose", Kind::Prose), ("code", Kind::Code), ("Chinese", Kind::Chinese)].map(|(name, kind)| (name, text(kind, TEXT_BYTES)));
    let texts = made.into_iter().chain([("ordinary", ordinary())]);
    let samples: Vec<Sample> = texts.map(|(name, text)| Sample { name, paragraphs: paragraphs(&text) }).collect();
    let what = if Clock::start().tells_work() { "time on a core" } else { "time that passed" };
    println!("- one thread, paragraphs of about {PARAGRAPH_BYTES} bytes, MB (10^6 bytes) by second of {what}\n");

    let place = tempfile::tempdir().expect("a folder for the policy");
    // Kept to the end, so that what one lets go of is not the next one's memory.
    let mut readers = Vec::new();
    let mut rows = Vec::new();
    for make in makers(place.path()) {
        let before = resident_bytes();
        let (name, mut reader) = make();
        let readings = samples.iter().map(|sample| read(sample, &mut reader)).collect();
        rows.push(Row { name, readings, memory: resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before)) });
        readers.push(reader);
    }
    rows.extend(presidio(&samples, place.path()));
    println!("{}", table(&samples, &rows));
}

type Maker = Box<dyn FnOnce() -> (String, Reader)>;

/// Everyone in this process, ours first: the packs of personal data alone, then every pack of the shipped policy.
fn makers(place: &Path) -> Vec<Maker> {
    let folder = repository().join("policies");
    let shipped = folder.join("policy.yaml");
    let packs = packs_of(&shipped);
    let personal: Vec<String> = packs.iter().filter(|pack| pack.starts_with("packs/pii")).cloned().collect();
    let policy = personal_policy(place, &folder, &personal);
    let patterns = |packs: &[String]| -> Vec<String> { packs.iter().flat_map(|pack| patterns_of(&folder.join(pack))).collect() };
    let (of_personal, of_all) = (patterns(&personal), patterns(&packs));
    let again = of_all.clone();
    vec![
        Box::new(move || ("Portcullis, personal data".into(), portcullis(&policy))),
        Box::new(move || (OURS.into(), portcullis(&shipped))),
        Box::new(move || plain("personal data", &of_personal, STATES_BYTES_MAX)),
        Box::new(move || plain("every pack", &of_all, STATES_BYTES_MAX)),
        Box::new(move || plain("every pack", &again, STATES_BYTES_DEFAULT)),
    ]
}

/// The texts that false alarms are measured with, one after the other.
fn ordinary() -> String {
    let texts = BENIGN.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let texts: Vec<String> = texts.filter_map(|line| line["text"].as_str().map(str::to_owned)).collect();
    texts.join("\n\n")
}

/// Memory this process holds, in bytes.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib * 1024)
}

/// Cuts after blanks, line ends and Chinese full stops.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for sentence in text.split_inclusive([' ', '\n', '。']) {
        if all.last().is_some_and(|last| last.len() + sentence.len() > PARAGRAPH_BYTES) {
            all.push(String::new());
        }
        if let Some(last) = all.last_mut() {
            last.push_str(sentence);
        }
    }
    all
}

/// One pass over a text.
struct Pass {
    bytes: usize,
    seconds: f64,
    findings: usize,
    whole: bool,
}

/// Reads a text once, and where there is time again until it has worked long enough.
fn read(sample: &Sample, reader: &mut Reader) -> Reading {
    let first = pass(sample, reader);
    let rate = |bytes: usize, seconds: f64| bytes as f64 / 1e6 / seconds;
    let (mut bytes, mut seconds) = (0, 0.0);
    while first.whole && seconds < WORK_MIN.as_secs_f64() {
        let more = pass(sample, reader);
        bytes += more.bytes;
        seconds += more.seconds;
    }
    let once = rate(first.bytes, first.seconds);
    let later = if bytes > 0 { rate(bytes, seconds) } else { once };
    Reading { first: once, later, findings: first.findings.to_string(), part: (!first.whole).then_some(first.bytes) }
}

fn pass(sample: &Sample, reader: &mut Reader) -> Pass {
    let clock = Clock::start();
    let (mut bytes, mut findings, mut read) = (0, 0, 0);
    for paragraph in &sample.paragraphs {
        findings += reader(std::hint::black_box(paragraph));
        bytes += paragraph.len();
        read += 1;
        if clock.elapsed() > WORK_MAX {
            break;
        }
    }
    Pass { bytes, seconds: clock.elapsed().as_secs_f64(), findings, whole: read == sample.paragraphs.len() }
}

fn portcullis(policy: &Path) -> Reader {
    let policy = Policy::load(policy).expect("the policy loads");
    Box::new(move |text| {
        policy.screen(Direction::Request, &Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text }).len()
    })
}

/// The shipped policy's packs of personal data alone, with what it says of them.
fn personal_policy(place: &Path, folder: &Path, packs: &[String]) -> std::path::PathBuf {
    let packs: Vec<String> = packs.iter().map(|pack| folder.join(pack).display().to_string()).collect();
    let yaml = format!(
        "name: personal\npacks: {packs:?}\nthreshold: 0.5\nactions: {{ request: {{ pii: redact }}, response: {{ pii: redact }} }}\n\
         rules: {{ URL: {{ request: allow, response: allow }} }}\n"
    );
    let path = place.join("policy.yaml");
    std::fs::write(&path, yaml).expect("the policy is written");
    path
}

/// All patterns in one set that says which of them hit, and each by itself to say where.
fn plain(packs: &str, patterns: &[String], states_bytes_max: usize) -> (String, Reader) {
    let each: Vec<(&String, Regex)> = patterns
        .iter()
        .filter_map(|pattern| Some((pattern, RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().ok()?)))
        .collect();
    let taken = each.iter().map(|(pattern, _)| pattern);
    let set =
        RegexSetBuilder::new(taken).size_limit(SET_BYTES_MAX).dfa_size_limit(states_bytes_max).build().expect("a set within its limit");
    let name = format!("`RegexSet`, {packs}, {} MiB of states: {} of {} patterns", states_bytes_max >> 20, each.len(), patterns.len());
    let each: Vec<Regex> = each.into_iter().map(|(_, one)| one).collect();
    let reader = move |text: &str| set.matches(text.as_bytes()).iter().map(|hit| each[hit].find_iter(text.as_bytes()).count()).sum();
    (name, Box::new(reader))
}

/// Presidio's recognizers, where its environment has been made.
fn presidio(samples: &[Sample], place: &Path) -> Vec<Row> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), Into::into);
    let venv = target.join("presidio");
    let absent = |why: String| vec![Row { name: format!("Presidio: {why}"), readings: vec![], memory: None }];
    if !venv.join("bin/python").exists() {
        return absent(format!("not installed; `{INSTALL}` installs it"));
    }
    let texts: serde_json::Map<String, serde_json::Value> =
        samples.iter().map(|sample| (sample.name.to_owned(), sample.paragraphs.clone().into())).collect();
    let path = place.join("texts.json");
    std::fs::write(&path, serde_json::Value::from(texts).to_string()).expect("the texts are written");
    let ran = Command::new(venv.join("bin/python")).arg(repository().join("benches/presidio/bench.py")).arg(&path).output();
    let told: Vec<Told> = match ran {
        Ok(ran) if ran.status.success() => {
            String::from_utf8_lossy(&ran.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        }
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stderr);
            return absent(format!("does not run ({}); remove target/presidio, then `{INSTALL}`", said.lines().last().unwrap_or_default()));
        }
        Err(error) => return absent(format!("does not start ({error}); remove target/presidio, then `{INSTALL}`")),
    };
    let row = |set: &str| {
        let of = |name: &str| told.iter().find(|told| told.set == set && told.text == name);
        let of_set: Vec<&Told> = samples.iter().filter_map(|sample| of(sample.name)).collect();
        let count = of_set.first().map_or(0, |told| told.recognizers);
        Row {
            name: format!("Presidio, {set}: {count} pattern recognizers"),
            readings: of_set.iter().map(|told| told.reading()).collect(),
            memory: None,
        }
    };
    ["English", "every language"].map(row).into()
}

impl Told {
    fn reading(&self) -> Reading {
        let rate = self.bytes as f64 / 1e6 / self.seconds;
        let findings = format!("{} (of any score {})", self.findings, self.all_findings);
        Reading { first: rate, later: rate, findings, part: (!self.whole).then_some(self.bytes) }
    }
}

/// For each text a table: rates, how many times faster ours with every pack is, findings.
fn table(samples: &[Sample], rows: &[Row]) -> String {
    let ours = rows.iter().find(|row| row.name == OURS);
    let mut text = String::from("| text | who | MB/s, first time | MB/s | ours / theirs | findings |\n|---|---|--:|--:|--:|--:|\n");
    for (number, Sample { name, .. }) in samples.iter().enumerate() {
        let best = ours.and_then(|ours| ours.readings.get(number)).map_or(f64::NAN, |reading| reading.later);
        for row in rows {
            let Some(Reading { first, later, findings, part }) = row.readings.get(number) else { continue };
            let who = &row.name;
            let part = part.map(|bytes| format!(", in the first {} kB", bytes / 1000)).unwrap_or_default();
            text.push_str(&format!("| {name} | {who} | {first:.2} | {later:.2} | {:.2} | {findings}{part} |\n", best / later));
        }
    }
    text.push_str("\nMemory, with the states that these texts brought about:\n\n");
    for Row { name, memory, readings } in rows {
        match memory {
            Some(bytes) => text.push_str(&format!("- {name}: {} MiB\n", bytes >> 20)),
            None if readings.is_empty() => text.push_str(&format!("- {name}\n")),
            None => {}
        }
    }
    text
}
