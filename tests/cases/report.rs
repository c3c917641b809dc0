//! Reports from the built gateway: while it runs, in every form, and what a person reads when the words are wrong.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "test code")]

use std::process::Command;

use harness::{Backend, Setup, made_up, repository, run};
use portcullis_audit::{Store, StoreOptions};
use serde_json::{Value, json};

/// 2026-11-01.
const FROM_US: i64 = 1_793_491_200_000_000;

#[tokio::test]
async fn a_report_is_made_while_the_gateway_runs_and_counts_what_was_said() {
    let backend = Backend::start().await;
    let setup = Setup::before(&backend).set("audit.checkpoint", json!({"events": 5, "every": "1s"}));
    let mut gateway = setup.start().await;
    for n in 0..4 {
        assert_eq!(gateway.say(&format!("hello {n}")).await.status(), 200);
    }
    gateway.trail().completions(4).await;
    let report = ["report", "--config", "gateway.yaml", "--last", "1h", "--format"];
    let ran = run(gateway.folder(), &[&report[..], &["json"]].concat(), "").await;
    let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!((ran.code, &value["figures"]["requests"], &value["figures"]["answers"]), (Some(0), &json!(4), &json!(4)), "{value:#}");
    assert_ne!(value["chain"]["standing"], "tampered");
    assert!(value["frameworks"].as_array().is_some_and(|frameworks| frameworks.len() >= 8), "the configuration's policies were read");
    assert!(gateway.stop().await.success());
    for (format, word) in [("table", "By decision"), ("csv", "totals,requests,,,count,4"), ("html", "<!doctype html>")] {
        let ran = run(gateway.folder(), &[&report[..], &[format]].concat(), "").await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(word), "{format}: {}", ran.stdout);
    }
    let ran = run(gateway.folder(), &[&report[..], &["json"]].concat(), "").await;
    let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(value["chain"]["standing"], "proven", "{value:#}");
}

#[tokio::test]
async fn wrong_words_say_what_to_write_and_files_are_the_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.db");
    let store = Store::open(&path, StoreOptions::default()).expect("a store");
    for event in made_up(7, 100, FROM_US, 86_400_000_000) {
        store.record(event).await.expect("an event recorded");
    }
    store.close().expect("a store closed");
    for (words, said) in [
        (&["--store", "audit.db"][..], "--last 7d"),
        (&["--store", "audit.db", "--from", "01.11.2026"], "write 2026-11-01"),
        (&["--store", "audit.db", "--last", "soon"], "write 7d, 24h or 4w"),
        (&["--store", "absent.db", "--last", "7d"], "absent.db"),
        (&["--last", "7d"], "--store"),
        (&["--store", "audit.db", "--last", "7d", "--format", "pdf"], "table, json, csv, html"),
        (&["--store", "audit.db", "--last", "7d", "--out", "no/such/folder.html"], "cannot be written"),
    ] {
        let ran = run(folder.path(), &[&["report"], words].concat(), "").await;
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{words:?}: {ran:?}");
    }
    let words = ["report", "--store", "audit.db", "--from", "2026-11-01", "--to", "2026-12-01", "--format", "html", "--out", "r.html"];
    for _ in 0..2 {
        let ran = run(folder.path(), &words, "").await;
        assert!(ran.code == Some(0) && ran.stderr.contains("chain proven"), "{ran:?}");
    }
    let mode = std::fs::metadata(folder.path().join("r.html")).expect("a report").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    shown_in_a_browser(folder.path());
}

/// The page is drawn by a browser, where there is one, and is not blank.
fn shown_in_a_browser(folder: &std::path::Path) {
    let page = format!("file://{}", folder.join("r.html").display());
    let shot = format!("--screenshot={}", folder.join("r.png").display());
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let words = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2400", &profile, &shot, &page];
    match Command::new("chromium").args(words).output() {
        Ok(_) => {
            let bytes = std::fs::metadata(folder.join("r.png")).expect("a picture of the page").len();
            assert!(bytes > 20_000, "the picture has {bytes} bytes: a blank page");
        }
        Err(error) => eprintln!("SKIPPED: the page was not looked at: chromium: {error}"),
    }
}

#[test]
fn every_tag_of_a_framework_that_a_shipped_rule_bears_is_in_the_table() {
    let policies = std::fs::read_dir(repository().join("policies/packs")).expect("the packs");
    let table = std::fs::read_to_string(repository().join("audit/src/report/frameworks.rs")).expect("the table");
    for pack in policies {
        let text = std::fs::read_to_string(pack.expect("a pack").path()).expect("a pack");
        let tags = text.lines().filter_map(|line| line.trim().strip_prefix("tags: [")?.strip_suffix(']')).flat_map(|tags| tags.split(", "));
        for tag in tags.filter(|tag| ["OWASP-", "ATLAS-", "GDPR-", "PCI-", "HIPAA-", "PIPL-"].iter().any(|known| tag.starts_with(known))) {
            assert!(table.contains(&format!("\"{tag}\"")), "{tag} is missing in frameworks.rs");
        }
    }
}
