//! The step of the path that asks the guard: texts in, the worst of them out.

use std::collections::HashSet;
use std::time::Instant;

use portcullis_guard_model::{Answer, Input, Near, Speaker, Unavailable};
use portcullis_policies::{Action, CoverageLimit, KnownAttack, ModelSignal, Policy, Role};
use tokio::time::timeout;

use crate::dialect::{Leaf, Parsed};
use crate::gate::{Gate, unhurried};
use crate::metrics::Stage;
use crate::record::Ledger;

use super::read::read;

/// How far on either side of the place where two parts of a message meet they are also read as one, in bytes: about a window of the
/// shipped model. What lies farther off was read with its part.
const SEAM_BYTES: usize = 512;
/// What a text says when it is decoded may have twice its bytes, and so many more: encodings in encodings fit, and no text takes the room
/// of another.
const READINGS_BYTES_MORE: usize = 1 << 10;

/// What the guard is asked about a request.
#[derive(Default)]
struct Asked<'a> {
    texts: Vec<Input>,
    /// Where each text stands.
    places: Vec<Place<'a>>,
    /// Bytes of all texts.
    bytes: usize,
    /// The texts of the request, by number, of which not all is read that they say when they are decoded.
    too_much: Vec<usize>,
}

/// What comes of asking the guard.
pub struct Heard {
    /// What it says to the request.
    pub signal: ModelSignal,
    /// The texts of the request that were not read in full, by number, those where parts of a message meet behind the others.
    pub too_much: Vec<usize>,
}

impl From<ModelSignal> for Heard {
    fn from(signal: ModelSignal) -> Self {
        Self { signal, too_much: Vec::new() }
    }
}

/// Where a text stands.
struct Place<'a> {
    leaf: &'a Leaf,
    /// True for what other texts asked about say too, read in another way.
    again: bool,
}

impl<'a> Asked<'a> {
    /// The texts that the guard reads: every one that may be rewritten and is not the operator's; as a sentence may be split over the parts
    /// of a message, what lies around the places where they meet; and, if `decode`, what any of these says when it is decoded.
    fn of(parsed: &'a Parsed, decode: bool) -> Self {
        let leaves =
            parsed.leaves.iter().enumerate().filter(|(_, leaf)| leaf.redactable).map(|(nth, leaf)| (nth, leaf, leaf.text.as_str(), false));
        let joined = parsed.leaves.len()..;
        let seams = joined
            .zip(&parsed.joined)
            .flat_map(|(nth, joined)| joined.seams(SEAM_BYTES).into_iter().map(move |text| (nth, &joined.leaf, text, true)));
        let mut asked = Self::default();
        for (nth, leaf, text, again) in leaves.chain(seams).filter(|(_, leaf, ..)| leaf.role != Role::System) {
            let (text, decoded) = read(text, decode);
            let mut room = 2 * text.len() + READINGS_BYTES_MORE;
            asked.add(leaf, text.into_owned(), again);
            for text in decoded {
                match room.checked_sub(text.len()) {
                    Some(left) => {
                        room = left;
                        asked.add(leaf, text, true);
                    }
                    None if asked.too_much.last() == Some(&nth) => {}
                    None => asked.too_much.push(nth),
                }
            }
        }
        asked
    }

    fn add(&mut self, leaf: &'a Leaf, text: String, again: bool) {
        self.bytes += text.len();
        self.texts.push(Input { speaker: speaker(leaf.role), text });
        self.places.push(Place { leaf, again });
    }
}

/// Asks the guard, if there is one; the worst text counts. Texts near a known attack are noted, each with its place. What texts say when
/// they are decoded is not asked about where the rules have decided: `refused`.
pub async fn screen(gate: &Gate, ledger: &mut Ledger, policy: &Policy, parsed: &Parsed, refused: bool) -> Heard {
    let Some(guard) = &gate.guard else { return ModelSignal::Skipped.into() };
    let began = Instant::now();
    let Asked { texts, places, bytes, too_much } = unhurried(parsed.text_bytes(), || Asked::of(parsed, !refused));
    if texts.is_empty() {
        return ModelSignal::Skipped.into();
    }
    if !too_much.is_empty() {
        ledger.limited(CoverageLimit::DecodingBudget);
    }
    let allowed = gate.timeouts.guard_for(bytes);
    // The deadline is the guard's to keep, and ours to hold it to.
    let answer = timeout(allowed, guard.classify(texts, began + allowed)).await.unwrap_or(Err(Unavailable::Late));
    ledger.took(Stage::Guard, began);
    if let Err(reason) = &answer
        && gate.warnings.check().is_ok()
    {
        tracing::warn!(%reason, "the guard is not available");
    }
    let said = policy.on_known_attack();
    if let (Ok(answer), true) = (&answer, said > Action::Allow) {
        note_known(ledger, &places, answer, said);
    }
    let signal = signal(answer, places.len());
    if let ModelSignal::Unavailable { reason } = &signal {
        gate.metrics.guard_unavailable(reason);
    }
    Heard { signal, too_much }
}

/// Notes each text near a known attack; of what is read again only those that no text before is near to.
fn note_known(ledger: &mut Ledger, places: &[Place<'_>], answer: &Answer, said: Action) {
    let mut noted = HashSet::new();
    for (place, judged) in places.iter().zip(&answer.judged) {
        let Some(near) = &judged.known else { continue };
        let is_new = noted.insert(&near.id);
        if is_new || !place.again {
            ledger.found_known(place.leaf, &near.id, said);
        }
    }
}

/// What the guard's answer about `count` texts means for the policy.
pub fn signal(answer: Result<Answer, Unavailable>, count: usize) -> ModelSignal {
    let unavailable = |reason: &str| ModelSignal::Unavailable { reason: reason.to_owned() };
    let Answer { version, judged } = match answer {
        Ok(answer) => answer,
        Err(Unavailable::Late) => return unavailable("late"),
        Err(Unavailable::Overloaded) => return unavailable("overloaded"),
        Err(Unavailable::Failed(_)) => return unavailable("failed"),
    };
    if judged.len() != count || !judged.iter().all(|judged| judged.scores.is_sound()) {
        return unavailable("failed");
    }
    let known = judged.iter().filter_map(|judged| judged.known.as_ref()).max_by(|a, b| a.similarity.total_cmp(&b.similarity));
    let known = known.map(|Near { id, similarity }| KnownAttack { id: id.to_string(), similarity: *similarity });
    match judged.iter().map(|judged| judged.scores).max_by(|a, b| a.attack().total_cmp(&b.attack())) {
        Some(worst) => ModelSignal::Scored { label: worst.label().to_owned(), score: worst.attack(), version: version.to_string(), known },
        None => ModelSignal::Skipped,
    }
}

/// The speaker of a role, in the guard's words.
pub fn speaker(role: Role) -> Speaker {
    match role {
        Role::System => Speaker::System,
        Role::User => Speaker::User,
        Role::Assistant => Speaker::Assistant,
        Role::Tool => Speaker::Tool,
    }
}
