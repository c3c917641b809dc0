//! `portcullis report`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use portcullis_audit::Against;
use portcullis_audit::report::{Answer, Catalogue, Embedded, Form, Format, Lang, Period, RuleTags, Scope, Source as _, Warehouse, render};
use portcullis_audit::ship::{self, ShipOptions};
use portcullis_policies::Policy;

use super::audit::{progress, public_key};
use super::{say_note, say_text};
use crate::config::Settings;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["store", "config"]))]
pub(super) struct Report {
    /// The first moment: 2026-11-01 or 2026-11-01T08:00:00Z (UTC)
    #[arg(long, value_name = "T")]
    from: Option<String>,
    /// The first moment after it; now when left out
    #[arg(long, value_name = "T")]
    to: Option<String>,
    /// Instead of --from: how long, such as 7d, 24h, 4w
    #[arg(long, value_name = "LENGTH")]
    last: Option<String>,
    /// Only this tenant's events
    #[arg(long)]
    tenant: Option<String>,
    /// Only those of this key id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// The form: table, json, csv, html
    #[arg(long, default_value = "table")]
    format: Format,
    /// The language of table and html: en, zh
    #[arg(long, default_value = "en")]
    lang: Lang,
    /// Where to; made new or written anew, for its owner only. Standard output when left out
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the events are read. Without it: ClickHouse where --config has audit.clickhouse and nothing below asks for the store's proof;
    /// otherwise the store
    #[arg(long)]
    source: Option<Origin>,
    /// The audit store; works while the gateway runs. Without it: that of --config
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The gateway's configuration: its store, its ClickHouse, and its policies for the grouping by framework
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A policy whose rules' tags group the findings by framework; may be repeated. Without it: those of --config
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Only checkpoints of this key count: base64 or a file with it, as `audit key` prints it; may be repeated
    #[arg(long = "public-key", value_name = "FILE|BASE64")]
    public_keys: Vec<String>,
    /// Checkpoints kept elsewhere. Without it: <store>.checkpoints
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
}

/// Where a report's events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Origin {
    /// The audit store on this machine: proves the chain
    Store,
    /// The ClickHouse that the gateways deliver to: all of them, and fast; proves nothing
    Clickhouse,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now().as_microsecond();
        let period = Period::parse(self.from.as_deref(), self.to.as_deref(), self.last.as_deref(), now).map_err(|error| anyhow!(error))?;
        let scope = Scope { period, tenant: self.tenant.clone(), key_id: self.key.clone() };
        let settings = self.config.as_deref().map(Settings::load).transpose()?;
        let catalogue = self.catalogue(settings.as_ref())?;
        let answer = match self.clickhouse(settings.as_ref())? {
            Some(options) => clickhouse_answer(options, settings.as_ref(), &scope)?,
            None => self.store_answer(settings.as_ref(), &scope)?,
        };
        let text = render(&scope, &answer, &Form { format: self.format, lang: self.lang, catalogue: catalogue.as_ref(), made_us: now });
        let Some(path) = &self.out else { return say_text(&text) };
        write(path, &text).with_context(|| format!("{}: cannot be written", path.display()))?;
        let chain = answer.chain.map_or("not checked", |chain| chain.standing.as_str());
        say_note(&format!("{}: {} events, chain {chain}", path.display(), answer.report.events));
        Ok(())
    }

    /// The ClickHouse to ask; `None`: the store is read.
    fn clickhouse(&self, settings: Option<&Settings>) -> anyhow::Result<Option<ShipOptions>> {
        let of_store = self.store.is_some() || self.checkpoints.is_some() || !self.public_keys.is_empty();
        let configured = settings.and_then(|settings| settings.clickhouse.clone());
        match self.source {
            Some(Origin::Store) => Ok(None),
            None => Ok(configured.filter(|_| !of_store)),
            Some(Origin::Clickhouse) if of_store => bail!("--store, --public-key and --checkpoints are of --source store"),
            Some(Origin::Clickhouse) => {
                let options = configured.ok_or_else(|| anyhow!("--source clickhouse: name a --config with audit.clickhouse"))?;
                Ok(Some(options))
            }
        }
    }

    fn store_answer(&self, settings: Option<&Settings>, scope: &Scope) -> anyhow::Result<Answer> {
        let Some(store) = self.store.as_deref().or(settings.map(|settings| settings.audit_path.as_path())) else {
            bail!("name --store or --config");
        };
        let trusted = self.public_keys.iter().map(|word| public_key(word)).collect::<anyhow::Result<Vec<_>>>()?;
        let against = Against { trusted: &trusted, checkpoints: self.checkpoints.as_deref() };
        let (bar, mut moved) = progress();
        let answer = Embedded { path: store, against }.answer(scope, &mut moved);
        bar.finish_and_clear();
        Ok(answer?)
    }

    /// The rules of the policies named, or else of the configuration's.
    fn catalogue(&self, settings: Option<&Settings>) -> anyhow::Result<Option<Catalogue>> {
        let mut paths: Vec<&Path> = self.policies.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            paths.extend(settings.into_iter().flat_map(Settings::policy_files).map(|(_, _, path)| path));
            paths.sort_unstable();
            paths.dedup();
        }
        let mut catalogue = Catalogue::default();
        for path in &paths {
            let policy = Policy::load(path)?;
            catalogue.versions.push(policy.version().to_owned());
            catalogue.rules.extend(policy.rules().map(|rule| RuleTags { rule: rule.id.clone(), tags: rule.tags.clone() }));
        }
        Ok((!paths.is_empty()).then_some(catalogue))
    }
}

fn clickhouse_answer(options: ShipOptions, settings: Option<&Settings>, scope: &Scope) -> anyhow::Result<Answer> {
    let (bar, mut moved) = progress();
    let answer = Warehouse::new(options).answer(scope, &mut moved);
    bar.finish_and_clear();
    let answer = answer?;
    // The store may be of another machine; what it says is a help only.
    if let Some(missing) = settings.and_then(|settings| ship::missing(&settings.audit_path).ok()).filter(|missing| missing.any()) {
        say_note(&format!(
            "of this gateway {} events are not delivered yet and {} in quarantine; they are in no number",
            missing.undelivered, missing.quarantined
        ));
    }
    Ok(answer)
}

/// Writes beside and renames, so that nobody reads half a report.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&part, path));
    if renamed.is_err() {
        drop(std::fs::remove_file(&part));
    }
    renamed
}
