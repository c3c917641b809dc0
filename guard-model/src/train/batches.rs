//! Rows as tokens, and an epoch of them as batches of windows: sources evened out, some texts changed so that the network learns
//! what an attack is and not where it was met.

use rayon::prelude::*;

use super::{
    data::{Label, Row},
    random::Random,
};
use crate::{Speaker, error::ModelError, network::Window, tokenize::Tokenizer};

/// Windows of a long text that are looked at for its worst one, at most.
const CANDIDATES_MAX: usize = 4;
/// Batches that are sorted by length together: their windows are of like length, their rows of every source.
const SORTED_TOGETHER: usize = 40;
/// Tokens before and after an attack that is put into a document.
const SURROUNDINGS: usize = 90;

/// How texts are changed, as shares of rows from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    /// Tokens that become `[MASK]`.
    pub masked: f32,
    /// Direct injections that are put into a benign document, as a tool's result.
    pub planted: f32,
    /// Rows whose speaker is not told that count as said by a tool.
    pub by_tool: f32,
}

/// A row as tokens.
pub struct Example {
    /// Without special tokens.
    pub ids: Vec<u32>,
    /// What it is.
    pub label: Label,
    speaker: Option<Speaker>,
    source: usize,
}

/// The candidates of one row in a batch: the one that the network finds worst is learned from.
pub struct Candidates {
    /// At least one.
    pub windows: Vec<Window>,
    /// What the row is.
    pub label: Label,
}

/// All rows.
pub struct Examples {
    examples: Vec<Example>,
    sources: usize,
    mask: Option<u32>,
    changes: Changes,
}

impl Examples {
    /// Turns rows into tokens, on all cores.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn of(rows: &[Row], tokenizer: &Tokenizer, changes: Changes) -> Result<Self, ModelError> {
        let mut names: Vec<&str> = rows.iter().map(|row| row.source.as_str()).collect();
        names.sort();
        names.dedup();
        let examples = rows
            .par_iter()
            .map(|row| {
                let source = names.binary_search(&row.source.as_str()).unwrap_or_default();
                Ok(Example { ids: tokenizer.ids(&row.text)?, label: row.label, speaker: row.speaker, source })
            })
            .collect::<Result<Vec<_>, String>>()
            .map_err(ModelError::Setting)?;
        Ok(Self { examples, sources: names.len(), mask: tokenizer.id("[MASK]"), changes })
    }

    /// Rows of each label, in the order of the labels.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        self.examples.iter().for_each(|example| counts[example.label as usize] += 1);
        counts
    }

    /// One epoch: at most `cap` rows of each source, in batches of about `tokens` tokens. The same `epoch` and `seed` give the same.
    pub fn epoch(&self, tokenizer: &Tokenizer, seed: u64, epoch: usize, cap: usize, tokens: usize) -> Vec<Vec<Candidates>> {
        let mut random = Random::new(seed ^ (epoch as u64 + 1).wrapping_mul(0x9E37_79B9));
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        random.shuffle(&mut order);
        let mut taken = vec![0; self.sources];
        order.retain(|at| {
            let count = &mut taken[self.examples[*at].source];
            *count += 1;
            *count <= cap
        });
        let documents: Vec<usize> = order
            .iter()
            .copied()
            .filter(|at| self.examples[*at].label == Label::Benign && self.examples[*at].ids.len() > SURROUNDINGS)
            .collect();
        let mut rows: Vec<Candidates> = order.iter().map(|at| self.candidates(*at, &documents, tokenizer, &mut random)).collect();
        let mut batches = Vec::new();
        let near = SORTED_TOGETHER * (tokens / 64).max(1);
        while !rows.is_empty() {
            let mut some = rows.split_off(rows.len().saturating_sub(near));
            some.sort_by_key(Candidates::longest);
            let (mut batch, mut used) = (Vec::new(), 0);
            for row in some {
                let length = row.longest();
                if used + length > tokens && !batch.is_empty() {
                    batches.push(std::mem::take(&mut batch));
                    used = 0;
                }
                used += length;
                batch.push(row);
            }
            batches.push(batch);
        }
        random.shuffle(&mut batches);
        batches
    }

    fn candidates(&self, at: usize, documents: &[usize], tokenizer: &Tokenizer, random: &mut Random) -> Candidates {
        let Example { ids, label, speaker, .. } = &self.examples[at];
        let (mut ids, mut speaker, body) = (ids.clone(), *speaker, tokenizer.body());
        let plants = *label == Label::Injection && ids.len() + 16 < body && speaker != Some(Speaker::Tool);
        if plants && !documents.is_empty() && random.unit() < self.changes.planted {
            ids = planted(&self.examples[documents[random.below(documents.len())]].ids, &ids, body, random);
            speaker = Some(Speaker::Tool);
        }
        let speaker = speaker.unwrap_or(if random.unit() < self.changes.by_tool { Speaker::Tool } else { Speaker::User });
        if let Some(mask) = self.mask {
            ids.iter_mut().for_each(|id| {
                if random.unit() < self.changes.masked {
                    *id = mask;
                }
            });
        }
        let mut starts: Vec<usize> = tokenizer.starts(ids.len()).collect();
        random.shuffle(&mut starts);
        starts.truncate(CANDIDATES_MAX);
        let windows = starts.iter().map(|start| tokenizer.window(speaker, &ids[*start..(start + body).min(ids.len())])).collect();
        Candidates { windows, label: *label }
    }
}

impl Candidates {
    fn longest(&self) -> usize {
        self.windows.iter().map(|window| window.ids.len()).max().unwrap_or_default()
    }
}

/// A piece of `document` with `attack` somewhere in it, no longer than a window.
fn planted(document: &[u32], attack: &[u32], body: usize, random: &mut Random) -> Vec<u32> {
    let room = (body - attack.len()).min(document.len()).min(SURROUNDINGS);
    let start = random.below(document.len() - room + 1);
    let piece = &document[start..start + room];
    let (before, after) = piece.split_at(random.below(room + 1));
    [before, attack, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_attack_stands_whole_inside_a_window() {
        let (document, attack) = ((100..400).collect::<Vec<u32>>(), [1, 2, 3]);
        let mut random = Random::new(1);
        for _ in 0..200 {
            let text = planted(&document, &attack, 50, &mut random);
            assert!(text.len() <= 50 && text.windows(3).any(|three| three == attack), "{text:?}");
        }
    }
}
