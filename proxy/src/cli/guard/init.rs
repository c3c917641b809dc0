//! `portcullis guard init`.

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_guard_model::train::{data::read, start::Start};

use crate::cli::{say, say_note};

/// Make first weights.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(super) struct Init {
    /// A BERT encoder in Hugging Face's layout, such as all-MiniLM-L6-v2: config.json, tokenizer.json, model.safetensors
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Rows whose languages the vocabulary is to know; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Words with their meanings: JSON lines {"term","en"}; a word's first vector is that of its meaning; may be repeated
    #[arg(long, value_name = "FILE", num_args = 1..)]
    glossary: Vec<PathBuf>,
    /// Layers to keep, the first ones
    #[arg(long, value_name = "N")]
    layers: usize,
    /// Pieces of words to learn, at most
    #[arg(long, value_name = "N", default_value_t = 12_000)]
    pieces: usize,
    /// Name and version for the audit trail, such as small-1
    #[arg(long, value_name = "NAME")]
    version: String,
    /// The model folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let rows = read(&self.data)?;
        say_note(&format!("{} rows; learning pieces of words", rows.len()));
        let start = Start { from: self.from, glossary: self.glossary, layers: self.layers, pieces: self.pieces, version: self.version };
        let made = start.make(&rows, &self.out)?;
        say(format!(
            "{}: {} tokens, learned from {} texts, {} words of the glossary",
            self.out.display(),
            made.tokens,
            made.texts,
            made.words
        ))?;
        say(format!("\n{:<8} {:>12} {:>12} {:>16} {:>9}", "language", "characters", "tokens", "characters/token", "unknown"))?;
        for one in &made.fertility {
            let lang: String = one.lang.chars().filter(|c| !c.is_control()).collect();
            let tokens = one.tokens.max(1) as f64;
            let (each, unknown) = (one.characters as f64 / tokens, 100.0 * one.unknown as f64 / tokens);
            let lang = if lang.is_empty() { "not said" } else { &lang };
            say(format!("{lang:<8} {:>12} {:>12} {each:>16.2} {unknown:>7.2} %", one.characters, one.tokens))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
