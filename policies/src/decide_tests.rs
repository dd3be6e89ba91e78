use super::*;
use crate::decision::CLAUSE_MAX;
use crate::decision::OfficerProof;
use crate::input::{Counts, Site};
use crate::naive;
use crate::rules::IN_RUST;
use crate::situations::{ALL, SITES};
use crate::testing::{self, DECIDER, Proof, World, fields, root};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fmt::Write as _;
use yiwang_proto::codes::Code;

fn codes(world: &World) -> Vec<Code> {
    match world.decide() {
        Ok(_) => Vec::new(),
        Err(denial) => denial.codes().collect(),
    }
}

/// The verifier has neither body nor counts.
fn at(site: Site, world: &World) -> World {
    let mut world = world.clone();
    world.site = site;
    if site == Site::Verifier {
        (world.body, world.counts) = (None, None);
        if let Proof::Ticket(_, _, uses) = &mut world.officer {
            *uses = None;
        }
    }
    world
}

fn resource(world: &World) -> Resource {
    DECIDER.facts.contract(&world.contract, world.record().as_deref()).unwrap()
}

fn judged(world: &World) -> cedar_policy::Request {
    DECIDER.facts.exchange(&world.request, &resource(world).uid, &world.context(), None).unwrap()
}

#[test]
fn the_example_is_granted() {
    let world = World::new();
    DECIDER.prepare(Arc::clone(&world.contract), None).unwrap();
    let permit = world.decide().unwrap();
    assert_eq!(permit.fields(), fields(&["scheme", "status"]));
    assert_eq!((permit.row_limit(), permit.deadline_ms()), (5, 2000));
    assert_eq!(permit.rows().len(), 2);
    assert_eq!(permit.officer_proof(), OfficerProof::Asserted);
    assert_eq!(permit.highest_class(), (2, Code::SealingRequired));
    assert_eq!(permit.contract().text.id, world.contract.text.id);
}

#[test]
fn every_situation_has_its_code_and_names_its_clause() {
    for situation in ALL {
        let world = World::new().with(situation.change);
        match world.decide() {
            Ok(_) => assert_eq!(situation.expected, None, "{}", situation.name),
            Err(denial) => {
                assert_eq!(situation.expected, Some(denial.code), "{}: {denial}", situation.name);
                for clause in
                    std::iter::once(&denial.clause).chain(denial.also.iter().map(|(_, clause)| clause))
                {
                    assert!(
                        !clause.is_empty() && clause.len() <= CLAUSE_MAX && clause.is_ascii(),
                        "{clause}"
                    );
                    for value in ["980201", "980101", "minimum-living", "gas-company"] {
                        assert!(!clause.contains(value), "{}: {clause}", situation.name);
                    }
                }
            }
        }
    }
}

/// `YIWANG_WRITE_SNAPSHOTS=1` writes the file anew; the difference is then read by whoever reviews it.
#[test]
fn the_policy_matrix_is_the_committed_one() {
    let mut matrix = String::from("situation | hub | adapter | verifier\n--- | --- | --- | ---\n");
    for situation in ALL {
        let base = World::new().with(situation.change);
        write!(matrix, "{}", situation.name).unwrap();
        for (_, site) in SITES {
            let codes: Vec<&str> = codes(&at(site, &base)).into_iter().map(Code::as_str).collect();
            let shown = if codes.is_empty() { "granted".to_owned() } else { codes.join(", ") };
            write!(matrix, " | {shown}").unwrap();
        }
        matrix.push('\n');
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("base/matrix.txt");
    if std::env::var_os("YIWANG_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &matrix).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == matrix, "base/matrix.txt differs; the matrix is now:\n{matrix}");
}

#[test]
fn every_rule_denies_in_some_situation() {
    let mut silent: Vec<&str> = crate::rules::TABLE.iter().map(|rule| rule.id).collect();
    for situation in ALL {
        let world = World::new().with(situation.change);
        let judged = judged(&world);
        let response =
            DECIDER.authorizer.is_authorized(&judged, &DECIDER.rules.each, &resource(&world).entities);
        for id in response.diagnostics().reason() {
            silent.retain(|rule| *rule != AsRef::<str>::as_ref(id));
        }
    }
    assert_eq!(silent, IN_RUST, "these are judged in Rust");
}

#[test]
fn a_rule_that_errs_is_a_denial() {
    let world = World::new().with(|world| world.now_ms = i64::MAX);
    let denial = world.decide().unwrap_err();
    assert_eq!((denial.code, denial.also.len()), (Code::PolicyError, 0));
    // An adding rule that overflows errs, is skipped by Cedar, and would forbid nothing.
    let judged = judged(&world);
    let response = DECIDER.authorizer.is_authorized(&judged, &DECIDER.rules.each, &resource(&world).entities);
    assert_eq!(response.diagnostics().errors().count(), 1);
}

#[test]
fn the_strongest_reason_comes_first_and_the_others_are_told() {
    let world = World::new().with(|world| {
        world.request.fields = fields(&["household"]);
        world.counts = Some(Counts { app_this_minute: 601, officer_today: 101 });
        world.delegation.root = root(3).public();
    });
    let denial = world.decide().unwrap_err();
    assert_eq!(denial.code, Code::DelegationInvalid);
    let others: Vec<Code> = denial.also.iter().map(|(code, _)| *code).collect();
    assert_eq!(others, [Code::FieldNotGranted, Code::RateExceeded, Code::RateExceeded]);
    assert_eq!(denial.also[0].1, "fields: household");
}

#[test]
fn clauses_help_without_values() {
    let clause = |change: fn(&mut World)| World::new().with(change).decide().unwrap_err().clause;
    assert_eq!(clause(|world| world.request.fields = fields(&["amount_band"])), "class: amount_band");
    assert_eq!(
        clause(|world| world.delegation.digest = [9; 32]),
        "consumer.root: the statement names another delegation"
    );
    assert_eq!(
        clause(|world| world.delegation.role = Role::Adapter),
        "consumer.root: the delegation is not for an app"
    );
    assert_eq!(clause(|world| world.delegation.root = root(3).public()), "consumer.root");
    // What an app wrote and no catalogue knows may be a person's id, and a clause goes into the ledger.
    let unknown =
        World::new().with(|world| world.request.fields = fields(&["amount_band", "f980121194603180024"]));
    let denial = unknown.decide().unwrap_err();
    let clauses = std::iter::once(&denial.clause).chain(denial.also.iter().map(|(_, clause)| clause));
    let clauses: Vec<&str> = clauses.map(String::as_str).collect();
    assert!(clauses.contains(&"class: amount_band (names of no catalogue)"), "{clauses:?}");
    assert!(!clauses.concat().contains("980121194603180024"), "{clauses:?}");
    let long = World::new().with(|world| world.request.fields = fields(&["amount_band"; 20]));
    assert_eq!(long.decide().unwrap_err().clause.len(), CLAUSE_MAX);
}

#[test]
fn a_contract_with_faults_is_not_prepared() {
    let world = World::new().contract_with(|json| json["class"] = 2.into());
    let faults = DECIDER.prepare(Arc::clone(&world.contract), None).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].place, "class");
}

#[test]
fn the_skew_in_the_rules_is_that_of_the_limits() {
    let rule = bundle::RULES.iter().find(|(path, _)| *path == "base/statement.cedar").unwrap().1;
    assert!(rule.contains(&format!("context.now + {} }}", yiwang_proto::limits::CLOCK_SKEW_MS)));
}

#[test]
fn rules_that_do_not_fit_are_refused_at_load() {
    let load = |change: &dyn Fn(&str, &str) -> String| {
        let changed: Vec<(&str, String)> =
            bundle::RULES.iter().map(|(path, text)| (*path, change(path, text))).collect();
        let files: Vec<(&str, &str)> = changed.iter().map(|(path, text)| (*path, text.as_str())).collect();
        Decider::load(bundle::SCHEMA, &files, Catalogue::builtin().unwrap(), [0; 32]).map(|_| ())
    };
    load(&|_, text| text.to_owned()).unwrap();
    let replaced = |from: &'static str, to: &'static str| {
        load(&move |_, text| text.replace(from, to)).unwrap_err().to_string()
    };
    assert!(replaced("@id(\"purpose\")", "").contains("no @id"));
    assert!(replaced("@id(\"purpose\")", "@id(\"aim\")").contains("`aim`"));
    assert!(replaced("@id(\"purpose\")", "@id(\"case\")").contains("`case`"), "an id that stands twice");
    assert!(replaced("context.purpose ==", "context.aim ==").contains("do not fit the schema"));
    assert!(
        replaced("context.purpose == resource.purpose", "context.now == resource.purpose").contains("schema")
    );
    assert!(
        replaced(
            "forbid (principal, action == Action::\"exchange\", resource)\nunless { context.purpose",
            "permit (principal, action == Action::\"exchange\", resource)\nunless { context.purpose"
        )
        .contains("effect")
    );
    let scope = "forbid (principal, action == Action::\"exchange\", resource)\nunless { resource.fields";
    let narrow =
        "forbid (principal is App, action == Action::\"exchange\", resource)\nunless { resource.fields";
    assert!(replaced(scope, narrow).contains("scope"));
    assert!(
        replaced("unless { resource.fields", "when { context.live } unless { resource.fields")
            .contains("one condition")
    );
    assert!(replaced("@id(\"fields\")", "@id(\"fields\")\n@terms").contains("marked @terms"));
    assert!(replaced("@id(\"purpose\")\n@terms", "@id(\"purpose\")").contains("marked @terms"));
    assert!(replaced("@id(\"expired\")\n@moment", "@id(\"expired\")").contains("marked @moment"));
    // A rule that reads the clock cannot be remembered: the schema gives it none.
    assert!(replaced("{ context.case_open }", "{ context.case_open && context.now > 0 }").contains("schema"));
    assert!(replaced("context.now >= resource.valid_until }", "context.sealed }").contains("schema"));
    // What a window cannot stand for is no rule of the moment.
    let turned = replaced("app_this_minute > resource", "app_this_minute < resource");
    assert!(
        turned.contains("`rate-app` is marked @moment and `app_this_minute` stands on the large side"),
        "{turned}"
    );
    let without = load(&|path, text| if path.contains("purpose") { String::new() } else { text.to_owned() });
    assert!(matches!(without, Err(PolicyError::Rule(id)) if id == "purpose"));
    assert!(load(&|_, text| text.replace("forbid", "forbit")).is_err());
}

/// Situations change one thing; a near-miss changes up to four, at any site.
fn near_miss() -> impl Strategy<Value = World> {
    let changes = proptest::collection::vec(0..ALL.len(), 0..4);
    let counts = proptest::option::weighted(0.9, (0u32..3, 0u32..3));
    (changes, 0..SITES.len(), any::<[bool; 4]>(), counts, -2i64..3).prop_map(
        |(changes, site, flags, counts, moved)| {
            let mut world = EXAMPLE.clone();
            for change in changes {
                (ALL[change].change)(&mut world);
            }
            world.site = SITES[site].1;
            world.sealed ^= flags[0] && flags[1];
            if flags[2] && flags[3] {
                world.body = None;
            }
            if let (Some((app, officer)), Some(_)) = (counts, world.counts) {
                // Around both ceilings and around nothing.
                let around = |most: u32, by: u32| [1, most, most + 1][by as usize];
                world.counts =
                    Some(Counts { app_this_minute: around(600, app), officer_today: around(100, officer) });
            }
            if moved != 0 {
                let borders = [
                    world.contract.valid_from_ms,
                    world.contract.valid_until_ms,
                    world.delegation.valid_from_ms,
                    world.delegation.valid_until_ms,
                    world.request.expires_at_ms,
                    world.request.issued_at_ms - 30_000,
                ];
                let border =
                    borders[usize::from(flags[0]) * 3 + usize::from(flags[1]) + usize::from(flags[2])];
                world.now_ms = border + moved;
            }
            world
        },
    )
}

std::thread_local! {
    /// Contracts are few and preparing costs more than deciding.
    static PREPARED: std::cell::RefCell<HashMap<(Digest, Option<Digest>), Prepared>> = std::cell::RefCell::default();
}

static EXAMPLE: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::new);

proptest! {
    #![proptest_config(ProptestConfig { cases: testing::cases(50_000), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn f26_cedar_and_the_second_evaluator_agree_on_near_misses(world in near_miss(), sample in 0u8..8) {
        let prepared = PREPARED.with_borrow_mut(|known| {
            let pinned = world.pinned().map(|version| version.digest);
            known.entry((world.contract.digest, pinned)).or_insert_with(|| world.prepared()).clone()
        });
        let context = world.context();
        if sample == 0 {
            let schema = Some(DECIDER.schema());
            let resource = &resource(&world).uid;
            let fits = DECIDER.facts.exchange(&world.request, resource, &context, schema);
            prop_assert!(fits.is_ok(), "the input does not fit the schema: {:?}", fits.err());
            let terms = asked_terms(&world.request, &context);
            let fits = DECIDER.facts.grant(&world.request, resource, &granted(&world.request, &context, &terms), schema);
            prop_assert!(fits.is_ok(), "the input does not fit the schema: {:?}", fits.err());
            let fits = DECIDER.facts.now(&Moment::of(&world.request, &context), &prepared.limits.uid, schema);
            prop_assert!(fits.is_ok(), "the input does not fit the schema: {:?}", fits.err());
        }
        let by_cedar = match DECIDER.decide(&world.request, &prepared, &context) {
            Ok(_) => Vec::new(),
            Err(denial) => denial.codes().collect(),
        };
        // Arithmetic at the end of time is the one thing that the rules refuse to do.
        if context.now_ms < i64::MAX - 30_000 || context.site == Site::Verifier {
            let by_hand =
                naive::decide(DECIDER.catalogue(), &world.added, &world.request, &world.contract, &context);
            prop_assert_eq!(by_cedar, by_hand);
        } else {
            prop_assert_eq!(by_cedar, vec![Code::PolicyError]);
        }
    }
}

#[test]
fn what_is_remembered_grants_nothing_else() {
    let example = World::new();
    let prepared = example.prepared();
    let mut shared = 0;
    for situation in ALL {
        for (_, site) in SITES {
            let world = at(site, &example);
            DECIDER.decide(&world.request, &prepared, &world.context()).unwrap();
            let changed = at(site, &World::new().with(situation.change));
            if changed.contract.digest != prepared.contract().digest {
                continue;
            }
            shared += 1;
            let code = DECIDER.decide(&changed.request, &prepared, &changed.context()).err().map(|d| d.code);
            assert_eq!(code, changed.decide().err().map(|denial| denial.code), "{}", situation.name);
        }
    }
    assert!(shared > 60, "{shared}");
}
