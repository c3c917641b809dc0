//! Screening a text that arrives in pieces, with the same result as screening it whole.
//!
//! The law: however a text is cut, the released pieces together are the redacted whole, and the findings are the same.
//! It holds because a piece is released only up to a cut that lies
//!   - before every position from which a match may still begin (`hold`),
//!   - inside no match, finding, character, escape or bare JSON value,
//!
//! and because the search is a function of the start position and of `LEFT_CONTEXT_BYTES` of original text before it (`scan`).

use std::sync::Arc;

use crate::allowance::Allowance;
use crate::decide::{Refusal, RefusalReason, refusal};
use crate::model::{Action, Direction, Encoding, Finding, Mode, Role};
use crate::policy::{Asked, Policy};
use crate::redact::{JsonState, redact_part};
use crate::scan::{CONTEXT_BYTES, Candidate};
use crate::view::Views;

/// How much released text is kept, at least, for boundaries and context words; in bytes.
const LEFT_CONTEXT_BYTES: usize = CONTEXT_BYTES + 8;
/// Most released text that is kept to find something visible in it; in bytes.
const KEPT_BYTES_MAX: usize = 4 * 1024;
/// Most that is held back before the stream is refused, in bytes.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// What one piece brought about.
#[derive(Debug, Default)]
pub struct Step {
    /// Text that may go out now, redacted.
    pub text: String,
    /// Findings that are now certain; spans are bytes of the whole original stream.
    pub findings: Vec<Finding>,
    /// Set when the stream is cut: `text` holds what may still go out, nothing follows it.
    pub refusal: Option<Refusal>,
}

/// Screens one stream of text: one per choice, field and tool call.
pub struct StreamScreen {
    policy: Arc<Policy>,
    direction: Direction,
    role: Role,
    encoding: Encoding,
    allowance: Allowance,
    /// Released text kept as context, then text held back; all of it as it came.
    buffer: String,
    /// Where in `buffer` the text held back begins.
    released: usize,
    /// Bytes of the stream before `buffer`.
    base: usize,
    json: JsonState,
    refused: bool,
}

impl StreamScreen {
    /// Starts a stream.
    #[must_use]
    pub fn new(policy: Arc<Policy>, direction: Direction, role: Role, encoding: Encoding) -> Self {
        Self::with(policy, direction, role, encoding, Allowance::default())
    }

    /// Starts a stream in which something is let off.
    #[must_use]
    pub fn with(policy: Arc<Policy>, direction: Direction, role: Role, encoding: Encoding, allowance: Allowance) -> Self {
        let (buffer, json) = (String::new(), JsonState::default());
        Self { policy, direction, role, encoding, allowance, buffer, released: 0, base: 0, json, refused: false }
    }

    /// Takes the next piece and gives what is certain by now.
    pub fn push(&mut self, chunk: &str) -> Step {
        if self.refused || chunk.is_empty() {
            return Step::default();
        }
        self.buffer.push_str(chunk);
        let mut step = self.settle(false);
        if step.refusal.is_none() && self.held_bytes() > HELD_BYTES_MAX {
            self.overflow(&mut step);
        }
        step
    }

    /// Ends the stream and gives the rest.
    pub fn finish(&mut self) -> Step {
        if self.refused {
            return Step::default();
        }
        self.settle(true)
    }

    /// Returns how many bytes are held back, waiting to become certain.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() - self.released
    }

    /// Releases what is certain; everything when the text is whole.
    fn settle(&mut self, whole: bool) -> Step {
        let views = Views::new(&self.buffer, self.encoding, whole);
        let open = match whole {
            true => self.buffer.len(),
            false => self.policy.open(self.direction, &views, self.released),
        };
        if open <= self.released {
            return Step::default();
        }
        let asked = Asked { direction: self.direction, role: self.role, encoding: self.encoding, allowance: &self.allowance };
        let mut candidates = self.policy.candidates(&asked, &views, self.released);
        let cut = match whole {
            true => open,
            false => self.cut(open, &candidates, &views),
        };
        if cut <= self.released {
            return Step::default();
        }
        candidates.retain(|candidate| low(candidate) < cut);
        let findings = self.policy.resolve(&asked, candidates);
        let keep_from = kept_from(&views, cut);
        let step = self.release(cut, findings);
        self.buffer.drain(..keep_from);
        self.base += keep_from;
        self.released = cut - keep_from;
        step
    }

    /// Moves a cut left until it lies inside nothing.
    fn cut(&self, open: usize, candidates: &[Candidate], views: &Views<'_>) -> usize {
        let mut cut = open;
        loop {
            let mut moved = views.align_down(cut);
            for candidate in candidates {
                if low(candidate) < moved && moved < high(candidate) {
                    moved = low(candidate);
                }
            }
            if self.encoding == Encoding::Json && moved > self.released {
                let held = &self.buffer[self.released..];
                if let Some(start) = self.json.open_bare(held, moved - self.released) {
                    moved = self.released + start;
                }
            }
            if moved <= self.released || moved == cut {
                return moved;
            }
            cut = moved;
        }
    }

    /// Redacts and lets go of everything before `cut`, or before the first finding that blocks.
    fn release(&mut self, cut: usize, mut findings: Vec<Finding>) -> Step {
        let enforced = self.policy.mode() == Mode::Enforce;
        let blocked = findings.iter().position(|finding| enforced && finding.in_force() == Action::Block);
        let end = blocked.map_or(cut, |at| findings[at].span.start);
        if let Some(at) = blocked {
            findings.truncate(at + 1);
            self.refused = true;
        }
        let released = self.released;
        let spans = findings.iter().filter(|finding| finding.span.start < end && finding.in_force().rewrites());
        let spans = spans.map(|finding| (finding.span.start - released..finding.span.end - released, finding));
        let policy = &self.policy;
        let mut replace = |finding: &Finding, piece: &str| policy.shown(finding, piece, self.encoding);
        let text = match enforced {
            true => redact_part(&self.buffer[released..end], self.encoding, spans, &mut replace, &mut self.json),
            false => self.buffer[released..end].to_owned(),
        };
        for finding in &mut findings {
            finding.span = finding.span.start + self.base..finding.span.end + self.base;
        }
        let refusal = self.refused.then(|| refusal(&findings, RefusalReason::Rule));
        Step { text, findings, refusal }
    }

    /// Too much is held back to go on: refuse, or, where the policy only watches, let it go.
    fn overflow(&mut self, step: &mut Step) {
        if self.policy.mode() == Mode::Enforce {
            self.refused = true;
            step.refusal = Some(refusal(&[], RefusalReason::Unredactable));
            return;
        }
        let rest = self.settle(true);
        step.text.push_str(&rest.text);
        step.findings.extend(rest.findings);
    }
}

fn low(candidate: &Candidate) -> usize {
    candidate.span.start.min(candidate.extent.start)
}

fn high(candidate: &Candidate) -> usize {
    candidate.span.end.max(candidate.extent.end)
}

/// Returns from where the buffer is kept: enough context, no unit cut in two, at least one visible character in every form.
fn kept_from(views: &Views<'_>, cut: usize) -> usize {
    let mut wanted = LEFT_CONTEXT_BYTES;
    loop {
        let from = views.align_down(cut.saturating_sub(wanted));
        if from == 0 || wanted > KEPT_BYTES_MAX || views.all_visible(from..cut) {
            return from;
        }
        wanted *= 2;
    }
}
