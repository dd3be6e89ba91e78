//! A bounded cache without a list to keep in order: two generations, the older one is dropped whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    half: usize,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// Holds at most `capacity` values, and at least the half of it that was used last.
    pub(crate) fn new(capacity: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), half: capacity.div_ceil(2).max(1) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut both = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = both.young.get(key) {
            return Some(value.clone());
        }
        let value = both.old.remove(key)?;
        both.put(key.clone(), value.clone(), self.half);
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut both = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        both.put(key, value, self.half);
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn put(&mut self, key: K, value: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let cache = Cache::new(8);
        for key in 0..1000 {
            cache.insert(key, key);
            cache.insert(5000, 1);
            assert_eq!(cache.get(&5000), Some(1));
            let both = cache.generations.lock().unwrap();
            assert!(both.young.len() + both.old.len() <= 8);
        }
        assert_eq!(cache.get(&999), Some(999));
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn a_newer_value_replaces_an_older_one_in_either_generation() {
        let cache = Cache::new(2);
        cache.insert(1, "a");
        cache.insert(2, "b");
        cache.insert(1, "c");
        assert_eq!(cache.get(&1), Some("c"));
        cache.insert(3, "d");
        assert_eq!(cache.get(&1), Some("c"));
    }
}
