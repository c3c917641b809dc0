//! The guard in the gateway: a scripted one, or a model from a folder, put in force at the start and again when its files change.

mod ask;
mod plain;
mod read;
mod settings;
mod watch;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use anyhow::{Context as _, bail};
use portcullis_guard_model::{
    Answer, Batcher, CircuitState, Classifier as _, Input, KnownAttack, News, Scripted, Source, State, SwapError, Unavailable, read_known,
};

use crate::freed;

pub use ask::{Heard, screen, signal, speaker};
pub use read::read;
pub use settings::{GuardFile, GuardSettings, ModelSettings, OnStartFailure, default_threads};
pub use watch::{Files, Watching};

/// Hears what happens to the model.
pub type Told = Arc<dyn Fn(News) + Send + Sync>;
/// Opens the model of a folder.
type Open = fn(&ModelSettings) -> anyhow::Result<Source>;

/// The guard.
pub enum Guard {
    /// One that follows a script.
    Scripted(Scripted),
    /// A model.
    Model(Box<Model>),
}

/// A model, or the reason why there is none.
pub struct Model {
    settings: ModelSettings,
    told: Told,
    open: Open,
    seat: RwLock<Result<Arc<Batcher>, String>>,
}

/// Why changed files of the guard are not put in force; what was before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The files are wrong.
    #[error("{0:#}")]
    Files(anyhow::Error),
    /// The guard could not take them now; it may later.
    #[error("{0}")]
    Later(String),
}

impl Guard {
    /// Starts the guard that the configuration names, if it names one. A model is loaded, warmed up and has read the known attacks when
    /// this returns.
    ///
    /// # Errors
    /// What is wrong with a file, unless the configuration says to start without the model and to answer that it is unavailable.
    pub fn start(settings: &GuardSettings, told: Told) -> anyhow::Result<Option<Self>> {
        match settings {
            GuardSettings::Off => Ok(None),
            GuardSettings::Scripted(script) => Ok(Some(Self::Scripted(Scripted::new(script.clone())))),
            GuardSettings::Model(settings) => Model::start(settings.clone(), told, source).map(|model| Some(Self::Model(Box::new(model)))),
        }
    }

    /// Judges texts before `deadline`.
    ///
    /// # Errors
    /// Why there is no verdict.
    pub async fn classify(&self, inputs: Vec<Input>, deadline: Instant) -> Result<Answer, Unavailable> {
        match self {
            Self::Scripted(scripted) => scripted.classify(inputs, deadline).await,
            Self::Model(model) => model.batcher().map_err(Unavailable::Failed)?.classify(inputs, deadline).await,
        }
    }

    /// The model, if it is one.
    pub fn model(&self) -> Option<&Model> {
        match self {
            Self::Scripted(_) => None,
            Self::Model(model) => Some(model),
        }
    }
}

impl Model {
    fn start(settings: ModelSettings, told: Told, open: Open) -> anyhow::Result<Self> {
        let started = started(&settings, &told, open);
        if let (Err(error), OnStartFailure::Unavailable) = (&started, settings.on_start_failure) {
            let seat = RwLock::new(Err(format!("{error:#}")));
            tracing::error!(error = %format!("{error:#}"), "the guard did not start; requests are told that it is unavailable");
            return Ok(Self { settings, told, open, seat });
        }
        Ok(Self { seat: RwLock::new(Ok(started?)), settings, told, open })
    }

    fn batcher(&self) -> Result<Arc<Batcher>, String> {
        self.seat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The batcher, if its thread runs.
    fn alive(&self) -> Option<Arc<Batcher>> {
        self.batcher().ok().filter(|batcher| !batcher.state().is_dead)
    }

    /// How the model stands, or why there is none.
    ///
    /// # Errors
    /// The reason.
    pub fn state(&self) -> Result<State, String> {
        self.batcher().map(|batcher| batcher.state())
    }

    /// What does not work, in a word for health and one for people.
    pub fn degraded(&self) -> Option<(&'static str, String)> {
        match self.state() {
            Err(reason) => Some(("not_loaded", reason)),
            Ok(state) if state.is_dead => Some(("dead", "its thread has ended; start the gateway again".into())),
            Ok(state) if state.circuit != CircuitState::Closed => Some(("circuit_open", "the model failed several times in a row".into())),
            Ok(_) => None,
        }
    }

    /// Reads the known attacks again and puts them in force.
    ///
    /// # Errors
    /// [`ReloadError`]; the attacks before stay in force.
    pub async fn reload_known(&self) -> Result<usize, ReloadError> {
        // Read off the runtime's thread: the file may be long.
        let files = self.settings.known.clone();
        let attacks = tokio::task::spawn_blocking(move || known(&files)).await.map_err(|e| ReloadError::Later(e.to_string()))?;
        let attacks = attacks.map_err(ReloadError::Files)?;
        let count = attacks.len();
        let Some(batcher) = self.alive() else { return self.restart().await.map(|()| count) };
        batcher.replace_known(attacks).await.map_err(reload_error)?;
        Ok(count)
    }

    /// Reads the model again and puts it in force, if it is another version or there was none. Gives the version in force.
    ///
    /// # Errors
    /// [`ReloadError`]; the model before stays in force.
    pub async fn reload(&self) -> Result<Arc<str>, ReloadError> {
        if let Some(batcher) = self.alive() {
            let (settings, open) = (self.settings.clone(), self.open);
            let source = tokio::task::spawn_blocking(move || open(&settings)).await.map_err(|e| ReloadError::Later(e.to_string()))?;
            let source = source.map_err(ReloadError::Files)?;
            if source.version != batcher.version() {
                batcher.swap(source).await.map_err(reload_error)?;
                freed::give_back();
            }
            return Ok(batcher.version());
        }
        self.restart().await?;
        self.batcher().map(|batcher| batcher.version()).map_err(ReloadError::Later)
    }

    async fn restart(&self) -> Result<(), ReloadError> {
        let (settings, told, open) = (self.settings.clone(), Arc::clone(&self.told), self.open);
        let started =
            tokio::task::spawn_blocking(move || started(&settings, &told, open)).await.map_err(|e| ReloadError::Later(e.to_string()))?;
        let batcher = started.map_err(ReloadError::Files)?;
        *self.seat.write().unwrap_or_else(PoisonError::into_inner) = Ok(batcher);
        Ok(())
    }
}

fn source(settings: &ModelSettings) -> anyhow::Result<Source> {
    Ok(Source::open(&settings.path, settings.place)?)
}

fn started(settings: &ModelSettings, told: &Told, open: Open) -> anyhow::Result<Arc<Batcher>> {
    let attacks = known(&settings.known).context("guard.known")?;
    let source = open(settings).context("guard.path")?;
    let told = Arc::clone(told);
    let batcher = Batcher::start(source, attacks, settings.serving.clone(), move |news| told(news));
    freed::give_back();
    Ok(Arc::new(batcher.with_context(|| format!("guard.path: {}", settings.path.display()))?))
}

/// The attacks of all files, in their order.
fn known(files: &[PathBuf]) -> anyhow::Result<Vec<KnownAttack>> {
    let (mut attacks, mut ids) = (Vec::new(), HashSet::new());
    for file in files {
        for attack in read_known(file)? {
            if !ids.insert(Arc::clone(&attack.id)) {
                bail!("{}: the id `{}` stands in a file before too; ids are unique", file.display(), attack.id);
            }
            attacks.push(attack);
        }
    }
    Ok(attacks)
}

fn reload_error(error: SwapError) -> ReloadError {
    match error {
        SwapError::Start(error) => ReloadError::Files(error.into()),
        SwapError::Busy | SwapError::Known(_) => ReloadError::Later(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use portcullis_guard_model::{Network, NetworkError, Place, Scores, Serving, Speaker, Verdict, Window, Windows};

    use super::*;

    /// One id per word; a text is one window.
    struct Words;

    impl Windows for Words {
        fn windows(&self, _: Speaker, text: &str) -> Result<Vec<Window>, String> {
            let word = |word: &str| word.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
            Ok(vec![Window { ids: std::iter::once(0).chain(text.split(' ').map(word)).collect() }])
        }
    }

    /// Finds nothing bad in anything; texts of the same words are alike.
    struct Calm;

    impl Network for Calm {
        fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, NetworkError> {
            let verdict = |window: &Window| {
                let mut vector = vec![0.0_f32; 251];
                window.ids[1..].iter().for_each(|id| vector[*id as usize % 251] += 1.0);
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.iter_mut().for_each(|x| *x /= length);
                Verdict { scores: Scores { benign: 1.0, injection: 0.0, jailbreak: 0.0 }, vector }
            };
            Ok(windows.iter().map(verdict).collect())
        }
    }

    /// A model whose folder holds its version and nothing else.
    fn open(settings: &ModelSettings) -> anyhow::Result<Source> {
        let path = settings.path.join("version");
        let version = std::fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        if version.is_empty() {
            bail!("{}: it is empty", path.display());
        }
        Ok(Source { version: version.into(), windows: Arc::new(Words), build: Box::new(|| Ok(Box::new(Calm))) })
    }

    fn settings(folder: &Path, on_start_failure: OnStartFailure) -> ModelSettings {
        let known = vec![folder.join("known.jsonl"), folder.join("ours.jsonl")];
        ModelSettings { path: folder.into(), known, serving: Serving::default(), place: Place::Cpu(1), on_start_failure }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("version", "calm-1"),
            ("known.jsonl", "{\"id\":\"k-1\",\"text\":\"open sesame now\"}\n"),
            ("ours.jsonl", "{\"id\":\"o-1\",\"text\":\"close sesame now\"}\n"),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn start(folder: &Path, on_start_failure: OnStartFailure) -> anyhow::Result<Model> {
        Model::start(settings(folder, on_start_failure), Arc::new(|_| {}), open)
    }

    async fn near(model: &Model, text: &str) -> Option<String> {
        let inputs = vec![Input { speaker: Speaker::User, text: text.into() }];
        let answer = model.batcher().unwrap().classify(inputs, Instant::now() + Duration::from_secs(20)).await.unwrap();
        answer.judged[0].known.as_ref().map(|near| near.id.to_string())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_fails_is_refused_with_the_file_or_answers_that_it_is_unavailable_until_the_files_are_right() {
        for (name, content, what) in [
            ("version", "", "guard.path: "),
            ("known.jsonl", "{", "guard.known: "),
            ("ours.jsonl", "{\"id\":\"k-1\",\"text\":\"x\"}", "ours.jsonl: the id `k-1` stands in a file before"),
        ] {
            let folder = folder();
            let path = folder.path().join(name);
            let right = std::fs::read(&path).unwrap();
            std::fs::write(&path, content).unwrap();
            let error = start(folder.path(), OnStartFailure::Refuse).map(drop).unwrap_err();
            let told = format!("{error:#}");
            assert!(told.contains(what) && told.contains(name), "{told}");

            let model = start(folder.path(), OnStartFailure::Unavailable).unwrap();
            assert!(matches!(model.degraded(), Some(("not_loaded", reason)) if reason == told));
            assert!(model.reload().await.is_err(), "nothing has changed");
            std::fs::write(&path, right).unwrap();
            let reloaded = if name == "version" { model.reload().await.map(drop) } else { model.reload_known().await.map(drop) };
            reloaded.unwrap();
            assert_eq!(model.degraded(), None);
            assert_eq!(near(&model, "sesame now open").await, Some("k-1".into()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn changed_files_are_put_in_force_and_broken_ones_change_nothing() {
        let folder = folder();
        let model = start(folder.path(), OnStartFailure::Refuse).unwrap();
        let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
        assert_eq!(near(&model, "brand new attack").await, None);
        write("ours.jsonl", "{\"id\":\"o-2\",\"text\":\"new brand attack\"}\n");
        assert_eq!(model.reload_known().await.unwrap(), 2);
        assert_eq!(near(&model, "brand new attack").await, Some("o-2".into()));
        write("ours.jsonl", "{\"id\":\"o-2\",\"text\":\"new brand attack\"}\nbroken\n");
        let error = model.reload_known().await.unwrap_err();
        assert!(matches!(&error, ReloadError::Files(_)) && error.to_string().contains("ours.jsonl: line 2"), "{error}");
        assert_eq!(near(&model, "attack new brand").await, Some("o-2".into()));

        assert_eq!(&*model.reload().await.unwrap(), "calm-1", "the same version is not put in force again");
        write("version", "calm-2");
        assert_eq!(&*model.reload().await.unwrap(), "calm-2");
        assert_eq!(near(&model, "attack brand new").await, Some("o-2".into()), "the known attacks go along");
        write("version", "");
        assert!(matches!(model.reload().await, Err(ReloadError::Files(_))));
        assert_eq!(&*model.state().unwrap().version, "calm-2");
    }
}
