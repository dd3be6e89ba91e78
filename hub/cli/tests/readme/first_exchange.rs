//! The lines of the IT department from two enrolled members to a record: contract, case, question, proof.

use super::{PROGRAM, Running, adapter_toml, bash, block, get, hub, tools, until};
use crate::address::own_address;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// The block of shell lines that holds some words.
fn block_with(heading: &str, words: &str) -> String {
    let start = super::README.find(&format!("**{heading}**")).unwrap();
    let mut parts = super::README[start..].split("```").skip(1).step_by(2);
    parts.find(|part| part.contains(words)).unwrap().trim().to_owned()
}

/// A member by README's own lines; its root key, as the program prints it.
fn member(folder: &Path, hub_dir: &Path, short: &str, id: &str) -> String {
    let token = format!("yiwang hub token --dir {} --for member:{id}", hub_dir.display());
    let token = bash(folder, &token, &[]);
    let lines = block("Departmental IT");
    let lines: Vec<&str> = lines.lines().take_while(|line| !line.contains("yiwang adapter check")).collect();
    assert!(lines.len() >= 4);
    let said = bash(
        folder,
        &lines
            .join("\n")
            .replace("TOKEN", token.trim())
            .replace("--folder m", &format!("--folder {short}"))
            .replace("--id police", &format!("--id {id}")),
        &[],
    );
    said.lines().find_map(|line| line.strip_prefix("root key: ")).unwrap().to_owned()
}

fn host(folder: &Path, short: &str, settings: &[(&'static str, String)]) -> Running {
    let child = Command::new(PROGRAM)
        .args(["adapter", "run", "--config", &format!("{short}/adapter.toml")])
        .current_dir(folder)
        .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

/// What README leaves to people: words and pseudonyms in the place of what is marked.
fn filled(folder: &Path) {
    let path = folder.join("draft.json");
    let mut draft: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    draft["legal_basis"] = json!("Interim Measures for Social Assistance, art. 58");
    draft["scenario"] = json!("check who somebody is that applies for assistance");
    draft["provider"]["approver"] = json!("o-headofproviderxx");
    draft["consumer"]["approver"] = json!("o-headofconsumerxx");
    std::fs::write(path, draft.to_string()).unwrap();
}

#[test]
fn the_it_departments_lines_lead_from_a_contract_to_a_verified_exchange() {
    if !tools(&["bash"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let hub_dir = folder.join("hub");
    let _hub = hub(&hub_dir, folder);
    let roots = [member(folder, &hub_dir, "m", "police"), member(folder, &hub_dir, "s", "street-office")];

    let health = [own_address(), own_address()];
    let (text, settings) = adapter_toml(folder, health[0]);
    std::fs::write(folder.join("m/adapter.toml"), text).unwrap();
    let desk = "yiwang member delegate --folder s --role app --name desk";
    bash(folder, desk, &[]);
    let digest = bash(folder, "printf %s token | sha256sum", &[]);
    let text = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\n[health]\nlisten = \"{}\"\n[gateway]\nlisten = \"{}\"\n\
         [[gateway.app]]\nname = \"desk\"\ntoken_sha256 = \"{}\"\n",
        health[1],
        own_address(),
        digest.split_whitespace().next().unwrap()
    );
    std::fs::write(folder.join("s/adapter.toml"), text).unwrap();
    let _hosts = [host(folder, "m", &settings), host(folder, "s", &[])];
    until("the adapter's link", || get(health[0], "/ready").contains(" 200 "));

    let lines = block_with("Departmental IT", "yiwang contract new");
    let lines = roots.iter().fold(lines, |lines, root| lines.replacen("KEY", root, 1));
    let lines: Vec<&str> = lines.lines().collect();
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap();
    let (new, open, query) = (at("yiwang contract new"), at("yiwang case open"), at("yiwang query record"));
    bash(folder, &lines[..new].join("\n"), &[]);
    // Nobody can sign what people have not filled in.
    let refused = bash(folder, &format!("! {} 2>&1", lines[new].split('#').next().unwrap()), &[]);
    for place in ["legal_basis", "scenario", "provider.approver", "consumer.approver"] {
        assert!(refused.contains(&format!("`{place}`: is a placeholder")), "{refused}");
    }
    filled(folder);
    bash(folder, &lines[new..open].join("\n"), &[]);
    let subject = yiwang_city::demo_household().mother.id;
    let opening = lines[open].replace("ID", &subject);

    // The app's key was not published: the error says how, and what it says works.
    let refused = bash(folder, &format!("! {opening} 2>&1"), &[]);
    assert!(refused.contains("key_unknown") && refused.contains("`desk`"), "{refused}");
    bash(folder, refused.split('`').rfind(|part| part.starts_with("yiwang ")).unwrap(), &[]);
    until("the gateway's start", || get(health[1], "/ready").contains(" 200 "));

    let case = bash(folder, &opening, &[]);
    let asked = lines[query].replace("ID", &subject).replace("CASE", case.trim());
    let answer = bash(folder, &asked, &[]);
    let record: Value = serde_json::from_str(answer.split_inclusive("\n}").next().unwrap()).unwrap();
    assert_eq!(record["records"]["Person"]["name"]["value"], "松乙", "{answer}");
    // For another purpose there is no contract: an error, not an empty record.
    let other = asked.replace("social-assistance.eligibility", "birth.one-stop");
    let refused = bash(folder, &format!("! {other} 2>&1"), &[]);
    assert!(
        refused.contains("no contract in force lets app `desk` ask for any record for `birth"),
        "{refused}"
    );
    let other = asked.replace("yiwang query record", "yiwang query record --field Dwelling.use");
    let refused = bash(folder, &format!("! {other} 2>&1"), &[]);
    assert!(refused.contains("`desk` ask for `Dwelling` for `social-assistance.eligibility`"), "{refused}");
    let other = asked.replace("yiwang query record", "yiwang query record --field Persn");
    let refused = bash(folder, &format!("! {other} 2>&1"), &[]);
    assert!(refused.contains("`desk` ask for `Persn`"), "{refused}");
    assert!(refused.contains("; no `Persn` comes with the program: did you mean `Person`?"), "{refused}");
    let proof = std::fs::read_dir(folder.join("proofs")).unwrap().next().unwrap().unwrap().path();
    let key = std::fs::read_to_string(hub_dir.join("ledger/verifier.key")).unwrap();
    let verify = format!("yiwang audit verify --evidence {} --key '{}'", proof.display(), key.trim());
    let report = bash(folder, &verify, &[]);
    assert!(report.contains("CLEAN"), "{report}");
}
