//! Texts to screen as the command line takes them: JSON lines, from a file or standard input, worked on by all cores.
//!
//! One thread reads and hands out batches in turn, each worker has a queue in and a queue out, and the caller empties the queues in
//! the same turn: results come in the order of the lines, and no more than some batches for each worker are in memory. A batch is
//! what one read gave, so that a line typed in is answered at once and a file is read in large pieces.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portcullis_policies::{Direction, Encoding, Role, Text};
use serde::Deserialize;
use serde_json::Value;

/// Bytes read at once.
const READ_BYTES: usize = 128 << 10;
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Batches that wait for each worker, and results of each that wait to be taken.
const BATCHES_WAITING: usize = 2;

/// Which way the texts go, and who speaks in them.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Way {
    /// Which way the texts go
    #[arg(long, value_name = "request|response", default_value = "request", value_parser = direction)]
    pub direction: Direction,
    /// Who speaks in them, unless a line says so itself
    #[arg(long, value_name = "user|system|assistant|tool", default_value = "user", value_parser = role)]
    pub role: Role,
}

fn direction(word: &str) -> Result<Direction, String> {
    Direction::ALL.into_iter().find(|one| one.as_str() == word).ok_or_else(|| "it is request or response".to_owned())
}

fn role(word: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|one| one.as_str() == word).ok_or_else(|| "it is user, system, assistant or tool".to_owned())
}

/// One text.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    /// Whatever the line calls itself.
    #[serde(default)]
    pub id: Value,
    /// The text.
    pub text: String,
    #[serde(default)]
    role: Option<Role>,
    /// What a corpus says of its texts.
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    lang: Option<String>,
}

impl Line {
    /// The text as the rules take it.
    pub(super) fn text(&self, way: Way) -> Text<'_> {
        Text { role: self.role.unwrap_or(way.role), encoding: Encoding::Plain, redactable: true, text: &self.text }
    }

    /// Kind and language in brackets, where the line says them.
    pub(super) fn said(&self) -> String {
        let said: Vec<&str> = [&self.kind, &self.lang].into_iter().flatten().map(String::as_str).collect();
        if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
    }
}

/// Where lines come from.
pub(super) struct Texts {
    name: String,
    reader: Box<dyn BufRead + Send>,
    progress: ProgressBar,
}

impl Texts {
    /// Lines of a file, or of standard input without one. Where a person waits for a file, progress is shown.
    pub(super) fn open(path: Option<&PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            let reader = Box::new(BufReader::with_capacity(READ_BYTES, std::io::stdin()));
            return Ok(Self { name: "standard input".into(), reader, progress: ProgressBar::hidden() });
        };
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("{name}: cannot be read"))?;
        let progress = progress(path, &file);
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, progress.wrap_read(file)));
        Ok(Self { name, reader, progress })
    }

    /// Lines that are in memory.
    pub(super) fn of(name: &str, lines: &'static [u8]) -> Self {
        Self { name: name.to_owned(), reader: Box::new(BufReader::with_capacity(READ_BYTES, lines)), progress: ProgressBar::hidden() }
    }

    /// Gives `work` every line, on `threads` threads, and `take` every result with the line's number, in the order of the lines.
    /// After the last of those that are ready, `rest` is called: there is nothing more to take at once.
    ///
    /// # Errors
    /// The first line that is none, by its number, and whatever `take` or `rest` say.
    pub(super) fn each<T: Send + 'static>(
        self,
        threads: usize,
        work: impl Fn(Line) -> T + Send + Sync + 'static,
        mut take: impl FnMut(usize, T) -> anyhow::Result<()>,
        mut rest: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let work = Arc::new(work);
        let name: Arc<str> = self.name.into();
        let (mut queues, mut results) = (Vec::new(), Vec::new());
        // The threads are left alone when this returns early: the reader may wait for a line that never comes.
        for _ in 0..threads.max(1) {
            let (send, batches) = sync_channel(BATCHES_WAITING);
            let (out, done) = sync_channel(BATCHES_WAITING);
            let (work, name) = (Arc::clone(&work), Arc::clone(&name));
            std::thread::spawn(move || worked(&name, &batches, &out, &*work));
            queues.push(send);
            results.push(done);
        }
        let reader = self.reader;
        std::thread::spawn(move || read(reader, &queues));
        for turn in results.iter().cycle() {
            let batch = match turn.try_recv() {
                Err(TryRecvError::Empty) => {
                    rest()?;
                    turn.recv().ok()
                }
                batch => batch.ok(),
            };
            let batch = batch.ok_or_else(|| anyhow!("{name}: a thread that worked on it has panicked"))?;
            for (number, result) in batch.results {
                take(number, result?)?;
            }
            if batch.is_last {
                break;
            }
        }
        self.progress.finish_and_clear();
        rest()
    }
}

/// A bar on standard error where a person looks at it and nothing else is drawn there.
fn progress(path: &Path, file: &File) -> ProgressBar {
    let bytes = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let (Some(bytes), true, false) = (bytes, std::io::stderr().is_terminal(), std::io::stdout().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    bar
}

/// Lines with their numbers, from 1, not yet looked at.
struct Batch {
    lines: Vec<(usize, std::io::Result<Vec<u8>>)>,
    is_last: bool,
}

/// Hands out the lines in batches, in turn, until there are no more or nobody takes them.
fn read(mut reader: Box<dyn BufRead + Send>, queues: &[SyncSender<Batch>]) {
    let (mut number, mut open) = (1, Vec::new());
    for queue in queues.iter().cycle() {
        let mut batch = Vec::new();
        let mut at_end = false;
        while batch.is_empty() && !at_end {
            match reader.fill_buf() {
                Ok([]) => {
                    at_end = true;
                    if !open.is_empty() {
                        batch.push((number, Ok(std::mem::take(&mut open))));
                    }
                }
                Ok(bytes) => {
                    let length = bytes.len();
                    for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                        open.extend_from_slice(piece);
                        if piece.ends_with(b"\n") {
                            batch.push((number, Ok(std::mem::take(&mut open))));
                            number += 1;
                        }
                    }
                    reader.consume(length);
                    if open.len() > LINE_BYTES_MAX {
                        let error = std::io::Error::other(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
                        batch.push((number, Err(error)));
                        at_end = true;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    batch.push((number, Err(error)));
                    at_end = true;
                }
            }
        }
        if queue.send(Batch { lines: batch, is_last: at_end }).is_err() || at_end {
            return;
        }
    }
}

/// Results with their lines' numbers.
struct Done<T> {
    results: Vec<(usize, anyhow::Result<T>)>,
    is_last: bool,
}

/// Works on batches until there are no more.
fn worked<T>(name: &str, batches: &Receiver<Batch>, out: &SyncSender<Done<T>>, work: &(impl Fn(Line) -> T + ?Sized)) {
    for Batch { lines, is_last } in batches {
        let one = |(number, line): (usize, std::io::Result<Vec<u8>>)| {
            let line = match line {
                Ok(line) if line.trim_ascii().is_empty() => return None,
                Ok(line) => line,
                Err(error) => return Some((number, Err(anyhow!("{name}, line {number}: {error}")))),
            };
            let line = serde_json::from_slice::<Line>(&line).with_context(|| {
                format!("{name}, line {number}: expected {{\"id\", \"text\", \"role\"}}, of which only text must be there")
            });
            Some((number, line.map(work)))
        };
        if out.send(Done { results: lines.into_iter().filter_map(one).collect(), is_last }).is_err() {
            return;
        }
    }
}

/// How many threads to use when nobody says.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str, threads: usize) -> anyhow::Result<Vec<(usize, usize)>> {
        let reader = Box::new(BufReader::with_capacity(16, std::io::Cursor::new(text.as_bytes().to_vec())));
        let texts = Texts { name: "t".into(), reader, progress: ProgressBar::hidden() };
        let mut seen = Vec::new();
        texts.each(
            threads,
            |line| line.text.len(),
            |number, length| {
                seen.push((number, length));
                Ok(())
            },
            || Ok(()),
        )?;
        Ok(seen)
    }

    #[test]
    fn results_come_in_the_order_of_the_lines() {
        let lines: Vec<String> = (0..500).map(|n| format!("{{\"text\":\"{}\"}}", "x".repeat(n % 37))).collect();
        let expected: Vec<(usize, usize)> = (0..500).map(|n| (n + 1, n % 37)).collect();
        for threads in [1, 2, 3, 7] {
            assert_eq!(lengths(&lines.join("\n"), threads).unwrap(), expected, "{threads} threads");
            assert_eq!(lengths(&(lines.join("\n") + "\n"), threads).unwrap(), expected, "{threads} threads, a line end at the end");
        }
        assert_eq!(lengths("", 3).unwrap(), []);
        assert_eq!(lengths("\n\r\n{\"text\":\"a\"}\n\n", 3).unwrap(), [(3, 1)], "empty lines count and are left out");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (line, reason) in [
            ("nonsense", "line 3"),
            ("{\"id\":1}", "line 3"),
            ("{\"text\":\"a\",\"role\":\"nobody\"}", "nobody"),
            ("{\"text\":\"\\ud800\"}", "line 3"),
        ] {
            let error = format!("{:#}", lengths(&format!("{{\"text\":\"a\"}}\n{{\"text\":\"b\"}}\n{line}\n"), 2).unwrap_err());
            assert!(error.starts_with("t, line 3: ") && error.contains(reason), "{error}");
        }
    }
}
