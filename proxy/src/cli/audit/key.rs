//! `portcullis audit key`.

use std::path::PathBuf;

use portcullis_audit::{Reader, SigningKey};

use crate::cli::{say, say_note};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["store", "signing_key"]))]
pub(super) struct Key {
    /// The audit store: prints the public keys that signed for it, the newest last
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The file with the signing key: prints its public half
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// In PEM, for other tools
    #[arg(long)]
    pem: bool,
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let keys = match (&self.signing_key, &self.store) {
            (Some(path), _) => vec![SigningKey::load(path)?.public_key()],
            (None, Some(store)) => Reader::open(store)?.public_keys()?,
            (None, None) => Vec::new(),
        };
        if keys.is_empty() {
            say_note("no key has signed for this store yet; start the gateway on it once");
        }
        for key in keys {
            if self.pem { say(key.to_pem().trim_end())? } else { say(key)? }
        }
        Ok(())
    }
}
