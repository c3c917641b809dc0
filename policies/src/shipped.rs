//! The packs and policies that ship with the gateway prove themselves: every example, every policy test, all failures listed.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

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
        if let Err(error) = Policy::proved(&policy) {
            failures.push_str(&format!("{error}\n"));
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn the_sums_are_those_of_the_packs() {
    let sums: Vec<String> = yaml_files(&folder().join("packs"))
        .iter()
        .map(|pack| {
            let sum = hex::encode(Sha256::digest(std::fs::read(pack).unwrap()));
            format!("{sum}  {}\n", pack.file_name().unwrap().to_string_lossy())
        })
        .collect();
    let written = std::fs::read_to_string(folder().join("packs/SHA256SUMS")).unwrap();
    assert!(written == sums.concat(), "a pack has changed: run `make sums`, and the tests that prove it");
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
