//! A contract's draft as its author sees it: every fault with its line and column, the reason, and what to
//! write.

use crate::catalogue::Catalogue;
use crate::fields::{Fault, check_contract};
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

/// How a sentence begins that somebody has to write.
pub const REPLACE: &str = "REPLACE";
/// A word of a closed list that somebody has to choose.
pub const REPLACE_WORD: &str = "replace-me";

/// One side of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who gives.
    Provider,
    /// Who gets.
    Consumer,
}

impl Side {
    /// A key in base64 whose private half nobody has: it stands where a root is to be put.
    #[must_use]
    pub fn root(self) -> &'static str {
        match self {
            Self::Provider => "REPLACE/WITH/THE/PROVIDERS/ROOT/KEY/111111A=",
            Self::Consumer => "REPLACE/WITH/THE/CONSUMERS/ROOT/KEY/222222A=",
        }
    }

    /// A pseudonym of nobody: it stands where the head who approves is to be put.
    #[must_use]
    pub fn approver(self) -> &'static str {
        match self {
            Self::Provider => "o-replacemeprovide",
            Self::Consumer => "o-replacemeconsume",
        }
    }

    /// Its name in a contract, and the first word of the argument that puts its root in.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Consumer => "consumer",
        }
    }
}

/// What of a draft is still to be written by people; nobody signs it before.
#[must_use]
pub fn placeholders(text: &ContractText) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |place: &str, next: &str| {
        faults.push(Fault::new(place, "is a placeholder that nobody replaced", next));
    };
    for (side, party) in [(Side::Provider, &text.provider), (Side::Consumer, &text.consumer)] {
        let name = side.as_str();
        if party.root.to_base64() == side.root() {
            let next = format!("give --{name}-root, which the member told by another way than this network");
            add(&format!("{name}.root"), &next);
        }
        if party.approver.as_str() == side.approver() {
            let next = "write the pseudonym of the head who approves; `yiwang officer keygen` makes one";
            add(&format!("{name}.approver"), next);
        }
    }
    let sentences = [("legal_basis", Some(&text.legal_basis)), ("scenario", Some(&text.scenario))];
    for (place, said) in sentences.into_iter().chain([("assessment", text.assessment.as_ref())]) {
        if said.is_some_and(|said| said.starts_with(REPLACE)) {
            add(place, help(place));
        }
    }
    if text.purpose.as_str() == REPLACE_WORD {
        add("purpose", "write the purpose, of the closed list that `yiwang catalogue list` ends with");
    }
    if text.matters.iter().any(|matter| matter.as_str() == REPLACE_WORD) {
        add("matters", "write kinds of case, of the closed list that `yiwang catalogue list` ends with");
    }
    faults
}

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
    // Roots come with the command that puts them in.
    let open = placeholders(&text).into_iter().filter(|fault| !fault.place.ends_with(".root"));
    for fault in check_contract(&text, catalogue, added).into_iter().chain(open) {
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

    #[test]
    fn a_placeholder_is_a_fault_where_it_stands_and_a_key_of_nobody_can_be_read() {
        let catalogue = Catalogue::builtin().unwrap();
        let mut draft = contract_json();
        assert!(placeholders(&crate::testing::text(&draft)).is_empty());
        for (side, name) in [(Side::Provider, "provider"), (Side::Consumer, "consumer")] {
            draft[name]["root"] = side.root().into();
            draft[name]["approver"] = side.approver().into();
        }
        draft["legal_basis"] = format!("{REPLACE}: law and article").into();
        draft["scenario"] = format!("{REPLACE}: what happens").into();
        draft["assessment"] = format!("{REPLACE}: its id").into();
        draft["purpose"] = REPLACE_WORD.into();
        draft["matters"] = serde_json::json!([REPLACE_WORD]);
        let open = placeholders(&crate::testing::text(&draft));
        let places: Vec<&str> = open.iter().map(|fault| fault.place.as_str()).collect();
        let wanted = [
            "provider.root",
            "provider.approver",
            "consumer.root",
            "consumer.approver",
            "legal_basis",
            "scenario",
            "assessment",
            "purpose",
            "matters",
        ];
        assert_eq!(places, wanted);
        let json = serde_json::to_string_pretty(&draft).unwrap();
        let faults = check_draft("c.json", &json, &catalogue, None).unwrap_err();
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for place in ["provider.approver", "legal_basis", "scenario", "assessment"] {
            assert!(
                said.iter().any(|fault| fault.contains(&format!("`{place}`: is a placeholder"))),
                "{said:?}"
            );
        }
        // `contract new --provider-root` replaces these.
        assert!(!said.iter().any(|fault| fault.contains(".root`")), "{said:?}");
    }
}
