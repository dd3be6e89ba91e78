//! The hub sees what it carries and keeps none of it: values that were really carried are in the departments'
//! folders and in no byte of the hub's.

use crate::scan::{Needles, VALUE_MIN, files};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_city::City;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_hub::config::Config;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::lifecycle::{self, Ambient};
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::ids::{CaseId, FieldName, Matter, Operation};
use yiwang_tests::contracts::draft;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::scene::{fields, verify_ledger};
use yiwang_tests::world::World;

/// Names that stand nowhere but in the department's own register.
const PLANTED: usize = 20;
const SUBJECTS_PER_CASE: usize = 50;

/// Police, who know persons and where they live, and a street office that asks.
struct Registers {
    world: World,
    police: Member,
    // Its standings end with it, a minute later.
    _street: Member,
    app: Client,
    person: Contract,
    residence: Contract,
    ids: Vec<String>,
}

impl Registers {
    async fn new(seed: u64, scale: f64) -> Self {
        let world = World::new(seed).await;
        let dir = world.dir.path().join("city");
        let city = yiwang_city::build(yiwang_city::CityPlan { seed: 7, scale }, &dir).unwrap();
        let police = world.department(&city, "police", &["person", "residence"]).await;
        let street = world.member("street-office").await;
        let now = world.clock.now_ms();
        let person = draft(&police, &street, "police-street-person", now).record(
            "Person",
            "person.by_id",
            &["id_number", "name"],
            2,
        );
        let residence = draft(&police, &street, "police-street-residence", now).record(
            "Residence",
            "residence.by_person",
            &["address_code", "kind"],
            2,
        );
        let person = Contract::open(&world.agree(&person, &police, &street).await).unwrap();
        let residence = Contract::open(&world.agree(&residence, &police, &street).await).unwrap();
        let app = street.app(&world, "assistance-desk").await;
        let ids = clean_ids(&city);
        plant(&city, &ids);
        Self { world, police, _street: street, app, person, residence, ids }
    }

    /// Asks about persons in several cases, and keeps what was carried.
    async fn ask_about(&self, ids: &[String], carried: &mut Carried) {
        let matter = Matter::parse("social-assistance").unwrap();
        for subjects in ids.chunks(SUBJECTS_PER_CASE) {
            let (case, _) = self.app.open_case(&matter, subjects).await.unwrap();
            for id in subjects {
                carried.keep(id);
                let subject = (id.as_str(), Arguments::new());
                carried.exchange(&self.app, &self.person, &["id_number", "name"], &case, &subject).await;
                carried
                    .exchange(&self.app, &self.residence, &["address_code", "kind"], &case, &subject)
                    .await;
            }
        }
    }
}

/// Persons whose register holds what was issued, letter for letter.
fn clean_ids(city: &City) -> Vec<String> {
    let homes = city.households().filter(|home| home.dirt.is_none());
    homes.flat_map(|home| home.members).filter(|person| person.alive).map(|person| person.id).collect()
}

fn plant(city: &City, ids: &[String]) {
    let source = city.sources().iter().find(|source| source.member == "police").unwrap();
    let db = rusqlite::Connection::open(&source.path).unwrap();
    for (number, id) in ids.iter().take(PLANTED).enumerate() {
        let name = format!("Canary {number:02} of the old mill");
        let changed = db.execute("update T_RY set XM = ? where SFZH = ?", [&name, id]).unwrap();
        assert_eq!(changed, 1, "{id}");
    }
}

/// Values that crossed the hub, at least ten bytes each.
#[derive(Default)]
struct Carried {
    values: BTreeSet<String>,
    exchanges: usize,
}

/// Fields that the mapping writes in another form than the source, or that are words of the catalogue.
const TRANSFORMED: [&str; 5] = ["as_of", "kind", "opened_at", "type", "location_code"];

impl Carried {
    fn keep(&mut self, value: &str) {
        if value.len() >= VALUE_MIN {
            self.values.insert(value.to_owned());
        }
    }

    async fn exchange(
        &mut self,
        app: &Client,
        contract: &Contract,
        wanted: &[&str],
        case: &CaseId,
        (subject, arguments): &(&str, Arguments),
    ) {
        let ask = Ask {
            operation: Operation::parse(contract.text.operations[0].as_str()).unwrap(),
            fields: fields(wanted),
            case: case.clone(),
            officer: None,
            subject: (*subject).to_owned(),
            arguments: arguments.clone(),
            retry_of: None,
        };
        let exchanged = app.exchange(contract, &app.sign(contract, &ask)).await.unwrap();
        let Ending::Answered { records, .. } = exchanged.ending else { panic!("{:?}", exchanged.ending) };
        let records: Vec<Value> = serde_json::from_slice(&records).unwrap();
        let values = records.iter().flat_map(|record| record["fields"].as_object().unwrap());
        for (_, value) in values.filter(|(name, _)| !TRANSFORMED.contains(&name.as_str())) {
            self.keep(value.as_str().unwrap_or_default());
        }
        self.exchanges += 1;
    }
}

/// Real emergency calls of the busiest townships and days, where the data is there.
async fn real_calls(world: &World, carried: &mut Carried) -> Option<RunningAdapter> {
    let data = yiwang_tests::test_data()?.join("data");
    let real = yiwang_city::attach_real(&data, &world.dir.path().join("city")).unwrap();
    let source = real.sources.iter().find(|source| source.member == "montgomery-911").unwrap();
    let mut county = world.member("montgomery-911").await;
    county.settings.0.insert(source.variable.to_owned(), source.path.display().to_string());
    county.mappings = vec![yiwang_tests::departments().join("real/montgomery-911/mapping.toml")];
    let health = world.member("health").await;
    let text = draft(&county, &health, "montgomery-health-incidents", world.clock.now_ms())
        .record("Incident", "incident.by_township_day", &["description", "township"], 1)
        .with("purpose", "public-health.planning".into())
        .with("matters", json!(["health-planning"]))
        .with("apps", json!(["planning-desk"]))
        .limit("rows", 500);
    let contract = Contract::open(&world.agree(&text, &county, &health).await).unwrap();
    let adapter = county.run_adapter(world).await;
    let app = health.app(world, "planning-desk").await;
    let (case, _) = app.open_case(&Matter::parse("health-planning").unwrap(), &[]).await.unwrap();
    for (township, day) in busiest(&source.path, 25) {
        let named = [("day", day), ("township", township)];
        let arguments: Arguments =
            named.map(|(name, value)| (FieldName::parse(name).unwrap(), Scalar::Text(value))).into();
        carried.exchange(&app, &contract, &["description", "township"], &case, &("", arguments)).await;
    }
    Some(adapter)
}

/// Townships and days with most rows. Lines with quotes are left out, which no count here depends on.
fn busiest(folder: &Path, how_many: usize) -> Vec<(String, String)> {
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for file in files(folder) {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().skip(1).filter(|line| !line.contains('"')) {
            let mut last = line.rsplitn(5, ',').skip(2);
            let (Some(township), Some(time)) = (last.next(), last.next()) else { continue };
            let day = time.get(..10).unwrap_or_default();
            if !township.is_empty() && day.len() == 10 {
                *counts.entry((township.to_owned(), day.to_owned())).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<_> = counts.into_iter().collect();
    pairs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    pairs.into_iter().take(how_many).map(|(pair, _)| pair).collect()
}

fn departments_folders(world: &World) -> Vec<PathBuf> {
    vec![world.dir.path().join("city")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t32_a_thousand_carried_values_are_with_the_departments_and_nowhere_with_the_hub() {
    let mut registers = Registers::new(80, 0.002).await;
    let police = registers.police.run_adapter(&registers.world).await;
    let mut carried = Carried::default();
    let county = real_calls(&registers.world, &mut carried).await;
    let with_real = carried.values.len();
    let ids: Vec<String> = registers.ids.iter().take(800).cloned().collect();
    registers.ask_about(&ids, &mut carried).await;
    for adapter in [Some(police), county].into_iter().flatten() {
        adapter.stop().await;
    }
    registers.world.stop_hub().await;

    let values: Vec<String> = carried.values.iter().cloned().collect();
    let planted = values.iter().filter(|value| value.starts_with("Canary ")).count();
    assert_eq!(planted, PLANTED, "the planted names were carried");
    assert!(values.len() >= 1000 && carried.exchanges >= 1000, "{} values", values.len());

    let with_departments = Needles::plain(&values).found_below(&departments_folders(&registers.world));
    let missing = (0..values.len()).find(|number| !with_departments.contains(number));
    assert!(missing.is_none(), "no department holds `{}`", values[missing.unwrap_or_default()]);

    let hub = registers.world.hub_dir();
    let with_hub = Needles::hidden(&values).found_below(std::slice::from_ref(&hub));
    let kept = with_hub.first().map(|number| &values[*number]);
    assert!(kept.is_none(), "the hub holds {} values, one is `{}`", with_hub.len(), kept.unwrap());
    println!(
        "{} exchanges; {} values, {with_real} of real calls: {} with the departments, {} with the hub",
        carried.exchanges,
        values.len(),
        with_departments.len(),
        with_hub.len()
    );
    let (code, report) = verify_ledger(&registers.world);
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_search_finds_what_a_hoarding_hub_keeps() {
    let mut registers = Registers::new(81, 0.0005).await;
    hoard(&mut registers.world).await;
    let police = registers.police.run_adapter(&registers.world).await;
    registers.app.meet().await.unwrap();
    let mut carried = Carried::default();
    let ids: Vec<String> = registers.ids.iter().take(60).cloned().collect();
    registers.ask_about(&ids, &mut carried).await;
    police.stop().await;
    registers.world.stop_hub().await;

    let values: Vec<String> = carried.values.iter().cloned().collect();
    assert!(values.len() >= 60 + PLANTED, "{} values", values.len());
    let with_hub = Needles::hidden(&values).found_below(&[registers.world.hub_dir()]);
    assert_eq!(with_hub.len(), values.len(), "the search misses what is there");
    let (code, report) = verify_ledger(&registers.world);
    assert_eq!(code, 0, "{report}");
}

/// Starts the hub again at the same address, this time with the switch that stores bodies in its folder.
async fn hoard(world: &mut World) {
    let (address, enrol, health) = {
        let hub = world.hub();
        (hub.address, hub.enrol_address, hub.health_address)
    };
    world.stop_hub().await;
    let mut config = Config::read(&world.hub_dir()).unwrap();
    (config.raw.listen, config.raw.enrol_listen, config.raw.health_listen) = (address, enrol, health);
    let ambient = Ambient { clock: Arc::clone(&world.clock), entropy: Arc::clone(&world.entropy) };
    let switches =
        TestSwitches { store_bodies: Some(world.hub_dir().join("bodies")), ..TestSwitches::default() };
    let hub = lifecycle::start(&config, &ambient, switches, AcceptLimits::default()).await.unwrap();
    world.hub = Some(hub);
}
