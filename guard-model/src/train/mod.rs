//! Training: data, vocabulary, methods, the loop.

mod adamw;
mod batches;
pub mod data;
pub mod method;
pub(crate) mod random;
pub mod run;
pub mod vocabulary;
