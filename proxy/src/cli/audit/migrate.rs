//! `portcullis audit migrate`: ClickHouse's tables, made and brought up to date.

use std::path::PathBuf;

use anyhow::anyhow;
use portcullis_audit::ship::{self, Layout, ShipOptions};

use crate::cli::say;
use crate::config::clickhouse::{check_url, password};

/// Make the tables in ClickHouse, or bring them to the version of this gateway. May run again at any time, also while gateways run.
#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// The HTTP interface: http://host:8123 or https://host:8443
    #[arg(long, value_name = "URL", required_unless_present = "dry_run")]
    url: Option<String>,
    /// The database; made where there is none
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    database: String,
    /// Make the tables on all servers of this cluster, replicated and sharded (its servers need the macros shard and replica)
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Days that events are kept; set when the table is made
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    keep_days: u32,
    /// Days that hourly sums are kept; set when the tables are made
    #[arg(long, value_name = "DAYS", default_value_t = 1826)]
    keep_hourly_days: u32,
    /// A user who may create databases, and create, alter and replace tables and views
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The environment variable with the user's password
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print the statements for an empty server and run none
    #[arg(long)]
    dry_run: bool,
}

impl Migrate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let layout =
            Layout { cluster: self.cluster, days: self.keep_days, hourly_days: self.keep_hourly_days, ..Layout::new(self.database) };
        if self.dry_run {
            return say(ship::sql(&layout)?);
        }
        let url = self.url.unwrap_or_default();
        check_url(&url).map_err(|why| anyhow!("--url: {why}"))?;
        let password = password(self.password_env.as_deref()).map_err(|why| anyhow!("--password-env: {why}"))?;
        let options = ShipOptions { user: self.user, password, ca_file: self.ca_file, ..ShipOptions::new(url) };
        let done = ship::migrate(&options, &layout)?;
        if done.before == done.after {
            return say(format!("{}: version {}, nothing to do", layout.database, done.after));
        }
        say(format!("{}: from version {} to {}", layout.database, done.before, done.after))
    }
}
