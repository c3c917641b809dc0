//! `portcullis audit fingerprint`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use portcullis_audit::Fingerprint;

use crate::cli::say;
use crate::dialect::leaves::{self, Side};
use crate::json::Node;

/// Most bytes that are read of a request.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Print {
    /// The audit store whose key is used
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
}

impl Print {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = Fingerprint::load(&self.store)?;
        let mut body = Vec::new();
        std::io::stdin().take(REQUEST_BYTES_MAX).read_to_end(&mut body).context("standard input")?;
        let mut document = Node::parse(&body).map_err(|error| anyhow::anyhow!("standard input: {error}; give a request as JSON"))?;
        if !matches!(document, Node::Object(_)) {
            bail!("standard input: give a request as JSON, for example {{\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}");
        }
        let leaves = leaves::read(&mut document, Side::Request);
        say(key.of(leaves.iter().map(|leaf| (leaf.role.as_str(), leaf.text.as_str()))))
    }
}
