//! Reading the files of a policy: within the limit, as text, as YAML of a given form, and with a hint where a word is misspelled.

use std::path::Path;

use serde::Deserialize;

use crate::error::PolicyError;
use crate::pack;

/// Reads a file within the size limit.
pub(crate) fn read(path: &Path) -> Result<String, PolicyError> {
    pack::read(path).map_err(|error| match error {
        PolicyError::Unreadable { path, source } if source.kind() == std::io::ErrorKind::InvalidData => {
            let line = std::fs::read(&path).map_or(1, |bytes| line_of_fault(&bytes));
            PolicyError::NotText { path, line }
        }
        other => other,
    })
}

/// The line of the first byte that is not UTF-8, from 1.
fn line_of_fault(bytes: &[u8]) -> u64 {
    let sound = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    1 + bytes[..sound].iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Reads YAML of a given form.
pub(crate) fn from_yaml<'a, T: Deserialize<'a>>(path: &Path, yaml: &'a str) -> Result<T, PolicyError> {
    pack::from_yaml(path, yaml).map_err(hinted)
}

/// Says which known word an unknown one may have been meant for.
pub(crate) fn hinted(error: PolicyError) -> PolicyError {
    match error {
        PolicyError::Form { path, line, reason } => {
            let hint = misspelled(&reason).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            PolicyError::Form { path, line, reason: reason + &hint }
        }
        other => other,
    }
}

/// Finds the unknown word and the known ones in what the parser says: "unknown field `scroe`, expected one of id, score".
fn misspelled(reason: &str) -> Option<String> {
    let (_, rest) = reason.split_once("unknown ")?;
    let (_, rest) = rest.split_once('`')?;
    let (word, rest) = rest.split_once('`')?;
    let (_, known) = rest.split_once("expected one of ")?;
    let known = known.lines().next()?;
    let known = known.split(" at line").next()?.split(", ").map(|known| known.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'));
    closest(word, known).map(str::to_owned)
}

/// Returns the known word that is nearest, if any is near: one letter in three may be wrong, missing, too many or swapped.
pub(crate) fn closest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = word.chars().count().div_ceil(3);
    let rated = known.map(|known| (distance(&word.to_lowercase(), &known.to_lowercase()), known));
    rated.filter(|(distance, _)| *distance <= near).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters have to be put in, taken out, changed or swapped (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(80).collect(), b.chars().take(80).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::pack::FILE_BYTES_MAX;

    #[test]
    fn a_misspelled_word_is_put_right() {
        let known = ["score", "severity", "actions", "allow", "block"];
        for (word, meant) in [
            ("scroe", Some("score")),
            ("sevrity", Some("severity")),
            ("action", Some("actions")),
            ("blok", Some("block")),
            ("BLOCK", Some("block")),
            ("unlike", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known.into_iter()), meant, "{word}");
        }
        assert_eq!(misspelled("unknown field `modus`, expected one of name, mode at line 3, column 1").as_deref(), Some("mode"));
        assert_eq!(misspelled("missing field `name`"), None);
    }

    fn load(policy: &[u8], pack: &[u8]) -> PolicyError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        std::fs::write(folder.path().join("p.yaml"), pack).unwrap();
        Policy::load(&path).err().unwrap_or_else(|| panic!("it loads: {}", String::from_utf8_lossy(policy)))
    }

    const POLICY: &[u8] = b"name: p\npacks: [p.yaml]\n";

    #[test]
    fn an_unknown_key_or_word_is_told_with_its_line_and_what_was_meant() {
        for (policy, line, expected) in [
            ("name: p\npacks: []\nactoins: {}\n", 3, "did you mean `actions`?"),
            ("name: p\npacks: []\nactions:\n  request:\n    pii: blok\n", 5, "did you mean `block`?"),
            ("name: p\npacks: []\nactions:\n  request:\n    pii:\n      - { actoin: block }\n", 6, "did you mean `action`?"),
            ("name: p\npacks: []\nactions: { request: { pii: { hihg: block } } }\n", 3, "did you mean `high`?"),
            ("name: p\npacks: []\nactions: { request: { pi: block } }\n", 3, "did you mean `pii`?"),
            ("name: p\npacks: []\nredaction: { pii: masc }\n", 3, "did you mean `mask`?"),
            ("name: p\npacks: []\nrefusal_language: cn\n", 3, "unknown variant `cn`"),
            ("name: p\npacks: []\nguard: { flagat: 1 }\n", 3, "did you mean `flag_at`?"),
        ] {
            let error = load(policy.as_bytes(), b"");
            let PolicyError::Form { line: at, reason, .. } = &error else { panic!("{error}") };
            assert!(*at == line && reason.contains(expected), "{policy}: {error}");
        }
        let pack = b"pack: p\nrules:\n  - { id: R, tittle: t }\n";
        let error = load(POLICY, pack).to_string();
        assert!(error.contains("p.yaml:3") && error.contains("did you mean `title`?"), "{error}");
        let unknown = load(b"name: p\npacks: [p.yaml]\ndisable: [EMIAL]\n", PACK).to_string();
        assert!(unknown.ends_with("policy.yaml:3: disable: no pack has a rule EMIAL; did you mean `EMAIL`?"), "{unknown}");
    }

    const PACK: &[u8] = b"pack: p\nrules:\n  - { id: EMAIL, title: t, category: pii, severity: low, literals: [alpha], why: w, must_match: [alpha], must_not_match: [x] }\n";

    #[test]
    fn a_file_that_is_no_text_is_told_with_its_line() {
        for (policy, pack, file, at) in [
            (&b"name: p\npacks: []\n# \xff\xfe\n"[..], &b""[..], "policy.yaml", 3),
            (POLICY, &b"pack: p\nrules: ['\xe4\xb8']\n"[..], "p.yaml", 2),
            (b"extends: p.yaml\nname: p\n", b"\xff", "p.yaml", 1),
        ] {
            let error = load(policy, pack);
            assert!(matches!(&error, PolicyError::NotText { path, line } if path.ends_with(file) && *line == at), "{error}");
        }
    }

    #[test]
    fn a_file_past_the_limit_is_not_read() {
        let large = vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
        for (policy, pack) in [(&large[..], &b""[..]), (POLICY, &large[..]), (b"extends: p.yaml\nname: p\n", &large[..])] {
            let error = load(policy, pack);
            assert!(matches!(error, PolicyError::TooLarge { bytes, limit, .. } if bytes == limit + 1), "{error}");
        }
    }

    #[test]
    fn what_is_no_policy_is_a_plain_error() {
        let deep = format!("name: p\npacks: []\nactions: {}1{}\n", "[".repeat(5000), "]".repeat(5000));
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nname: [*d,*d,*d,*d,*d,*d]\n";
        for policy in
            ["", "---", "[]", "name", "name: p\npacks: p.yaml\n", "name: p\nname: q\npacks: []\n", "name: p\npacks: [\n", "\0", &deep, bomb]
        {
            let error = load(policy.as_bytes(), b"");
            assert!(matches!(error, PolicyError::Form { .. } | PolicyError::Faults(_)), "{policy:.60}: {error}");
        }
    }
}
