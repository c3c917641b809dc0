//! Whose certificates are believed: the system's, or those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// A TLS client that believes the certificates of `ca`, or without it the system's.
pub(crate) fn client(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        // A system may have roots that nobody can read; others do.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(match ca {
            Some(path) => format!("ca: {}: holds no usable certificate in PEM", path.display()),
            None => "the system has no root certificates; install ca-certificates, or name a file under `ca`".into(),
        });
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of `ca`, or without it the system's.
pub(crate) fn certificates(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    match ca {
        None => rustls_native_certs::load_native_certs().map_err(|error| format!("the system's root certificates cannot be read: {error}")),
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("ca: {}: cannot be read as certificates in PEM: {error}", path.display())),
    }
}
