//! The step with the sealed record: withheld, then signed by an officer and delivered sealed, and nothing of it
//! is with the hub.

use super::build::Network;
use super::story::{Teller, call, field, line, state};
use crate::setup;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_client::folder::Folder;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, Officer};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::plural::counted;
use yiwang_proto::prepared::Prepared;

/// An officer with a key of their own.
struct Signer {
    name: Officer,
    key: SecretKey,
    delegation: Delegation,
}

/// First without, then with the officer's signature.
pub async fn tell(teller: &mut Teller, network: &Network, case: &str) -> Result<(), String> {
    let street = network.sites.get("street-office").ok_or("no street office")?;
    let wife = network.city.household().wife.id.clone();
    teller.step(
        "The wife's sealed health record: withheld until a named officer signs for it with a key of her own",
    );
    let mut question = json!({"subject": wife, "purpose": "social-assistance.eligibility", "case": case});
    let answer = call(street, "assistance-desk", "POST", "/v1/records/query", &question).await?;
    for (record, name) in [
        ("MentalHealthRecord", "support_need"),
        ("MentalHealthRecord", "diagnosis"),
        ("HealthCoverage", "insured"),
    ] {
        line(teller, &answer.json, record, name);
    }
    let withheld = |answer: &Value, name: &str| {
        let field = field(answer, "MentalHealthRecord", name);
        field.get("code").and_then(Value::as_str).unwrap_or("none").to_owned()
    };
    teller.check(
        "class 3 is withheld: the officer is only asserted",
        withheld(&answer.json, "support_need") == "officer_signature_required",
    );
    teller.check(
        "class 4 is withheld: it needs approvals that nobody can give yet",
        withheld(&answer.json, "diagnosis") == "approvals_required",
    );
    teller.check(
        "the rest of her record is there",
        state(&answer.json, "HealthCoverage", "insured") == "value",
    );

    let officer = officer(&street.folder).await?;
    if let Some(question) = question.as_object_mut() {
        question.insert("officer".to_owned(), json!(officer.name));
        question.insert("fields".to_owned(), json!({"MentalHealthRecord": ["diagnosis", "support_need"]}));
    }
    let asked =
        json!({"query": question, "officer_delegation": yiwang_proto::hex(&officer.delegation.digest)});
    let prepared = call(street, "assistance-desk", "POST", "/v1/records/prepare", &asked).await?;
    let prepared: Prepared = serde_json::from_value(prepared.json).map_err(|error| error.to_string())?;
    let signed = prepared.sign(&officer.delegation, &officer.key).map_err(|error| error.to_string())?;
    let statements = counted(signed.requests.len(), "statement");
    teller.say(&format!("  officer {} reads and signs {statements}", officer.name));
    let signed = serde_json::to_value(&signed).map_err(|error| error.to_string())?;
    let answer = call(street, "assistance-desk", "POST", "/v1/records/send", &signed).await?;
    line(teller, &answer.json, "MentalHealthRecord", "support_need");
    line(teller, &answer.json, "MentalHealthRecord", "diagnosis");
    let value = field(&answer.json, "MentalHealthRecord", "support_need")["value"].as_str();
    let value = value.unwrap_or_default().to_owned();
    teller
        .check("with her signature the answer comes, sealed from the adapter to this app", !value.is_empty());
    teller.check(
        "class 4 stays withheld, whoever signs",
        withheld(&answer.json, "diagnosis") == "approvals_required",
    );
    let hub = [network.dir.join("hub"), network.dir.join("hub.log")];
    teller.check(
        "neither her id nor the value is in any byte of the hub's folder or log",
        !value.is_empty() && hub.iter().all(|path| !holds(path, &[&value, &wife])),
    );
    Ok(())
}

/// Makes the officer's key; the member's root delegates it under a pseudonym, and it is published.
async fn officer(folder: &Path) -> Result<Signer, String> {
    let folder = Folder::open(folder).map_err(|error| error.to_string())?;
    let (entropy, now) = (setup::entropy(), setup::clock().now_ms());
    let (key, name) = (SecretKey::generate(entropy.as_ref()), Officer::new(entropy.as_ref()));
    let delegated = AppId::parse(name.as_str()).map_err(|error| error.to_string())?;
    let document: SignedDocument = folder
        .delegate_key(Role::Officer, &delegated, key.public(), now - 60_000, now + 24 * 3600 * 1000)
        .map_err(|error| error.to_string())?;
    let enrolled = folder.enrolled().map_err(|error| error.to_string())?;
    let channel = enrolled.channel(setup::clock()).await.map_err(|error| error.to_string())?;
    let key_of_ledger = enrolled.verifier_key().clone();
    let checkpoints = Arc::new(CheckpointVerifier::new(key_of_ledger, enrolled.origin(), 16));
    yiwang_client::client::publish(channel, &document, &checkpoints)
        .await
        .map_err(|error| error.to_string())?;
    let delegation = Delegation::open(&document).map_err(|error| error.to_string())?;
    Ok(Signer { name, key, delegation })
}

/// Whether a file, or any file below a folder, holds one of the texts.
fn holds(path: &PathBuf, texts: &[&str]) -> bool {
    if let Ok(entries) = std::fs::read_dir(path) {
        return entries.flatten().any(|entry| holds(&entry.path(), texts));
    }
    // What cannot be read cannot be called clean.
    let Ok(bytes) = std::fs::read(path) else { return true };
    texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}
