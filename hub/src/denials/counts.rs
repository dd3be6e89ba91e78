//! How many denials of each kind this minute had.

use crate::limits::{DENIAL_KEYS_MAX, DENIALS_VERBATIM};
use std::collections::HashMap;
use yiwang_proto::folded::Key;

/// The counts of one minute; another minute begins anew.
#[derive(Debug, Default)]
pub(super) struct Counts {
    minute_ms: i64,
    by_key: HashMap<Key, u32>,
}

impl Counts {
    /// Counts one denial. None where it becomes an entry; else what it is folded with.
    pub fn turn(&mut self, key: Key, minute_ms: i64) -> Option<Key> {
        self.turn_within(key, minute_ms, DENIAL_KEYS_MAX)
    }

    fn turn_within(&mut self, mut key: Key, minute_ms: i64, most: usize) -> Option<Key> {
        if minute_ms != self.minute_ms {
            self.minute_ms = minute_ms;
            // Memory of a minute with many keys is given back.
            self.by_key = HashMap::new();
        }
        if self.by_key.len() >= most && !self.by_key.contains_key(&key) {
            // One count for all further apps of a member: codes and members are few, so these add little.
            key.app = None;
        }
        match self.by_key.get_mut(&key) {
            Some(count) => {
                *count = count.saturating_add(1);
                (*count > DENIALS_VERBATIM).then_some(key)
            }
            None => {
                self.by_key.insert(key, 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::codes::Code;
    use yiwang_proto::ids::{AppId, MemberId};

    fn key(app: &str, code: Code) -> Key {
        let app = AppId::parse(app).ok();
        Key { consumer: MemberId::parse("street-office").unwrap(), app, code }
    }

    #[test]
    fn the_first_of_each_kind_and_minute_are_entries() {
        let mut counts = Counts::default();
        for minute_ms in [60_000, 120_000, 60_000] {
            for code in [Code::NoCase, Code::Revoked] {
                for _ in 0..DENIALS_VERBATIM {
                    assert_eq!(counts.turn(key("desk", code), minute_ms), None);
                }
                assert_eq!(counts.turn(key("desk", code), minute_ms), Some(key("desk", code)));
            }
            assert_eq!(counts.turn(key("other-desk", Code::NoCase), minute_ms), None);
        }
    }

    #[test]
    fn apps_beyond_the_limit_are_counted_with_their_member() {
        let mut counts = Counts::default();
        assert_eq!(counts.turn_within(key("a-desk", Code::NoCase), 0, 1), None);
        for app in 0..DENIALS_VERBATIM {
            assert_eq!(counts.turn_within(key(&format!("b-desk-{app}"), Code::NoCase), 0, 1), None);
        }
        let folded = counts.turn_within(key("c-desk", Code::NoCase), 0, 1).unwrap();
        assert_eq!(folded.app, None);
        assert_eq!(counts.turn_within(key("a-desk", Code::NoCase), 0, 1), None, "by itself");
        assert_eq!(counts.by_key.len(), 2);
    }
}
