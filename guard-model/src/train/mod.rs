//! Training: data, vocabulary, methods, the loop, and what is made of it.

mod adamw;
pub mod advice;
pub mod average;
mod batches;
mod checkpoint;
pub mod comparison;
pub mod data;
pub mod deepen;
pub mod fine_tune;
pub mod method;
pub(crate) mod random;
pub mod run;
pub mod start;
pub mod vocabulary;
