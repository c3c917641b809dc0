//! The OpenAI dialect: which requests there are, what may stand in them, and where in them text stands.
//!
//! [`request`] turns a body into a [`Parsed`] or refuses it (`fields` and `messages` say what may stand in it); [`leaves`] finds every
//! text in a document, [`joined`] those that stand in several pieces; [`sse`] reads event streams; [`chunk`] takes a streamed answer
//! apart and puts it together again.

pub mod chunk;
mod fields;
pub mod joined;
pub mod leaves;
mod messages;
pub mod request;
pub mod sse;

pub use leaves::{Leaf, Side};
pub use request::Parsed;
