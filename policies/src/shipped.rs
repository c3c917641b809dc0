//! The packs and policies that ship with the gateway prove themselves: every example, every policy test, all failures listed.

use std::path::{Path, PathBuf};

use crate::Policy;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn every_pack_proves_itself() {
    let mut failures = String::new();
    for pack in yaml_files(&folder().join("packs")) {
        let place = tempfile::tempdir().unwrap();
        let policy = place.path().join("policy.yaml");
        std::fs::write(&policy, format!("name: one\npacks: ['{}']\n", pack.display())).unwrap();
        if let Err(error) = Policy::load(&policy) {
            failures.push_str(&format!("{error}\n"));
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn every_policy_loads_and_passes_its_own_tests() {
    let mut failures = String::new();
    for path in yaml_files(&folder()) {
        match Policy::load(&path) {
            Err(error) => failures.push_str(&format!("{error}\n")),
            Ok(policy) => {
                for failed in policy.run_tests() {
                    let (name, expected, got) = (failed.name, failed.expected, failed.got);
                    let place = format!("{}:{}", path.display(), failed.line);
                    failures.push_str(&format!("{place}: {name}: expected {expected}, got {got}\n"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Measures the default policy: `SCREEN_FILE=some.txt cargo nextest run -p portcullis-policies measure --run-ignored only --no-capture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_the_default_policy() {
    use crate::{Direction, Encoding, Role, StreamScreen, Text};
    use std::time::Instant;
    let text = std::fs::read_to_string(std::env::var("SCREEN_FILE").unwrap()).unwrap();
    let begun = Instant::now();
    let path = std::env::var("SCREEN_POLICY").map_or(folder().join("policy.yaml"), PathBuf::from);
    let policy = std::sync::Arc::new(Policy::load(&path).unwrap());
    eprintln!("{} rules loaded in {:?}", policy.rules().count(), begun.elapsed());
    policy.profile(&text);
    eprintln!("{}", policy.profile(&text));
    for direction in Direction::ALL {
        let role = Role::User;
        let text = Text { role, encoding: Encoding::Plain, redactable: true, text: &text };
        for round in 0..3 {
            let begun = Instant::now();
            let findings = policy.screen(direction, &text).len();
            let rate = text.text.len() as f64 / 1e6 / begun.elapsed().as_secs_f64();
            eprintln!("{} round {round}: {rate:.1} MB/s, {findings} findings", direction.as_str());
        }
    }
    for round in 0..2 {
        let mut stream = StreamScreen::new(std::sync::Arc::clone(&policy), Direction::Response, Role::Assistant, Encoding::Plain);
        let begun = Instant::now();
        let (mut held, mut pushes, mut most) = (0, 0, 0);
        for piece in text.split_inclusive(' ').take(20_000) {
            stream.push(piece);
            held += stream.held_bytes();
            most = most.max(stream.held_bytes());
            pushes += 1;
        }
        let each = begun.elapsed() / pushes;
        eprintln!("stream round {round}: {each:?} a word, held {:.1} bytes on average, {most} at most", held as f64 / f64::from(pushes));
    }
}

/// Linear time on texts made to be slow: `cargo nextest run -p portcullis-policies hostile --run-ignored only --no-capture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_hostile_texts() {
    use crate::{Direction, Encoding, Role, Text};
    let path = std::env::var("SCREEN_POLICY").map_or(folder().join("policy.yaml"), PathBuf::from);
    let policy = Policy::load(&path).unwrap();
    let pieces = [
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
    for piece in pieces {
        for encoding in [Encoding::Plain, Encoding::Json] {
            let rate = |bytes: usize| {
                let text = piece.repeat(bytes / piece.len());
                let text = Text { role: Role::User, encoding, redactable: true, text: &text };
                let begun = std::time::Instant::now();
                let found = policy.screen(Direction::Request, &text).len();
                (bytes as f64 / 1e6 / begun.elapsed().as_secs_f64(), found)
            };
            rate(1000);
            let (small, large) = (rate(20_000), rate(400_000));
            eprintln!("{piece:?} {encoding:?}: {:.2} MB/s at 20 kB, {:.2} MB/s at 400 kB, {} findings", small.0, large.0, large.1);
        }
    }
}
