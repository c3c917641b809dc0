//! Loading a policy together with the tests it carries, and why one is not put in force.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use portcullis_policies::{Policy, PolicyError, TestFailure};

use crate::freed;

/// Most faults of a broken policy in one log line.
const FAULTS_TOLD_MAX: usize = 3;

/// Why a policy is not put in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its files are wrong.
    #[error(transparent)]
    Broken(#[from] PolicyError),
    /// Its own tests say that it does something else than it is meant to.
    #[error(
        "{}: line {}: test `{}`: expected {}, got {} ({failed} of its tests fail; `portcullis check` lists them)",
        path.display(), first.line, first.name, first.expected, first.got
    )]
    Tests {
        /// The policy's file.
        path: PathBuf,
        /// The first test that fails.
        first: Box<TestFailure>,
        /// How many do.
        failed: usize,
    },
}

impl LoadError {
    /// Returns the class of the error, one of a closed set of words.
    pub fn class(&self) -> &'static str {
        match self {
            LoadError::Tests { .. } => "tests",
            LoadError::Broken(PolicyError::Unreadable { .. }) => "unreadable",
            LoadError::Broken(PolicyError::TooLarge { .. }) => "too_large",
            LoadError::Broken(PolicyError::NotText { .. }) => "not_text",
            LoadError::Broken(PolicyError::Form { .. }) => "form",
            LoadError::Broken(PolicyError::Faults(_)) => "faults",
        }
    }

    /// Says what is wrong, in one line of bounded length.
    pub fn told(self) -> String {
        match self {
            LoadError::Broken(PolicyError::Faults(faults)) => {
                let mut told: Vec<String> = faults.iter().take(FAULTS_TOLD_MAX).map(ToString::to_string).collect();
                if faults.len() > FAULTS_TOLD_MAX {
                    told.push(format!("and {} more; `portcullis check` lists them", faults.len() - FAULTS_TOLD_MAX));
                }
                told.join("; ")
            }
            other => format!("{:#}", anyhow!(other)),
        }
    }
}

/// Loads a policy and runs the tests it carries. `files` becomes the list of files that were read or looked for.
///
/// # Errors
/// What is wrong with a file, or the first test that fails.
pub fn load_policy(path: &Path, files: &mut Vec<PathBuf>) -> Result<Policy, LoadError> {
    let loaded = Policy::load_noting(path, files).map(|policy| (policy.run_tests(), policy));
    freed::give_back();
    let (failures, policy) = loaded?;
    let failed = failures.len();
    match failures.into_iter().next() {
        Some(first) => Err(LoadError::Tests { path: path.to_path_buf(), first: Box::new(first), failed }),
        None => Ok(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_broken_has_its_class() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        let test = |expect: &str| format!("name: p\npacks: []\ntests: [{{ name: t, text: x, expect: {expect} }}]\n");
        for (text, class, told) in [
            ("name: [".as_bytes(), "form", "policy.yaml:1"),
            (b"name: p\npacks: []\n# \xff\n", "not_text", "policy.yaml:3"),
            (b"name: p\npacks: [q.yaml]\n", "unreadable", "q.yaml: cannot be read: No such file"),
            (b"name: p\npacks: []\nthreshold: 2\n", "faults", "threshold: must be"),
            (test("block").as_bytes(), "tests", "line 3: test `t`: expected block"),
            (&vec![b'#'; 11 << 20][..], "too_large", "the limit is"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = load_policy(&path, &mut Vec::new()).unwrap_err();
            assert_eq!(error.class(), class, "{error}");
            let line = error.told();
            assert!(line.contains(told) && !line.contains('\n'), "{class}: {line}");
        }
        std::fs::write(&path, test("allow")).unwrap();
        assert!(load_policy(&path, &mut Vec::new()).is_ok());
    }
}
