//! The vault: which values of a conversation have which pseudonym, from one request to the next.
//!
//! A conversation is known by a keyed hash of tenant, key and its beginning (or the session that the request names), a value by a keyed hash
//! of itself: the vault holds no text of anybody, and its keys are made at the start and gone with the process. Each tenant has room of its
//! own; what has not been used longest goes first, and what has not been used for `ttl` goes anyway.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use portcullis_policies::Pseudonyms;
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::metrics::Metrics;

/// What a conversation takes besides its values, about, in bytes.
const CONVERSATION_BYTES: usize = 256;
/// How often tenants that say nothing are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How much the vault may hold, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaultLimits {
    /// Most conversations of one tenant.
    pub conversations_per_tenant: usize,
    /// Most memory for the conversations of one tenant, in bytes.
    pub bytes_per_tenant: usize,
    /// How long a conversation is remembered after its last request.
    #[serde(deserialize_with = "crate::config::duration")]
    pub ttl: Duration,
}

impl Default for VaultLimits {
    fn default() -> Self {
        Self { conversations_per_tenant: 10_000, bytes_per_tenant: 32 << 20, ttl: Duration::from_secs(3600) }
    }
}

/// What tells one conversation from another.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// The key it is held with.
    pub key_id: &'a str,
    /// Whether it is known by a session's name or by its beginning.
    pub known_by: &'static str,
    /// That name or beginning.
    pub mark: &'a str,
}

/// The pseudonyms of all conversations.
pub struct Vault {
    key: Zeroizing<[u8; 32]>,
    limits: VaultLimits,
    metrics: Arc<Metrics>,
    rooms: Mutex<Rooms>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Rooms {
    of: HashMap<String, Room>,
    /// Counts uses; orders them.
    clock: u64,
    swept: Option<Instant>,
}

/// The conversations of one tenant.
#[derive(Default)]
struct Room {
    held: HashMap<Id, Held>,
    /// Oldest use first.
    by_use: BTreeMap<u64, Id>,
    bytes: usize,
}

type Id = [u8; 32];

struct Held {
    pseudonyms: Arc<Mutex<Pseudonyms>>,
    bytes: usize,
    used: Instant,
    tick: u64,
}

impl Vault {
    /// An empty vault with keys of its own.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(limits: VaultLimits, metrics: Arc<Metrics>) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key, limits, metrics, rooms: Mutex::default() })
    }

    /// Lends the pseudonyms of a conversation to `talk`, and remembers what it made of them. Requests of one conversation wait for each
    /// other here, as long as a decision takes.
    pub fn lend<T>(&self, conversation: &Conversation<'_>, now: Instant, talk: impl FnOnce(&mut Pseudonyms) -> T) -> T {
        let id = self.id(conversation);
        let pseudonyms = self.open(conversation.tenant, id, now);
        let (said, bytes) = {
            let mut pseudonyms = locked(&pseudonyms);
            let said = talk(&mut pseudonyms);
            (said, pseudonyms.bytes())
        };
        self.settle(conversation.tenant, id, bytes);
        said
    }

    /// How many conversations are remembered.
    pub fn conversations(&self) -> usize {
        locked(&self.rooms).of.values().map(|room| room.held.len()).sum()
    }

    fn id(&self, conversation: &Conversation<'_>) -> Id {
        let Conversation { tenant, key_id, known_by, mark } = conversation;
        self.hash("conversation", &[tenant, key_id, known_by, mark])
    }

    fn hash(&self, use_of_it: &str, parts: &[&str]) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.key) else { unreachable!("HMAC takes a key of any length") };
        for part in [use_of_it].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn open(&self, tenant: &str, id: Id, now: Instant) -> Arc<Mutex<Pseudonyms>> {
        let mut rooms = locked(&self.rooms);
        if rooms.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            rooms.swept = Some(now);
            let expired: usize = rooms.of.values_mut().map(|room| room.expire(now, self.limits.ttl)).sum();
            rooms.of.retain(|_, room| !room.held.is_empty());
            self.metrics.vault_dropped("expired", expired);
        }
        rooms.clock += 1;
        let tick = rooms.clock;
        let room = rooms.of.entry(tenant.to_owned()).or_default();
        self.metrics.vault_dropped("expired", room.expire(now, self.limits.ttl));
        if let Some(held) = room.held.get_mut(&id) {
            room.by_use.remove(&held.tick);
            room.by_use.insert(tick, id);
            (held.used, held.tick) = (now, tick);
            return Arc::clone(&held.pseudonyms);
        }
        // A key of its own: what is remembered of one conversation says nothing about another.
        let key = self.hash("values", &[&hex::encode(id)]);
        let pseudonyms = Arc::new(Mutex::new(Pseudonyms::keyed(key)));
        room.held.insert(id, Held { pseudonyms: Arc::clone(&pseudonyms), bytes: CONVERSATION_BYTES, used: now, tick });
        room.by_use.insert(tick, id);
        room.bytes += CONVERSATION_BYTES;
        pseudonyms
    }

    fn settle(&self, tenant: &str, id: Id, bytes: usize) {
        let mut rooms = locked(&self.rooms);
        if let Some(room) = rooms.of.get_mut(tenant) {
            if let Some(held) = room.held.get_mut(&id) {
                room.bytes = room.bytes - held.bytes + bytes + CONVERSATION_BYTES;
                held.bytes = bytes + CONVERSATION_BYTES;
            }
            let mut dropped = 0;
            while room.held.len() > self.limits.conversations_per_tenant || room.bytes > self.limits.bytes_per_tenant {
                if !room.drop_oldest() {
                    break;
                }
                dropped += 1;
            }
            self.metrics.vault_dropped("full", dropped);
        }
        let (count, bytes) = rooms.of.values().fold((0, 0), |(count, bytes), room| (count + room.held.len(), bytes + room.bytes));
        self.metrics.vault_holds(count, bytes);
    }
}

impl Room {
    fn expire(&mut self, now: Instant, ttl: Duration) -> usize {
        let mut expired = 0;
        while let Some((_, id)) = self.by_use.first_key_value()
            && self.held.get(id).is_none_or(|held| now.saturating_duration_since(held.used) > ttl)
        {
            self.drop_oldest();
            expired += 1;
        }
        expired
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, id)) = self.by_use.pop_first() else { return false };
        if let Some(held) = self.held.remove(&id) {
            self.bytes -= held.bytes;
        }
        true
    }
}

/// A thread that broke while it held the lock left whole entries behind: each change is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(conversations_per_tenant: usize, bytes_per_tenant: usize) -> Vault {
        let limits = VaultLimits { conversations_per_tenant, bytes_per_tenant, ttl: Duration::from_secs(60) };
        Vault::new(limits, Arc::new(Metrics::new().unwrap())).unwrap()
    }

    fn of<'a>(tenant: &'a str, key_id: &'a str, mark: &'a str) -> Conversation<'a> {
        Conversation { tenant, key_id, known_by: "beginning", mark }
    }

    /// Where a conversation's `Pseudonyms` live tells whether it is the same one.
    fn place(vault: &Vault, conversation: &Conversation<'_>, now: Instant) -> *const Mutex<Pseudonyms> {
        vault.lend(conversation, now, |_| ());
        let id = vault.id(conversation);
        let rooms = locked(&vault.rooms);
        rooms.of.get(conversation.tenant).and_then(|room| room.held.get(&id)).map_or(std::ptr::null(), |held| Arc::as_ptr(&held.pseudonyms))
    }

    #[test]
    fn a_conversation_is_one_for_its_tenant_key_and_beginning_only() {
        let (vault, now) = (vault(10, 1 << 20), Instant::now());
        let first = place(&vault, &of("acme", "k", "hello"), now);
        assert_eq!(first, place(&vault, &of("acme", "k", "hello"), now));
        for other in [of("umbrella", "k", "hello"), of("acme", "l", "hello"), of("acme", "k", "hello "), of("acmek", "", "hello")] {
            assert_ne!(first, place(&vault, &other, now), "{other:?}");
        }
        let session = Conversation { known_by: "session", ..of("acme", "k", "hello") };
        assert_ne!(first, place(&vault, &session, now));
        assert_eq!(vault.conversations(), 6);
    }

    #[test]
    fn what_is_not_used_expires_and_what_is_used_does_not() {
        let (vault, begin) = (vault(10, 1 << 20), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (kept, lost) = (of("acme", "k", "kept"), of("acme", "k", "lost"));
        vault.lend(&lost, at(0), |_| ());
        vault.lend(&of("silent", "k", "x"), at(0), |_| ());
        let place_kept = place(&vault, &kept, at(0));
        assert_eq!(place(&vault, &kept, at(60)), place_kept);
        assert_eq!(vault.conversations(), 3, "at the limit nothing is lost");
        assert_eq!(place(&vault, &kept, at(119)), place_kept);
        assert_eq!(vault.conversations(), 1, "also the tenant that says nothing");
    }

    #[test]
    fn a_tenant_has_its_own_room_and_loses_what_it_used_longest_ago() {
        let (vault, now) = (vault(2, 1 << 20), Instant::now());
        let other = place(&vault, &of("umbrella", "k", "x"), now);
        let (a, b, c) = (of("acme", "k", "a"), of("acme", "k", "b"), of("acme", "k", "c"));
        let place_a = place(&vault, &a, now);
        vault.lend(&b, now, |_| ());
        place(&vault, &a, now);
        vault.lend(&c, now, |_| ());
        assert_eq!((place(&vault, &a, now), vault.conversations()), (place_a, 3), "b went, the other tenant's stayed");
        assert_eq!(place(&vault, &of("umbrella", "k", "x"), now), other);
    }

    #[test]
    fn room_is_counted_in_bytes_too() {
        let (vault, now) = (vault(100, 4 * CONVERSATION_BYTES), Instant::now());
        for mark in 0..10 {
            vault.lend(&of("acme", "k", &mark.to_string()), now, |_| ());
        }
        assert_eq!(vault.conversations(), 4);
        assert_eq!(locked(&vault.rooms).of["acme"].bytes, 4 * CONVERSATION_BYTES);
    }
}
