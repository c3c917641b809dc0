//! Putting changed files of the guard in force while requests run: the known attacks, and the model itself.
//!
//! A loop of its own beside that of the policies: a model takes seconds to load, and a revoked key does not wait for it. A file is read
//! when it has changed and come to rest, and all are at SIGHUP. What is broken changes nothing: what was before stays in force, and a log
//! line and a counter say so. What the guard cannot take just now is tried again at the next look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use portcullis_guard_model::manifest::MANIFEST;

use super::{GuardSettings, Model, ReloadError};
use crate::gate::Gate;
use crate::reload::{TICK, TICKS_PER_LOOK, Watch};

/// The files of a guard, as they looked before they were read for the start.
#[derive(Clone)]
pub struct Files {
    weights: Watch,
    known: Watch,
}

impl Files {
    /// Looks at the files that the configuration names; `None` where the guard has none.
    pub fn new(settings: &GuardSettings) -> Option<Self> {
        let GuardSettings::Model(model) = settings else { return None };
        // Written last, it names all other files with their hashes.
        Some(Self { weights: Watch::of([model.path.join(MANIFEST)]), known: Watch::of(model.known.iter().cloned()) })
    }
}

/// The service that watches.
pub struct Watching {
    /// Whose guard is watched.
    pub gate: Arc<Gate>,
    /// Its files.
    pub files: Option<Files>,
    /// Set by SIGHUP.
    pub hangup: Arc<AtomicBool>,
}

#[async_trait]
impl BackgroundService for Watching {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Some(model) = self.gate.guard.as_deref().and_then(|guard| guard.model()) else { return };
        let Some(Files { mut weights, mut known }) = self.files.clone() else { return };
        for tick in 1_u32.. {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = shutdown.changed() => return,
            }
            let told = self.hangup.swap(false, Ordering::Relaxed);
            if told || tick % TICKS_PER_LOOK == 0 {
                self.look(model, told, &mut weights, &mut known).await;
            }
        }
    }
}

impl Watching {
    async fn look(&self, model: &Model, told: bool, weights: &mut Watch, known: &mut Watch) {
        if weights.has_changed() || told {
            weights.is_read();
            match model.reload().await {
                Ok(version) => tracing::info!(%version, "the guard's model was read again; it is in force"),
                Err(error) => self.failed("model", &error, weights),
            }
        }
        if !model.settings.known.is_empty() && (known.has_changed() || told) {
            known.is_read();
            match model.reload_known().await {
                Ok(attacks) => tracing::info!(attacks, "the known attacks were read again; they are in force"),
                Err(error) => self.failed("known", &error, known),
            }
        }
    }

    fn failed(&self, what: &'static str, error: &ReloadError, watch: &mut Watch) {
        if matches!(error, ReloadError::Later(_)) {
            watch.forget_unless(false);
            if self.gate.warnings.check().is_ok() {
                tracing::warn!(what, %error, "the guard could not take its changed files; they are tried again");
            }
            return;
        }
        tracing::error!(what, %error, "the guard's changed files are broken; those before stay in force");
        self.gate.metrics.guard_reload_failed(what);
    }
}
