//! `portcullis guard score`: JSON lines in, scores out, in the order of the lines.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use indicatif::ProgressBar;
use portcullis_guard_model::eval::scorer::Scorer;
use portcullis_guard_model::{Scores, Speaker};
use serde_json::{Value, json};

use super::bars::bar;
use super::device::Device;
use super::judge::judge;

/// Bytes read at once.
const READ_BYTES: usize = 128 << 10;
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Lines that are scored together, at most; fewer when no more are there yet, so that a line typed in is answered at once.
const LINES_TOGETHER: usize = 512;
/// No more lines are taken together once they have so many bytes.
const BYTES_TOGETHER: usize = 1 << 20;

/// Score texts.
#[derive(Debug, clap::Args)]
pub(super) struct Score {
    #[command(flatten)]
    device: Device,
}

impl Score {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut scorer = self.device.open()?;
        let progress = progress();
        let mut lines = Lines { reader: BufReader::with_capacity(READ_BYTES, std::io::stdin()), number: 0, bytes: 0 };
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let (mut batch, mut bytes, mut bad) = (Vec::new(), 0, 0);
        while let Some((number, line)) = lines.next()? {
            bytes += line.as_ref().map_or(0, Vec::len);
            batch.push((number, line.and_then(|line| Text::of(&line))));
            if batch.len() < LINES_TOGETHER && bytes < BYTES_TOGETHER && lines.is_more_there() {
                continue;
            }
            bad += answer(&mut scorer, &batch, &mut out)?;
            batch.clear();
            bytes = 0;
            progress.set_position(lines.bytes);
        }
        bad += answer(&mut scorer, &batch, &mut out)?;
        progress.finish_and_clear();
        Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Scores the texts among these lines and writes one line for each. Gives how many were no texts.
fn answer(scorer: &mut Scorer, batch: &[(usize, Result<Text, String>)], out: &mut impl Write) -> anyhow::Result<usize> {
    let texts: Vec<(Speaker, &str)> =
        batch.iter().filter_map(|(_, line)| line.as_ref().ok()).map(|line| (line.speaker, line.text.as_str())).collect();
    let mut scores = judge(scorer, &texts, &mut |_, _| {})?.into_iter();
    let mut bad = 0;
    for (number, line) in batch {
        let value = match line {
            Ok(text) => said(&text.id, scores.next()),
            Err(reason) => {
                bad += 1;
                json!({"id": null, "line": number, "error": reason})
            }
        };
        written(writeln!(out, "{value}"))?;
    }
    written(out.flush())?;
    Ok(bad)
}

fn said(id: &Value, scores: Option<Scores>) -> Value {
    let Some(scores) = scores else { return json!({"id": id, "error": "the model gave no score"}) };
    let round = |p: f32| (f64::from(p) * 1e6).round() / 1e6;
    let each = json!({"benign": round(scores.benign), "injection": round(scores.injection), "jailbreak": round(scores.jailbreak)});
    json!({"id": id, "label": scores.label(), "score": round(scores.attack()), "scores": each})
}

/// Whoever reads the output may have had enough of it; that is no error.
fn written(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// A bar over standard input's bytes where it is a file, a person looks, and nothing else is drawn there.
fn progress() -> ProgressBar {
    if std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let file = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let length = file.and_then(|file| file.metadata()).ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    match length {
        Some(bytes) => bar(bytes, "scoring [{bar:40}] {bytes} of {total_bytes}, {eta} left"),
        None => ProgressBar::hidden(),
    }
}

/// A text of a line.
struct Text {
    id: Value,
    speaker: Speaker,
    text: String,
}

impl Text {
    /// Reads a line. The reason why not does not quote it.
    fn of(line: &[u8]) -> Result<Self, String> {
        let mut value: Value = serde_json::from_slice(line).map_err(|e| format!("it is no JSON (column {})", e.column()))?;
        let Some(object) = value.as_object_mut() else { return Err("it is no JSON object".into()) };
        let Some(Value::String(text)) = object.remove("text") else { return Err("it has no `text`, or one that is no string".into()) };
        let speaker = match object.get("role") {
            None | Some(Value::Null) => Speaker::User,
            Some(role) => {
                serde_json::from_value(role.clone()).map_err(|_| "its `role` is none of user, system, assistant, tool".to_owned())?
            }
        };
        Ok(Self { id: object.remove("id").unwrap_or_default(), speaker, text })
    }
}

/// A line with its number, or why it cannot be read.
type Numbered = (usize, Result<Vec<u8>, String>);

/// Lines of standard input, numbered from 1, empty ones left out.
struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
    bytes: u64,
}

impl<R: Read> Lines<R> {
    /// The next line, without what ends it.
    fn next(&mut self) -> std::io::Result<Option<Numbered>> {
        let (mut line, mut too_long, mut begun) = (Vec::new(), false, false);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() && !begun {
                return Ok(None);
            }
            begun = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= line.len() + part.len() > LINE_BYTES_MAX;
            if !too_long {
                line.extend_from_slice(part);
            }
            let (taken, at_end) = (part.len() + usize::from(end.is_some()), end.is_some() || buffer.is_empty());
            self.reader.consume(taken);
            self.bytes += taken as u64;
            if !at_end {
                continue;
            }
            self.number += 1;
            if too_long {
                return Ok(Some((self.number, Err(format!("it is longer than {LINE_BYTES_MAX} bytes")))));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, Ok(line))));
            }
            line.clear();
            begun = false;
        }
    }

    /// True when a whole line can be had without waiting.
    fn is_more_there(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(usize, Result<String, String>)> {
        // A small buffer: lines lie across reads.
        let mut lines = Lines { reader: BufReader::with_capacity(7, text), number: 0, bytes: 0 };
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            all.push((number, line.map(|line| String::from_utf8(line).unwrap())));
        }
        assert_eq!(lines.bytes, text.len() as u64);
        all
    }

    #[test]
    fn lines_keep_their_numbers_and_the_last_needs_no_end() {
        let want = vec![(1, Ok("first line".to_owned())), (4, Ok("x".to_owned())), (5, Ok("the last one".to_owned()))];
        assert_eq!(lines(b"first line\n\n  \nx\nthe last one"), want);
        assert_eq!(lines(b""), vec![]);
        assert_eq!(lines(b"\n\n"), vec![]);
        assert_eq!(lines(b"a\n"), vec![(1, Ok("a".to_owned()))]);
    }

    #[test]
    fn a_line_past_the_limit_is_an_error_and_the_next_is_read() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\nnext\n");
        let mut lines = Lines { reader: BufReader::new(text.as_slice()), number: 0, bytes: 0 };
        assert!(lines.next().unwrap().unwrap().1.unwrap_err().contains("longer"));
        assert_eq!(lines.next().unwrap().unwrap(), (2, Ok(b"next".to_vec())));
    }

    #[test]
    fn a_line_that_is_no_text_is_not_quoted() {
        for (line, said) in [
            ("{\"text\": \"secret", "no JSON"),
            ("[\"secret\"]", "no JSON object"),
            ("{\"id\": 1, \"txt\": \"secret\"}", "no `text`"),
            ("{\"text\": [\"secret\"]}", "no `text`"),
            ("{\"text\": \"x\", \"role\": \"secret\"}", "`role`"),
        ] {
            let error = Text::of(line.as_bytes()).err().unwrap();
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
        let text = Text::of(br#"{"id": [1], "text": "x", "role": "tool", "more": 1}"#).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((text.id, text.speaker), (json!([1]), Speaker::Tool));
        assert_eq!(Text::of(br#"{"text": "x", "role": null}"#).map(|text| text.speaker), Ok(Speaker::User));
    }
}
