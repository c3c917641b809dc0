//! Scores of texts as the gateway's guard reads them.

use std::borrow::Cow;

use portcullis_guard_model::eval::scorer::Scorer;
use portcullis_guard_model::{Scores, Speaker, error::ModelError};

use crate::guard::read;

/// The scores of each text's worst reading, in the order of the texts. Tells how many windows of how many are done.
///
/// # Errors
/// What the scorer says.
pub(in crate::cli) fn judge(
    scorer: &mut Scorer,
    texts: &[(Speaker, &str)],
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Scores>, ModelError> {
    let (mut readings, mut counts) = (Vec::new(), Vec::new());
    for (speaker, text) in texts {
        let (written, decoded) = read(text, true);
        counts.push(1 + decoded.len());
        readings.push((*speaker, written));
        readings.extend(decoded.into_iter().map(|text| (*speaker, Cow::Owned(text))));
    }
    let shown: Vec<(Speaker, &str)> = readings.iter().map(|(speaker, text)| (*speaker, text.as_ref())).collect();
    let mut scores = scorer.score(&shown, tell)?.into_iter();
    let worst = |count| scores.by_ref().take(count).max_by(|a, b| a.attack().total_cmp(&b.attack()));
    Ok(counts.into_iter().filter_map(worst).collect())
}
