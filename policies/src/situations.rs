//! Every way in which a request can miss its contract, one at a time. The table feeds the policy matrix,
//! the tests of codes, and the random near-misses of the differential test.

use crate::input::{Counts, Site};
use crate::testing::*;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::ids::{CaseId, ContractId, Matter, Officer, Operation, Purpose, RecordType};
use yiwang_proto::ticket::Ticket;

/// Changes a world that is granted. `expected` is the first code of the adapter's refusal, none if it is
/// still granted.
pub struct Situation {
    pub name: &'static str,
    pub expected: Option<Code>,
    pub change: fn(&mut World),
}

fn edit(world: &mut World, change: impl FnOnce(&mut serde_json::Value)) {
    *world = world.clone().contract_with(change);
}

macro_rules! situations {
    ($($name:literal => $expected:expr, $change:expr;)*) => {
        pub const ALL: &[Situation] =
            &[$(Situation { name: $name, expected: $expected, change: $change }),*];
    };
}

situations! {
    "granted: fields of class 2 with tag and case" => None, |_| {};
    "granted: one field" => None, |w| w.request.fields = fields(&["status"]);
    "granted: a second tag that the case lists" => None, |w| w.request.subject_tags.push([2; 32]);
    "granted: an argument inside the rows" => None, |w| argue(w, "area_code", "980101");
    "granted: the last allowed exchange" => None, |w| {
        w.counts = Some(Counts { app_this_minute: 600, officer_today: 100 });
    };
    "granted: the last moment of the statement" => None, |w| w.request.expires_at_ms = NOW + 1;
    "granted: 30 s ahead" => None, |w| {
        w.request.issued_at_ms = NOW + 30_000;
        w.request.expires_at_ms = NOW + 60_000;
    };
    "granted: class 1 of a record about nobody, without tag and subject" => None, incident;
    "no counts given" => Some(Code::PolicyError), |w| w.counts = None;
    "counts of nothing" => Some(Code::PolicyError), |w| {
        w.counts = Some(Counts { app_this_minute: 0, officer_today: 1 });
    };
    "no body given" => Some(Code::PolicyError), |w| w.body = None;
    "another contract's id" => Some(Code::NoContract), |w| {
        w.request.contract = ContractId::parse("civil-street-other").unwrap();
    };
    "another provider" => Some(Code::NoContract), |w| w.request.provider = member("police");
    "another consumer" => Some(Code::ConsumerMismatch), |w| w.request.consumer = member("gas-company");
    "another consumer with its own root, key and case" => Some(Code::ConsumerMismatch), |w| {
        w.request.consumer = member("gas-company");
        w.delegation.member = member("gas-company");
        w.delegation.root = root(3).public();
        w.case = Some((member("gas-company"), matter("social-assistance"), true, true));
    };
    "another app of the consumer" => Some(Code::ConsumerMismatch), |w| {
        w.request.app = app("statistics");
        w.delegation.name = app("statistics");
    };
    "contract changed after signing, or an older version" => Some(Code::ContractInvalid), |w| {
        w.request.contract_digest = [1; 32];
    };
    "contract not yet valid" => Some(Code::ContractNotYetValid), |w| {
        edit(w, |json| json["valid_from"] = "2026-12-31T00:00:00Z".into());
    };
    "contract expired" => Some(Code::ContractExpired), |w| {
        edit(w, |json| json["valid_until"] = "2026-02-01T00:00:00Z".into());
    };
    "delegation under another root" => Some(Code::DelegationInvalid), |w| w.delegation.root = root(3).public();
    "delegation under the provider's root" => Some(Code::DelegationInvalid), |w| w.delegation.root = root(1).public();
    "delegation of another member" => Some(Code::DelegationInvalid), |w| w.delegation.member = member("gas-company");
    "delegation of another app" => Some(Code::DelegationInvalid), |w| w.delegation.name = app("statistics");
    "delegation of an adapter" => Some(Code::DelegationInvalid), |w| w.delegation.role = Role::Adapter;
    "delegation of an officer" => Some(Code::DelegationInvalid), |w| w.delegation.role = Role::Officer;
    "delegation for sealing" => Some(Code::DelegationInvalid), |w| w.delegation.role = Role::Sealing;
    "another delegation than the statement's" => Some(Code::DelegationInvalid), |w| w.delegation.digest = [8; 32];
    "delegation not yet valid" => Some(Code::DelegationInvalid), |w| w.delegation.valid_from_ms = NOW + 1;
    "delegation expired" => Some(Code::DelegationInvalid), |w| w.delegation.valid_until_ms = NOW;
    "statement expired" => Some(Code::StatementExpired), |w| w.request.expires_at_ms = NOW;
    "statement over 30 s ahead" => Some(Code::ClockSkew), |w| {
        w.request.issued_at_ms = NOW + 30_001;
        w.request.expires_at_ms = NOW + 60_000;
    };
    "another purpose" => Some(Code::PurposeMismatch), |w| {
        w.request.purpose = Purpose::parse("criminal-case.evidence").unwrap();
    };
    "another record" => Some(Code::OperationNotGranted), |w| {
        w.request.record = RecordType::parse("Person").unwrap();
    };
    "another operation" => Some(Code::OperationNotGranted), |w| {
        w.request.operation = Operation::parse("benefit.by_area").unwrap();
    };
    "granted: a batch, without tag and subject" => None, batch;
    "a batch with a tag" => Some(Code::ArgumentInvalid), |w| {
        batch(w);
        w.request.subject_tags.push([1; 32]);
    };
    "a batch without a case" => Some(Code::NoCase), |w| {
        batch(w);
        w.case = None;
    };
    "a batch of a field that is not granted" => Some(Code::FieldNotGranted), |w| {
        batch(w);
        w.request.fields = fields(&["household", "scheme"]);
    };
    "a query that a contract for batches is asked" => Some(Code::ArgumentInvalid), |w| {
        edit(w, |json| json["method"] = "batch".into());
    };
    "granted: a count, without tag, subject and argument" => None, count;
    "granted: a count of one field" => None, |w| {
        count(w);
        w.request.fields = fields(&["area_code"]);
    };
    "a count with a tag" => Some(Code::ArgumentInvalid), |w| {
        count(w);
        w.request.subject_tags.push([1; 32]);
    };
    "a count with a subject in the body" => Some(Code::ArgumentInvalid), |w| {
        count(w);
        if let Some(body) = &mut w.body {
            body.subject = "980121194603180024".to_owned();
        }
    };
    "a count with an argument" => Some(Code::ArgumentInvalid), |w| {
        count(w);
        argue(w, "scheme", "old-age");
    };
    "a count of a field that is not granted" => Some(Code::FieldNotGranted), |w| {
        count(w);
        w.request.fields = fields(&["household", "scheme"]);
    };
    "a count without a case" => Some(Code::NoCase), |w| {
        count(w);
        w.case = None;
    };
    "a count in a closed case" => Some(Code::CaseClosed), |w| {
        count(w);
        case(w, |case| case.2 = false);
    };
    "a count by a field of class 3 in an open body" => Some(Code::SealingRequired), |w| {
        count(w);
        w.request.fields = fields(&["amount_band"]);
    };
    "a query that a contract for counts is asked" => Some(Code::ArgumentInvalid), |w| {
        edit(w, |json| json["method"] = "count".into());
    };
    "contract with emergency access" => Some(Code::OperationNotGranted), |w| {
        edit(w, |json| json["break_glass"] = true.into());
    };
    "a field that is not granted" => Some(Code::FieldNotGranted), |w| {
        w.request.fields = fields(&["household", "scheme"]);
    };
    "a field that is in no catalogue" => Some(Code::FieldNotGranted), |w| w.request.fields = fields(&["whim"]);
    "no case" => Some(Code::NoCase), |w| w.case = None;
    "case of another member" => Some(Code::NoCase), |w| case(w, |case| case.0 = member("gas-company"));
    "closed case of another member with another matter" => Some(Code::NoCase), |w| {
        w.case = Some((member("gas-company"), matter("bench"), false, false));
    };
    "case closed" => Some(Code::CaseClosed), |w| case(w, |case| case.2 = false);
    "case of another matter" => Some(Code::MatterMismatch), |w| case(w, |case| case.1 = matter("bench"));
    "subject that the case does not list" => Some(Code::SubjectNotInCase), |w| case(w, |case| case.3 = false);
    "no tag for a record about a person" => Some(Code::SubjectNotInCase), |w| w.request.subject_tags.clear();
    "no tag for class 1 of a record about a person" => Some(Code::SubjectNotInCase), |w| {
        w.request.fields = fields(&["area_code"]);
        w.request.subject_tags.clear();
    };
    "no tag for class 2 of a record about a place" => Some(Code::SubjectNotInCase), |w| {
        incident(w);
        w.request.fields = fields(&["caller", "type"]);
    };
    "no subject in the body for a record about a person" => Some(Code::ArgumentInvalid), |w| unnamed(w);
    "class 3 in an open body" => Some(Code::SealingRequired), |w| {
        w.request.fields = fields(&["amount_band", "scheme"]);
    };
    "class 3 in an open body, signed by the officer" => Some(Code::SealingRequired), |w| {
        w.request.fields = fields(&["amount_band"]);
        w.signed();
    };
    "class 3 sealed, officer asserted" => Some(Code::OfficerSignatureRequired), |w| {
        w.request.fields = fields(&["amount_band"]);
        w.sealed = true;
    };
    "class 3 sealed, officer by ticket" => Some(Code::OfficerSignatureRequired), |w| {
        w.request.fields = fields(&["amount_band"]);
        w.sealed = true;
        w.ticketed();
    };
    "granted: class 3 sealed, signed by the officer" => None, |w| {
        w.request.fields = fields(&["amount_band"]);
        w.sealed = true;
        w.signed();
    };
    "class 4 in an open body" => Some(Code::ApprovalsRequired), |w| sealed_record(w);
    "class 4 sealed, signed by the officer, no approvals" => Some(Code::ApprovalsRequired), |w| {
        sealed_record(w);
        w.sealed = true;
        w.signed();
    };
    "class 2 in an open body under a contract with sealed bodies" => Some(Code::SealingRequired), |w| {
        edit(w, |json| json["sealed"] = true.into());
    };
    "signed together with others" => Some(Code::SignatureInvalid), |w| w.request.in_batch = true;
    "granted: signed together with others under a contract that allows it" => None, |w| {
        edit(w, |json| json["batch_signatures"] = true.into());
        w.request.in_batch = true;
    };
    "signed together with others, and under a ticket of another app" => Some(Code::SignatureInvalid), |w| {
        w.request.in_batch = true;
        ticket(w, |t, _, _| t.app = app("statistics"));
    };
    "granted: class 2 of a record that members added" => None, |w| added(w, 0);
    "granted: a batch of a record that members added" => None, |w| {
        added(w, 0);
        batch(w);
    };
    "granted: class 2 in a version whose successor is of class 3" => None, |w| {
        added(w, 0);
        w.request.fields = fields(&["grant"]);
    };
    "class 3 in the newer version of a record that members added" => Some(Code::SealingRequired), |w| {
        added(w, 1);
        w.request.fields = fields(&["grant"]);
    };
    "granted: class 3 in the newer version, sealed, signed by the officer" => None, |w| {
        added(w, 1);
        w.request.fields = fields(&["grant"]);
        w.sealed = true;
        w.signed();
    };
    "no tag for class 1 of a record about a person that members added" => Some(Code::SubjectNotInCase), |w| {
        added(w, 0);
        w.request.fields = fields(&["area_code"]);
        w.request.subject_tags.clear();
    };
    "a record that members added, its version not at hand" => Some(Code::ApprovalsRequired), |w| {
        added(w, 0);
        w.added.clear();
    };
    "a record that members added, another version at hand" => Some(Code::ApprovalsRequired), |w| {
        added(w, 0);
        w.added.retain(|version| version.text.version == 2);
    };
    "a record that members added, its name without a version" => Some(Code::ApprovalsRequired), |w| {
        added(w, 0);
        edit(w, |json| json["record_type"] = serde_json::Value::Null);
    };
    "a version that the provider did not sign" => Some(Code::ApprovalsRequired), |w| {
        added(w, 0);
        w.added.push(&OTHERS_PASS);
        edit(w, |json| json["record_type"] = yiwang_proto::hex(&OTHERS_PASS.digest).into());
    };
    "a version of another record" => Some(Code::ApprovalsRequired), |w| {
        added(w, 0);
        edit(w, |json| json["record"] = "RailPass".into());
        w.request.record = RecordType::parse("RailPass").unwrap();
    };
    "a record of the program under the version of another" => Some(Code::ApprovalsRequired), |w| {
        w.added = BUS_PASS.iter().collect();
        edit(w, |json| json["record_type"] = yiwang_proto::hex(&BUS_PASS[0].digest).into());
    };
    "granted: class 2 sealed" => None, |w| w.sealed = true;
    "granted: class 2 by ticket" => None, |w| w.ticketed();
    "granted: the last use of a ticket" => None, |w| ticket(w, |_, _, uses| *uses = Some(2));
    "granted: class 2 signed by the officer" => None, |w| w.signed();
    "ticket used up" => Some(Code::TicketUsedUp), |w| ticket(w, |_, _, uses| *uses = Some(3));
    "ticket whose uses nobody counted" => Some(Code::TicketInvalid), |w| ticket(w, |_, _, uses| *uses = None);
    "ticket for another app" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| t.app = app("statistics"));
    "ticket for another case" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| {
        t.case = CaseId::parse("0190a5c3-0000-7000-8000-000000000009").unwrap();
    });
    "ticket of another member" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| t.member = member("gas-company"));
    "ticket of another officer" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| {
        t.officer = Officer::parse("o-dddddddddddddddd").unwrap();
    });
    "ticket not yet valid" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| t.issued_at_ms = NOW + 1);
    "ticket expired" => Some(Code::TicketInvalid), |w| ticket(w, |t, _, _| t.expires_at_ms = NOW);
    "another ticket than the statement's" => Some(Code::OfficerInvalid), |w| ticket(w, |t, _, _| t.digest = [6; 32]);
    "ticket by another key than it names" => Some(Code::OfficerInvalid), |w| ticket(w, |_, d, _| d.digest = [6; 32]);
    "ticket by a key under another root" => Some(Code::OfficerInvalid), |w| ticket(w, |_, d, _| d.root = root(3).public());
    "ticket by an app's key" => Some(Code::OfficerInvalid), |w| ticket(w, |_, d, _| d.role = Role::App);
    "officer's key under the provider's root" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.root = root(1).public());
    "officer's key of another member" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.member = member("gas-company"));
    "officer's key of another officer" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.name = app("o-dddddddddddddddd"));
    "officer's key for sealing" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.role = Role::Sealing);
    "officer's key that is the app's" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.key = root(9).public());
    "officer's key expired" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.valid_until_ms = NOW);
    "officer's key not yet valid" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.valid_from_ms = NOW + 1);
    "another officer's key than the statement's" => Some(Code::OfficerInvalid), |w| signature(w, |d| d.digest = [6; 32]);
    "an officer's signature that is not at hand" => Some(Code::OfficerInvalid), |w| {
        w.signed();
        w.officer = Proof::Asserted;
    };
    "class 2 sealed, body not seen: granted at the hub alone" => Some(Code::PolicyError), |w| {
        w.sealed = true;
        w.body = None;
    };
    "an argument that the rows need is missing" => Some(Code::ArgumentInvalid), |w| forget(w);
    "a row outside the filter" => Some(Code::RowOutsideFilter), |w| argue(w, "area_code", "980201");
    "app over its rate" => Some(Code::RateExceeded), |w| {
        w.counts = Some(Counts { app_this_minute: 601, officer_today: 1 });
    };
    "officer over the rate" => Some(Code::RateExceeded), |w| {
        w.counts = Some(Counts { app_this_minute: 1, officer_today: 101 });
    };
    "a clock at the end of time" => Some(Code::PolicyError), |w| w.now_ms = i64::MAX;
}

fn ticket(world: &mut World, change: impl FnOnce(&mut Ticket, &mut Delegation, &mut Option<u32>)) {
    world.ticketed();
    if let Proof::Ticket(ticket, delegation, uses) = &mut world.officer {
        change(ticket, delegation, uses);
    }
}

fn signature(world: &mut World, change: impl FnOnce(&mut Delegation)) {
    world.signed();
    if let Proof::Signed(delegation) = &mut world.officer {
        change(delegation);
    }
}

fn matter(name: &str) -> Matter {
    Matter::parse(name).unwrap()
}

fn case(world: &mut World, change: impl FnOnce(&mut (yiwang_proto::ids::MemberId, Matter, bool, bool))) {
    if let Some(case) = &mut world.case {
        change(case);
    }
}

fn argue(world: &mut World, name: &str, value: &str) {
    if let Some(body) = &mut world.body {
        body.arguments.extend([argument(name, Scalar::Text(value.to_owned()))]);
    }
}

fn forget(world: &mut World) {
    if let Some(body) = &mut world.body {
        body.arguments.clear();
    }
}

fn unnamed(world: &mut World) {
    if let Some(body) = &mut world.body {
        body.subject.clear();
    }
}

/// How many have which benefit where: a record about persons, and nobody is named.
fn count(world: &mut World) {
    edit(world, |json| {
        json["method"] = "count".into();
        json["rows"] = serde_json::json!([]);
    });
    world.request.fields = fields(&["area_code", "scheme"]);
    world.request.subject_tags.clear();
    forget(world);
    unnamed(world);
}

/// Everybody's benefits, page by page.
fn batch(world: &mut World) {
    count(world);
    edit(world, |json| json["method"] = "batch".into());
}

/// Passes, a record that members added, in a version.
fn added(world: &mut World, version: usize) {
    world.added = BUS_PASS.iter().collect();
    edit(world, |json| {
        json["record"] = "BusPass".into();
        json["record_type"] = yiwang_proto::hex(&BUS_PASS[version].digest).into();
        json["fields"] = serde_json::json!(["area_code", "grant", "scheme"]);
    });
    world.request.record = RecordType::parse("BusPass").unwrap();
    world.request.fields = fields(&["area_code", "scheme"]);
}

/// Calls of one township and day: no person is named.
fn incident(world: &mut World) {
    edit(world, |json| {
        json["record"] = "Incident".into();
        json["fields"] = serde_json::json!(["caller", "opened_at", "type"]);
        json["class"] = 2.into();
        json["rows"] = serde_json::json!([{"field": "township", "op": "eq", "param": "scheme"}]);
    });
    world.request.record = RecordType::parse("Incident").unwrap();
    world.request.fields = fields(&["opened_at", "type"]);
    world.request.subject_tags.clear();
    unnamed(world);
}

fn sealed_record(world: &mut World) {
    edit(world, |json| {
        json["record"] = "MentalHealthRecord".into();
        json["fields"] = serde_json::json!(["diagnosis"]);
        json["class"] = 4.into();
        json["rows"] = serde_json::json!([]);
    });
    world.request.record = RecordType::parse("MentalHealthRecord").unwrap();
    world.request.fields = fields(&["diagnosis"]);
}

/// A site as the matrix prints it.
pub const SITES: [(&str, Site); 3] =
    [("hub", Site::Hub), ("adapter", Site::Adapter), ("verifier", Site::Verifier)];
