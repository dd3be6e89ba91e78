//! Versions of a record type that members added: what a contract pinned once, its next version does not go below.

use crate::world::{
    CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, STRANGER, World, changed_contract, key, member,
};
use serde_json::json;
use std::collections::BTreeSet;
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_policies::record_type::FORMAT;
use yiwang_proto::codes::Code;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::hex;

/// A version of the record, with the class of one field; `about` makes another text of the same number.
fn version(number: u32, previous: Option<&SignedDocument>, class: u8, about: &str) -> SignedDocument {
    let field = |class: u8, about: &str| json!({ "type": "string", "class": class, "about": about });
    let text = json!({
        "format": FORMAT, "record": "HousingAid", "version": number,
        "previous": previous.map(|document| hex(&document.digest())),
        "owner": "civil affairs", "subject": "person", "about": about,
        "fields": {
            "area_code": field(1, "area code of the office"), "scheme": field(2, "kind of aid"),
            "status": field(class, "whether it is granted"),
        },
        "providers": [{ "member": member("civil-affairs"), "root": key(PROVIDER_ROOT).public() }],
    });
    let text = serde_json::to_vec_pretty(&text).unwrap();
    SignedDocument::sign(payload_type::RECORD_TYPE, &text, &[&key(PROVIDER_ROOT)])
}

/// A contract that pins a version, agreed by both heads.
fn pinning(id: &str, number: u32, pinned: &SignedDocument) -> SignedDocument {
    changed_contract(|json| {
        json["id"] = id.into();
        json["version"] = number.into();
        json["record"] = "HousingAid".into();
        json["record_type"] = hex(&pinned.digest()).into();
        json["fields"] = json!(["area_code", "scheme", "status"]);
        json["class"] = 2.into();
        json.as_object_mut().unwrap().remove("assessment");
    })
}

fn world(versions: &[&SignedDocument]) -> World {
    let mut world = World::new();
    world.mapping = world.mapping.replace("record = \"BenefitStatus\"", "record = \"HousingAid\"");
    for version in versions {
        world.stock.publish(version);
    }
    world
}

#[tokio::test]
async fn the_next_version_of_a_contract_pins_no_older_record_type_also_after_a_restart() {
    let first = version(1, None, 2, "aid with the rent");
    let second = version(2, Some(&first), 2, "aid with the rent");
    let fork = version(2, Some(&first), 2, "aid with the rent, by another text");
    let mut world = world(&[&first, &second, &fork]);
    let mut adapter = world.open();
    let [early, newer] = [pinning("aid-early", 1, &first), pinning("aid-newer", 1, &second)];
    for agreed in [&early, &newer] {
        world.use_contract(agreed.clone());
        world.look_up(&adapter, ONE).await.answered();
    }
    for restarted in [false, true] {
        if restarted {
            drop(adapter);
            adapter = world.open();
        }
        let touched = world.touched();
        for late in [pinning("aid-newer", 2, &first), pinning("aid-newer", 2, &fork)] {
            world.use_contract(late);
            let said = world.look_up(&adapter, ONE).await;
            assert_eq!(said.denied(), Code::CatalogueInvalid, "{}", said.answer.clause);
            assert!(said.answer.clause.starts_with("record_type:"), "{}", said.answer.clause);
        }
        assert_eq!(world.touched(), touched, "nothing was asked");
        // What other contracts pin, whenever they are used for the first time, is no matter of this one.
        let other = pinning(if restarted { "aid-other" } else { "aid-late" }, 1, &first);
        for agreed in [&early, &newer, &other] {
            world.use_contract(agreed.clone());
            world.look_up(&adapter, ONE).await.answered();
        }
    }
    let third = version(3, Some(&second), 2, "aid with the rent");
    world.stock.publish(&third);
    world.use_contract(pinning("aid-newer", 2, &third));
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn a_version_that_is_not_in_force_or_not_agreed_ends_no_other() {
    let first = version(1, None, 2, "aid with the rent");
    let second = version(2, Some(&first), 2, "aid with the rent");
    let mut world = world(&[&first, &second]);
    let adapter = world.open();
    // A contract that begins next month, and one that the provider never signed, teach nothing.
    let mut early: serde_json::Value =
        serde_json::from_slice(pinning("aid-next", 1, &second).unverified_payload()).unwrap();
    early["valid_from"] = yiwang_proto::time::format_rfc3339(NOW + 24 * HOUR).into();
    let next = crate::world::sign_contract(&early, &[PROVIDER_ROOT, CONSUMER_ROOT]);
    world.use_contract(next);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::ContractNotYetValid);
    early["valid_from"] = "2026-01-01T00:00:00Z".into();
    world.use_contract(crate::world::sign_contract(&early, &[STRANGER, CONSUMER_ROOT]));
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::ContractInvalid);
    world.use_contract(pinning("aid-first", 1, &first));
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn a_department_that_names_its_contracts_lets_an_older_one_in() {
    let first = version(1, None, 2, "aid with the rent");
    let second = version(2, Some(&first), 2, "aid with the rent");
    let mut world = world(&[&first, &second]);
    let [newer, late] = [pinning("aid", 1, &second), pinning("aid", 2, &first)];
    world.policy = ContractPolicy::Only(BTreeSet::from([newer.digest(), late.digest()]));
    let adapter = world.open();
    for agreed in [newer, late] {
        world.use_contract(agreed);
        world.look_up(&adapter, ONE).await.answered();
    }
}
