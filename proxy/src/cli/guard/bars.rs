//! Progress on standard error where a person looks at it; lines now and then where nobody does.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portcullis_guard_model::train::run::Progress;

use crate::cli::say_note;

/// A bar over `length` things, or a hidden one when standard error is no terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar
}

/// A bar for the windows of an evaluation.
pub(super) fn windows() -> ProgressBar {
    bar(0, "scoring [{bar:40}] {pos} of {len} windows, {eta} left")
}

/// Shows a training run.
pub(super) struct Training {
    bar: ProgressBar,
    started: bool,
    auc: Option<f64>,
    last: (usize, f64),
}

impl Training {
    pub(super) fn new(name: &str) -> Self {
        let bar = bar(0, "{prefix} [{bar:30}] step {pos} of {len}, {msg}, {eta} left");
        bar.set_prefix(name.to_owned());
        Self { bar, started: false, auc: None, last: (0, f64::NAN) }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        match *progress {
            Progress::Step { step, steps, loss } => {
                if !self.started {
                    self.start(step, steps);
                }
                self.last = (steps, loss);
                self.bar.set_length(steps as u64);
                let auc = self.auc.map(|auc| format!(", held-out AUC {auc:.4}")).unwrap_or_default();
                self.bar.set_message(format!("loss {loss:.4}{auc}"));
                self.bar.set_position(step as u64);
            }
            Progress::Held { step, auc, best } => {
                self.auc = Some(auc);
                let (steps, loss) = self.last;
                let best = if best { ", the best so far" } else { "" };
                self.line(&format!("step {step} of {steps}: loss {loss:.4}, held-out AUC {auc:.4}{best}"));
            }
        }
    }

    /// Steps that an earlier run took do not count for the time left.
    fn start(&mut self, step: usize, steps: usize) {
        self.started = true;
        self.bar.set_position(step as u64 - 1);
        self.bar.reset_eta();
        if step > 1 {
            self.line(&format!("going on after step {} of {steps}", step - 1));
        }
    }

    fn line(&self, line: &str) {
        if self.bar.is_hidden() { say_note(line) } else { self.bar.println(line) }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
