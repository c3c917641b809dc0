//! Mutated texts against the laws of screening: what people who want past the rules, and broken clients, may send.
//!
//! The seeds are every example of every rule and the ordinary texts; `mutate` bends them, `law` says what must hold. Five seconds by
//! default, always the same cases. `PORTCULLIS_FUZZ_SECONDS=600` goes on for longer and begins elsewhere each time;
//! `PORTCULLIS_FUZZ_SEED=n` runs the one case that a failure named.

mod law;
mod mutate;
mod numbers;
mod patterns;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{BENIGN, Encoding, Policy};

use mutate::mutated;
use numbers::Numbers;

/// How long it runs where nothing is said.
const SECONDS: u64 = 5;
/// Most texts tried to make a failing one smaller.
const SHRINKS_MAX: usize = 300;
/// Where every short run begins.
const FIRST: u64 = 1;

/// Every pack, weak evidence too. Nearly everything is redacted both ways, so that few texts end at a refusal.
fn policy() -> Arc<Policy> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = std::fs::read_to_string(folder.join("all.yaml")).unwrap();
    let packs = all.lines().filter_map(|line| line.strip_prefix("  - packs/"));
    let packs: Vec<String> = packs.map(|pack| folder.join("packs").join(pack).display().to_string()).collect();
    let actions = |sensitive: &str| {
        format!("{{ pii: redact, secret: redact, injection: redact, jailbreak: redact, code_attack: redact, sensitive: {sensitive} }}")
    };
    let (request, response) = (actions("redact"), actions("{ low: redact, high: redact, critical: block }"));
    let yaml = format!("name: fuzz\npacks: {packs:?}\nthreshold: 0.3\nactions: {{ request: {request}, response: {response} }}\n");
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("policy.yaml");
    std::fs::write(&path, yaml).unwrap();
    Arc::new(Policy::load(&path).unwrap_or_else(|error| panic!("{error}")))
}

fn seeds(policy: &Policy) -> Vec<String> {
    let ordinary = BENIGN.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["text"].as_str().unwrap().to_owned()
    });
    policy.examples().into_iter().chain(ordinary).collect()
}

/// A text, how it is written, and the law that it broke.
type Broken = (String, Encoding, String);

/// Runs the case of one seed.
fn case(policy: &Arc<Policy>, seeds: &[String], seed: u64) -> Result<usize, Box<Broken>> {
    let mut numbers = Numbers::new(seed);
    let (text, encoding) = mutated(seeds, &mut numbers);
    let by_law = numbers.below(20) == 0;
    match held(policy, &text, encoding, &numbers, by_law) {
        Ok(()) => Ok(text.len()),
        Err(broken) => {
            // A panic is told twice, at the text as it was and at the smallest, and not at each between.
            let hook = take_hook();
            set_hook(Box::new(|_| {}));
            let smallest = shrunk(&text, &|text| held(policy, text, encoding, &numbers, by_law).is_err());
            set_hook(hook);
            let broken = held(policy, &smallest, encoding, &numbers, by_law).err().unwrap_or(broken);
            Err(Box::new((smallest, encoding, broken)))
        }
    }
}

/// Checks every law; a panic is one that broke.
fn held(policy: &Arc<Policy>, text: &str, encoding: Encoding, numbers: &Numbers, by_law: bool) -> Result<(), String> {
    let tried = catch_unwind(AssertUnwindSafe(|| law::all(policy, text, encoding, &mut numbers.clone(), by_law)));
    tried.unwrap_or_else(|_| Err("it panics; the message stands above".into()))
}

/// Takes pieces out of a failing text for as long as it fails.
fn shrunk(text: &str, fails: &dyn Fn(&str) -> bool) -> String {
    let mut kept: Vec<char> = text.chars().collect();
    let (mut tries, mut length) = (0, kept.len().div_ceil(2));
    while length > 0 && tries < SHRINKS_MAX {
        let mut at = 0;
        while at < kept.len() && tries < SHRINKS_MAX {
            let shorter: Vec<char> = kept.iter().take(at).chain(kept.iter().skip(at + length)).copied().collect();
            tries += 1;
            match fails(&shorter.iter().collect::<String>()) {
                true => kept = shorter,
                false => at += length,
            }
        }
        length /= 2;
    }
    kept.into_iter().collect()
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}; give a whole number")))
}

#[test]
fn mutated_texts_keep_the_laws() {
    let policy = policy();
    let seeds = seeds(&policy);
    let (seconds, only) = (number_of("PORTCULLIS_FUZZ_SECONDS"), number_of("PORTCULLIS_FUZZ_SEED"));
    let elsewhere = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(FIRST, |since| since.as_millis() as u64);
    let first = only.unwrap_or_else(|| if seconds.is_some() { elsewhere() } else { FIRST });
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS));
    let (mut seed, mut bytes) = (first, 0);
    while seed == first || (only.is_none() && Instant::now() < until) {
        match case(&policy, &seeds, seed) {
            Ok(length) => bytes += length,
            Err(broken) => {
                let (text, encoding, why) = *broken;
                panic!(
                    "{why}\n{encoding:?} {text:?}\nagain with PORTCULLIS_FUZZ_SEED={seed} cargo nextest run -p portcullis-policies fuzz"
                );
            }
        }
        seed += 1;
    }
    println!("{} cases from {first} on, {} kB", seed - first, bytes / 1000);
}

#[test]
fn a_failing_text_is_made_small() {
    let text = format!("{}needle{}", "hay ".repeat(50), " straw".repeat(50));
    assert_eq!(shrunk(&text, &|text| text.contains("needle")), "needle");
}
