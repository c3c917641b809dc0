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
