//! The step of the path that asks the guard: texts in, the worst of them out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Instant;

use portcullis_guard_model::{Answer, Input, Near, Speaker, Unavailable};
use portcullis_policies::{Action, KnownAttack, ModelSignal, Policy, Role};
use tokio::time::timeout;

use crate::dialect::{Leaf, Parsed};
use crate::gate::{Gate, unhurried};
use crate::metrics::Stage;
use crate::record::Ledger;

use super::read::read;

/// How far on either side of the place where two parts of a message meet they are also read as one, in bytes: about a window of the
/// shipped model. What lies farther off was read with its part.
const SEAM_BYTES: usize = 512;

/// A text that the guard is asked about.
struct Asked<'a> {
    /// Where it stands.
    leaf: &'a Leaf,
    text: Cow<'a, str>,
    /// True for what other texts asked about say too, read in another way.
    again: bool,
}

/// The texts that the guard reads: every one that may be rewritten and is not the operator's; as a sentence may be split over the parts
/// of a message, what lies around the places where they meet; and what any of these says when it is decoded.
fn asked(parsed: &Parsed) -> Vec<Asked<'_>> {
    let leaves = parsed.leaves.iter().filter(|leaf| leaf.redactable).map(|leaf| (leaf, leaf.text.as_str(), false));
    let seams = parsed.joined.iter().flat_map(|joined| joined.seams(SEAM_BYTES).into_iter().map(|text| (&joined.leaf, text, true)));
    let mut asked = Vec::new();
    for (leaf, text, again) in leaves.chain(seams).filter(|(leaf, ..)| leaf.role != Role::System) {
        let (text, decoded) = read(text);
        asked.push(Asked { leaf, text, again });
        asked.extend(decoded.into_iter().map(|text| Asked { leaf, text: Cow::Owned(text), again: true }));
    }
    asked
}

/// Asks the guard, if there is one; the worst text counts. Texts near a known attack are noted, each with its place.
pub async fn screen(gate: &Gate, ledger: &mut Ledger, policy: &Policy, parsed: &Parsed) -> ModelSignal {
    let Some(guard) = &gate.guard else { return ModelSignal::Skipped };
    let began = Instant::now();
    let asked = unhurried(parsed.text_bytes(), || asked(parsed));
    if asked.is_empty() {
        return ModelSignal::Skipped;
    }
    let allowed = gate.timeouts.guard_for(asked.iter().map(|asked| asked.text.len()).sum());
    let inputs = asked.iter().map(|asked| Input { speaker: speaker(asked.leaf.role), text: asked.text.clone().into_owned() }).collect();
    // The deadline is the guard's to keep, and ours to hold it to.
    let answer = timeout(allowed, guard.classify(inputs, began + allowed)).await.unwrap_or(Err(Unavailable::Late));
    ledger.took(Stage::Guard, began);
    if let Err(reason) = &answer
        && gate.warnings.check().is_ok()
    {
        tracing::warn!(%reason, "the guard is not available");
    }
    let said = policy.on_known_attack();
    if let (Ok(answer), true) = (&answer, said > Action::Allow) {
        note_known(ledger, &asked, answer, said);
    }
    let signal = signal(answer, asked.len());
    if let ModelSignal::Unavailable { reason } = &signal {
        gate.metrics.guard_unavailable(reason);
    }
    signal
}

/// Notes each text near a known attack; of what is read again only those that no text before is near to.
fn note_known(ledger: &mut Ledger, asked: &[Asked<'_>], answer: &Answer, said: Action) {
    let mut noted = HashSet::new();
    for (asked, judged) in asked.iter().zip(&answer.judged) {
        let Some(near) = &judged.known else { continue };
        let is_new = noted.insert(&near.id);
        if is_new || !asked.again {
            ledger.found_known(asked.leaf, &near.id, said);
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
