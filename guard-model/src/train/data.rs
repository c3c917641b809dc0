//! Training and evaluation rows: JSON lines `{"text", "label", "role"?, "lang"?, "source"?, "kind"?}`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Speaker, error::ModelError};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// No attack on the model; a harmful question without a technique is one of these, as topics are another filter's.
    #[serde(alias = "harmful")]
    Benign,
    /// It would override, outrank or read out the operator's instructions, or gives orders from inside a document.
    Injection,
    /// It would talk the model out of its safety rules.
    Jailbreak,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The text.
    pub text: String,
    /// What it is.
    pub label: Label,
    /// Who speaks; none: not known.
    pub speaker: Option<Speaker>,
    /// A language code; empty: not known.
    pub lang: String,
    /// The collection that it is from: the row's own word, or the file's name.
    pub source: String,
    /// What sort of attack or text, in one word.
    pub kind: String,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    label: Label,
    #[serde(default)]
    role: Option<Speaker>,
    #[serde(default)]
    lang: String,
    #[serde(default)]
    kind: String,
}

/// Reads files, and the `.jsonl` files of folders, in the order of their names. A file is a source and gives it its name.
///
/// # Errors
/// A file that cannot be read, or the line that is no row.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Row>, ModelError> {
    let mut rows = Vec::new();
    for path in files(paths)? {
        let source = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |reason: String| ModelError::Line { path: path.clone(), line: n + 1, reason };
            if line.len() > LINE_BYTES_MAX {
                return Err(wrong(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            let Line { text, label, role, lang, kind } = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
            rows.push(Row { text, label, speaker: role, lang, source: source.clone(), kind });
        }
    }
    if rows.is_empty() {
        return Err(ModelError::Setting("there are no rows in the data given".into()));
    }
    Ok(rows)
}

/// The files named, and those of the folders named.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ModelError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|e| ModelError::file(path, e))?;
        inside.retain(|path: &PathBuf| is_lines(path));
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn is_lines(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// Parts rows: those of the sources named (held out), and the others.
pub fn hold_out(rows: Vec<Row>, sources: &[String]) -> (Vec<Row>, Vec<Row>) {
    rows.into_iter().partition(|row| sources.contains(&row.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_from_files_and_folders_and_bear_their_files_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.jsonl"), "{\"text\": \"x\", \"label\": \"harmful\", \"role\": \"tool\", \"other\": 1}\n\n")
            .unwrap();
        std::fs::write(dir.path().join("a.jsonl"), "{\"text\": \"y\", \"label\": \"injection\", \"lang\": \"zh\"}\n").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no rows").unwrap();
        let rows = read(&[dir.path().into()]).unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.source.as_str(), row.label, row.speaker)).collect();
        assert_eq!(seen, [("a", Label::Injection, None), ("b", Label::Benign, Some(Speaker::Tool))]);
        let (held, rest) = hold_out(rows, &["b".into()]);
        assert_eq!((held.len(), rest.len()), (1, 1));
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "{\"text\": \"x\", \"label\": \"benign\"}\n{\"text\": \"x\", \"label\": \"bad\"}\n").unwrap();
        assert!(read(std::slice::from_ref(&path)).unwrap_err().to_string().contains("a.jsonl:2: unknown variant `bad`"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&[path]).is_err(), "no rows");
    }
}
