//! Known attacks: texts that people pasted in, and how near a window comes to them.
//!
//! The file is JSON lines, read whole and checked line by line; empty lines are passed over:
//!
//! ```text
//! {"id":"acme-2026-11-a","text":"the attack as it was seen","note":"where it was seen"}
//! ```
//!
//! Each text becomes the sentence vectors of its windows, by the same network that judges prompts. A window is near an attack when the
//! dot product of their vectors reaches the threshold: retrieval beside classification, so that a campaign is caught minutes after its
//! first example is known, without training.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::Near;

/// Most attacks in a file.
pub(crate) const ATTACKS_MAX: usize = 10_000;
/// Most vectors of all attacks together.
pub(crate) const VECTORS_MAX: usize = 40_000;
/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Longest text of an attack, in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 64;
/// Numbers that are summed side by side.
const LANES: usize = 8;

/// Why a file of known attacks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("{}: {bytes} bytes; the limit is {FILE_BYTES_MAX}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A line is no attack.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never the text.
        reason: String,
    },
}

/// One known attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAttack {
    /// Its id, unique in the file: letters, digits, `.`, `_` and `-`. It stands in audit events.
    pub id: Arc<str>,
    /// The text as it was seen.
    pub text: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    text: String,
    /// For people.
    #[serde(default, rename = "note")]
    _note: Option<String>,
}

/// Reads a file of known attacks.
///
/// # Errors
/// [`KnownError`] with the file, and the line where there is one.
pub fn read_known(path: &Path) -> Result<Vec<KnownAttack>, KnownError> {
    let read = |source| KnownError::Read { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(KnownError::TooLarge { path: path.into(), bytes });
    }
    let content = std::fs::read(path).map_err(read)?;
    let (mut attacks, mut ids) = (Vec::new(), HashSet::new());
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |reason: String| KnownError::Line { path: path.into(), line: index + 1, reason };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let attack = attack(line).map_err(wrong)?;
        if attacks.len() == ATTACKS_MAX {
            return Err(wrong(format!("more than {ATTACKS_MAX} attacks; take out old ones")));
        }
        if !ids.insert(Arc::clone(&attack.id)) {
            return Err(wrong(format!("the id `{}` is taken by a line before; ids are unique", attack.id)));
        }
        attacks.push(attack);
    }
    Ok(attacks)
}

fn attack(line: &[u8]) -> Result<KnownAttack, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is no UTF-8 text".to_owned())?;
    let Line { id, text, _note } =
        serde_json::from_str(line).map_err(|e| format!("{e}; a line is {{\"id\":\"...\",\"text\":\"...\",\"note\":\"...\"}}"))?;
    let is_word = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if id.is_empty() || id.len() > ID_BYTES_MAX || !is_word(&id) {
        return Err(format!("id: write 1 to {ID_BYTES_MAX} letters, digits, `.`, `_` or `-`"));
    }
    if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(format!("text: it must have 1 to {TEXT_BYTES_MAX} bytes"));
    }
    Ok(KnownAttack { id: id.into(), text: text.into() })
}

/// The vectors of one attack's text.
pub(crate) struct Vectors {
    pub attack: KnownAttack,
    /// Of length 1 each; one per window and speaker.
    pub vectors: Vec<Vec<f32>>,
}

/// The known attacks as vectors of one network.
pub(crate) struct Known {
    attacks: Vec<Arc<Vectors>>,
    threshold: f32,
}

impl Known {
    /// Takes the attacks; a window is near from `threshold` on.
    pub(crate) fn new(attacks: Vec<Arc<Vectors>>, threshold: f32) -> Self {
        Self { attacks, threshold }
    }

    /// Returns the attack that `vector` is nearest to, if it is near enough.
    pub(crate) fn nearest(&self, vector: &[f32]) -> Option<Near> {
        let mut best = (self.threshold, None);
        for attack in &self.attacks {
            for known in &attack.vectors {
                let similarity = dot(known, vector);
                if similarity >= best.0 {
                    best = (similarity, Some(&attack.attack.id));
                }
            }
        }
        let (similarity, id) = best;
        id.map(|id| Near { id: Arc::clone(id), similarity: similarity.min(1.0) })
    }

    /// Returns the attacks with their vectors, to be used again where a text did not change.
    pub(crate) fn attacks(&self) -> &[Arc<Vectors>] {
        &self.attacks
    }
}

/// The dot product; in lanes, so that the compiler need not keep one order of summing.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Vec<KnownAttack>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known.jsonl");
        std::fs::write(&path, content).unwrap();
        read_known(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_attacks_and_empty_lines_are_passed_over() {
        let attacks = read(b"{\"id\":\"a\",\"text\":\"one\"}\n\n{\"id\":\"b-2\",\"text\":\"two\",\"note\":\"seen in May\"}\r\n").unwrap();
        let told: Vec<(&str, &str)> = attacks.iter().map(|attack| (&*attack.id, &*attack.text)).collect();
        assert_eq!(told, [("a", "one"), ("b-2", "two")]);
        assert_eq!(read(b"").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line_and_without_the_text() {
        let good = "{\"id\":\"a\",\"text\":\"one\"}\n";
        for (line, reason) in [
            ("nonsense", "line 2: expected"),
            ("{\"id\":\"b\"}", "missing field `text`"),
            ("{\"id\":\"b\",\"text\":\"x\",\"severity\":1}", "unknown field `severity`"),
            ("{\"id\":\"\",\"text\":\"x\"}", "line 2: id: write 1 to 64"),
            ("{\"id\":\"b c\",\"text\":\"x\"}", "line 2: id"),
            (&format!("{{\"id\":\"{}\",\"text\":\"x\"}}", "i".repeat(65)), "line 2: id"),
            ("{\"id\":\"b\",\"text\":\"  \"}", "line 2: text"),
            (&format!("{{\"id\":\"b\",\"text\":\"{}\"}}", "t".repeat(TEXT_BYTES_MAX + 1)), "line 2: text"),
            ("{\"id\":\"a\",\"text\":\"secret words\"}", "the id `a` is taken"),
        ] {
            let error = read(format!("{good}{line}\n").as_bytes()).unwrap_err();
            assert!(error.contains("known.jsonl: line 2") && error.contains(reason), "{line}: {error}");
            assert!(!error.contains("secret words"), "{error}");
        }
        assert!(read(b"\n\xff\n").unwrap_err().contains("line 2: it is no UTF-8"));
        assert!(read_known(Path::new("/nowhere/known.jsonl")).unwrap_err().to_string().contains("/nowhere/known.jsonl: cannot be read"));
    }

    #[test]
    fn one_attack_too_many_is_refused_with_its_line() {
        let lines = |count: usize| (0..count).map(|n| format!("{{\"id\":\"{n}\",\"text\":\"t\"}}\n")).collect::<String>();
        assert_eq!(read(lines(ATTACKS_MAX).as_bytes()).unwrap().len(), ATTACKS_MAX);
        let error = read(lines(ATTACKS_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.contains("line 10001: more than 10000"), "{error}");
    }

    fn known(vectors: &[(&str, &[f32])], threshold: f32) -> Known {
        let attack = |&(id, vector): &(&str, &[f32])| {
            let attack = KnownAttack { id: id.into(), text: "t".into() };
            Arc::new(Vectors { attack, vectors: vec![vector.to_vec()] })
        };
        Known::new(vectors.iter().map(attack).collect(), threshold)
    }

    #[test]
    fn the_nearest_attack_counts_from_the_threshold_on() {
        let known = known(&[("east", &[1.0, 0.0, 0.0]), ("north", &[0.0, 1.0, 0.0])], 0.8);
        let near = |vector: [f32; 3]| known.nearest(&vector).map(|near| (near.id.to_string(), near.similarity));
        assert_eq!(near([1.0, 0.0, 0.0]), Some(("east".into(), 1.0)));
        assert_eq!(near([0.6, 0.8, 0.0]), Some(("north".into(), 0.8)), "at the threshold");
        assert_eq!(near([0.61, 0.79, 0.0]), None, "below it");
        assert_eq!(near([-1.0, 0.0, 0.0]), None);
        assert_eq!(near([f32::NAN, 0.0, 0.0]), None);
    }

    #[test]
    fn a_dot_product_takes_every_number() {
        for length in [0, 1, 7, 8, 9, 31, 384] {
            let ones = vec![1.0; length];
            assert_eq!(dot(&ones, &ones), length as f32);
        }
    }
}
