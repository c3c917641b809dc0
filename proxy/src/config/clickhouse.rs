//! `audit.clickhouse` as written, and as the shipper needs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_audit::ship::{BATCH_EVENTS_MAX, ShipOptions};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{credential, duration};

/// Where audit events are delivered to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClickHouseFile {
    url: String,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_env: Option<String>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    batch_events: Option<usize>,
    #[serde(default, deserialize_with = "some_duration")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    timeout: Option<Duration>,
}

fn some_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

impl ClickHouseFile {
    pub(crate) fn settings(self, base: &Path) -> Result<ShipOptions, String> {
        check_url(&self.url).map_err(|why| format!("audit.clickhouse.url: {why}"))?;
        let defaults = ShipOptions::new(self.url);
        let options = ShipOptions {
            database: self.database.unwrap_or(defaults.database),
            user: self.user,
            password: password(self.password_env.as_deref()).map_err(|why| format!("audit.clickhouse.password_env: {why}"))?,
            ca_file: self.ca_file.map(|ca| base.join(ca)),
            batch_events: self.batch_events.unwrap_or(defaults.batch_events),
            interval: self.interval.unwrap_or(defaults.interval),
            timeout: self.timeout.unwrap_or(defaults.timeout),
            url: defaults.url,
        };
        if options.batch_events == 0 || options.batch_events > BATCH_EVENTS_MAX {
            return Err(format!("audit.clickhouse.batch_events: {} is not from 1 to {BATCH_EVENTS_MAX}", options.batch_events));
        }
        Ok(options)
    }
}

/// The password in an environment variable, where one is named.
///
/// # Errors
/// The variable is not set, or holds nothing that can be sent.
pub fn password(variable: Option<&str>) -> Result<Option<Zeroizing<String>>, String> {
    variable.map(|variable| credential(variable).map(Zeroizing::new)).transpose()
}

/// Checks the address of ClickHouse's HTTP interface.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), String> {
    let shape = || format!("`{url}` is neither http://host:8123 nor https://host:8443");
    let uri: http::Uri = url.parse().map_err(|_| shape())?;
    let authority = uri.authority().ok_or_else(shape)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(shape());
    }
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err("user, password and database have settings of their own (user, password_env, database)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_one_of_the_http_interface_and_holds_no_secret() {
        for good in ["http://127.0.0.1:8123", "https://clickhouse.example.com:8443", "http://[::1]:8123/", "https://example.com/clickhouse"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["", "clickhouse", "tcp://a:9000", "http://user:pw@a", "http://a/?password=x"] {
            let why = check_url(bad).unwrap_err();
            assert!(!why.contains("pw") && !why.contains("password=x"), "{why}");
        }
    }
}
