//! The key that signs checkpoints (Ed25519, RFC 8032) and its public half: files, and the forms people write.
//!
//! The key file is PKCS#8 in PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it, readable by its owner only.
//! A public key is written as the base64 of its 32 bytes; PEM (`openssl pkey -pubout`) is read too.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::AuditError;

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;
/// PKCS#8 version 1 in front of the 32 bytes of an Ed25519 key (RFC 8410, section 7).
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands in front of the 32 bytes of a public key (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes read of a key file.
const FILE_BYTES_MAX: u64 = 4_096;

/// The key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key()).finish()
    }
}

impl SigningKey {
    /// Reads the key at `path`, or makes one there if there is no such file.
    ///
    /// # Errors
    /// `SigningKey` with the file and what to do.
    pub fn load_or_make(path: &Path) -> Result<Self, AuditError> {
        match fs::exists(path) {
            Ok(false) => Self::make(path).map_err(|error| broken(path, &error)),
            _ => Self::load(path),
        }
    }

    /// Reads the key at `path`.
    ///
    /// # Errors
    /// `SigningKey` with the file and what to do.
    pub fn load(path: &Path) -> Result<Self, AuditError> {
        let found = fs::metadata(path).map_err(|error| broken(path, &error))?;
        if found.len() > FILE_BYTES_MAX {
            return Err(broken(path, &"it is no key file"));
        }
        if found.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "audit signing key: others may read it; set its mode to 0600");
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| broken(path, &error))?);
        let der = from_pem(&text, "PRIVATE KEY").ok_or_else(|| broken(path, &"it is no PEM file with a PRIVATE KEY"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|error| broken(path, &format_args!("it holds no Ed25519 key in PKCS#8 ({error})")))?;
        Ok(Self { pair })
    }

    fn make(path: &Path) -> Result<Self, String> {
        let mut der = Zeroizing::new(PRIVATE_PREFIX.to_vec());
        der.resize(PRIVATE_PREFIX.len() + 32, 0);
        SystemRandom::new().fill(&mut der[PRIVATE_PREFIX.len()..]).map_err(|_| "the system gives no randomness".to_owned())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|error| error.to_string())?;
        let text = Zeroizing::new(to_pem(&der, "PRIVATE KEY"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| error.to_string())?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| error.to_string())?;
        Ok(Self { pair })
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

fn broken(path: &Path, what: &dyn fmt::Display) -> AuditError {
    AuditError::SigningKey { path: path.into(), cause: what.to_string() }
}

/// The public half of a signing key. Shown and parsed as base64; PEM is parsed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether `signature` over `message` is this key's.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }

    /// Returns the key in PEM, as other tools read it.
    pub fn to_pem(&self) -> String {
        to_pem(&[&PUBLIC_PREFIX[..], &self.0[..]].concat(), "PUBLIC KEY")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = match from_pem(text, "PUBLIC KEY") {
            Some(der) => der.strip_prefix(&PUBLIC_PREFIX[..]).map(<[u8]>::to_vec),
            None => BASE64.decode(text.trim()).ok(),
        };
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| "is no Ed25519 public key; write the 32 bytes as base64, or a PEM file".to_owned())
    }
}

fn to_pem(der: &[u8], label: &str) -> String {
    // An Ed25519 key fits one line of 64 characters.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn from_pem(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    BASE64.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = SigningKey::load_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = SigningKey::load_or_make(&path).unwrap();
        assert_eq!(made.public_key(), read.public_key());
        let signature = made.sign(b"text");
        assert!(read.public_key().verifies(b"text", &signature));
        assert!(!read.public_key().verifies(b"texu", &signature));
        let other = SigningKey::load_or_make(&folder.path().join("other")).unwrap().public_key();
        assert!(!other.verifies(b"text", &signature));
    }

    #[test]
    fn a_public_key_is_the_same_in_base64_and_in_pem() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_make(&folder.path().join("key")).unwrap().public_key();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_pem().parse(), Ok(key));
        for wrong in ["", "abc", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_another_tool_is_read() {
        // The key of RFC 8410, section 10.3.
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, pem).unwrap();
        assert_eq!(SigningKey::load(&path).unwrap().public_key(), public.parse().unwrap());
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for text in ["", "not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&path, text).unwrap();
            let error = SigningKey::load_or_make(&path).unwrap_err();
            assert!(error.to_string().contains("move it away"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(matches!(SigningKey::load_or_make(&folder.path().join("no/key")), Err(AuditError::SigningKey { .. })));
    }
}
