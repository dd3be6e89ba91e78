//! Steps on real open data: emergency calls of one township and day, and persons in two registers.

use super::build::{Network, Site};
use super::story::{Teller, call};
use serde_json::{Value, json};

/// The steps.
pub async fn tell(teller: &mut Teller, network: &Network) {
    if let Err(why) = calls(teller, network).await {
        teller.fail(&why);
    }
    if let Err(why) = registers(teller, network).await {
        teller.fail(&why);
    }
}

async fn open_case(site: &Site, app: &str, matter: &str, subjects: &[&str]) -> Result<String, String> {
    let opening = json!({"matter": matter, "subjects": subjects});
    let opened = call(site, app, "POST", "/v1/cases", &opening).await?;
    opened.json.get("case").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| opened.json.to_string())
}

/// How many rows a merged field holds.
fn count(field: &Value) -> u64 {
    match field.get("value") {
        Some(Value::Array(values)) => u64::try_from(values.len()).unwrap_or_default(),
        Some(Value::Null) | None => 0,
        Some(_) => 1,
    }
}

async fn calls(teller: &mut Teller, network: &Network) -> Result<(), String> {
    let real = network.real.as_ref().ok_or("no real data")?;
    let busiest = &real.busiest;
    teller.step(&format!(
        "Real 911 calls of {} on {}, for the health department's planning",
        busiest.township, busiest.day
    ));
    let health = network.sites.get("health").ok_or("no health department")?;
    let case = open_case(health, "planning-desk", "health-planning", &[]).await?;
    let ask = json!({
        "purpose": "public-health.planning", "case": case,
        "fields": {"Incident": ["type", "opened_at", "township"]},
        "arguments": {"township": busiest.township, "day": busiest.day},
    });
    let answer = call(health, "planning-desk", "POST", "/v1/records/query", &ask).await?;
    let types = answer.json.pointer("/records/Incident/type").cloned().unwrap_or(Value::Null);
    teller.say(&format!(
        "  {}",
        types.get("value").map(ToString::to_string).unwrap_or_default().chars().take(160).collect::<String>()
    ));
    teller.check(
        &format!(
            "{} EMS calls of that day's {}: the contract lets out EMS calls only",
            busiest.ems_calls, busiest.all_calls
        ),
        count(&types) == busiest.ems_calls,
    );
    Ok(())
}

async fn registers(teller: &mut Teller, network: &Network) -> Result<(), String> {
    let real = network.real.as_ref().ok_or("no real data")?;
    let registry = network.sites.get("civil-registry").ok_or("no civil registry")?;
    let conflicting: Vec<_> = real.conflicting.iter().take(20).collect();
    let agreeing: Vec<_> = real.agreeing.iter().take(5).collect();
    let alone: Vec<_> = real.only_in_a.iter().take(5).collect();
    let mut subjects: Vec<&str> = conflicting.iter().map(|c| c.id.as_str()).collect();
    subjects.extend(agreeing.iter().chain(&alone).map(|id| id.as_str()));
    let linked = real.conflicting.len() + real.agreeing.len();
    teller.step(&format!("Two real person registers, {linked} persons in both: looked up by their number"));
    let case = open_case(registry, "registry-desk", "identity-verification", &subjects).await?;
    let (mut right, mut shown) = (0, false);
    for conflict in &conflicting {
        let answer = look_up(registry, &case, &conflict.id).await?;
        let expected = conflict.fields.iter().filter(|name| **name != "as_of");
        let all = expected.clone().all(|name| state(&answer, name) == "conflict");
        right += usize::from(all);
        if !shown && let Some(name) = expected.clone().next() {
            shown = true;
            let claims =
                answer.pointer(&format!("/records/Person/{name}/claims")).cloned().unwrap_or_default();
            for claim in claims.as_array().into_iter().flatten() {
                teller.say(&format!(
                    "  Person.{name}: {} says {}",
                    claim.pointer("/source/member").and_then(Value::as_str).unwrap_or("?"),
                    claim["value"]
                ));
            }
        }
    }
    teller.check(
        &format!(
            "{right} of {} persons whose registers differ show each differing field as a conflict",
            conflicting.len()
        ),
        right == conflicting.len(),
    );
    let mut same = 0;
    for id in &agreeing {
        let answer = look_up(registry, &case, id).await?;
        same += usize::from(no_conflict(&answer));
    }
    teller.check(
        &format!("{same} of {} persons whose registers agree show no conflict", agreeing.len()),
        same == agreeing.len(),
    );
    let mut missing = 0;
    for id in &alone {
        let answer = look_up(registry, &case, id).await?;
        let absent = answer
            .pointer("/records/Person/surname/missing_in")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        missing += usize::from(absent == 1);
    }
    teller.check(
        &format!("{missing} of {} persons of one register only show the other as missing them", alone.len()),
        missing == alone.len(),
    );
    Ok(())
}

fn state(answer: &Value, name: &str) -> String {
    let path = format!("/records/Person/{name}/state");
    answer.pointer(&path).and_then(Value::as_str).unwrap_or("absent").to_owned()
}

fn no_conflict(answer: &Value) -> bool {
    let fields = answer.pointer("/records/Person").and_then(Value::as_object);
    fields.is_some_and(|fields| fields.values().all(|field| field["state"] != "conflict"))
}

async fn look_up(site: &Site, case: &str, id: &str) -> Result<Value, String> {
    let ask = json!({"subject": id, "purpose": "civil-registration.verification", "case": case});
    let answer = call(site, "registry-desk", "POST", "/v1/records/query", &ask).await?;
    if answer.status == 200 {
        Ok(answer.json)
    } else {
        Err(format!("status {}: {}", answer.status, answer.json))
    }
}
