//! `portcullis scan`: the policy over JSON lines, without a gateway.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portcullis_guard_model::{Input, Place, Serving};
use portcullis_policies::{Decision, Direction, Finding, ModelSignal, Outcome, Policy, Role, Text, decide};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::guard::{self, Guard, GuardSettings, ModelSettings, OnStartFailure, default_threads};

use super::texts::{Line, Texts, Way, cores};

/// How long the guard may take for one text.
const SCAN_PATIENCE: Duration = Duration::from_secs(600);
/// Most windows that wait for the guard, of all threads together.
const SCAN_WINDOWS_MAX: usize = 1 << 20;

/// Screen texts.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// JSON lines {"id","text","role"}; standard input when absent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    way: Way,
    /// Ask the guard model of this folder too
    #[arg(long, value_name = "DIR")]
    guard: Option<PathBuf>,
    /// Known attacks for it to look for; may be given several times
    #[arg(long, value_name = "FILE", requires = "guard")]
    known: Vec<PathBuf>,
    /// Leave the guard model out
    #[arg(long)]
    no_guard: bool,
    /// Add to each finding the text it matched; the output then holds what the policy keeps out of logs
    #[arg(long)]
    show: bool,
    /// How many threads work [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Scan {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy::load(&self.policy)?;
        let asked = self.guard.filter(|_| !self.no_guard).map(|path| Asked::start(path, self.known)).transpose()?;
        let texts = Texts::open(self.file.as_ref())?;
        let output = RefCell::new(std::io::BufWriter::new(std::io::stdout().lock()));
        let (way, show) = (self.way, self.show);
        texts.each(
            self.threads.unwrap_or_else(cores),
            move |line| scanned(&policy, asked.as_ref(), way, show, &line).to_string(),
            |_, verdict| written(writeln!(output.borrow_mut(), "{verdict}")),
            || written(output.borrow_mut().flush()),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whoever reads the output may have had enough of it; that is no error.
fn written(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// A guard that all threads ask.
struct Asked {
    guard: Guard,
    runtime: Runtime,
}

impl Asked {
    fn start(path: PathBuf, known: Vec<PathBuf>) -> anyhow::Result<Self> {
        // Nobody waits for a single line, and all of a long text's windows have to fit.
        let serving = Serving { queue_windows_max: SCAN_WINDOWS_MAX, ..Serving::default() };
        let place = Place::Cpu(default_threads());
        let settings = ModelSettings { path, known, serving, place, on_start_failure: OnStartFailure::Refuse };
        let guard = Guard::start(&GuardSettings::Model(settings), Arc::new(|_| {}))?.context("there is no guard")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
        Ok(Self { guard, runtime })
    }

    /// What the guard says of a text. As in the gateway, it is not asked about answers and the operator's own words.
    fn signal(&self, way: Way, text: &Text<'_>) -> ModelSignal {
        if way.direction == Direction::Response || text.role == Role::System {
            return ModelSignal::Skipped;
        }
        let (written, decoded) = guard::read(text.text, true);
        let texts = std::iter::once(written.into_owned()).chain(decoded);
        let inputs: Vec<Input> = texts.map(|said| Input { speaker: guard::speaker(text.role), text: said }).collect();
        let count = inputs.len();
        guard::signal(self.runtime.block_on(self.guard.classify(inputs, Instant::now() + SCAN_PATIENCE)), count)
    }
}

fn scanned(policy: &Policy, asked: Option<&Asked>, way: Way, show: bool, line: &Line) -> Value {
    let text = line.text(way);
    let findings = policy.screen(way.direction, &text);
    let signal = asked.map_or(ModelSignal::Skipped, |asked| asked.signal(way, &text));
    let decision = decide(policy, &[text], std::slice::from_ref(&findings), &signal);
    verdict(line, show, &findings, &signal, &decision)
}

/// What the guard said, as scripts read it; null where it was not asked.
fn said(signal: &ModelSignal) -> Value {
    match signal {
        ModelSignal::Skipped => Value::Null,
        ModelSignal::Unavailable { reason } => json!({"unavailable": reason}),
        ModelSignal::Scored { label, score, known, .. } => {
            let mut value = json!({"label": label, "score": rounded(*score)});
            if let Some(known) = known {
                value["known"] = json!({"id": known.id, "similarity": rounded(known.similarity)});
            }
            value
        }
    }
}

fn verdict(line: &Line, show: bool, findings: &[Finding], signal: &ModelSignal, decision: &Decision) -> Value {
    let finding = |finding: &Finding| {
        let mut value = json!({
            "rule": finding.rule.id,
            "category": finding.rule.category.as_str(),
            "severity": finding.rule.severity.as_str(),
            "score": rounded(finding.score),
            "start": finding.span.start,
            "end": finding.span.end,
        });
        if show {
            value["text"] = json!(line.text.get(finding.span.clone()));
        }
        value
    };
    let list: Vec<Value> = findings.iter().map(finding).collect();
    let redacted = match &decision.outcome {
        Outcome::Forward(cleared) => json!(cleared.redacted(0).unwrap_or(&line.text)),
        Outcome::Refuse(_) => Value::Null,
    };
    // Where the guard was not asked the field stays, so that readers find it in its place.
    json!({"id": line.id, "decision": decision.action.as_str(), "findings": list, "redacted": redacted, "guard": said(signal)})
}

/// A score as people read it.
pub(super) fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1000.0).round() / 1000.0
}
