//! The story: a household applies for assistance, four departments answer, what may not be told is
//! withheld, and an auditor who trusts nobody verifies it. Every step checks what it says.

use super::build::{Network, Site};
use super::http::{self, Answer};
use super::sealed;
use crate::fail::{Failure, Outcome};
use crate::setup::{self, AppArgs};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use yiwang_proto::ids::AppId;

/// Counts steps and remembers which did not do what they say.
#[derive(Default)]
pub struct Teller {
    step: usize,
    failed: Vec<String>,
}

impl Teller {
    /// Announces a step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        println!("{:>2}. {title}", self.step);
    }

    /// Says what to look at.
    pub fn say(&self, text: &str) {
        println!("    {text}");
    }

    /// A check of the present step.
    pub fn check(&mut self, what: &str, holds: bool) {
        println!("    {} {what}", if holds { "✓" } else { "✗" });
        if !holds {
            self.failed.push(format!("step {}: {what}", self.step));
        }
    }

    /// A step that could not be taken.
    pub fn fail(&mut self, why: &str) {
        self.check(why, false);
    }

    /// The last lines of the story.
    pub fn summary(&self) {
        if self.failed.is_empty() {
            println!("\nAll {} steps did what they say.", self.step);
        } else {
            println!("\n{} checks failed:", self.failed.len());
            for what in &self.failed {
                println!("  ✗ {what}");
            }
        }
    }

    /// Success only if every check held.
    pub fn outcome(&self) -> Outcome {
        if self.failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::refused("the demo did not do what it says"))
        }
    }
}

/// Calls a member's gateway as one of its apps.
pub async fn call(site: &Site, app: &str, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let gateway = site.gateway.ok_or("this member has no gateway")?;
    let token = site.tokens.get(app).map_or("", String::as_str);
    http::send(gateway, method, path, token, Some(body)).await
}

pub fn field<'a>(answer: &'a Value, record: &str, name: &str) -> &'a Value {
    answer.pointer(&format!("/records/{record}/{name}")).unwrap_or(&Value::Null)
}

pub fn state(answer: &Value, record: &str, name: &str) -> String {
    field(answer, record, name).get("state").and_then(Value::as_str).unwrap_or("absent").to_owned()
}

pub fn line(teller: &Teller, answer: &Value, record: &str, name: &str) {
    let field = field(answer, record, name);
    let text = |key: &str| {
        field.get(key).map(|v| v.as_str().map_or(v.to_string(), str::to_owned)).unwrap_or_default()
    };
    let shown = match state(answer, record, name).as_str() {
        "value" => {
            let sources: Vec<String> = field
                .get("sources")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|s| format!("{} (entry {})", s["member"].as_str().unwrap_or("?"), s["receipt"]))
                .collect();
            format!("{}   from {}", text("value"), sources.join(", "))
        }
        "withheld" => format!("withheld({}: {})", text("code"), text("clause")),
        "unavailable" => format!("unavailable({}, since {})", text("code"), text("since")),
        "conflict" => {
            let claims: Vec<String> = field
                .get("claims")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|c| {
                    format!(
                        "{} says {}",
                        c.pointer("/source/member").and_then(Value::as_str).unwrap_or("?"),
                        c["value"]
                    )
                })
                .collect();
            format!("conflict({})", claims.join("; "))
        }
        other => other.to_owned(),
    };
    teller.say(&format!("  {record}.{name}: {shown}"));
}

/// What the street office asks about a person.
fn question(subject: &str, case: &str) -> Value {
    json!({"subject": subject, "purpose": "social-assistance.eligibility", "case": case})
}

/// The steps with the synthetic city.
pub async fn tell(teller: &mut Teller, network: &mut Network) {
    if let Err(why) = steps(teller, network).await {
        teller.fail(&why);
    }
}

async fn steps(teller: &mut Teller, network: &mut Network) -> Result<(), String> {
    let household = network.city.household().clone();
    teller.step("A household applies for assistance at the street office: nothing but ids are handed in");
    teller.say("mother of 80, her son who is ill, his wife with a sealed health record");
    let subjects = [&household.mother.id, &household.son.id, &household.wife.id];
    let street = network.sites.get("street-office").ok_or("no street office")?;
    let opening = json!({"matter": "social-assistance", "subjects": subjects});
    let opened = call(street, "assistance-desk", "POST", "/v1/cases", &opening).await?;
    let case = opened.json.get("case").and_then(Value::as_str).unwrap_or_default().to_owned();
    teller.check(
        "the case is open, and the register holds tags instead of ids",
        opened.status < 300 && !case.is_empty(),
    );

    teller.step("One call asks every department that a contract allows");
    let answer = ask(street, &question(&household.mother.id, &case)).await?;
    for (record, name) in [
        ("Person", "name"),
        ("Person", "birth_date"),
        ("Residence", "address_code"),
        ("BenefitStatus", "scheme"),
        ("HealthCoverage", "insured"),
        ("Incident", "opened_at"),
        ("Dwelling", "tenure_kind"),
        ("UtilityConnection", "state"),
    ] {
        // A record of a department that does not take part is in no answer.
        if !field(&answer.json, record, name).is_null() {
            line(teller, &answer.json, record, name);
        }
    }
    let providers: std::collections::BTreeSet<&str> = answer
        .json
        .get("sources")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|source| source["state"] == "answered")
        .filter_map(|source| source["member"].as_str())
        .collect();
    let further = ["housing", "gas"].iter().filter(|id| network.sites.contains_key(**id)).count();
    let expected = ["four", "five", "six"].get(further).copied().unwrap_or("all");
    teller.check(
        &format!("{expected} departments answered, each under its own contract"),
        providers.len() == 4 + further,
    );
    teller.check(
        "her name comes from two registers that agree",
        field(&answer.json, "Person", "name")["value"] == household.mother.name.as_str(),
    );
    teller.check(
        "two registers disagree on her birth date: shown as a conflict, never silently merged",
        state(&answer.json, "Person", "birth_date") == "conflict",
    );

    sealed::tell(teller, network, &case).await?;

    teller.step("A field that no contract grants is refused");
    let greedy = json!({
        "subject": household.son.id, "purpose": "social-assistance.eligibility", "case": case,
        "fields": {"Person": ["nationality", "name"]},
    });
    let answer = ask(street, &greedy).await?;
    line(teller, &answer.json, "Person", "nationality");
    teller
        .check("the ungranted field is withheld", state(&answer.json, "Person", "nationality") == "withheld");
    teller.check("the granted one is answered", state(&answer.json, "Person", "name") == "value");

    refusals(teller, network, &household.son.id, &case).await
}

/// The step in which a department is away.
pub async fn absence(teller: &mut Teller, network: &mut Network) {
    if let Err(why) = stopped(teller, network).await {
        teller.fail(&why);
    }
}

async fn ask(site: &Site, question: &Value) -> Result<Answer, String> {
    call(site, "assistance-desk", "POST", "/v1/records/query", question).await
}

/// Whether every source refused with this code.
fn refused_with(answer: &Value, codes: &[&str]) -> bool {
    let sources = answer.get("sources").and_then(Value::as_array);
    sources.is_some_and(|sources| {
        !sources.is_empty() && sources.iter().all(|s| s["state"].as_str().is_some_and(|c| codes.contains(&c)))
    })
}

/// What the sources said, each word once.
fn said(teller: &Teller, answer: &Value) {
    let states: std::collections::BTreeSet<&str> = answer
        .get("sources")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|source| source["state"].as_str())
        .collect();
    teller.say(&format!("  every source: {}", states.into_iter().collect::<Vec<_>>().join(", ")));
}

async fn refusals(teller: &mut Teller, network: &Network, son: &str, case: &str) -> Result<(), String> {
    let street = network.sites.get("street-office").ok_or("no street office")?;
    teller.step("Curiosity without a case: the same question about a neighbour, and in no case at all");
    let household = network.city.household();
    let own = [&household.mother.id, &household.son.id, &household.wife.id];
    let neighbour = network.city.persons().map(|person| person.id).find(|id| !own.contains(&id));
    let neighbour = neighbour.unwrap_or_default();
    let answer = ask(street, &question(&neighbour, case)).await?;
    said(teller, &answer.json);
    teller.check(
        "a person whom the case does not list: every department refuses",
        refused_with(&answer.json, &["subject_not_in_case", "approvals_required"]),
    );
    let nowhere = "0190a5c3-0000-7000-8000-000000000001";
    let answer = ask(street, &question(son, nowhere)).await?;
    said(teller, &answer.json);
    teller.check(
        "no open case: every department refuses",
        refused_with(&answer.json, &["no_case", "approvals_required"]),
    );
    Ok(())
}

async fn stopped(teller: &mut Teller, network: &mut Network) -> Result<(), String> {
    teller.step("The health department's adapter is stopped: only its own fields are missing");
    if let Some(health) = network.sites.get_mut("health") {
        health.host.stop().await;
    }
    let street = network.sites.get("street-office").ok_or("no street office")?;
    let mother = network.city.household().mother.id;
    let opening = json!({"matter": "social-assistance", "subjects": [mother]});
    let opened = call(street, "assistance-desk", "POST", "/v1/cases", &opening).await?;
    let case = opened.json.get("case").and_then(Value::as_str).unwrap_or_default();
    let answer = ask(street, &question(&mother, case)).await?;
    line(teller, &answer.json, "HealthCoverage", "insured");
    line(teller, &answer.json, "BenefitStatus", "scheme");
    teller.check(
        "health shows as unavailable",
        state(&answer.json, "HealthCoverage", "insured") == "unavailable",
    );
    teller.check("the others answer as before", state(&answer.json, "BenefitStatus", "scheme") == "value");
    Ok(())
}

#[derive(clap::Parser)]
struct AuditLine {
    #[command(subcommand)]
    command: yiwang_audit::command::Command,
}

/// Runs `yiwang audit verify` with these arguments: its exit code and what it prints.
fn verify(arguments: &[&str]) -> (i32, String) {
    audit_command("verify", arguments)
}

fn audit_command(command: &str, arguments: &[&str]) -> (i32, String) {
    use clap::Parser as _;
    println!("    $ yiwang audit {command} {}", arguments.join(" "));
    let line = ["audit", command].into_iter().chain(arguments.iter().copied());
    match AuditLine::try_parse_from(line) {
        Ok(line) => {
            let mut out = Vec::new();
            let code = yiwang_audit::command::run(&line.command, &mut out);
            (code, String::from_utf8_lossy(&out).into_owned())
        }
        Err(error) => (2, error.to_string()),
    }
}

/// The audit: evidence and ledger verified from files alone, and a tampered copy caught.
pub async fn audit(teller: &mut Teller, network: &mut Network, once: bool) {
    if let Err(why) = audit_steps(teller, network, once).await {
        teller.fail(&why);
    }
}

async fn audit_steps(teller: &mut Teller, network: &mut Network, once: bool) -> Result<(), String> {
    teller.step("The evidence of one exchange is verified offline, with the ledger's pinned key and no code of the hub");
    let street = network.sites.get("street-office").ok_or("no street office")?;
    let app = AppId::parse("assistance-desk").map_err(|error| error.to_string())?;
    let args = AppArgs { folder: street.folder.clone(), app };
    let client = setup::met_client(&args).await.map_err(|failure| failure.to_string())?;
    let answered = answered_exchange(network)?;
    let bundle = client.evidence(answered).await.map_err(|error| error.to_string())?;
    let path = network.dir.join("evidence.json");
    std::fs::write(&path, bundle).map_err(|error| error.to_string())?;
    let key = network.verifier_key.clone();
    let (code, report) = verify(&["--evidence", &path.display().to_string(), "--key", &key]);
    print_indented(&report, 4);
    teller.check("the evidence holds", code == 0);
    let kept = super::oracle::keep(network, &client, &args.folder).await?;

    teller.step("The whole ledger is verified offline, each decision made again");
    if once {
        network.stop().await;
    }
    let ledger = network.dir.join("hub/ledger");
    let (code, report) = verify(&["--ledger", &ledger.display().to_string(), "--key", &key]);
    print_indented(&report, 8);
    teller.check("the ledger holds", code == 0);

    teller.step("What an app kept, the ledger, and the departments' own journals tell one story");
    let words = super::oracle::words(network, &kept);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, report) = audit_command("reconcile", &words);
    print_indented(&report, 5);
    teller.check("nothing was released unrecorded, lost or done twice", code == 0);

    teller.step("One bit of a copy of the ledger is changed");
    let copy = network.dir.join("tampered");
    copy_folder(&ledger, &copy).map_err(|error| error.to_string())?;
    tamper(&copy).map_err(|error| error.to_string())?;
    let (code, report) = verify(&["--ledger", &copy.display().to_string(), "--key", &key]);
    print_indented(&report, 4);
    teller.check("the change is caught", code == 1);
    Ok(())
}

fn print_indented(report: &str, most: usize) {
    for line in report.lines().take(most) {
        println!("    | {line}");
    }
}

/// The street office's newest answered exchange, found in the ledger's files.
fn answered_exchange(network: &Network) -> Result<u64, String> {
    let options = yiwang_journal::Options::default();
    let dir = network.dir.join("hub/ledger/segments");
    let (reader, _) =
        yiwang_journal::Reader::open_readonly(&dir, &options).map_err(|error| error.to_string())?;
    reader
        .scan_back(reader.len())
        .filter_map(Result::ok)
        .find_map(|(index, bytes, _)| match yiwang_proto::entry::decode(&bytes).ok()?.kind? {
            yiwang_proto::entry::Kind::Exchange(exchange)
                if exchange.outcome() == yiwang_proto::pb::Outcome::Answered
                    && exchange.peer == "street-office" =>
            {
                Some(index)
            }
            _ => None,
        })
        .ok_or_else(|| "no answered exchange in the ledger".to_owned())
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Flips one bit in the middle of the first entries of the oldest segment.
fn tamper(ledger: &Path) -> std::io::Result<()> {
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(ledger.join("segments"))?.flatten().map(|entry| entry.path()).collect();
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    segments.sort();
    let first = segments.first().ok_or_else(|| std::io::Error::other("no segment"))?;
    let mut bytes = std::fs::read(first)?;
    if let Some(byte) = bytes.get_mut(4096 + 200) {
        *byte ^= 1;
    }
    std::fs::write(first, bytes)
}

/// What to do next, while everything runs.
pub fn invite(network: &Network) {
    println!("\nEverything still runs (the health adapter is stopped). Try, in another terminal:");
    if let Some(street) = network.sites.get("street-office")
        && let (Some(gateway), Some(token)) = (street.gateway, street.tokens.get("assistance-desk"))
    {
        let household = network.city.household();
        println!(
            "  curl -s http://{gateway}/v1/cases -H 'authorization: Bearer {token}' -H 'content-type: application/json' \\"
        );
        println!("    -d '{{\"matter\":\"social-assistance\",\"subjects\":[\"{}\"]}}'", household.son.id);
        println!(
            "  curl -s http://{gateway}/v1/records/query -H 'authorization: Bearer {token}' -H 'content-type: application/json' \\"
        );
        println!(
            "    -d '{{\"subject\":\"{}\",\"purpose\":\"social-assistance.eligibility\",\"case\":\"CASE\"}}'",
            household.son.id
        );
    }
    let dir = network.dir.display();
    println!("  yiwang audit report --ledger {dir}/hub/ledger");
    println!("  yiwang audit verify --ledger {dir}/hub/ledger --key '{}'", network.verifier_key);
    println!("  yiwang hub: http://{}/stages", network.hub.health);
    println!("Logs: {dir}/*.log. Ctrl-C ends the demo.");
}
