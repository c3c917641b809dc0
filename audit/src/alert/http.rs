//! One POST on one connection: no redirect is followed, no more of the answer is read than its bound, no connection is kept.
//! Time is bounded by whoever calls.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::alert::Failure;
use crate::alert::payload::Post;

/// Bytes read of an answer's body.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer's head and of what is read ahead.
const HEAD_BYTES_MAX: usize = 32 << 10;

pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: u16,
    /// How long the other side asks us to wait.
    pub retry_after: Option<Duration>,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Vec<u8>,
}

impl HttpClient {
    /// A client that believes the certificates of `ca`, or without it the system's.
    pub fn new(ca: Option<&Path>) -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(super::trust::client(ca)?).https_or_http().enable_http1().build();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0).retry_canceled_requests(false).http1_max_buf_size(HEAD_BYTES_MAX);
        Ok(Self { client: builder.build(connector) })
    }

    /// Sends a message and reads the answer. Drop the future to give it up.
    pub async fn post(&self, uri: Uri, post: &Post) -> Result<Response, Failure> {
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::from(post.body.clone())).map_err(|_| Failure::lasting("request", "a header cannot be sent"))?;
        let response = self.client.request(request).await.map_err(|error| {
            let class = if error.is_connect() { "connect" } else { "network" };
            Failure::passing(class, &innermost(&error))
        })?;
        let status = response.status().as_u16();
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            // The status is known; a body that breaks off changes nothing about that.
            let Ok(frame) = frame else { break };
            let Some(data) = frame.data_ref() else { continue };
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Response { status, retry_after: asked.map(Duration::from_secs), body })
    }
}

/// The error at the bottom: the outer ones say only that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
