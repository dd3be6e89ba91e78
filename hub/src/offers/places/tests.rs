use super::*;
use futures_util::FutureExt as _;
use std::cell::Cell;

fn key_of(place: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&place.to_be_bytes());
    key
}

/// Every entry is the provider's, each of an exchange of its own, ten milliseconds apart.
fn counted(read: &Cell<usize>) -> impl Fn(u64) -> Result<Step, Code> {
    |at| {
        read.set(read.get() + 1);
        let time_ms = i64::try_from(at).unwrap() * 10;
        Ok(Step { place: at, before: at - 1, time_ms, exchange: Some((key_of(at), false)) })
    }
}

impl Places {
    /// In one go, however far back.
    fn whole(
        &mut self,
        max: usize,
        newest: u64,
        since_ms: i64,
        read: &dyn Fn(u64) -> Result<Step, Code>,
    ) -> Result<(), Code> {
        self.look(max, usize::MAX, newest, since_ms, read).map(|done| assert!(done))
    }
}

#[test]
fn what_lies_too_far_back_is_looked_for_once_and_new_entries_come_in_front() {
    let (read, mut places) = (Cell::new(0), Places::default());
    let entries = counted(&read);
    assert_eq!(places.whole(100, 1000, 9_500, &entries), Ok(()));
    assert_eq!((read.get(), places.held(), places.below), (52, 52, 948));
    assert_eq!(places.whole(100, 1000, 1_000, &entries), Err(Code::NotFound));
    assert_eq!((read.get(), places.held()), (100, 100));
    for newer in 1..=20 {
        assert_eq!(places.whole(100, 1000 + newer, 1_000, &entries), Err(Code::NotFound));
        let added = usize::try_from(newer).unwrap();
        assert_eq!((read.get(), places.held()), (100 + added, 100), "only what came since is read");
    }
    // The oldest one is 921 now, and what is newer is told as before.
    assert_eq!((places.below, places.exchanges.len()), (920, 100));
    assert!(!places.exchanges.contains_key(&key_of(920)) && places.exchanges.contains_key(&key_of(921)));
    assert_eq!(places.exchanges.get(&key_of(1020)).map(|place| place.first), Some(1020));
    assert_eq!(places.whole(100, 1020, 9_211, &entries), Ok(()));
    assert_eq!(
        places.whole(100, 1020, 9_210, &entries),
        Err(Code::NotFound),
        "one of that moment may be older"
    );
    assert_eq!(read.get(), 120);
}

#[test]
fn more_new_entries_than_are_kept_take_the_place_of_all() {
    let (read, mut places) = (Cell::new(0), Places::default());
    let entries = counted(&read);
    assert_eq!(places.whole(100, 1000, 9_500, &entries), Ok(()));
    read.set(0);
    assert_eq!(places.whole(100, 1500, 14_900, &entries), Ok(()));
    assert_eq!((read.get(), places.held(), places.below, places.newest), (100, 100, 1400, 1500));
    assert!(!places.exchanges.contains_key(&key_of(1000)));
    assert_eq!(places.whole(100, 1500, 9_500, &entries), Err(Code::NotFound));
    assert_eq!(read.get(), 100);
}

#[test]
fn an_error_on_the_way_leaves_no_gap() {
    let (read, mut places) = (Cell::new(0), Places::default());
    let entries = counted(&read);
    assert_eq!(places.whole(100, 1000, 9_900, &entries), Ok(()));
    let broken = |at| if at == 1005 { Err(Code::Internal) } else { entries(at) };
    assert_eq!(places.whole(100, 1010, 9_900, &broken), Err(Code::Internal));
    assert_eq!(places.newest, 1000);
    assert_eq!(places.whole(100, 1010, 9_900, &entries), Ok(()));
    let kept: Vec<u64> = places.steps.iter().map(|step| step.place).collect();
    assert_eq!(kept, (989..=1010).rev().collect::<Vec<u64>>());
}

#[test]
fn a_late_entry_and_its_first_one_fall_off_one_after_the_other() {
    let mut places = Places::default();
    // Entry 3 is the late one of entry 2.
    let entries = |at: u64| -> Result<Step, Code> {
        let exchange = Some(if at == 3 { (key_of(2), true) } else { (key_of(at), false) });
        Ok(Step { place: at, before: at - 1, time_ms: i64::try_from(at).unwrap(), exchange })
    };
    assert_eq!(places.whole(3, 3, 0, &entries), Ok(()));
    let of_two = |places: &Places| places.exchanges.get(&key_of(2)).map(|place| (place.first, place.late));
    assert_eq!(of_two(&places), Some((2, 3)));
    for (newest, wanted) in [(4, Some((2, 3))), (5, Some((0, 3))), (6, None)] {
        assert_eq!(places.whole(3, newest, 100, &entries), Ok(()));
        assert_eq!(of_two(&places), wanted, "{newest}");
    }
}

#[test]
fn providers_have_locks_of_their_own_and_what_was_not_used_longest_is_given_up() {
    let known = Known::default();
    let [one, two, three] = ["police", "health", "street"].map(|id| MemberId::parse(id).unwrap());
    let of_one = Arc::downgrade(&known.of(&one, 1));
    known.holds(&one, ALL_MAX / 2, 1);
    let of_two = known.of(&two, 2);
    let held = Arc::clone(&of_two).try_lock_owned().unwrap();
    assert!(known.of(&one, 2).try_lock().is_ok(), "another provider does not wait");
    assert!(known.of(&two, 2).try_lock().is_err(), "the same one does");
    known.holds(&two, ALL_MAX / 2, 3);
    assert!(of_one.upgrade().is_some());
    known.of(&three, 4);
    known.holds(&three, 1, 4);
    assert!(of_one.upgrade().is_none(), "too many together");
    // The lock of one that is looked at stays, however many there are, and however long it takes.
    drop(held);
    known.holds(&three, ALL_MAX, 5);
    let later = 5 + u64::try_from(2 * APART.as_micros()).unwrap();
    assert!(Arc::ptr_eq(&of_two, &known.of(&two, later)));
    drop(of_two);
    let of_two = Arc::downgrade(&known.of(&two, later));
    known.of(&three, 3 * later);
    assert!(of_two.upgrade().is_none(), "not used for long");
}

#[test]
fn a_long_way_back_is_gone_in_goes() {
    let (read, mut places) = (Cell::new(0), Places::default());
    let entries = counted(&read);
    for go in 1..=5 {
        assert_eq!(places.look(100, 10, 1000, 9_500, &entries), Ok(false));
        assert_eq!(read.get(), 10 * go, "each goes on where the one before ended");
    }
    assert_eq!(places.look(100, 10, 1000, 9_500, &entries), Ok(true));
    assert_eq!((read.get(), places.held(), places.below), (52, 52, 948));
    assert_eq!(places.look(100, 60, 1000, 0, &entries), Err(Code::NotFound), "at most so many in all");
}

fn soon() -> Instant {
    tokio::time::sleep(Duration::from_secs(30)).deadline()
}

#[tokio::test]
async fn few_walk_at_once_however_many_providers_offer() {
    let known = Known::default();
    let mut walking = Vec::new();
    while let Some(turn) = known.turn(soon()).now_or_never() {
        walking.push(turn.unwrap());
    }
    assert_eq!(walking.len(), OFFER_WALKS_AT_ONCE);
    let mut next = Box::pin(known.turn(soon()));
    assert!(next.as_mut().now_or_never().is_none());
    drop(walking.pop());
    assert!(next.await.is_some(), "the next in the row");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_for_a_turn_is_told() {
    let known = Known::default();
    let mut walking = Vec::new();
    while let Some(turn) = known.turn(soon()).now_or_never() {
        walking.push(turn.unwrap());
    }
    assert!(known.turn(soon()).await.is_none());
}
