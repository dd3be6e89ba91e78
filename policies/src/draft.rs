//! A contract's draft as its author sees it: every fault with its line and column, the reason, and what to
//! write.

use crate::catalogue::Catalogue;
use crate::fields::check_contract;
use crate::place::{Located, Step, of_json, without_values};
use crate::record_type::RecordTypeVersion;
use yiwang_proto::contract::ContractText;

/// What each part of a contract takes.
const HELPS: &[(&str, &str)] = &[
    ("format", "write \"yiwang-contract/1\""),
    ("version", "write 1, and one more for each new text"),
    ("provider", "name two different members, each with its own root"),
    (
        "legal_basis",
        "name law and article, like \"Regulation on Government Data Sharing (Decree 809), art. 20\"",
    ),
    ("scenario", "say in a sentence what happens with the data"),
    ("matters", "list kinds of case of the catalogue, like [\"social-assistance\"]"),
    ("operations", "list operations of the provider's mapping"),
    ("fields", "list each field that is needed once, and no other"),
    ("apps", "list apps of the consumer, like [\"assistance-desk\"]"),
    ("rows", "give each clause a field, an operator, and one of value, values, from and to, param"),
    ("limits", "write a whole number within these bounds"),
    ("class", "write the highest class of the granted fields"),
    ("assessment", "write the id of the impact assessment, like \"IA-2026-001\""),
    ("standing_seconds", "write 60 to 86400, or leave it out"),
    ("valid_from", "write a time with an offset, like 2027-01-31T00:00:00Z"),
    ("valid_until", "write a later time with an offset, like 2028-01-31T00:00:00Z"),
];

/// Reads a draft and holds it against its grammar and the catalogue; where a version of a record type that members
/// added is given, it is pinned.
///
/// # Errors
/// Everything that cannot stand, in the order of the text. No value of the draft is in it.
pub fn check_draft(
    file: &str,
    json: &str,
    catalogue: &Catalogue,
    added: Option<&RecordTypeVersion>,
) -> Result<ContractText, Vec<Located>> {
    let mut text = ContractText::parse(json.as_bytes()).map_err(|_| vec![unread(file, json)])?;
    if let Some(added) = added {
        text.record_type = Some(yiwang_proto::hex(&added.digest));
    }
    let mut faults: Vec<Located> = Vec::new();
    for said in text.faults() {
        faults.push(said_by_grammar(file, json, &said, &text));
    }
    for fault in check_contract(&text, catalogue, added) {
        let offset = of_json(json, &way(&fault.place));
        faults.push(Located::at(
            file,
            json,
            offset,
            format!("`{}`: {}", fault.place, fault.what),
            fault.next,
        ));
    }
    if faults.is_empty() {
        return Ok(text);
    }
    faults.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
    faults.dedup();
    Err(faults)
}

/// The parser's own fault.
fn unread(file: &str, json: &str) -> Located {
    let Err(error) = serde_json::from_str::<ContractText>(json) else {
        return Located::at(file, json, 0, "the text cannot be read", "write it as UTF-8");
    };
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    let (message, help) = without_values(said);
    let (line, column) = (error.line().max(1), error.column().max(1));
    Located { file: file.to_owned(), line, column, message, help }
}

/// A fault of the grammar, which begins with the name of what it is about.
fn said_by_grammar(file: &str, json: &str, said: &str, text: &ContractText) -> Located {
    // A time's fault begins with what was written.
    if said.starts_with('`') {
        let from = yiwang_proto::time::parse_rfc3339(&text.valid_from).is_err();
        let key = if from { "valid_from" } else { "valid_until" };
        return Located::at(
            file,
            json,
            of_json(json, &[Step::Key(key)]),
            format!("{key} is not a time"),
            help(key),
        );
    }
    let name = said.split([' ', ':']).next().unwrap_or_default();
    let mut steps = way(name);
    if name == "rows"
        && let Some(clause) = text.rows.iter().position(|clause| clause.check().is_err())
    {
        steps.push(Step::Item(clause));
    }
    Located::at(file, json, of_json(json, &steps), said, help(name))
}

fn help(name: &str) -> &'static str {
    let key = name.split('.').next().unwrap_or_default();
    let found = HELPS.iter().find(|(known, _)| *known == key);
    found.map_or("compare with adapters/departments/*/contracts", |(_, help)| help)
}

/// The way to `limits.rows` or `rows[3]`.
fn way(place: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in place.split('.') {
        let (key, index) = part.split_once('[').map_or((part, None), |(key, rest)| (key, Some(rest)));
        steps.push(Step::Key(key));
        let index = index.and_then(|rest| rest.trim_end_matches(']').parse().ok());
        steps.extend(index.map(Step::Item));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contract_json;

    #[test]
    fn a_sound_draft_is_what_it_says_and_faults_stand_where_they_are() {
        let catalogue = Catalogue::builtin().unwrap();
        let json = serde_json::to_string_pretty(&contract_json()).unwrap();
        assert!(check_draft("c.json", &json, &catalogue, None).is_ok());
        let broken = json.replace("\"rows\": 5", "\"rows\": 5000").replace("\"status\"", "\"statsu\"");
        let faults = check_draft("c.json", &broken, &catalogue, None).unwrap_err();
        assert!(faults.len() >= 2, "{faults:?}");
        assert!(faults.is_sorted_by_key(|fault| (fault.line, fault.column)));
        for fault in &faults {
            let line = broken.lines().nth(fault.line - 1).unwrap();
            let part = if fault.message.starts_with("limits") { "5000" } else { "[" };
            assert!(line.chars().skip(fault.column - 1).collect::<String>().starts_with(part), "{fault}");
        }
        let faults =
            check_draft("c.json", &json.replace("\"class\": 3", "\"class\": \"hunter2\""), &catalogue, None);
        let said = faults.unwrap_err().remove(0).to_string();
        assert!(said.contains("the value is not a whole number") && !said.contains("hunter2"), "{said}");
    }
}
