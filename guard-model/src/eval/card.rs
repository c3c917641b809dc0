//! The tables of a model card: what stands between two marks is replaced, the rest is left as it is.

use std::path::Path;

use crate::error::ModelError;

/// Before the tables.
pub const BEGIN: &str = "<!-- eval:begin -->";
/// After them.
pub const END: &str = "<!-- eval:end -->";

/// Puts `tables` into the card.
///
/// # Errors
/// A card that cannot be read or written, or that lacks the marks.
pub fn update(card: &Path, tables: &str) -> Result<(), ModelError> {
    let text = std::fs::read_to_string(card).map_err(|e| ModelError::file(card, e))?;
    let replaced = replaced(&text, tables)
        .ok_or_else(|| ModelError::content(card, format!("it must have a line `{BEGIN}` and after it a line `{END}`, each once")))?;
    let fresh = card.with_extension("md.new");
    std::fs::write(&fresh, replaced).and_then(|()| std::fs::rename(&fresh, card)).map_err(|e| ModelError::file(card, e))
}

fn replaced(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (between, after) = rest.split_once(END)?;
    let once = !between.contains(BEGIN) && !after.contains(BEGIN) && !after.contains(END);
    once.then(|| format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes_however_often() {
        let dir = tempfile::tempdir().unwrap();
        let card = dir.path().join("MODEL_CARD.md");
        std::fs::write(&card, format!("# A card\n\n{BEGIN}\nold\n{END}\n\nlimits\n")).unwrap();
        for tables in ["| a |\n", "| b |\n\n"] {
            update(&card, tables).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&card).unwrap(), format!("# A card\n\n{BEGIN}\n\n| b |\n\n{END}\n\nlimits\n"));
    }

    #[test]
    fn a_card_without_its_marks_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let card = dir.path().join("MODEL_CARD.md");
        for text in ["# A card\n".to_owned(), format!("{END} {BEGIN}"), format!("{BEGIN} {BEGIN} {END}"), format!("{BEGIN} {END} {END}")] {
            std::fs::write(&card, &text).unwrap();
            assert!(update(&card, "new").unwrap_err().to_string().contains("eval:begin"));
            assert_eq!(std::fs::read_to_string(&card).unwrap(), text);
        }
    }
}
