//! Packs that need no proof at every start: those whose bytes are the ones that the tests of this program proved.

use std::collections::HashSet;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// The SHA-256 of each shipped pack, as `sha256sum` writes them. A pack that is not listed, or was changed, is proved when it is loaded.
const SUMS: &str = include_str!("../packs/SHA256SUMS");

/// Returns true for a pack whose every example was proved, and whose patterns were compiled, where this program was built.
pub(crate) fn is_proved(pack: &str) -> bool {
    static KNOWN: OnceLock<HashSet<&str>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| SUMS.lines().filter_map(|line| line.split_whitespace().next()).collect());
    known.contains(hex::encode(Sha256::digest(pack)).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn a_shipped_pack_that_was_changed_is_proved_again() {
        let pack = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packs/person.yaml")).unwrap();
        let example = "must_match:";
        assert!(is_proved(&pack) && pack.contains(example));
        let changed = pack.replacen(example, "must_match:\n      - no person at all", 1);
        assert!(!is_proved(&changed) && !is_proved(&(pack + "\n")));
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        std::fs::write(&policy, "name: p\npacks: [person.yaml]\n").unwrap();
        std::fs::write(folder.path().join("person.yaml"), changed).unwrap();
        let error = Policy::load(&policy).unwrap_err().to_string();
        assert!(error.contains("must_match example 0 is not found"), "{error}");
    }
}
