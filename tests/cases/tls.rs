//! TLS on both sides: callers over HTTP/1.1 and HTTP/2, and an upstream that is verified.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Output;

use harness::{Gateway, Setup, canned};
use tokio::process::Command;

/// A certificate for localhost and its key, in files.
struct Identity {
    folder: tempfile::TempDir,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("to write");
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("to write");
        Self { folder }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn setup(&self) -> Setup {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        Setup::echo().set("tls.certificate", text(&self.certificate())).set("tls.key", text(&self.folder.path().join("key.pem")))
    }
}

async fn curl(gateway: &Gateway, identity: &Identity, version: &str, key: &str, body: &serde_json::Value) -> Output {
    Command::new("curl")
        .args(["-sS", "-i", "-N", "--max-time", "10", version, "--noproxy", "*", "--cacert"])
        .arg(identity.certificate())
        .args(["-H", &format!("authorization: Bearer {key}"), "-H", "content-type: application/json", "-d", &body.to_string()])
        .arg(format!("https://localhost:{}/v1/chat/completions", gateway.address().port()))
        .output()
        .await
        .expect("curl; `make test` installs it")
}

#[tokio::test]
async fn callers_are_served_over_both_versions_whole_and_streamed() {
    let identity = Identity::new();
    let gateway = identity.setup().start().await;
    for (version, first_line) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let whole = curl(&gateway, &identity, version, &gateway.key().secret, &canned::chat("mail jane.doe@example.org")).await;
        let text = String::from_utf8_lossy(&whole.stdout).into_owned();
        assert!(text.starts_with(first_line) && text.contains("mail [EMAIL_ADDRESS]"), "{text} {whole:?}");
        let streamed = curl(&gateway, &identity, version, &gateway.key().secret, &canned::chat_stream("mail jane.doe@example.org")).await;
        let text = String::from_utf8_lossy(&streamed.stdout).into_owned();
        assert!(text.starts_with(first_line) && text.contains("[DONE]") && !text.contains("jane"), "{text}");
        let refused = curl(&gateway, &identity, version, "pk-wrong", &canned::chat("hi")).await;
        let text = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(text.contains(" 401") && text.contains("invalid_api_key") && text.contains("x-request-id"), "{text}");
    }
}

#[tokio::test]
async fn an_upstream_over_tls_is_used_when_its_certificate_is_trusted_and_not_otherwise() {
    let identity = Identity::new();
    let inner = identity.setup().start().await;
    let url = format!("https://localhost:{}", inner.address().port());
    let outer = |setup: Setup| setup.set("upstreams.0.credential_env", "UPSTREAM_KEY").env("UPSTREAM_KEY", &inner.key().secret);
    let trusting = outer(Setup::with_upstream(&url).set("upstreams.0.ca", identity.certificate().to_str().expect("a plain path")));
    let answer = trusting.start().await.say("mail jane.doe@example.org").await;
    assert_eq!((answer.status(), answer.content().as_str()), (200, "mail [EMAIL_ADDRESS]"));
    let wary = outer(Setup::with_upstream(&url)).start().await;
    let answer = wary.say("hi").await;
    answer.assert_error(502, "upstream_error");
    assert!(!answer.text().contains("localhost"), "an upstream's address is nobody's business");
}
