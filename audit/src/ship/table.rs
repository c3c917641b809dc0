//! ClickHouse's end: the connection, the version of its tables, and one insert, acknowledged or not.

use std::path::Path;
use std::time::Duration;

use clickhouse::{Client, Row};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::batch::Batch;
use super::error::ShipError;
use super::row::COLUMNS;
use super::{ShipOptions, migrate};
use crate::crash;

/// Time for a TCP connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Idle connections are given up before a server does so (3 s by default), which would look like a failed insert.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// What every insert says about itself. Acknowledged means written, once, and not in pieces; the views deduplicate by themselves.
///
/// A column of another type is an error and no conversion. A batch has no event twice, so the server need not look for some in it.
const INSERT_SETTINGS: [(&str, &str); 10] = [
    ("async_insert", "0"),
    ("input_format_native_allow_types_conversion", "0"),
    ("optimize_on_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("insert_distributed_sync", "1"),
    ("max_insert_block_size", "1048576"),
    ("min_insert_block_size_rows", "1048576"),
    ("min_insert_block_size_bytes", "268435456"),
];

/// The table `events` of one server.
pub(crate) struct Table {
    client: Client,
    database: String,
    timeout: Duration,
    /// The insert, with all columns by name: one that is not there any more is an error.
    sql: String,
}

impl Table {
    pub fn new(options: &ShipOptions) -> Result<Self, ShipError> {
        let client = client(options)?.with_database(&options.database);
        let columns: Vec<String> = COLUMNS.iter().map(|column| format!("`{}`", column.0)).collect();
        let sql = format!("INSERT INTO `events` ({}) FORMAT Native", columns.join(", "));
        Ok(Self { client, database: options.database.clone(), timeout: options.timeout, sql })
    }

    /// Asks whether the tables are those this program knows.
    ///
    /// # Errors
    /// `Old` and `Missing` before `portcullis audit migrate`; `Drift` where a column was added that the server cannot fill; whatever
    /// stands in the way of asking.
    pub async fn check(&self) -> Result<(), ShipError> {
        #[derive(Row, Deserialize)]
        struct Added {
            name: String,
        }
        let known: Vec<&str> = COLUMNS.iter().map(|column| column.0).collect();
        let sql =
            "SELECT name FROM system.columns WHERE database = ? AND table = 'events' AND default_kind = '' AND NOT has(?, name) LIMIT 1";
        self.in_time(async {
            migrate::check_version(&self.client, &self.database).await?;
            match self.client.query(sql).bind(&self.database).bind(&known).fetch_optional::<Added>().await? {
                Some(Added { name }) => Err(ShipError::Drift(format!("column `{}` was added without a default", name.escape_debug()))),
                None => Ok(()),
            }
        })
        .await
    }

    /// Inserts the events of a batch under its token; `Ok` is ClickHouse's word that they are written, now or by an earlier try.
    ///
    /// # Errors
    /// `Content` where a row is refused for what is in it; anything else says nothing about the rows.
    pub async fn insert(&self, batch: &mut Batch) -> Result<(), ShipError> {
        if let Some(refusal) = batch.unfit.take() {
            return Err(ShipError::Content(refusal));
        }
        self.in_time(async {
            let mut insert = self.client.insert_formatted_with(self.sql.as_str()).with_setting("insert_deduplication_token", &batch.token);
            for (name, value) in INSERT_SETTINGS {
                insert = insert.with_setting(name, value);
            }
            for block in batch.take_blocks() {
                insert.send_compressed(block).await?;
            }
            crash::point("inserting");
            Ok(insert.end().await?)
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ShipError>>) -> Result<T, ShipError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(ShipError::TimedOut(self.timeout)))
    }
}

/// A client without a database.
pub(crate) fn client(options: &ShipOptions) -> Result<Client, ShipError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_MAX));
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| ShipError::Options(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots(options.ca_file.as_deref())?)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_MAX).build(connector);
    let mut client = Client::with_http_client(http).with_url(&options.url);
    if let Some(user) = &options.user {
        client = client.with_user(user);
    }
    if let Some(password) = &options.password {
        client = client.with_password(password.as_str());
    }
    Ok(client)
}

/// The certificates of a file, or else the system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, ShipError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        // A machine without certificates can still use plain HTTP; over TLS it is told that the issuer is unknown.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().unwrap_or_default());
        return Ok(roots);
    };
    let failed = |what: String| ShipError::Certificates { path: path.into(), what };
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| failed(format!("cannot be read as certificates in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(failed("holds no certificate in PEM".into()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| failed(format!("holds a certificate that cannot be used: {error}")))?;
    }
    Ok(roots)
}
