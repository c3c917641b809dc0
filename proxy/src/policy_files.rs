//! The policies that the configuration names: files, canaries beside them, and files for single routes.
//!
//! ```yaml
//! policies:
//!   default: policy.yaml
//!   acme: { path: acme.yaml, canary: { path: next.yaml, percent: 10 }, routes: { /v1/embeddings: acme-embeddings.yaml } }
//! ```
//!
//! A route's file is a policy like any other, named after both: `acme/v1/embeddings`. So it is loaded, reloaded, tried on some keys and
//! put on record as the others are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::duration;
use crate::edge::Route;
use crate::rollout::Rollback;

/// Where a policy is.
#[derive(Clone, Debug)]
pub struct PolicySettings {
    /// Its file.
    pub path: PathBuf,
    /// A version that some keys are held to first.
    pub canary: Option<CanarySettings>,
}

/// Where a canary is, and for whom.
#[derive(Clone, Debug)]
pub struct CanarySettings {
    /// Its file.
    pub path: PathBuf,
    /// Share of the keys, in percent.
    pub percent: f64,
    /// When it is taken back.
    pub rollback: Rollback,
}

/// Returns the name of a policy's own file for a route.
pub fn on_route(policy: &str, route: Route) -> String {
    format!("{policy}{}", route.path())
}

/// Resolves all policies, those of single routes under names of their own.
///
/// # Errors
/// Names the setting and what is wrong with it.
pub fn settings(files: BTreeMap<String, PolicyFile>, base: &Path) -> Result<BTreeMap<String, PolicySettings>, String> {
    let mut settings = BTreeMap::new();
    for (name, mut file) in files {
        if name.contains('/') {
            return Err(format!("policies.{name}: a name has no `/`; write the file of a route under `routes` of its policy"));
        }
        for (route, file) in std::mem::take(&mut file.0.routes) {
            let name = on_route(&name, route);
            if !file.0.routes.is_empty() {
                return Err(format!("policies.{name}: the file of a route has no routes"));
            }
            settings.insert(name.clone(), file.settings(base, &name)?);
        }
        let own = file.settings(base, &name)?;
        settings.insert(name, own);
    }
    Ok(settings)
}

/// The path of a policy file, or that and what stands beside it.
#[derive(Debug)]
pub struct PolicyFile(LongPolicyFile);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPolicyFile {
    path: PathBuf,
    #[serde(default)]
    canary: Option<CanaryFile>,
    /// For single routes, files of their own.
    #[serde(default)]
    routes: BTreeMap<Route, PolicyFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryFile {
    path: PathBuf,
    percent: f64,
    #[serde(default)]
    rollback: RollbackFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollbackFile {
    block_rate_factor: f64,
    latency_factor: f64,
    #[serde(deserialize_with = "duration")]
    window: Duration,
}

impl Default for RollbackFile {
    fn default() -> Self {
        Self { block_rate_factor: 2.0, latency_factor: 2.0, window: Duration::from_secs(300) }
    }
}

impl<'de> Deserialize<'de> for PolicyFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PolicyFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a policy file, or { path: a.yaml, canary: { path: b.yaml, percent: 10 }, routes: { /v1/embeddings: c.yaml } }")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<PolicyFile, E> {
                Ok(PolicyFile(LongPolicyFile { path: path.into(), canary: None, routes: BTreeMap::new() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicyFile, A::Error> {
                LongPolicyFile::deserialize(MapAccessDeserializer::new(map)).map(PolicyFile)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl PolicyFile {
    /// Resolves the file and its canary; not those of its routes.
    fn settings(self, base: &Path, name: &str) -> Result<PolicySettings, String> {
        let LongPolicyFile { path, canary, routes: _ } = self.0;
        let canary = canary.map(|CanaryFile { path, percent, rollback }| {
            let RollbackFile { block_rate_factor, latency_factor, window } = rollback;
            if !(0.0..=100.0).contains(&percent) {
                return Err(format!("policies.{name}.canary.percent: {percent} is not between 0 and 100"));
            }
            for (factor, word) in [(block_rate_factor, "block_rate_factor"), (latency_factor, "latency_factor")] {
                if !(factor.is_finite() && factor > 1.0) {
                    return Err(format!("policies.{name}.canary.rollback.{word}: must be above 1"));
                }
            }
            Ok(CanarySettings { path: base.join(path), percent, rollback: Rollback { block_rate_factor, latency_factor, window } })
        });
        Ok(PolicySettings { path: base.join(path), canary: canary.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<BTreeMap<String, PolicySettings>, String> {
        let files = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        settings(files, Path::new("/etc"))
    }

    #[test]
    fn the_file_of_a_route_is_a_policy_of_its_own() {
        let yaml = "default: a.yaml\nacme:\n  path: b.yaml\n  routes:\n    /v1/embeddings: c.yaml\n    \
            /v1/completions: { path: d.yaml, canary: { path: e.yaml, percent: 5 } }\n";
        let settings = read(yaml).unwrap();
        let paths: Vec<(&str, &Path)> = settings.iter().map(|(name, policy)| (name.as_str(), policy.path.as_path())).collect();
        let expected = [("acme", "b"), ("acme/v1/completions", "d"), ("acme/v1/embeddings", "c"), ("default", "a")];
        assert_eq!(
            paths,
            expected.map(|(name, file)| (name, PathBuf::from(format!("/etc/{file}.yaml")))).each_ref().map(|(n, p)| (*n, p.as_path()))
        );
        assert_eq!(settings["acme/v1/completions"].canary.as_ref().map(|canary| canary.percent), Some(5.0));
        assert!(settings["acme"].canary.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (yaml, expected) in [
            ("a/b: a.yaml\n", "policies.a/b: a name has no `/`"),
            ("a: { path: a.yaml, routes: { /v1/nothing: b.yaml } }\n", "/v1/nothing"),
            ("a: { path: a.yaml, routes: { /v1/embeddings: { path: b.yaml, routes: { /v1/models: c.yaml } } } }\n", "has no routes"),
            ("a: { path: a.yaml, route: b.yaml }\n", "route"),
            (
                "a: { path: a.yaml, routes: { /v1/models: { path: b.yaml, canary: { path: c.yaml, percent: 101 } } } }\n",
                "policies.a/v1/models.canary.percent",
            ),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
