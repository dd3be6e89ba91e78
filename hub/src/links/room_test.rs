use super::*;
use futures_util::future::join_all;
use std::cell::RefCell;
use std::pin::pin;
use std::sync::LazyLock;
use tokio::time::sleep;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

fn member(name: &str) -> MemberId {
    MemberId::parse(name).unwrap()
}

/// Towards a member, from one of four consumers.
fn to(provider: &MemberId, from: usize) -> Way<'_> {
    static CONSUMERS: LazyLock<[MemberId; 4]> =
        LazyLock::new(|| ["street-office", "housing", "gas", "water"].map(member));
    Way { consumer: &CONSUMERS[from], provider }
}

/// As much as all of them get in.
fn fill<'a>(rooms: &'a Rooms, who: &'a MemberId, urgent: bool, bytes: usize) -> Vec<Place<'a>> {
    let one = |from| rooms.enter(to(who, from), urgent, bytes).ok().map(Option::unwrap);
    (0..4).flat_map(|from| std::iter::from_fn(move || one(from))).collect()
}

fn ended(rooms: &Rooms, how: &str) -> u64 {
    rooms.held().ended.iter().find(|(name, _)| *name == how).unwrap().1
}

#[test]
fn a_provider_that_comes_and_goes_takes_its_own_places_only() {
    let rooms = Rooms::default();
    let (police, others) =
        (member("police"), (0..8).map(|n| member(&format!("other-{n}"))).collect::<Vec<_>>());
    let last = member("ambulances");
    for who in others.iter().chain([&police, &last]) {
        rooms.begin(who, LONG, None);
    }
    let mut places = fill(&rooms, &police, false, 1);
    assert_eq!(places.len(), LINK_HELD_OF_MEMBER - LINK_HELD_OF_MEMBER_EMERGENCY);
    places.extend(fill(&rooms, &police, true, 1));
    assert_eq!(places.len(), LINK_HELD_OF_MEMBER, "the member's last ones are for emergencies");
    for other in &others {
        places.extend(fill(&rooms, other, false, 1));
    }
    assert_eq!(places.len(), LINK_HELD_MAX - LINK_HELD_EMERGENCY);
    assert!(rooms.enter(to(&last, 1), false, 1).is_err());
    assert!(
        rooms.enter(to(&last, 1), true, 1).is_ok_and(|place| place.is_some()),
        "emergencies have the last"
    );
    assert_eq!(rooms.held().requests, places.len());
    assert_eq!(ended(&rooms, "full"), 4 * 10 + 1);
    drop(places);
    assert_eq!((rooms.held().requests, rooms.held().bytes), (0, 0));
    assert!(rooms.state().rooms.is_empty());
}

#[test]
fn large_requests_fill_the_room_by_their_bytes() {
    let rooms = Rooms::default();
    let (police, clinic) = (member("police"), member("clinic"));
    rooms.begin(&police, LONG, None);
    rooms.begin(&clinic, LONG, None);
    let large = 4 << 20;
    let places = fill(&rooms, &police, false, large);
    assert_eq!(places.len(), 3, "three of four fit below the part for emergencies");
    assert!(rooms.enter(to(&police, 1), true, large).is_ok_and(|place| place.is_some()));
    assert!(rooms.enter(to(&clinic, 1), false, large).is_ok_and(|place| place.is_some()));
    assert!(rooms.enter(to(&clinic, 1), false, usize::MAX).is_err());
}

#[test]
fn one_consumer_fills_half_of_a_room_only() {
    let (rooms, police) = (Rooms::default(), member("police"));
    rooms.begin(&police, LONG, None);
    let own = || rooms.enter(to(&police, 0), false, 3 << 20).ok().map(Option::unwrap);
    let mut places: Vec<_> = std::iter::from_fn(own).collect();
    assert_eq!(places.len(), 2, "half of fourteen megabytes");
    assert!(rooms.enter(to(&police, 1), false, 4 << 20).is_ok_and(|place| place.is_some()), "another's");
    places.pop();
    assert!(rooms.enter(to(&police, 0), false, 3 << 20).is_ok_and(|place| place.is_some()), "freed");
    drop(places);
    assert!(rooms.state().rooms.is_empty());
}

#[tokio::test]
async fn nobody_overtakes_those_who_had_to_wait() {
    let (rooms, police) = (Rooms::default(), member("police"));
    rooms.begin(&police, LONG, None);
    let held = rooms.enter(to(&police, 0), false, 1).unwrap().unwrap();
    rooms.back(&police);
    assert!(rooms.enter(to(&police, 1), true, 1).unwrap().is_none(), "an emergency goes at once");
    let mut patience = pin!(sleep(LONG));
    let mut next = pin!(rooms.wait(to(&police, 1), false, 1, patience.as_mut()));
    let first = async {
        let mut held = held;
        held.until_back().await;
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        held.sent();
    };
    tokio::select! {
        biased;
        () = first => {}
        place = next.as_mut() => panic!("overtaken: {}", place.is_ok()),
    }
    assert!(next.await.unwrap().is_some());
    // Nobody is left who had to wait: nothing to stand behind.
    assert!(rooms.wait(to(&police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().is_none());
}

#[test]
fn the_end_of_one_change_is_not_the_end_of_the_next() {
    let rooms = Rooms::default();
    let police = member("police");
    let first = rooms.begin(&police, LONG, None);
    rooms.back(&police);
    let second = rooms.begin(&police, LONG, None);
    rooms.give_up(&police, first);
    assert!(rooms.expects(&police));
    rooms.give_up(&police, second);
    assert!(!rooms.expects(&police));
}

#[tokio::test]
async fn requests_go_out_in_the_order_in_which_they_came() {
    let (rooms, police) = (Rooms::default(), member("police"));
    rooms.begin(&police, LONG, None);
    let (gone, out) = (RefCell::new(Vec::new()), RefCell::new(0));
    let requests = (0..8_usize).map(|number| {
        let (rooms, police, gone, out) = (&rooms, &police, &gone, &out);
        async move {
            let place = rooms.wait(to(police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().unwrap();
            *out.borrow_mut() += 1;
            assert_eq!(*out.borrow(), 1, "one at a time");
            // The later ones would overtake the first if they could.
            for _ in number..16 {
                tokio::task::yield_now().await;
            }
            gone.borrow_mut().push(number);
            *out.borrow_mut() -= 1;
            place.sent();
        }
    });
    let back = async {
        while rooms.held().requests < 8 {
            tokio::task::yield_now().await;
        }
        rooms.back(&police);
    };
    tokio::join!(join_all(requests), back);
    assert_eq!(gone.into_inner(), (0..8).collect::<Vec<_>>());
    assert_eq!((ended(&rooms, "sent"), rooms.held().requests), (8, 0));
    assert!(
        rooms.wait(to(&police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().is_none(),
        "nothing to wait for"
    );
}

#[tokio::test]
async fn nobody_waits_beyond_the_own_deadline_nor_the_end_of_the_change() {
    let (rooms, police, clinic) = (Rooms::default(), member("police"), member("clinic"));
    let change = rooms.begin(&police, LONG, None);
    rooms.begin(&clinic, SHORT, None);
    let late = rooms.wait(to(&police, 0), false, 1, pin!(sleep(SHORT))).await;
    assert_eq!(late.err(), Some(Code::ProviderUnavailable), "the request's own deadline");
    let held = rooms.wait(to(&clinic, 0), false, 1, pin!(sleep(LONG))).await;
    assert_eq!(held.err(), Some(Code::ProviderUnavailable), "the change's own end, whoever still expects it");
    assert_eq!((ended(&rooms, "away"), rooms.held().requests), (2, 0));
    // One that gives up in the middle of the row holds nobody up, and another member's return releases nobody.
    let (mut first, mut second) = (pin!(sleep(SHORT)), pin!(sleep(LONG)));
    let both = async {
        tokio::join!(
            rooms.wait(to(&police, 0), false, 1, first.as_mut()),
            rooms.wait(to(&police, 0), false, 1, second.as_mut())
        )
    };
    let end = async {
        rooms.back(&clinic);
        while rooms.held().requests > 1 || ended(&rooms, "away") < 3 {
            tokio::time::sleep(SHORT / 4).await;
        }
        assert_eq!(rooms.held().requests, 1);
        rooms.give_up(&police, change);
    };
    let ((first, second), ()) = tokio::join!(both, end);
    assert!(first.is_err());
    assert!(second.unwrap().is_some(), "released; whether there is a link is seen next");
}

#[tokio::test]
async fn a_request_that_did_not_get_out_keeps_its_turn() {
    let (rooms, police) = (Rooms::default(), member("police"));
    rooms.begin(&police, LONG, None);
    let [first, second] = [0, 1].map(|from| rooms.enter(to(&police, from), false, 1).unwrap().unwrap());
    let gone = RefCell::new(Vec::new());
    let first = async {
        let place = first.wait(pin!(sleep(LONG))).await.unwrap();
        // The link that it found is let go before it is on it.
        rooms.begin(&police, LONG, None);
        let place = place.wait(pin!(sleep(LONG))).await.unwrap();
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        gone.borrow_mut().push("first");
        place.sent();
    };
    let second = async {
        let place = second.wait(pin!(sleep(LONG))).await.unwrap();
        gone.borrow_mut().push("second");
        place.sent();
    };
    let back = async {
        tokio::task::yield_now().await;
        rooms.back(&police);
        while !rooms.expects(&police) {
            tokio::task::yield_now().await;
        }
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        assert!(gone.borrow().is_empty() && rooms.held().requests == 2);
        rooms.back(&police);
    };
    tokio::join!(first, second, back);
    assert_eq!(gone.into_inner(), ["first", "second"]);
    assert_eq!((ended(&rooms, "sent"), ended(&rooms, "away"), rooms.held().requests), (2, 0, 0));
    assert!(rooms.state().rooms.is_empty());
}

#[tokio::test]
async fn who_waits_again_waits_for_the_new_change_and_no_longer_than_the_own_deadline() {
    let (rooms, police) = (Rooms::default(), member("police"));
    rooms.begin(&police, LONG, None);
    let held = rooms.enter(to(&police, 0), false, 1).unwrap().unwrap();
    rooms.back(&police);
    let mut patience = pin!(sleep(LONG));
    // It came after its member was back, and stood behind the one that had to wait.
    let mut behind = rooms.enter(to(&police, 1), false, 1).unwrap().unwrap();
    held.sent();
    rooms.begin(&police, SHORT, None);
    behind = match behind.wait(patience.as_mut()).await {
        Err(code) => {
            assert_eq!(code, Code::ProviderUnavailable, "the hold of the new change");
            rooms.enter(to(&police, 1), false, 1).unwrap().unwrap()
        }
        Ok(_) => panic!("nobody is back"),
    };
    rooms.back(&police);
    behind = behind.wait(patience.as_mut()).await.unwrap();
    rooms.begin(&police, LONG, None);
    assert_eq!(
        behind.wait(pin!(sleep(SHORT))).await.err(),
        Some(Code::ProviderUnavailable),
        "its own deadline"
    );
    assert!(rooms.state().rooms.is_empty(), "no count of the rooms is left over");
}
