//! A pattern kept for later, small: written from its parsed form, whose classes of characters are lists of hundreds of ranges, and
//! compressed, as these lists recur.

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use regex_syntax::hir::Hir;

use crate::syntax;

/// A parsed pattern, to be parsed again when it is needed.
pub(crate) struct Written {
    compressed: Box<[u8]>,
}

impl Written {
    /// Keeps a pattern.
    pub(crate) fn new(pattern: &Hir) -> Self {
        Self { compressed: compress_prepend_size(pattern.to_string().as_bytes()).into() }
    }

    /// Parses it.
    ///
    /// # Errors
    /// None for what was parsed once.
    pub(crate) fn read(&self) -> Result<Hir, String> {
        let bytes = decompress_size_prepended(&self.compressed).map_err(|error| error.to_string())?;
        syntax::reread(&String::from_utf8(bytes).map_err(|error| error.to_string())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_comes_back_and_is_small() {
        for pattern in [r"\bа\w{2,5}[^\s\p{Han}]+(x|yz){3}$", "a", r"(?-u)\xff?b"] {
            let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).unwrap();
            let written = Written::new(&hir);
            assert_eq!(written.read().unwrap(), hir);
            assert!(written.compressed.len() <= hir.to_string().len() + 16);
        }
        let wide = regex_syntax::parse(r"\w\w\w\w\w\w").unwrap();
        assert!(Written::new(&wide).compressed.len() * 4 < wide.to_string().len());
    }
}
