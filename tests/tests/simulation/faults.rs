//! What goes wrong, and when: a list that follows from the seed, and the driver that works through it.

use super::chance::Dice;
use super::network::HUB;
use super::template::{HEALTH, POLICE};
use super::town::{DESK, HOSTS, Plan, Taken, Town};
use super::{apps, hosts};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use turmoil::Sim;

/// One step: messages are delivered and clocks move in steps of this length.
const TICK: Duration = Duration::from_millis(10);
/// How long things go wrong.
const ACTIVE_MS: u64 = 20_000;
/// When everybody is linked where nothing goes wrong; nothing is planned before.
pub const CALM_FROM_MS: u64 = 3000;
/// How long it may take until everything goes on when nothing goes wrong any more: a connection that died in silence is
/// found dead after 30 s, an adapter dials again after at most 30 s, and standings come every 20 s.
const HEALED_WITHIN_MS: u64 = 120_000;
/// How long everybody may take to stop.
const STOPPED_WITHIN_MS: u64 = 30_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// `kill -9`, or a power cut.
    Crash {
        host: &'static str,
        power: bool,
    },
    /// The process ends at its n-th durable operation from now, and the power goes.
    StopDisk {
        host: &'static str,
        after: u64,
    },
    Start {
        host: &'static str,
    },
    /// The adapter is stopped in good order, and its next process started.
    Upgrade {
        host: &'static str,
    },
    Partition {
        host: &'static str,
        to_hub: bool,
        from_hub: bool,
    },
    Repair {
        host: &'static str,
        to_hub: bool,
        from_hub: bool,
    },
    Hold {
        host: &'static str,
    },
    Release {
        host: &'static str,
    },
    Slow {
        max_ms: u64,
    },
}

/// What is taken back, and when.
pub fn plans(seed: u64) -> Vec<Plan> {
    let dice = Dice::new(seed, "plans");
    let plan = |what| Plan { what, at_ms: dice.between(3000, ACTIVE_MS), acknowledged_ms: Mutex::new(None) };
    let contract = if dice.percent(50) { Taken::Contract } else { Taken::ContractByRoot };
    match dice.below(4) {
        0 => Vec::new(),
        1 => vec![plan(contract)],
        2 => vec![plan(Taken::App)],
        _ => vec![plan(contract), plan(Taken::App)],
    }
}

/// Faults of hosts, and of each host's way to the hub, one after another each.
fn schedule(seed: u64) -> Vec<(u64, Event)> {
    let dice = Dice::new(seed, "faults");
    let mut events = Vec::new();
    for host in HOSTS {
        let mut at = dice.between(500, 12_000);
        while at < ACTIVE_MS && host != DESK {
            events.push(match dice.below(4) {
                0 => (at, Event::StopDisk { host, after: dice.between(1, 60) }),
                1 => (at, Event::Crash { host, power: true }),
                _ => (at, Event::Crash { host, power: false }),
            });
            let down = dice.between(50, 4000);
            events.push((at + down, Event::Start { host }));
            at += down + dice.between(2000, 25_000);
        }
        let mut at = dice.between(500, 15_000);
        while at < ACTIVE_MS && host != HUB {
            let lasts = dice.between(50, 9000);
            let way = dice.below(4);
            let (to_hub, from_hub) = (way != 1, way != 2);
            if way == 0 {
                events.push((at, Event::Hold { host }));
                events.push((at + lasts, Event::Release { host }));
            } else {
                events.push((at, Event::Partition { host, to_hub, from_hub }));
                events.push((at + lasts, Event::Repair { host, to_hub, from_hub }));
            }
            at += lasts + dice.between(3000, 25_000);
        }
    }
    for _ in 0..dice.below(3) {
        events.push((dice.below(ACTIVE_MS), Event::Slow { max_ms: dice.between(20, 600) }));
    }
    events.extend(upgrades(seed));
    events.retain(|(at, _)| *at < ACTIVE_MS);
    events.sort_by_key(|(at, _)| *at);
    events
}

/// Upgrades of both providers, by chance of their own.
fn upgrades(seed: u64) -> Vec<(u64, Event)> {
    let dice = Dice::new(seed, "upgrades");
    let mut events = Vec::new();
    for host in [POLICE, HEALTH] {
        let mut at = dice.between(CALM_FROM_MS, 9000);
        while at < ACTIVE_MS {
            events.push((at, Event::Upgrade { host }));
            at += dice.between(3000, 15_000);
        }
    }
    events
}

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// All of it.
    Storm,
    /// Nothing; only adapters are upgraded.
    Calm,
}

pub struct Driver<'a> {
    sim: Sim<'a>,
    town: Arc<Town>,
    dice: Dice,
    down: BTreeSet<&'static str>,
}

impl Driver<'_> {
    pub fn new(town: &Arc<Town>) -> Self {
        let dice = Dice::new(town.seed, "driver");
        let mut sim = turmoil::Builder::new()
            .rng_seed(town.seed)
            .epoch(std::time::UNIX_EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(dice.ms(5, 80))
            .tcp_capacity(1 << 14)
            .enable_random_order()
            .build();
        for name in HOSTS {
            let town = Arc::clone(town);
            match name {
                HUB => sim.host(name, move || hosts::hub(Arc::clone(&town))),
                DESK => sim.host(name, move || apps::desk(Arc::clone(&town))),
                _ => sim.host(name, move || hosts::member(Arc::clone(&town), name)),
            }
        }
        Self { sim, town: Arc::clone(town), dice, down: BTreeSet::new() }
    }

    /// Lets everything go wrong, then nothing any more, and stops when everything has gone on.
    pub fn run(&mut self, weather: Weather) {
        let mut events = match weather {
            Weather::Storm => schedule(self.town.seed),
            Weather::Calm => upgrades(self.town.seed),
        };
        events.sort_by_key(|(at, _)| *at);
        while self.town.time.ms() < ACTIVE_MS {
            let due = events.iter().take_while(|(at, _)| *at <= self.town.time.ms()).count();
            for (_, event) in events.drain(..due) {
                self.apply(&event);
            }
            self.ended(&mut events);
            self.step();
        }
        self.heal();
        let healed_ms = self.town.time.ms();
        while let Some(what) = self.waits_for(healed_ms) {
            if self.town.time.ms() > healed_ms + HEALED_WITHIN_MS {
                self.town.wrong(format_args!("nothing goes wrong any more, and yet: {what}"));
                break;
            }
            self.step();
        }
        self.stop();
    }

    fn step(&mut self) {
        self.town.time.set(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            self.town.wrong(format_args!("a host failed: {error}"));
        }
    }

    fn crash(&mut self, host: &'static str, power: bool) {
        if !self.down.insert(host) {
            return;
        }
        self.sim.crash(host);
        let machine = self.town.host(host);
        machine.ended.store(false, Ordering::SeqCst);
        if power { machine.disk.cut_power(&self.dice) } else { machine.disk.kill() }
    }

    fn start(&mut self, host: &'static str) {
        if self.down.remove(host) {
            self.sim.bounce(host);
        }
    }

    /// A process that ended at an operation of its disk loses its power and starts again.
    fn ended(&mut self, events: &mut Vec<(u64, Event)>) {
        for host in HOSTS {
            let machine = self.town.host(host);
            if machine.disk.stopped() {
                self.town.note(format_args!("{host} ends in the middle of a write"));
                self.crash(host, true);
                let at = self.town.time.ms() + self.dice.between(50, 3000);
                events.insert(events.partition_point(|(other, _)| *other <= at), (at, Event::Start { host }));
            } else if machine.ended.swap(false, Ordering::SeqCst) {
                self.town.wrong(format_args!("{host} ended by itself"));
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        self.town.note(format_args!("{event:?}"));
        match event {
            Event::Crash { host, power } => self.crash(host, *power),
            Event::Start { host } => self.start(host),
            // One that is down comes back as its next process anyway.
            Event::Upgrade { host } => {
                let is_up = !self.down.contains(host);
                self.town.host(host).upgrade.store(is_up, Ordering::SeqCst);
            }
            Event::StopDisk { host, after } => self.town.host(host).disk.stop_after(*after),
            Event::Partition { host, to_hub, from_hub } => match (to_hub, from_hub) {
                (true, true) => self.sim.partition(*host, HUB),
                (true, false) => self.sim.partition_oneway(*host, HUB),
                (false, _) => self.sim.partition_oneway(HUB, *host),
            },
            Event::Repair { host, to_hub, from_hub } => match (to_hub, from_hub) {
                (true, true) => self.sim.repair(*host, HUB),
                (true, false) => self.sim.repair_oneway(*host, HUB),
                (false, _) => self.sim.repair_oneway(HUB, *host),
            },
            Event::Hold { host } => self.sim.hold(*host, HUB),
            Event::Release { host } => self.sim.release(*host, HUB),
            Event::Slow { max_ms } => self.sim.set_max_message_latency(Duration::from_millis(*max_ms)),
        }
    }

    fn heal(&mut self) {
        self.town.note("nothing goes wrong any more");
        for host in HOSTS {
            if host != HUB {
                self.sim.release(host, HUB);
                self.sim.repair(host, HUB);
            }
            let machine = self.town.host(host);
            if machine.disk.stopped() {
                self.crash(host, true);
            } else {
                // An end that was planned and did not come, also of a host that was down when it was planned.
                machine.disk.stop_after(u64::MAX / 2);
            }
            self.start(host);
        }
        self.sim.set_max_message_latency(Duration::from_millis(20));
    }

    /// What has not gone on yet.
    fn waits_for(&self, healed_ms: u64) -> Option<String> {
        let ended = HOSTS.into_iter().find(|host| self.town.host(host).ended.load(Ordering::SeqCst));
        if let Some(host) = ended {
            return Some(format!("{host} ended by itself"));
        }
        if let Some(plan) = self.town.plans.iter().find(|plan| plan.acknowledged().is_none()) {
            return Some(format!("{:?} is not acknowledged", plan.what));
        }
        let said = self.town.said();
        for app in 0..2 {
            for question in 0..3 {
                let over = self.town.plans.iter().any(|plan| plan.ends(app, question));
                let since = |said: &&super::town::Said| {
                    (said.app, said.question) == (app, question) && said.sent_ms > healed_ms
                };
                let went_on =
                    said.iter().filter(since).any(|said| over || said.outcome.starts_with("answered"));
                // An app whose key was taken back before it had a case asks nothing.
                let asks = !over || app == 0;
                if asks && !went_on {
                    return Some(format!("app {app} has no answer to question {question}"));
                }
            }
        }
        None
    }

    fn stop(&mut self) {
        self.town.last_call.store(true, Ordering::SeqCst);
        self.until_ended("the apps", &[DESK]);
        self.town.closing.store(true, Ordering::SeqCst);
        self.until_ended("everybody", &HOSTS);
    }

    fn until_ended(&mut self, who: &str, hosts: &[&'static str]) {
        let from_ms = self.town.time.ms();
        while hosts.iter().any(|host| self.sim.is_host_running(*host)) {
            if self.town.time.ms() > from_ms + STOPPED_WITHIN_MS {
                self.town.wrong(format_args!("{who} did not stop"));
                return;
            }
            self.step();
        }
    }
}
