//! Portcullis: a gateway in front of model endpoints that screens every prompt and every answer.
//!
//! The path of a request is one function, [`pipeline::run`]; the other modules are its steps. `ARCHITECTURE.md` is the map.

pub mod admin;
mod alert_config;
pub mod answer;
mod audit_config;
pub mod back;
pub mod changes;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod echo;
pub mod edge;
pub mod freed;
pub mod gate;
pub mod guard;
pub mod held;
pub mod json;
pub mod kept;
pub mod keys;
pub mod limit;
pub mod load;
pub mod metrics;
pub mod models;
pub mod named;
pub mod notices;
pub mod pipeline;
pub mod policy_files;
pub mod receive;
pub mod record;
pub mod reload;
pub mod reply;
pub mod respond;
pub mod rollout;
pub mod server;
pub mod tls;
pub mod unrecorded;
pub mod upstream;
pub mod vault;
