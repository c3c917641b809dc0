//! What the guard costs: latency by the length of a window, throughput by the size of a batch, and the tokenizer, on one core.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros write undocumented functions; a bench that cannot run stops and says why"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::repository;
use portcullis_guard_model::{Model, Network, Place, Speaker, Window};

/// The shipped network on one thread.
fn model() -> Model {
    Model::open(&repository().join("guard-model/weights/small"), Place::Cpu(1)).expect("the shipped weights open")
}

/// Windows of `tokens` tokens, no two alike.
fn windows(count: u32, tokens: u32) -> Vec<Window> {
    (0..count).map(|n| Window { ids: (0..tokens).map(|i| 100 + (i * 37 + n * 11) % 30_000).collect() }).collect()
}

fn latency(criterion: &mut Criterion) {
    let mut network: Box<dyn Network> = model().into_network();
    let mut group = criterion.benchmark_group("latency");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    for tokens in [8, 32, 64, 128] {
        let one = windows(1, tokens);
        group.bench_function(format!("{tokens}_tokens"), |bencher| bencher.iter(|| network.run(black_box(&one))));
    }
    group.finish();
}

fn throughput(criterion: &mut Criterion) {
    let mut network: Box<dyn Network> = model().into_network();
    let mut group = criterion.benchmark_group("throughput");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(10);
    for (count, tokens) in [(1, 35), (8, 35), (32, 35), (8, 128)] {
        let batch = windows(count, tokens);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(format!("{count}_windows_of_{tokens}"), |bencher| bencher.iter(|| network.run(black_box(&batch))));
    }
    group.finish();
}

fn tokenizer(criterion: &mut Criterion) {
    let tokenizer = model().tokenizer();
    let mut group = criterion.benchmark_group("tokenizer");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    let english = "Please summarise the attached minutes and send the action items to everyone who was present. ".repeat(5);
    let chinese = "请把附件里的会议纪要整理成五个要点，并用礼貌的语气写一封邮件发给所有参会的人。".repeat(5);
    for (name, text) in [("english", english), ("chinese", chinese)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| tokenizer.windows(Speaker::User, black_box(&text))));
    }
    group.finish();
}

criterion_group!(benches, latency, throughput, tokenizer);
criterion_main!(benches);
