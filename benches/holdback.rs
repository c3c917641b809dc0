//! How much of a streamed answer waits until it is certain: bytes held back after each piece, with the shipped policy.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::sync::Arc;

use harness::repository;
use portcullis_benches::{Clock, Kind, machine, text};
use portcullis_policies::{BENIGN, Direction, Encoding, Policy, Role, StreamScreen};

const TEXT_BYTES: usize = 256 << 10;
/// Characters in a piece of Chinese, which has no blanks: about a token.
const PIECE_CHARS: usize = 2;

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("# What a streamed answer holds back\n\n{}", machine("cargo bench -p portcullis-benches --bench holdback"));
    println!("| answer | pieces | mean bytes held | median | p99 | max | mean µs a piece |\n|---|--:|--:|--:|--:|--:|--:|");
    let policy = Arc::new(Policy::load(&repository().join("policies/policy.yaml")).expect("the shipped policy loads"));
    let [prose, code, chinese] = [Kind::Prose, Kind::Code, Kind::Chinese].map(|kind| text(kind, TEXT_BYTES));
    row(&policy, "prose, by word", &by_word(&prose));
    row(&policy, "code, by word", &by_word(&code));
    row(&policy, "Chinese, by two characters", &by_characters(&chinese));
    row(&policy, "the ordinary texts of all languages, by word", &by_word(&ordinary()));
}

/// The texts that false alarms are measured with, one after the other.
fn ordinary() -> String {
    let texts = BENIGN.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let texts: Vec<String> = texts.filter_map(|line| line["text"].as_str().map(str::to_owned)).collect();
    texts.join("\n\n")
}

fn by_word(text: &str) -> Vec<&str> {
    text.split_inclusive([' ', '\n']).collect()
}

fn by_characters(text: &str) -> Vec<&str> {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(PIECE_CHARS).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &text[start..end]).collect()
}

/// Streams the pieces and prints what was held back after each; a refusal begins a new answer.
fn row(policy: &Arc<Policy>, name: &str, pieces: &[&str]) {
    let begin = || StreamScreen::new(Arc::clone(policy), Direction::Response, Role::Assistant, Encoding::Plain);
    let mut screen = begin();
    let clock = Clock::start();
    let mut held: Vec<usize> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if screen.push(piece).refusal.is_some() {
            screen = begin();
        }
        held.push(screen.held_bytes());
    }
    screen.finish();
    let micros = clock.elapsed().as_secs_f64() * 1e6 / pieces.len().max(1) as f64;
    held.sort_unstable();
    let at = |part: usize| held.get(held.len() * part / 100).or(held.last()).copied().unwrap_or(0);
    let mean = held.iter().sum::<usize>() as f64 / held.len().max(1) as f64;
    println!("| {name} | {} | {mean:.1} | {} | {} | {} | {micros:.1} |", held.len(), at(50), at(99), at(100));
}
