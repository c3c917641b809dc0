//! A request body, parsed once at the edge into a form that holds only what the dialect knows.
//!
//! A field that is not in the table of its route is refused, and every parameter has its range: what reaches the upstream is what
//! was understood here. That closes the doors that are opened by fields a gateway passes on unread (`base_url`, `extra_body`, a
//! huge `n`, images fetched by the backend).

use portcullis_policies::{Cleared, Policy, Role};

use super::fields::{self, bad};
use super::joined::{Joined, join};
use super::leaves::{self, Leaf, Side};
use crate::edge::Route;
use crate::json::Node;
use crate::reply::No;

/// Fields of `metadata` that name a conversation.
const SESSION_FIELDS: [&str; 2] = ["conversation_id", "session_id"];

/// A request that is well formed, with every text it holds.
#[derive(Debug)]
pub struct Parsed {
    document: Node,
    /// Every text leaf, in the order of the document.
    pub leaves: Vec<Leaf>,
    /// Texts that stand in several leaves; screened for what crosses their edges.
    pub joined: Vec<Joined>,
    /// The model asked for.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
}

/// A body that may be forwarded. Only [`Parsed::rewrite`] makes one, and only from what `decide` cleared.
#[derive(Debug)]
pub struct ClearedBody {
    /// The JSON to send.
    pub bytes: Vec<u8>,
}

impl Parsed {
    /// Reads the body of a request to `route`. `policy` says which parts that cannot be screened may pass.
    ///
    /// # Errors
    /// [`No::BadField`] or [`No::Unscreenable`] with the path of the field.
    pub fn read(route: Route, body: &[u8], policy: &Policy) -> Result<Self, No> {
        let mut document = Node::parse(body).map_err(|e| bad("body", e.to_string()))?;
        let fields = match &document {
            Node::Object(fields) => fields,
            _ => return Err(bad("body", "must be a JSON object")),
        };
        fields::check(route, fields, policy)?;
        let model = document.field("model").and_then(Node::as_str).unwrap_or_default().to_owned();
        let stream = document.field("stream") == Some(&Node::Bool(true));
        let leaves = leaves::read(&mut document, Side::Request);
        let joined = join(&leaves);
        Ok(Self { document, leaves, joined, model, stream })
    }

    /// Bytes of text found.
    pub fn text_bytes(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.text.len()).sum()
    }

    /// What tells this conversation from another: the session it names itself, or the text of its first message by a user, which comes
    /// again with each request.
    pub fn conversation(&self) -> (&'static str, &str) {
        let named = |name| self.document.field("metadata").and_then(|metadata| metadata.field(name)).and_then(Node::as_str);
        if let Some(session) = SESSION_FIELDS.into_iter().find_map(named) {
            return ("session", session);
        }
        let said = |leaf: &&Leaf| leaf.role == Role::User && leaf.pointer.starts_with("/messages/") && leaf.pointer.contains("/content");
        let first = self.leaves.iter().find(said).or(self.leaves.iter().find(|leaf| leaf.redactable));
        ("beginning", first.map_or("", |leaf| &leaf.text))
    }

    /// The body to forward: this request with the redactions that go with its clearance.
    pub fn rewrite(mut self, cleared: &Cleared) -> ClearedBody {
        assert_eq!(cleared.len(), self.leaves.len() + self.joined.len(), "a clearance is for exactly the texts that were screened");
        leaves::rewrite(&mut self.document, Side::Request, |index| cleared.redacted(index));
        ClearedBody { bytes: self.document.to_bytes() }
    }
}
