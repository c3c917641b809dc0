//! `portcullis audit erase`.

use std::path::PathBuf;

use portcullis_audit::erase;

use crate::cli::say;

#[derive(Debug, clap::Args)]
pub(super) struct Erase {
    /// The audit store; works while the gateway runs
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Whose texts
    #[arg(long)]
    tenant: String,
    /// Only those of this key id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

impl Erase {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let destroyed = erase(&self.store, &self.tenant, self.key.as_deref())?;
        let whose = self.key.map_or_else(|| self.tenant.clone(), |key| format!("{}/{key}", self.tenant));
        if destroyed == 0 {
            return say(format!("no text of {} is stored with a key: nothing to erase", whose.escape_debug()));
        }
        say(format!(
            "{destroyed} keys of {} are destroyed: the texts stored with them can never be read again. Copies of {}.keys elsewhere keep \
             theirs. The gateway puts it on record within seconds, or when it starts next",
            whose.escape_debug(),
            self.store.display()
        ))
    }
}
