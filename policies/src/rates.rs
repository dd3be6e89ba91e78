//! Counters behind the ceilings of contracts: pure, their time passed in, their memory bounded.

use std::collections::HashMap;
use yiwang_proto::ids::{AppId, ContractId, Officer};

use crate::input::Counts;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Most counters of one kind. A hub of a city has some thousand contracts with a handful of apps each;
/// above that something is wrong and new counters are refused by a count over every ceiling.
pub const COUNTERS_MAX: usize = 200_000;

/// Who is counted per day: a proved officer, or everybody whom an app merely names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Actor {
    Proved(Officer),
    AssertedOf(AppId),
}

/// One counter as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Whose ceiling.
    pub contract: ContractId,
    /// Who is counted.
    pub of: CounterOf,
    /// A counter of the UTC day; else of the minute.
    pub daily: bool,
    /// Which day or minute since 1970.
    pub window: i64,
    /// The count.
    pub count: u32,
}

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterOf {
    /// An app, or everybody whom it merely names.
    App(AppId),
    /// An officer whose own signature was seen.
    Officer(Officer),
}

/// Fixed windows: the minute and the UTC day of the clock.
#[derive(Debug, Default)]
pub struct Rates {
    minutes: Window<(ContractId, AppId)>,
    days: Window<(ContractId, Actor)>,
}

#[derive(Debug)]
struct Window<K> {
    number: i64,
    counters: HashMap<K, u32>,
}

impl<K> Default for Window<K> {
    fn default() -> Self {
        Self { number: i64::MIN, counters: HashMap::new() }
    }
}

impl<K: std::hash::Hash + Eq> Window<K> {
    /// Only the newest window is kept. A clock that goes back counts in the newest window, so that setting
    /// it back opens no second allowance.
    fn turn(&mut self, number: i64) {
        if number > self.number {
            self.number = number;
            // Gives memory back after a burst; a steady load keeps what it needs.
            self.counters.clear();
            self.counters.shrink_to(1024);
        }
    }

    /// Counts only in the newest window that is known.
    fn recount(&mut self, number: i64, key: K, most: usize) {
        self.turn(number);
        if number == self.number {
            self.count(key, most);
        }
    }

    fn restore(&mut self, number: i64, key: K, count: u32) {
        self.turn(number);
        if number == self.number && self.counters.len() < COUNTERS_MAX {
            let counter = self.counters.entry(key).or_insert(0);
            *counter = count.max(*counter);
        }
    }

    fn count(&mut self, key: K, most: usize) -> u32 {
        if self.counters.len() >= most && !self.counters.contains_key(&key) {
            return u32::MAX;
        }
        let counter = self.counters.entry(key).or_insert(0);
        *counter = counter.saturating_add(1);
        *counter
    }
}

impl Rates {
    /// No counts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one exchange and yields the counts with it. `proved` is the officer whose own signature the
    /// request carries; none while officers are asserted.
    pub fn count(
        &mut self,
        contract: &ContractId,
        app: &AppId,
        proved: Option<&Officer>,
        now_ms: i64,
    ) -> Counts {
        self.count_within(contract, app, proved, now_ms, COUNTERS_MAX)
    }

    fn count_within(
        &mut self,
        contract: &ContractId,
        app: &AppId,
        proved: Option<&Officer>,
        now_ms: i64,
        most: usize,
    ) -> Counts {
        self.forget_old(now_ms);
        let actor = match proved {
            Some(officer) => Actor::Proved(officer.clone()),
            None => Actor::AssertedOf(app.clone()),
        };
        Counts {
            app_this_minute: self.minutes.count((contract.clone(), app.clone()), most),
            officer_today: self.days.count((contract.clone(), actor), most),
        }
    }

    /// Counts an exchange that was read back, in whatever order these come: of each kind of window only the newest one's
    /// count, so that nobody needs to keep and sort them first.
    pub fn recount(&mut self, contract: &ContractId, app: &AppId, proved: Option<&Officer>, time_ms: i64) {
        let actor = match proved {
            Some(officer) => Actor::Proved(officer.clone()),
            None => Actor::AssertedOf(app.clone()),
        };
        let (minute, day) = (time_ms.div_euclid(MINUTE_MS), time_ms.div_euclid(DAY_MS));
        self.minutes.recount(minute, (contract.clone(), app.clone()), COUNTERS_MAX);
        self.days.recount(day, (contract.clone(), actor), COUNTERS_MAX);
    }

    /// Drops the counters of windows that are over; counting does it too.
    pub fn forget_old(&mut self, now_ms: i64) {
        self.minutes.turn(now_ms.div_euclid(MINUTE_MS));
        self.days.turn(now_ms.div_euclid(DAY_MS));
    }

    /// All counters, to be kept over a restart.
    pub fn counters(&self) -> impl Iterator<Item = Counter> {
        let counter = |contract: &ContractId, of, daily, window, count| Counter {
            contract: contract.clone(),
            of,
            daily,
            window,
            count,
        };
        let minutes = self.minutes.counters.iter().map(move |((contract, app), count)| {
            counter(contract, CounterOf::App(app.clone()), false, self.minutes.number, *count)
        });
        let days = self.days.counters.iter().map(move |((contract, actor), count)| {
            let of = match actor {
                Actor::Proved(officer) => CounterOf::Officer(officer.clone()),
                Actor::AssertedOf(app) => CounterOf::App(app.clone()),
            };
            counter(contract, of, true, self.days.number, *count)
        });
        minutes.chain(days)
    }

    /// Takes back a counter that was kept; one of an older window than the present one is over.
    pub fn restore(&mut self, counter: Counter) {
        let Counter { contract, of, daily, window, count } = counter;
        match (daily, of) {
            (false, CounterOf::App(app)) => self.minutes.restore(window, (contract, app), count),
            (true, CounterOf::App(app)) => {
                self.days.restore(window, (contract, Actor::AssertedOf(app)), count);
            }
            (true, CounterOf::Officer(officer)) => {
                self.days.restore(window, (contract, Actor::Proved(officer)), count);
            }
            // Officers are counted by the day only.
            (false, CounterOf::Officer(_)) => {}
        }
    }

    /// How many counters are kept.
    pub fn len(&self) -> usize {
        self.minutes.counters.len().saturating_add(self.days.counters.len())
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (ContractId, AppId, AppId, Officer) {
        (
            ContractId::parse("police-street-person").unwrap(),
            AppId::parse("desk").unwrap(),
            AppId::parse("other-desk").unwrap(),
            Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap(),
        )
    }

    #[test]
    fn asserted_officers_of_an_app_count_as_one_and_windows_turn() {
        let (contract, desk, other, officer) = ids();
        let mut rates = Rates::new();
        let start = 20_000 * DAY_MS;
        for n in 1..=3 {
            let counts = rates.count(&contract, &desk, None, start);
            assert_eq!(counts, Counts { app_this_minute: n, officer_today: n });
        }
        assert_eq!(rates.count(&contract, &other, None, start).officer_today, 1);
        let proved = rates.count(&contract, &desk, Some(&officer), start);
        assert_eq!(proved, Counts { app_this_minute: 4, officer_today: 1 });
        let later = rates.count(&contract, &desk, None, start + MINUTE_MS);
        assert_eq!(later, Counts { app_this_minute: 1, officer_today: 4 });
        let tomorrow = rates.count(&contract, &desk, None, start + DAY_MS);
        assert_eq!(tomorrow, Counts { app_this_minute: 1, officer_today: 1 });
        assert_eq!(rates.len(), 2);
    }

    #[test]
    fn a_clock_set_back_opens_no_second_allowance() {
        let (contract, desk, _, _) = ids();
        let mut rates = Rates::new();
        rates.count(&contract, &desk, None, DAY_MS);
        let back = rates.count(&contract, &desk, None, DAY_MS - 1);
        assert_eq!(back, Counts { app_this_minute: 2, officer_today: 2 });
        assert_eq!(rates.count(&contract, &desk, None, -DAY_MS).app_this_minute, 3);
    }

    #[test]
    fn what_is_read_back_newest_first_counts_as_it_did_and_takes_no_more_memory() {
        let (contract, desk, other, officer) = ids();
        let start = 20_000 * DAY_MS;
        let happened: Vec<_> = (0..4_000_i64)
            .map(|n| {
                let app = if n % 3 == 0 { &other } else { &desk };
                (app, (n % 5 == 0).then_some(&officer), start - DAY_MS / 2 + n * 20_000)
            })
            .collect();
        let (mut lived, mut read) = (Rates::new(), Rates::new());
        for (app, proved, time_ms) in &happened {
            lived.count(&contract, app, *proved, *time_ms);
        }
        for (app, proved, time_ms) in happened.iter().rev() {
            read.recount(&contract, app, *proved, *time_ms);
            assert!(read.len() <= 5, "as many as there are counters");
        }
        let all = |rates: &Rates| {
            let mut all: Vec<_> = rates.counters().map(|counter| format!("{counter:?}")).collect();
            all.sort();
            all
        };
        assert_eq!(all(&lived), all(&read));
        // Two logs one after the other: the second one's newer minute takes the place of the first one's.
        read.recount(&contract, &desk, None, start + DAY_MS);
        assert_eq!(read.len(), 2);
        assert_eq!(
            read.count(&contract, &desk, None, start + DAY_MS),
            Counts { app_this_minute: 2, officer_today: 2 }
        );
    }

    #[test]
    fn memory_is_bounded_and_a_full_table_refuses_newcomers_only() {
        let (contract, desk, other, _) = ids();
        let mut rates = Rates::new();
        rates.count_within(&contract, &desk, None, 0, 1);
        let full = rates.count_within(&contract, &other, None, 0, 1);
        assert_eq!(full, Counts { app_this_minute: u32::MAX, officer_today: u32::MAX });
        assert_eq!(rates.count_within(&contract, &desk, None, 0, 1).app_this_minute, 2);
        assert_eq!(rates.len(), 2);
        let next = rates.count_within(&contract, &other, None, DAY_MS, 1);
        assert_eq!(next, Counts { app_this_minute: 1, officer_today: 1 });
        rates.forget_old(3 * DAY_MS);
        assert!(rates.is_empty());
    }
}
