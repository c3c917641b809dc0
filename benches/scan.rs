//! How fast the rules read: megabytes a second of `Policy::screen` with the shipped policy, every starter pack loaded.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros write undocumented functions; a bench that cannot run stops and says why"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::repository;
use portcullis_benches::{Kind, text};
use portcullis_policies::{Direction, Encoding, Policy, Role, StreamScreen, Text};

const MEGABYTE: usize = 1 << 20;

fn screen(criterion: &mut Criterion) {
    let policy = Policy::load(&repository().join("policies/policy.yaml")).expect("the shipped policy loads");
    let cases = [
        ("prose_1mb", text(Kind::Prose, MEGABYTE)),
        ("code_1mb", text(Kind::Code, MEGABYTE)),
        ("chinese_1mb", text(Kind::Chinese, MEGABYTE)),
        ("prompt_1kb", text(Kind::Prose, 1024)),
        ("prompt_chinese_1kb", text(Kind::Chinese, 1024)),
    ];
    let mut group = criterion.benchmark_group("screen");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4)).sample_size(10);
    for (name, text) in &cases {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text };
        group.bench_function(*name, |bencher| bencher.iter(|| policy.screen(Direction::Request, black_box(&text))));
    }
    group.finish();
}

/// Texts made to be slow: one piece over and over, at two sizes that must cost the same per byte.
fn hostile(criterion: &mut Criterion) {
    let policy = Policy::load(&repository().join("policies/policy.yaml")).expect("the shipped policy loads");
    let mut group = criterion.benchmark_group("hostile");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800)).sample_size(10);
    for piece in HOSTILE {
        for bytes in [10_000, 100_000] {
            let text = piece.repeat(bytes / piece.len());
            group.throughput(Throughput::Bytes(text.len() as u64));
            let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text: &text };
            group.bench_function(format!("{piece:?}/{bytes}"), |bencher| {
                bencher.iter(|| policy.screen(Direction::Request, black_box(&text)))
            });
        }
    }
    group.finish();
}

/// An answer said word by word, and an endless private key said token by token.
fn stream(criterion: &mut Criterion) {
    let policy = Arc::new(Policy::load(&repository().join("policies/policy.yaml")).expect("the shipped policy loads"));
    let prose = text(Kind::Prose, 64 << 10);
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "aB3x".repeat(1000));
    let mut group = criterion.benchmark_group("stream");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4)).sample_size(10);
    let cases: [(&str, Vec<&str>); 2] = [
        ("prose_by_word", prose.split_inclusive(' ').collect()),
        ("key_by_token", key.as_bytes().chunks(4).filter_map(|b| std::str::from_utf8(b).ok()).collect()),
    ];
    for (name, pieces) in cases {
        group.throughput(Throughput::Bytes(pieces.iter().map(|piece| piece.len() as u64).sum()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut screen = StreamScreen::new(Arc::clone(&policy), Direction::Response, Role::Assistant, Encoding::Plain);
                let said: usize = pieces.iter().map(|piece| screen.push(piece).text.len()).sum();
                said + screen.finish().text.len()
            })
        });
    }
    group.finish();
}

const HOSTILE: &[&str] = &[
    "1",
    "1 ",
    "1-",
    "1.",
    "11:",
    "a",
    "ignore ",
    "password=",
    "@",
    "a@",
    "a.",
    "sk-",
    "eyJ",
    "' or ",
    "-----BEGIN ",
    "{\"",
    "\\u0031",
    "４",
    "\u{200b}",
    "how to make ",
    "A1",
    "/",
    "<",
    "key: ",
    "4111 1111 1111 1112 ",
    "1.1.1.1,",
    "炸弹",
    "bearer ",
    "0x",
];

criterion_group!(benches, screen, stream, hostile);
criterion_main!(benches);
