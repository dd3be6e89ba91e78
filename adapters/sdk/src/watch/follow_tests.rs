use super::*;
use yiwang_proto::ambient::{Entropy as _, SeededEntropy};
use yiwang_proto::merkle::leaf_hash;

/// The own member's entries in a ledger where others write too: index, the one before plus one, leaf.
fn chain(entropy: &SeededEntropy, count: usize) -> Vec<(u64, u64, Hash)> {
    let (mut index, mut before) = (0, 0);
    let mut chain = Vec::with_capacity(count);
    for _ in 0..count {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        index += 1 + u64::from(random[0] % 5);
        chain.push((index, before, leaf_hash(&index.to_le_bytes())));
        before = index + 1;
    }
    chain
}

fn awaited(entry: &(u64, u64, Hash)) -> Awaited {
    let (leaf, names_before) = (entry.2, entry.1);
    Awaited { leaf, names_before, head: Head::default(), answer: AnswerKey::default() }
}

fn gaps(follow: &mut Follow, chain: &[(u64, u64, Hash)]) -> Vec<Gap> {
    chain.iter().flat_map(|(index, before, leaf)| follow.take(*index, *before, leaf).gaps).collect()
}

/// A hub that drops one entry in 10,000 is found out, in each of the three ways in which it can do it:
/// it does not hand the entry on; it makes the next entry skip it; it replaces it by another.
#[test]
fn t07_one_entry_dropped_in_ten_thousand_is_found_in_100_of_100_trials() {
    for trial in 0..100_u64 {
        let entropy = SeededEntropy::new(trial);
        let whole = chain(&entropy, 10_000);
        assert_eq!(gaps(&mut Follow::default(), &whole), [], "an honest hub raises no alarm");
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let at = usize::try_from(u64::from_le_bytes(random) % 9_999).unwrap();
        let dropped = whole[at];

        let mut silent = whole.clone();
        silent.remove(at);
        let held = dropped.1;
        let named = dropped.0 + 1;
        assert_eq!(gaps(&mut Follow::default(), &silent), [Gap::NotNext { held, named }]);

        // Linked anew, so that the chain itself shows nothing: the receipt of the entry does.
        let mut relinked = silent.clone();
        relinked[at].1 = dropped.1;
        assert_eq!(gaps(&mut Follow::default(), &relinked), []);
        let mut follow = Follow::default();
        follow.await_entry(dropped.0, awaited(&dropped));
        assert_eq!(gaps(&mut follow, &relinked), [Gap::Dropped(dropped.0)]);

        let mut replaced = whole.clone();
        replaced[at].2 = [9; 32];
        let mut follow = Follow::default();
        follow.await_entry(dropped.0, awaited(&dropped));
        assert_eq!(gaps(&mut follow, &replaced), [Gap::Replaced(dropped.0)]);

        // Nor does a second receipt, which proves another entry at its place, put it there instead.
        let mut follow = Follow::default();
        assert_eq!(follow.await_entry(dropped.0, awaited(&dropped)), Awaiting::Noted);
        assert_eq!(follow.await_entry(dropped.0, awaited(&dropped)), Awaiting::Noted);
        let second = follow.await_entry(dropped.0, awaited(&replaced[at]));
        assert_eq!(second, Awaiting::Broken(Gap::Replaced(dropped.0)));
        assert_eq!(gaps(&mut follow, &replaced), [Gap::Replaced(dropped.0)]);
    }
}

#[test]
fn what_comes_twice_is_no_gap_and_what_is_awaited_is_bounded() {
    let entropy = SeededEntropy::new(1);
    let whole = chain(&entropy, 50);
    let mut follow = Follow::default();
    assert_eq!(gaps(&mut follow, &whole[..30]), []);
    assert_eq!(gaps(&mut follow, &whole[10..]), [], "sent again after a lost link");
    assert_eq!(follow.own_next(), whole[49].0 + 1);
    // The hub is told what a power cut cannot take back.
    assert_eq!(follow.durable_next(), 0);
    follow.kept(whole[29].0 + 1);
    follow.kept(whole[9].0 + 1);
    assert_eq!(follow.durable_next(), whole[29].0 + 1);
    assert_eq!(Follow::new(77).durable_next(), 77);
    for index in 0..200_000 {
        follow.await_entry(follow.own_next() + index, awaited(&whole[0]));
    }
    assert_eq!(follow.awaited.len(), AWAITED_MAX);
    assert_eq!(follow.await_entry(1 << 40, awaited(&whole[0])), Awaiting::Full);
}

/// Looks every ten seconds of this time; the first entry that becomes overdue.
fn looks(follow: &mut Follow, now_us: &mut u64, seconds: u64, kept_size: u64) -> Option<u64> {
    let mut found = None;
    for _ in 0..seconds / 10 {
        *now_us += 10_000_000;
        found = found.or(follow.look(*now_us, kept_size));
    }
    found
}

#[test]
fn an_awaited_entry_is_overdue_after_five_minutes_of_the_link_and_no_other_delay_counts() {
    let leaf = |index: u64| leaf_hash(&index.to_le_bytes());
    let awaits = |follow: &mut Follow, index| follow.await_entry(index, awaited(&(index, 0, leaf(index))));
    let (mut follow, mut now_us) = (Follow::default(), 0);
    assert_eq!(follow.look(now_us, 0), None);
    awaits(&mut follow, 5);
    assert_eq!(looks(&mut follow, &mut now_us, 290, 100), None);
    // A night without link, and one in which the machine slept.
    follow.linked();
    now_us += 30_000_000_000;
    assert_eq!(follow.look(now_us, 100), None);
    assert_eq!(looks(&mut follow, &mut now_us, 20, 100), Some(5));
    assert!(follow.stops().is_some());
    assert_eq!(looks(&mut follow, &mut now_us, 600, 100), None, "said once");
    assert!(follow.take(5, 0, &leaf(5)).gaps.is_empty());
    assert_eq!(looks(&mut follow, &mut now_us, 10, 100), None);
    assert!(follow.stops().is_none(), "it came after all");
    now_us += 30_000_000_000;
    awaits(&mut follow, 50);
    assert_eq!(follow.look(now_us, 100), None);
    // What was missed comes first, for as long as it takes.
    for index in 6..40_u64 {
        assert_eq!(looks(&mut follow, &mut now_us, 60, 100), None);
        follow.take(index, index, &leaf(index));
    }
    // What lies beyond a head that came so much later does not exist.
    awaits(&mut follow, 1 << 40);
    for index in 40..45_u64 {
        assert_eq!(looks(&mut follow, &mut now_us, 60, 100).filter(|_| index < 44), None);
        follow.take(index, index, &leaf(index));
    }
    assert!(follow.stops().is_some());
}
