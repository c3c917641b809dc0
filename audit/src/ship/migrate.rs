//! ClickHouse's tables: made and brought to the present version by numbered migrations, on one server or on a cluster.
//!
//! The files in `audit/clickhouse/` are templates; what stands between at signs is set here. `0000` runs every time, the others once,
//! in order, each noted in `schema_migrations` when all its statements are done. Every statement may run again.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::error::ShipError;
use super::{ShipOptions, table};

/// What runs before all others.
const FOUNDATION: &str = include_str!("../../clickhouse/0000_migrations.sql");
/// The migrations in order, the first with number 1. Never edited once released, only added to.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_events", include_str!("../../clickhouse/0001_events.sql")),
    ("0002_hourly", include_str!("../../clickhouse/0002_hourly.sql")),
    ("0003_guard", include_str!("../../clickhouse/0003_guard.sql")),
];
/// The version this program needs.
const VERSION: u32 = MIGRATIONS.len() as u32;
/// How a statement begins that is for clusters only.
const CLUSTER_ONLY: &str = "-- on a cluster";
/// Longest time events may be kept, days: what ClickHouse's `DateTime` can count to from the last time a row may have.
const DAYS_MAX: u32 = 13_000;

/// Where the tables go and how long they keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The database; made where there is none.
    pub database: String,
    /// The cluster on whose servers all of it is made, replicated and sharded; one server without replication when absent.
    pub cluster: Option<String>,
    /// Days that events are kept.
    pub days: u32,
    /// Days that hourly sums are kept.
    pub hourly_days: u32,
}

impl Layout {
    /// One server: events for a year, hourly sums for five.
    pub fn new(database: impl Into<String>) -> Self {
        Self { database: database.into(), cluster: None, days: 365, hourly_days: 1_826 }
    }

    fn check(&self) -> Result<(), ShipError> {
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
        if let Some(bad) = [Some(&self.database), self.cluster.as_ref()].into_iter().flatten().find(|name| !is_name(name)) {
            return Err(ShipError::Options(format!("`{}` is no name; write letters, digits and _", bad.escape_debug())));
        }
        if self.days == 0 || self.hourly_days == 0 || self.days > DAYS_MAX || self.hourly_days > DAYS_MAX {
            return Err(ShipError::Options(format!("the days to keep must be from 1 to {DAYS_MAX}")));
        }
        Ok(())
    }

    /// The statements of a template.
    fn statements(&self, template: &str) -> Vec<String> {
        let mut text = String::new();
        for (index, part) in template.split('@').enumerate() {
            // Every second part stands between at signs.
            text += &if index % 2 == 0 { part.to_owned() } else { self.word(part) };
        }
        let wanted = |statement: &&str| self.cluster.is_some() || !statement.starts_with(CLUSTER_ONLY);
        text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).filter(wanted).map(str::to_owned).collect()
    }

    fn word(&self, word: &str) -> String {
        let clustered = |table: &str| if self.cluster.is_some() { format!("{table}_local") } else { table.to_owned() };
        // The macros in braces are the server's own.
        let engine = |name: &str| match self.cluster {
            None => name.to_owned(),
            Some(_) => format!("Replicated{name}('/clickhouse/tables/{{shard}}/{{database}}/{{table}}', '{{replica}}')"),
        };
        match word {
            "database" => format!("`{}`", self.database),
            "cluster" => format!("`{}`", self.cluster.as_deref().unwrap_or_default()),
            "on_cluster" => self.cluster.as_ref().map_or_else(String::new, |name| format!(" ON CLUSTER `{name}`")),
            "days" => self.days.to_string(),
            "hourly_days" => self.hourly_days.to_string(),
            "events_data" => clustered("events"),
            "usage_data" => clustered("usage_hourly"),
            "rules_data" => clustered("rules_hourly"),
            "migrations_data" => clustered("schema_migrations"),
            "plain" => engine("MergeTree"),
            "replacing" => engine("ReplacingMergeTree"),
            "aggregating" => engine("AggregatingMergeTree"),
            "window" if self.cluster.is_some() => {
                "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800".into()
            }
            "window" => "non_replicated_deduplication_window = 10000".into(),
            // A word nobody knows stays as it is, and ClickHouse names it.
            other => format!("@{other}@"),
        }
    }

    fn note(&self, version: usize, name: &str) -> String {
        format!("INSERT INTO `{}`.schema_migrations (version, name) VALUES ({version}, '{name}')", self.database)
    }
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The version found.
    pub before: u32,
    /// The version now.
    pub after: u32,
}

/// Returns everything [`migrate`] would run on an empty server.
///
/// # Errors
/// `Options`.
pub fn sql(layout: &Layout) -> Result<String, ShipError> {
    layout.check()?;
    let mut all = layout.statements(FOUNDATION);
    for (version, (name, template)) in (1..).zip(MIGRATIONS) {
        all.extend(layout.statements(template));
        all.push(layout.note(version, name));
    }
    Ok(all.join(";\n\n") + ";")
}

/// Brings the tables to the version of this program. Blocks. A newer version is left as it is.
///
/// # Errors
/// What the server or the way to it says; running it again goes on where it ended.
pub fn migrate(options: &ShipOptions, layout: &Layout) -> Result<Migrated, ShipError> {
    layout.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ShipError::Options(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let client = table::client(options)?.with_setting("insert_distributed_sync", "1");
        run(&client, layout.statements(FOUNDATION)).await?;
        let before = version(&client, &layout.database).await?;
        for (version, (name, template)) in (1..).zip(MIGRATIONS).skip(before as usize) {
            run(&client, layout.statements(template)).await?;
            run(&client, vec![layout.note(version, name)]).await?;
        }
        Ok(Migrated { before, after: before.max(VERSION) })
    })
}

async fn run(client: &Client, statements: Vec<String>) -> Result<(), ShipError> {
    for statement in statements {
        client.query_raw(&statement).execute().await?;
    }
    Ok(())
}

/// Asks for the version of the tables, and says in the log when it is of a newer gateway.
///
/// # Errors
/// `Old` and `Missing` before `portcullis audit migrate`; whatever stands in the way of asking.
pub(crate) async fn check_version(client: &Client, database: &str) -> Result<(), ShipError> {
    let found = version(client, database).await?;
    if found < VERSION {
        return Err(ShipError::Old { found, known: VERSION });
    }
    if found > VERSION {
        tracing::warn!(found, known = VERSION, "ClickHouse's audit tables are of a newer gateway; update this one");
    }
    Ok(())
}

/// Asks for the version of the tables in `database`; 0 where no migration was noted.
async fn version(client: &Client, database: &str) -> Result<u32, ShipError> {
    #[derive(Row, Deserialize)]
    struct Version {
        version: u32,
    }
    let sql = format!("SELECT max(version) AS version FROM `{database}`.schema_migrations");
    Ok(client.query_raw(&sql).fetch_one::<Version>().await?.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_server_gets_plain_tables_and_nothing_is_left_unset() {
        let sql = sql(&Layout::new("audit")).unwrap();
        assert!(!sql.contains('@') && !sql.contains("CLUSTER") && !sql.contains("Distributed") && !sql.contains("Replicated"), "{sql}");
        for part in [
            "CREATE DATABASE IF NOT EXISTS `audit`;",
            "ENGINE = ReplacingMergeTree\nPARTITION BY toYYYYMM(ts)\nORDER BY (tenant, ts, event_id)\nTTL toDateTime(ts) + toIntervalDay(365)",
            "non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1",
            "VALUES (2, '0002_hourly')",
            "ALTER TABLE `audit`.events\n    ADD COLUMN IF NOT EXISTS guard_version LowCardinality(String)",
            "MODIFY COLUMN body CODEC(ZSTD(1))",
            "VALUES (3, '0003_guard')",
        ] {
            assert!(sql.contains(part), "{part} is not in {sql}");
        }
    }

    #[test]
    fn a_cluster_gets_replicated_and_distributed_tables() {
        let layout = Layout { cluster: Some("main".into()), ..Layout::new("audit") };
        let sql = sql(&layout).unwrap();
        for part in [
            "CREATE TABLE IF NOT EXISTS `audit`.events_local ON CLUSTER `main` (",
            "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')",
            "ENGINE = Distributed(`main`, `audit`, events_local, cityHash64(event_id))",
            "replicated_deduplication_window = 10000",
            "ALTER TABLE `audit`.events_local ON CLUSTER `main`\n    ADD COLUMN IF NOT EXISTS guard_version",
            "ALTER TABLE `audit`.events ON CLUSTER `main`\n    ADD COLUMN IF NOT EXISTS guard_version",
            "CREATE OR REPLACE VIEW `audit`.events_read ON CLUSTER `main` AS",
        ] {
            assert!(sql.contains(part), "{part} is not in {sql}");
        }
        assert!(!sql.contains('@') && !sql.contains("non_replicated"));
    }

    #[test]
    fn a_name_that_would_end_its_quotes_is_refused() {
        for bad in ["", "a`b", "a;b", "a b", "ä"] {
            assert!(matches!(sql(&Layout::new(bad)), Err(ShipError::Options(_))), "{bad}");
            let layout = Layout { cluster: Some(bad.into()), ..Layout::new("audit") };
            assert!(matches!(sql(&layout), Err(ShipError::Options(_))), "{bad}");
        }
        for days in [0, DAYS_MAX + 1] {
            assert!(sql(&Layout { days, ..Layout::new("audit") }).is_err());
        }
    }
}
