//! Calibrated scores of texts by a model folder, many at a time.

use std::{cmp::Reverse, path::Path, sync::Arc};

use crate::{Model, Network, Place, Scores, Speaker, Window, error::ModelError, folder::Folder, tokenize::Tokenizer};

/// Tokens that the network is given at once, at least; more only for one window that is longer.
const TOKENS_TOGETHER: usize = 8192;

/// A model that scores texts.
pub struct Scorer {
    network: Box<dyn Network>,
    tokenizer: Arc<Tokenizer>,
    /// Name and version, and which files it is of.
    pub name: String,
}

impl Scorer {
    /// Opens a model folder, to be run as the gateway runs it.
    ///
    /// # Errors
    /// A folder that cannot be used, or a model that has no head yet.
    pub fn open(dir: &Path, place: Place) -> Result<Self, ModelError> {
        let model = Model::open(dir, place).map_err(|error| match Folder::open(dir) {
            Ok(folder) if !folder.weights.has("classifier.weight") => {
                ModelError::content(dir, "the model is not trained yet; `portcullis guard train` makes one of it")
            }
            _ => error,
        })?;
        Ok(Self { name: model.version().to_owned(), tokenizer: model.tokenizer(), network: model.into_network() })
    }

    /// Its name, its tokenizer and its network, for whoever runs windows by hand.
    pub fn into_parts(self) -> (String, Arc<Tokenizer>, Box<dyn Network>) {
        (self.name, self.tokenizer, self.network)
    }

    /// The scores of each text's worst window, in the order of the texts. Tells how many windows of how many are done.
    ///
    /// # Errors
    /// What the tokenizer or the network says, also of a number that is no probability.
    pub fn score(&mut self, texts: &[(Speaker, &str)], tell: &mut dyn FnMut(usize, usize)) -> Result<Vec<Scores>, ModelError> {
        let (mut texts_of, mut windows) = (Vec::new(), Vec::new());
        for (at, (speaker, text)) in texts.iter().enumerate() {
            for window in self.tokenizer.windows(*speaker, text).map_err(ModelError::Setting)? {
                windows.push((at, window));
            }
        }
        // Windows of like length stand together: little is padding where there is padding.
        windows.sort_by_key(|(_, window)| Reverse(window.ids.len()));
        let windows: Vec<Window> = windows.into_iter().map(|(at, window)| (texts_of.push(at), window).1).collect();
        let mut worst: Vec<Option<Scores>> = vec![None; texts.len()];
        let mut done = 0;
        while let Some(longest) = windows.get(done) {
            let end = (done + (TOKENS_TOGETHER / longest.ids.len()).max(1)).min(windows.len());
            let verdicts = self.network.run(&windows[done..end]).map_err(|e| ModelError::Setting(format!("{}: {e}", self.name)))?;
            for (at, verdict) in texts_of[done..end].iter().zip(verdicts) {
                let known = &mut worst[*at];
                if known.is_none_or(|known| verdict.scores.attack() > known.attack()) {
                    *known = Some(verdict.scores);
                }
            }
            done = end;
            tell(done, windows.len());
        }
        let all = worst.into_iter().collect::<Option<Vec<Scores>>>();
        all.ok_or_else(|| ModelError::Setting(format!("{}: a text got no score; its tokenizer or network is broken", self.name)))
    }
}

/// Softmax of three logits.
pub fn softmax(logits: [f64; 3]) -> [f64; 3] {
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, x| most.max(*x));
    let parts = logits.map(|x| (x - most).exp());
    let sum: f64 = parts.iter().sum();
    parts.map(|part| part / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    /// A model with a head that nobody trained.
    fn scorer() -> Scorer {
        let dir = tempfile::tempdir().unwrap();
        toy::folder(dir.path());
        assert!(Scorer::open(dir.path(), Place::Cpu(2)).err().unwrap().to_string().contains("not trained"));
        toy::headed(dir.path());
        Scorer::open(dir.path(), Place::Cpu(2)).unwrap()
    }

    #[test]
    fn a_text_scores_the_same_alone_and_among_others_and_a_long_one_by_its_worst_window() {
        let mut scorer = scorer();
        let rows = toy::rows(300, 4);
        let texts: Vec<(Speaker, &str)> = rows.iter().map(|row| (Speaker::User, row.text.as_str())).collect();
        let mut told = Vec::new();
        let all = scorer.score(&texts, &mut |done, of| told.push((done, of))).unwrap();
        assert_eq!(told.last(), Some(&(300, 300)));
        for at in [0, 17, 299] {
            let alone = scorer.score(&texts[at..=at], &mut |_, _| {}).unwrap()[0];
            assert!((alone.attack() - all[at].attack()).abs() < 1e-3);
        }
        let long = texts[..40].iter().map(|(_, text)| *text).collect::<Vec<_>>().join(" ");
        let windows = scorer.tokenizer.windows(Speaker::Tool, &long).unwrap();
        let each = scorer.network.run(&windows).unwrap();
        let worst = each.iter().map(|verdict| verdict.scores.attack()).fold(0.0, f32::max);
        let scored = scorer.score(&[(Speaker::Tool, &long), (Speaker::User, "")], &mut |_, _| {}).unwrap();
        assert!(windows.len() > 10 && (scored[0].attack() - worst).abs() < 1e-3);
        assert!(scored[1].is_sound());
    }

    #[test]
    fn softmax_adds_up_to_one_and_hides_no_nan() {
        let p = softmax([1000.0, 0.0, -1000.0]);
        assert_eq!(p, [1.0, 0.0, 0.0]);
        assert!((softmax([0.3, 0.2, 0.1]).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(softmax([f64::NAN, 0.0, 0.0]).iter().any(|p| p.is_nan()));
    }
}
