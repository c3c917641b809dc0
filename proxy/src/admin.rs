//! The admin listener, on loopback only: is it alive, is it ready, what has it counted.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde_json::json;
use tokio::time::timeout;

use portcullis_audit::ship::Shipper;

use crate::gate::Gate;
use crate::unrecorded::OnFailure;

/// Serves `/healthz`, `/readyz` and `/metrics`.
pub struct Admin {
    /// The gate it tells about.
    pub gate: Arc<Gate>,
    /// The delivery to ClickHouse, if there is one.
    pub shipper: Option<Shipper>,
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(self: &Arc<Self>, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        session.set_keepalive(None);
        if !matches!(timeout(self.gate.timeouts.head, session.read_request()).await, Ok(Ok(true))) {
            return None;
        }
        let stopping = *shutdown.borrow();
        let (status, content_type, body) = match (session.req_header().method.as_str(), session.req_header().raw_path()) {
            ("GET", b"/healthz") => (200, "text/plain", self.health()),
            ("GET", b"/readyz") => self.ready(stopping),
            ("GET", b"/metrics") => (200, "text/plain; version=0.0.4", self.metrics()),
            _ => (404, "text/plain", b"there are /healthz, /readyz and /metrics\n".to_vec()),
        };
        let mut head = ResponseHeader::build(status, Some(2)).ok()?;
        head.insert_header("content-type", content_type).ok()?;
        head.insert_header("content-length", body.len().to_string()).ok()?;
        session.write_response_header(Box::new(head)).await.ok()?;
        session.write_response_body(Bytes::from(body), true).await.ok()?;
        None
    }
}

impl Admin {
    /// Alive in any case; `degraded` says that something beside the requests does not work, and what.
    fn health(&self) -> Vec<u8> {
        let audit = self.gate.store.stats();
        let audit = (!audit.healthy).then(|| format!("audit: {}", audit.last_error.unwrap_or("unknown")));
        let clickhouse = self.shipper.as_ref().and_then(|shipper| shipper.stats().degraded);
        let clickhouse = clickhouse.map(|degraded| format!("clickhouse: {}", degraded.class));
        let guard = self.gate.guard.as_ref().and_then(|guard| guard.model()).and_then(|model| model.degraded());
        let guard = guard.map(|(class, _)| format!("guard: {class}"));
        let degraded: Vec<String> = [audit, clickhouse, guard].into_iter().flatten().collect();
        if degraded.is_empty() { b"ok\n".to_vec() } else { format!("degraded: {}\n", degraded.join(", ")).into_bytes() }
    }

    /// Ready while not stopping and while decisions can be made durable, or need not be. An upstream that is down is told, but is no reason to take
    /// the gateway out of service: the others go on, and so do the refusals. Nor is ClickHouse: events wait for it in the store.
    fn ready(&self, stopping: bool) -> (u16, &'static str, Vec<u8>) {
        let store = self.gate.store.stats();
        let (audit, served) = (store.healthy, self.gate.on_failure == OnFailure::ServeAndCount);
        let upstreams: serde_json::Map<String, serde_json::Value> =
            self.gate.upstreams.iter().map(|upstream| (upstream.name.clone(), json!(state(upstream.is_up())))).collect();
        let ready = (audit || served) && !stopping;
        let state = if audit {
            "ok"
        } else if served {
            "degraded"
        } else {
            "failing"
        };
        let mut body = json!({"ready": ready, "audit": state, "stopping": stopping, "upstreams": upstreams});
        if let Some(class) = store.last_error.filter(|_| !audit) {
            body["audit_class"] = json!(class);
        }
        if let Some(shipper) = &self.shipper {
            let stats = shipper.stats();
            let lag = stats.lag(jiff::Timestamp::now().as_microsecond()).as_secs_f64();
            body["clickhouse"] = json!({"state": "ok", "backlog_events": stats.backlog, "lag_seconds": lag});
            if let Some(degraded) = stats.degraded {
                body["clickhouse"]["state"] = json!("degraded");
                body["clickhouse"]["class"] = json!(degraded.class);
                body["clickhouse"]["reason"] = json!(degraded.message);
            }
        }
        if let Some(model) = self.gate.guard.as_ref().and_then(|guard| guard.model()) {
            body["guard"] = match model.state() {
                Ok(state) => json!({"state": "ok", "version": state.version, "known_attacks": state.known_attacks}),
                Err(_) => json!({}),
            };
            if let Some((class, reason)) = model.degraded() {
                body["guard"]["state"] = json!("degraded");
                body["guard"]["class"] = json!(class);
                body["guard"]["reason"] = json!(reason);
            }
        }
        (if ready { 200 } else { 503 }, "application/json", format!("{body}\n").into_bytes())
    }

    fn metrics(&self) -> Vec<u8> {
        let gate = &self.gate;
        gate.metrics.audit(&gate.store.stats());
        if let Some(shipper) = &self.shipper {
            gate.metrics.delivery(&shipper.stats());
        }
        if let Some(alerts) = &gate.alerts {
            gate.metrics.alerts(alerts);
        }
        if let Some(model) = gate.guard.as_ref().and_then(|guard| guard.model()) {
            gate.metrics.guard_stands(model.state().ok().as_ref());
        }
        let used = |total: usize, left: usize| i64::try_from(total.saturating_sub(left)).unwrap_or(i64::MAX);
        gate.metrics.memory_in_use.set(used(gate.limits.memory_bytes, gate.memory.left()));
        gate.metrics.connections.set(used(gate.limits.connections, gate.connections.left()));
        for upstream in &gate.upstreams {
            if let Some(up) = upstream.is_up() {
                gate.metrics.upstream_state(&upstream.name, up);
            }
        }
        gate.metrics.text()
    }
}

fn state(up: Option<bool>) -> &'static str {
    match up {
        None => "unknown",
        Some(true) => "up",
        Some(false) => "down",
    }
}
