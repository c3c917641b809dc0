//! `GET /v1/models`: which models this caller may name.

use pingora::protocols::http::ServerSession;
use portcullis_policies::{ModelSignal, decide};
use tokio::time::timeout;

use crate::back::note_answer;
use crate::edge::Route;
use crate::gate::{Caller, Gate};
use crate::json::Node;
use crate::pipeline::{Halt, durable};
use crate::record::Ledger;
use crate::reply::No;
use crate::respond::{self, or_gone, unwritable};
use crate::upstream::{AnswerKind, Upstream};

/// Answers with the configured names, and for `*` what its upstream lists, as far as this key may use them.
pub async fn list(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str, caller: &Caller) -> Result<(), Halt> {
    let decision = decide(&caller.held.on(Route::Models).policy, &[], &[], &ModelSignal::Skipped);
    let commit = ledger.decide(&decision, &ModelSignal::Skipped, None);
    let mut names: Vec<String> = gate.models.keys().filter(|name| *name != "*").cloned().collect();
    let mut listed_names = Ok(Vec::new());
    if let Some(upstream) = gate.models.get("*").and_then(|index| gate.upstreams.get(*index)) {
        let listed = timeout(gate.timeouts.first_byte, listed(gate, upstream, request_id));
        let listed = or_gone(session, listed).await?.unwrap_or(Err(No::UpstreamTimeout("listing its models")));
        listed_names = gate.counted(upstream, listed);
    }
    durable(gate, ledger, commit).await?;
    names.extend(listed_names?);
    names.retain(|name| caller.record.allows(name));
    names.sort();
    names.dedup();
    let data: Vec<serde_json::Value> =
        names.iter().map(|name| serde_json::json!({"id": name, "object": "model", "created": 0, "owned_by": "portcullis"})).collect();
    let body = serde_json::json!({"object": "list", "data": data}).to_string().into_bytes();
    note_answer(ledger, body.len(), None);
    respond::json(session, request_id, body).await.map_err(|e| unwritable(&e))?;
    ledger.complete("ok", Some(200), None);
    Ok(())
}

/// The model names an upstream lists; only the names are taken over, and only plain ones.
async fn listed(gate: &Gate, upstream: &Upstream, request_id: &str) -> Result<Vec<String>, No> {
    let mut exchange = upstream.list_models(request_id, &gate.timeouts).await?;
    if exchange.head(gate.timeouts.first_byte).await? != AnswerKind::Json {
        return Err(No::Upstream("its list of models is not JSON"));
    }
    let mut body = Vec::new();
    while let Some(piece) = exchange.piece().await? {
        if body.len() + piece.len() > gate.limits.sse_event_bytes {
            return Err(No::Upstream("its list of models is too large"));
        }
        body.extend_from_slice(&piece);
    }
    upstream.release(exchange).await;
    let document = Node::parse(&body).map_err(|_| No::Upstream("its list of models is not valid JSON"))?;
    let plain = |name: &str| name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b));
    Ok(document
        .field("data")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|model| model.field("id").and_then(Node::as_str))
        .filter(|name| plain(name))
        .map(str::to_owned)
        .collect())
}
