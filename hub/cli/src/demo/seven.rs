//! The steps that need the departments' own servers: a search that names nobody, and a server that is away for a while.

use super::build::{Network, Site};
use super::story::{Teller, call, line, state};
use crate::fail::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// How often it is asked whether a department is back, a fifth of a second apart: its server starts in seconds.
const TRIES: u32 = 150;

/// A field that one department alone has, of each that the street office asks about a person.
const OWN: &[(&str, &str, &str)] = &[
    ("police", "Residence", "address_code"),
    ("civil-affairs", "BenefitStatus", "scheme"),
    ("health", "HealthCoverage", "insured"),
    ("gas", "UtilityConnection", "state"),
    ("housing", "Dwelling", "tenure_kind"),
    ("emergency-call", "Incident", "opened_at"),
];

/// The steps.
pub async fn tell(teller: &mut Teller, network: &Network) {
    if let Err(why) = checked(teller, network).await {
        teller.fail(&why);
    }
    if let Err(why) = community(teller, network).await {
        teller.fail(&why);
    }
    if let Err(why) = away(teller, network).await {
        teller.fail(&why);
    }
}

/// `yiwang adapter check` as each department's IT runs it.
async fn checked(teller: &mut Teller, network: &Network) -> Result<(), String> {
    teller.step(
        "Each department's IT holds its mappings against the live system, and its role against writing",
    );
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut members = Vec::new();
    for (member, site) in &network.sites {
        let Ok(files) = std::fs::read_dir(site.folder.join("mappings")) else { continue };
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        if files.is_empty() {
            continue;
        }
        files.sort();
        let settings = site.host.settings().iter().map(|(name, value)| (name, value));
        let output = tokio::process::Command::new(&program)
            .args(["adapter", "check"])
            .args(&files)
            .envs(settings)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            teller.say(&String::from_utf8_lossy(&output.stdout));
            teller.check(&format!("`yiwang adapter check` of {member}"), false);
        }
        members.push(member.as_str());
    }
    teller.check(&format!("checked: {}", members.join(", ")), !members.is_empty());
    Ok(())
}

async fn open_case(street: &Site, matter: &str, subjects: &[&str]) -> Result<String, String> {
    let opening = json!({"matter": matter, "subjects": subjects});
    let opened = call(street, "assistance-desk", "POST", "/v1/cases", &opening).await?;
    opened.json.get("case").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| opened.json.to_string())
}

async fn community(teller: &mut Teller, network: &Network) -> Result<(), String> {
    let street = network.sites.get("street-office").ok_or("no street office")?;
    teller
        .step("Before the home visit: what is being repaired in the household's community, without a person");
    let case = open_case(street, "service-request", &[]).await?;
    let community: String = network.city.household().address_code.chars().take(12).collect();
    let ask = json!({
        "purpose": "service-request.handling", "case": case, "arguments": {"community": community},
    });
    let answer = call(street, "assistance-desk", "POST", "/v1/records/query", &ask).await?;
    for name in ["service_code", "stage", "agency"] {
        line(teller, &answer.json, "ServiceRequest", name);
    }
    teller.check(
        "urban management answers for a place, and names nobody",
        state(&answer.json, "ServiceRequest", "stage") == "value",
    );
    Ok(())
}

/// Each department's server is stopped and started again; no adapter is.
async fn away(teller: &mut Teller, network: &Network) -> Result<(), String> {
    let services = network.services.as_ref().ok_or("no servers")?;
    let street = network.sites.get("street-office").ok_or("no street office")?;
    let mother = network.city.household().mother.id;
    teller.step("Each department's server is stopped in turn, and started again; no adapter is restarted");
    let case = open_case(street, "social-assistance", &[&mother]).await?;
    let question = json!({"subject": mother, "purpose": "social-assistance.eligibility", "case": case});
    let ask = async || call(street, "assistance-desk", "POST", "/v1/records/query", &question).await;
    for (member, server) in services.all() {
        let Some((_, record, name)) = OWN.iter().find(|(owner, ..)| *owner == member) else { continue };
        let stopping = server.clone();
        blocking(move || stopping.stop()).await?;
        let answer = ask().await?.json;
        line(teller, &answer, record, name);
        let others = OWN.iter().filter(|(owner, ..)| *owner != member && network.sites.contains_key(*owner));
        let others: Vec<_> =
            others.filter(|(_, record, name)| state(&answer, record, name) != "value").collect();
        let missing = state(&answer, record, name) == "unavailable" && others.is_empty();
        blocking(move || server.start()).await?.map_err(|error| error.to_string())?;
        let mut back = false;
        for _ in 0..TRIES {
            back = state(&ask().await?.json, record, name) == "value";
            if back {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let what = format!("{member}: its own fields are missing, all others there; then they are back");
        teller.check(&what, missing && back);
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::environment(error).to_string())
}
