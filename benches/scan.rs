//! How fast the rules read: megabytes a second of `Policy::screen` with the shipped policy, every starter pack loaded.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros write undocumented functions; a bench that cannot run stops and says why"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::repository;
use portcullis_benches::{Kind, text};
use portcullis_policies::{Direction, Encoding, Policy, Role, Text};

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

criterion_group!(benches, screen);
criterion_main!(benches);
