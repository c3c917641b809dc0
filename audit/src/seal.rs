//! Sealing the texts that an event keeps, with a key of the data subject whose text it is.
//!
//! AES-256-GCM (NIST SP 800-38D). Sealed is `base64( nonce || ciphertext || tag )`; authenticated with it are the event's id and the
//! field's name, so that a sealed text cannot be moved. The nonce is taken from an HMAC-SHA-256 of id, name and text under a key of its
//! own: the same event sealed again is the same, and no nonce serves two texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use zeroize::Zeroizing;

use crate::Event;

/// What is shown of a text whose key was destroyed.
pub const ERASED: &str = "[erased]";
/// Bytes of a subject's key.
pub(crate) const KEY_BYTES: usize = 32;

/// The key of one data subject.
pub(crate) struct SubjectKey {
    sealing: LessSafeKey,
    nonces: hmac::Key,
}

impl SubjectKey {
    /// Derives what is needed from the key's bytes. `None` only where the cipher refuses a key of its own length.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let derive = |purpose: &[u8]| Zeroizing::new(hmac::sign(&root, purpose).as_ref().to_vec());
        let sealing = UnboundKey::new(&AES_256_GCM, &derive(b"portcullis-seal-v1")).ok()?;
        Some(Self { sealing: LessSafeKey::new(sealing), nonces: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"portcullis-nonce-v1")) })
    }

    /// Puts the event's redacted texts into their sealed form. `None` where the cipher fails; then the event is not to be stored.
    pub fn seal(&self, event: &mut Event) -> Option<()> {
        for (name, text, sealed) in [
            ("redacted_prompt", &mut event.redacted_prompt, &mut event.sealed_prompt),
            ("redacted_answer", &mut event.redacted_answer, &mut event.sealed_answer),
        ] {
            if let Some(text) = text.take() {
                *sealed = Some(self.seal_text(&about(&event.event_id, name), &text)?);
            }
        }
        Some(())
    }

    fn seal_text(&self, about: &[u8], text: &str) -> Option<String> {
        let mut context = hmac::Context::with_key(&self.nonces);
        context.update(about);
        context.update(text.as_bytes());
        let mut sealed = context.sign().as_ref().get(..NONCE_LEN)?.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
        let mut inner = text.as_bytes().to_vec();
        self.sealing.seal_in_place_append_tag(nonce, Aad::from(about), &mut inner).ok()?;
        sealed.extend(inner);
        Some(BASE64.encode(sealed))
    }

    fn open_text(&self, about: &[u8], sealed: &str) -> Option<String> {
        let mut bytes = BASE64.decode(sealed).ok()?;
        let (nonce, inner) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.sealing.open_in_place(nonce, Aad::from(about), inner).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// Whether the event has a sealed text.
pub(crate) fn is_sealed(event: &Event) -> bool {
    event.sealed_prompt.is_some() || event.sealed_answer.is_some()
}

/// Puts the event's sealed texts back into words; [`ERASED`] where the key is gone or is not theirs.
pub(crate) fn open(key: Option<&SubjectKey>, event: &mut Event) {
    for (name, text, sealed) in [
        ("redacted_prompt", &mut event.redacted_prompt, &mut event.sealed_prompt),
        ("redacted_answer", &mut event.redacted_answer, &mut event.sealed_answer),
    ] {
        if let Some(sealed) = sealed.take() {
            let opened = key.and_then(|key| key.open_text(&about(&event.event_id, name), &sealed));
            *text = Some(opened.unwrap_or_else(|| ERASED.to_owned()));
        }
    }
}

/// What is authenticated with a sealed text. The name is fixed, so that nothing needs to stand between the two.
fn about(event_id: &str, name: &str) -> Vec<u8> {
    [event_id.as_bytes(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn event() -> Event {
        Event { redacted_prompt: Some("prompt 中文".into()), redacted_answer: Some(String::new()), ..Event::new(Kind::Decision, "r") }
    }

    #[test]
    fn a_sealed_event_opens_with_its_key_only_and_in_its_place_only() {
        let (key, other) = (SubjectKey::new(&[1; 32]).unwrap(), SubjectKey::new(&[2; 32]).unwrap());
        let plain = event();
        let mut sealed = plain.clone();
        key.seal(&mut sealed).unwrap();
        assert!(is_sealed(&sealed) && sealed.redacted_prompt.is_none());
        assert!(!serde_json::to_string(&sealed).unwrap().contains("prompt 中文"));
        let opened = |key: Option<&SubjectKey>, event: &Event| {
            let mut event = event.clone();
            open(key, &mut event);
            (event.redacted_prompt, event.redacted_answer)
        };
        assert_eq!(opened(Some(&key), &sealed), (plain.redacted_prompt.clone(), plain.redacted_answer.clone()));
        let erased = (Some(ERASED.to_owned()), Some(ERASED.to_owned()));
        let swapped = Event { sealed_prompt: sealed.sealed_answer.clone(), sealed_answer: sealed.sealed_prompt.clone(), ..sealed.clone() };
        let moved = Event { event_id: "another".into(), ..sealed.clone() };
        let spoilt = Event { sealed_prompt: Some("AAAA".into()), sealed_answer: Some("no base64".into()), ..sealed.clone() };
        for (key, event) in [(Some(&other), &sealed), (None, &sealed), (Some(&key), &swapped), (Some(&key), &moved), (Some(&key), &spoilt)]
        {
            assert_eq!(opened(key, event), erased);
        }
    }

    #[test]
    fn the_same_event_is_sealed_the_same_and_no_two_texts_alike() {
        let key = SubjectKey::new(&[1; 32]).unwrap();
        let sealed = |event: &Event| {
            let mut event = event.clone();
            key.seal(&mut event).unwrap();
            event.sealed_prompt.unwrap()
        };
        let first = event();
        assert_eq!(sealed(&first), sealed(&first));
        assert_ne!(sealed(&first)[..16], sealed(&Event { redacted_prompt: Some("other".into()), ..first.clone() })[..16]);
        assert_ne!(sealed(&first)[..16], sealed(&event())[..16], "another event with the same text");
    }
}
