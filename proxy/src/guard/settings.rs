//! The guard's part of the configuration: what the file says and what the program needs.

use std::fmt;
use std::path::{Path, PathBuf};

use portcullis_guard_model::{Place, Script, Serving};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Most windows that may be configured to wait: some 60 MB of them.
const QUEUE_WINDOWS_LIMIT: usize = 1 << 15;
/// Most tokens that may be configured for a batch.
const BATCH_TOKENS_LIMIT: usize = 1 << 20;
/// Most windows that may be configured to be cached.
const CACHE_WINDOWS_LIMIT: usize = 1 << 20;

/// `guard:` as written.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum GuardFile {
    /// There is none. (With braces: a variant without them would take any key.)
    Off {},
    /// One that follows a script.
    Scripted {
        /// The script.
        #[serde(flatten)]
        script: Script,
    },
    /// A model.
    Model(ModelFile),
}

impl Default for GuardFile {
    fn default() -> Self {
        Self::Off {}
    }
}

impl GuardFile {
    /// Reads `guard:`, of which `off` alone is as good as `{kind: off}`; some readers of YAML take that word for `false`.
    ///
    /// # Errors
    /// What it should be instead.
    pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = GuardFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off`, or a mapping such as `{ kind: model, path: DIR }`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<GuardFile, E> {
                if word == "off" { Ok(GuardFile::Off {}) } else { Err(E::invalid_value(Unexpected::Str(word), &self)) }
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<GuardFile, E> {
                if on { Err(E::invalid_value(Unexpected::Bool(on), &self)) } else { Ok(GuardFile::Off {}) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GuardFile, A::Error> {
                GuardFile::deserialize(MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_any(Written)
    }
}

/// `guard: {kind: model}` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    path: PathBuf,
    #[serde(default)]
    known: Option<Files>,
    #[serde(default)]
    queue_windows_max: Option<usize>,
    #[serde(default)]
    batch_tokens_max: Option<usize>,
    #[serde(default)]
    cache_windows_max: Option<usize>,
    #[serde(default)]
    known_threshold: Option<f32>,
    #[serde(default)]
    threads: Option<usize>,
    #[serde(default)]
    gpu: Option<usize>,
    #[serde(default)]
    on_start_failure: OnStartFailure,
}

/// One file or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// What happens when the model cannot be started.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnStartFailure {
    /// The gateway does not start.
    #[default]
    Refuse,
    /// It starts, and the guard answers that it is unavailable; the policy decides.
    Unavailable,
}

/// The guard, ready for use.
#[derive(Clone, Debug)]
pub enum GuardSettings {
    /// There is none.
    Off,
    /// One that follows a script.
    Scripted(Script),
    /// A model.
    Model(ModelSettings),
}

/// A model and how it is served.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Its folder.
    pub path: PathBuf,
    /// Files of known attacks.
    pub known: Vec<PathBuf>,
    /// Bounds.
    pub serving: Serving,
    /// Where it runs.
    pub place: Place,
    /// What happens when it cannot be started.
    pub on_start_failure: OnStartFailure,
}

impl GuardFile {
    /// Checks the values.
    ///
    /// # Errors
    /// The setting, what is wrong with it and what is right.
    pub fn settings(self, base: &Path) -> Result<GuardSettings, String> {
        Ok(match self {
            Self::Off {} => GuardSettings::Off,
            Self::Scripted { script } => GuardSettings::Scripted(script),
            Self::Model(file) => GuardSettings::Model(file.settings(base)?),
        })
    }
}

impl ModelFile {
    fn settings(self, base: &Path) -> Result<ModelSettings, String> {
        let default = Serving::default();
        let bounded = |name: &str, value: Option<usize>, default: usize, least: usize, limit: usize| match value {
            None => Ok(default),
            Some(value) if (least..=limit).contains(&value) => Ok(value),
            Some(value) => Err(format!("guard.{name}: {value} is not between {least} and {limit}")),
        };
        let serving = Serving {
            queue_windows_max: bounded("queue_windows_max", self.queue_windows_max, default.queue_windows_max, 1, QUEUE_WINDOWS_LIMIT)?,
            batch_tokens_max: bounded("batch_tokens_max", self.batch_tokens_max, default.batch_tokens_max, 1, BATCH_TOKENS_LIMIT)?,
            cache_windows_max: bounded("cache_windows_max", self.cache_windows_max, default.cache_windows_max, 0, CACHE_WINDOWS_LIMIT)?,
            known_threshold: self.known_threshold.unwrap_or(default.known_threshold),
            ..default
        };
        if !(serving.known_threshold > 0.0 && serving.known_threshold <= 1.0) {
            return Err(format!("guard.known_threshold: {} is not above 0 and at most 1", serving.known_threshold));
        }
        let place = match (self.gpu, self.threads) {
            (Some(_), Some(_)) => return Err("guard.threads: a model on a GPU has none; leave out threads or gpu".into()),
            (Some(gpu), None) => Place::Gpu(gpu),
            (None, Some(0)) => return Err(format!("guard.threads: 0 compute nothing; leave it out for {}", default_threads())),
            (None, Some(threads)) => Place::Cpu(threads),
            (None, None) => Place::Cpu(default_threads()),
        };
        let known = match self.known {
            None => Vec::new(),
            Some(Files::One(file)) => vec![base.join(file)],
            Some(Files::Several(files)) => files.into_iter().map(|file| base.join(file)).collect(),
        };
        let (path, on_start_failure) = (base.join(self.path), self.on_start_failure);
        Ok(ModelSettings { path, known, serving, place, on_start_failure })
    }
}

/// Half of the cores, so that the other half serves.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GuardSettings, String> {
        #[derive(Deserialize)]
        struct File {
            #[serde(deserialize_with = "GuardFile::read")]
            guard: GuardFile,
        }
        let file: File = serde_saphyr::from_str(&format!("guard: {text}")).map_err(|e| e.to_string())?;
        file.guard.settings(Path::new("/etc/portcullis"))
    }

    #[test]
    fn off_is_written_in_any_way() {
        for off in ["off", "\"off\"", "{ kind: off }", "{ kind: \"off\" }"] {
            assert!(matches!(read(off), Ok(GuardSettings::Off)), "{off}");
        }
        let error = read("{ kind: off, path: small }").unwrap_err();
        assert!(error.contains("path"), "{error}");
        for other in ["on", "true", "3", "[]"] {
            let error = read(other).unwrap_err();
            assert!(error.contains("`off`, or a mapping such as"), "{error}");
        }
    }

    #[test]
    fn a_model_needs_its_folder_and_has_a_bound_for_everything() {
        let Ok(GuardSettings::Model(model)) = read("{ kind: model, path: small }") else { panic!("no model") };
        assert_eq!((model.path.as_path(), model.known.len()), (Path::new("/etc/portcullis/small"), 0));
        assert_eq!(model.on_start_failure, OnStartFailure::Refuse);
        let Ok(GuardSettings::Model(model)) = read(
            "{ kind: model, path: /m, known: [a.jsonl, /b.jsonl], queue_windows_max: 7, cache_windows_max: 0, threads: 1, \
             known_threshold: 1.0, on_start_failure: unavailable }",
        ) else {
            panic!("no model")
        };
        assert_eq!(model.known, [Path::new("/etc/portcullis/a.jsonl"), Path::new("/b.jsonl")]);
        assert_eq!((model.serving.queue_windows_max, model.serving.cache_windows_max, model.place), (7, 0, Place::Cpu(1)));
        assert!(matches!(read("{ kind: model, path: /m, gpu: 0 }"), Ok(GuardSettings::Model(model)) if model.place == Place::Gpu(0)));
        assert!(matches!(read("{ kind: model, path: /m, known: a.jsonl }"), Ok(GuardSettings::Model(model)) if model.known.len() == 1));
    }

    #[test]
    fn a_value_that_cannot_work_is_named() {
        for (settings, what) in [
            ("queue_windows_max: 0", "guard.queue_windows_max: 0 is not between 1 and"),
            ("batch_tokens_max: 2000000", "guard.batch_tokens_max"),
            ("cache_windows_max: 2000000", "guard.cache_windows_max"),
            ("known_threshold: 0", "guard.known_threshold"),
            ("known_threshold: 1.01", "guard.known_threshold"),
            ("known_threshold: .nan", "non-finite"),
            ("threads: 0", "guard.threads"),
            ("threads: 2, gpu: 0", "guard.threads"),
            ("on_start_failure: ignore", "ignore"),
            ("weights: x", "weights"),
        ] {
            let error = read(&format!("{{ kind: model, path: m, {settings} }}")).unwrap_err();
            assert!(error.contains(what), "{settings}: {error}");
        }
        assert!(read("{ kind: model }").unwrap_err().contains("path"));
    }
}
