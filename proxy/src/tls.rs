//! Certificates and keys, read before they are needed: the TLS library behind the listeners and connections reads its files late and
//! panics on a bad one.

use std::path::Path;

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let name = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{name}: cannot be read as certificates in PEM"))?;
    if certificates.is_empty() {
        bail!("{name}: holds no certificate in PEM");
    }
    Ok(certificates)
}

/// Checks that the listener's certificate and key can be read and belong together.
///
/// # Errors
/// Names the files and what is wrong with them.
pub fn check(tls: &Tls) -> anyhow::Result<()> {
    let chain = certificates(&tls.certificate).context("tls.certificate")?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("tls.key: {}: cannot be read as a private key in PEM", tls.key.display()))?;
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("tls: {} and {} do not belong together", tls.certificate.display(), tls.key.display()))?;
    Ok(())
}
