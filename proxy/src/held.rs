//! Which policy a request is held to: the key says, for a route or for all; the policy may have a file for the route.
//!
//! 1. The policy that the key names for the route (`routes` in the key file), or else the one it names for all (`policy`).
//! 2. Of that policy the file for the route, if it has one, or else its own.

use std::sync::Arc;

use crate::edge::Route;
use crate::keys::KeyRecord;
use crate::policy_files::on_route;
use crate::rollout::{Held, Policies};

/// The versions of policies that one key is held to, one for each route.
#[derive(Clone)]
pub struct ByRoute([Held; Route::ALL.len()]);

impl ByRoute {
    /// Resolves what a key is held to; none when it names a policy that does not exist.
    pub fn of(key: &KeyRecord, policies: &Policies) -> Option<Self> {
        key.policies().all(|name| policies.contains_key(name)).then_some(())?;
        let held = |route: Route| {
            let name = key.policy_on(route);
            let rollout = policies.get(&on_route(name, route)).or_else(|| policies.get(name))?;
            Some(rollout.held(&key.id).clone())
        };
        let [chat, completions, embeddings, models] = Route::ALL.map(held);
        Some(Self([chat?, completions?, embeddings?, models?]))
    }

    /// Returns what holds on a route.
    pub fn on(&self, route: Route) -> &Held {
        &self.0[route as usize]
    }

    /// Returns what holds on each route, in their order.
    pub fn all(&self) -> impl Iterator<Item = &Held> {
        self.0.iter()
    }

    /// Returns whether both are the same versions.
    pub fn is(&self, other: &Self) -> bool {
        self.all().zip(other.all()).all(|(one, another)| Arc::ptr_eq(&one.policy, &another.policy))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_policies::Policy;

    use super::*;
    use crate::rollout::{Rollout, Track};

    fn policies(names: &[&str]) -> Policies {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        let rollout = |name: &&str| {
            std::fs::write(&path, format!("name: of {name}\npacks: []\n")).unwrap();
            let stable = Held::new(name, Track::Stable, Policy::load(&path).unwrap());
            ((*name).to_owned(), Rollout { stable, canary: None })
        };
        names.iter().map(rollout).collect()
    }

    fn key(policy: &str, routes: &[(Route, &str)]) -> KeyRecord {
        let routes: BTreeMap<Route, String> = routes.iter().map(|(route, policy)| (*route, (*policy).to_owned())).collect();
        let mut key: KeyRecord = serde_saphyr::from_str(&format!("id: k\nsha256: x\ntenant: t\npolicy: {policy}\n")).unwrap();
        key.routes = routes;
        key
    }

    fn held(key: &KeyRecord, policies: &Policies) -> Option<Vec<String>> {
        ByRoute::of(key, policies).map(|held| held.all().map(|held| held.policy.name().to_owned()).collect())
    }

    #[test]
    fn the_keys_word_for_the_route_comes_first_and_then_the_policys_own_file_for_it() {
        let all = policies(&["default", "default/v1/embeddings", "strict", "strict/v1/completions"]);
        let of = |names: [&str; 4]| Some(names.map(|name| format!("of {name}")).to_vec());
        assert_eq!(held(&key("default", &[]), &all), of(["default", "default", "default/v1/embeddings", "default"]));
        assert_eq!(held(&key("strict", &[]), &all), of(["strict", "strict/v1/completions", "strict", "strict"]));
        let mixed = key("default", &[(Route::Embeddings, "strict"), (Route::Completions, "strict")]);
        assert_eq!(held(&mixed, &all), of(["default", "strict/v1/completions", "strict", "default"]));
        let named = key("strict", &[(Route::Chat, "default/v1/embeddings")]);
        assert_eq!(held(&named, &all), of(["default/v1/embeddings", "strict/v1/completions", "strict", "strict"]));
    }

    #[test]
    fn a_key_that_names_a_policy_that_does_not_exist_is_held_to_nothing() {
        let all = policies(&["default"]);
        assert_eq!(held(&key("other", &[]), &all), None);
        assert_eq!(held(&key("default", &[(Route::Models, "other")]), &all), None);
        let each = [Route::Chat, Route::Completions, Route::Embeddings, Route::Models].map(|route| (route, "default"));
        assert_eq!(held(&key("other", &each), &all), None, "also where every route has another");
    }
}
