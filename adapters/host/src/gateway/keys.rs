//! `Idempotency-Key`: its grammar, and that one key runs once at a time. What a key opened is remembered by
//! the register (`yiwang_client::cases`), not here.

use super::problem::{KEY_INVALID, Problem};
use axum::http::HeaderMap;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Header of a key.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Long enough that nobody meets another's key by chance.
const KEY_MIN: usize = 16;
/// Two UUIDs with words around them.
const KEY_MAX: usize = 128;

/// The key of a request, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(one) = given.next() else { return Ok(None) };
    let fits = |key: &&str| {
        (KEY_MIN..=KEY_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
    };
    match (one.to_str().ok().filter(fits), given.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(&KEY_INVALID)),
    }
}

/// Keys of one app whose requests run. Bounded by the app's requests at once.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<HashSet<String>>);

/// The turn of one key; it ends when dropped.
pub(super) struct Turn<'a> {
    keys: &'a Keys,
    key: String,
}

impl Keys {
    fn running(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key's turn; none while another request has it.
    pub(super) fn enter(&self, key: &str) -> Option<Turn<'_>> {
        self.running().insert(key.to_owned()).then(|| Turn { keys: self, key: key.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.keys.running().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_whole_or_refused() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, value.parse().unwrap());
            }
            idempotency_key(&headers)
        };
        let good = "0190a5c3-7000-7000:a_b.c";
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[good]).unwrap().as_deref(), Some(good));
        for bad in [&["short"][..], &["sixteen letters!"], &[good, good], &[&"x".repeat(129)]] {
            assert_eq!(of(bad).unwrap_err().code(), "idempotency_key_invalid");
        }
    }

    #[test]
    fn a_key_has_one_turn_at_a_time() {
        let keys = Keys::default();
        let turn = keys.enter("a").unwrap();
        assert!(keys.enter("a").is_none() && keys.enter("b").is_some());
        drop(turn);
        assert!(keys.enter("a").is_some());
    }
}
