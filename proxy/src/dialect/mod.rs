//! The OpenAI dialect: which requests there are, what may stand in them, and where in them text stands.
//!
//! [`request`] turns a body into a [`Parsed`] or refuses it; [`leaves`] finds every text in a document; [`sse`] reads event streams;
//! [`chunk`] takes a streamed answer apart and puts it together again.

pub mod chunk;
pub mod leaves;
pub mod request;
pub mod sse;

pub use leaves::{Leaf, Side};
pub use request::Parsed;
