//! What an answer ends with: its evidence, what is missing with the next step, and an exit code of its own where nothing came.

use crate::fail::{Failure, Outcome, file};
use std::collections::BTreeMap;
use std::path::Path;
use yiwang_client::client::Client;
use yiwang_client::merge::{FieldState, Source};
use yiwang_client::record::UnifiedRecord;
use yiwang_client::standing::Silent;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;

/// Who asked: what is missing may be the own member's to mend.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The member.
    pub member: &'a MemberId,
    /// Its folder.
    pub folder: &'a Path,
}

/// Saves the evidence of every exchange that has an entry: of refusals too.
pub async fn evidence(client: &Client, record: &UnifiedRecord, dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    for index in record.sources.iter().filter_map(|source| source.receipt) {
        let bundle = client.evidence(index).await.map_err(Failure::refused)?;
        let path = dir.join(format!("evidence-{index}.json"));
        std::fs::write(&path, bundle).map_err(file(&path))?;
    }
    Ok(())
}

/// Prints the record, and beside it what is missing and what to do about it.
pub fn show(record: &UnifiedRecord, asker: Asker<'_>) -> Outcome {
    println!("{}", serde_json::to_string_pretty(record).map_err(Failure::environment)?);
    let missing = missing(record, asker);
    // Beside the record, which goes to standard output.
    missing.iter().chain(&failed(record, &missing, asker)).for_each(|line| eprintln!("{line}"));
    if missing.is_empty() || any_answered(record) {
        return Ok(());
    }
    Err(Failure::unanswered(
        "nothing was answered: every field is withheld or unavailable, for the reasons above",
    ))
}

/// Whether any department said anything; that it has no such record is an answer too.
fn any_answered(record: &UnifiedRecord) -> bool {
    let said = |state: &FieldState| matches!(state, FieldState::Value { .. } | FieldState::Conflict { .. });
    record.records.values().flat_map(BTreeMap::values).any(said)
}

/// What to do about a code, where its clause or the command line knows more than the code.
fn step(code: Option<Code>, clause: &str, provider: &str, asker: Asker<'_>) -> String {
    match (code, Silent::of(clause)) {
        (None, _) => "see its clause".to_owned(),
        // Only what was prepared beforehand is ever sent a second time.
        (Some(Code::Replayed), _) => {
            "it was sent before, and is taken once: run `yiwang query prepare` again".to_owned()
        }
        (Some(Code::StandingStale), Some(Silent::Consumer)) => format!(
            "your own member `{}` says nothing, or nothing young enough: start its host, `yiwang adapter run --config {}` (a \
             gateway is enough)",
            asker.member,
            asker.folder.join("adapter.toml").display()
        ),
        (Some(Code::StandingStale), Some(Silent::Provider)) => format!(
            "the adapter host of `{provider}` must run and reach the hub; it renews the standing by itself"
        ),
        (Some(code), _) => code.help().to_owned(),
    }
}

/// A line for each reason: which fields, of whom, and the next step. Clauses are others' words and stay in the JSON.
fn missing(record: &UnifiedRecord, asker: Asker<'_>) -> Vec<String> {
    let mut reasons: BTreeMap<(&str, String, String), Vec<String>> = BTreeMap::new();
    for (name, fields) in &record.records {
        for (field, state) in fields {
            let (word, code, clause, source) = match state {
                FieldState::Withheld { code, clause, source } => {
                    // A field that was left out of an answer says why in its clause.
                    let said = clause.rsplit([':', ' ']).next().unwrap_or_default();
                    ("withheld", Code::parse(code).or_else(|| Code::parse(said)), clause.as_str(), source)
                }
                FieldState::Unavailable { code, source, .. } => {
                    ("unavailable", Code::parse(code), "", source)
                }
                FieldState::Value { .. } | FieldState::Conflict { .. } => continue,
            };
            let provider = source.as_ref().map_or("", |source| source.member.as_str());
            let step = step(code, clause, provider, asker);
            let of = source.as_ref().map(of).unwrap_or_default();
            let code = code.map(|code| format!(": {code}")).unwrap_or_default();
            reasons.entry((word, format!("{of}{code}"), step)).or_default().push(format!("{name}.{field}"));
        }
    }
    reasons
        .into_iter()
        .map(|((word, why, step), fields)| format!("{word}{why}: {}; {step}", fields.join(", ")))
        .collect()
}

/// A line for each department that did not answer although others gave its fields.
fn failed(record: &UnifiedRecord, missing: &[String], asker: Asker<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for source in record.sources.iter().filter(|source| source.state != "answered") {
        let of = format!(" ({}, `{}`)", source.member, source.contract);
        if !missing.iter().any(|line| line.contains(&of)) {
            let step = step(Code::parse(&source.state), &source.clause, &source.member, asker);
            lines.push(format!(
                "no answer{of}: {}: its fields are named above, or came from others; {step}",
                source.state
            ));
        }
    }
    lines
}

fn of(source: &Source) -> String {
    format!(" ({}, `{}`)", source.member, source.contract)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_client::merge::{Part, PartOutcome, merge};
    use yiwang_client::record::SourceState;
    use yiwang_proto::ids::{ContractId, FieldName, RecordType};

    fn answer(outcomes: &[PartOutcome]) -> UnifiedRecord {
        let part = |(at, outcome): (usize, &PartOutcome)| Part {
            record: RecordType::parse("HealthSummary").unwrap(),
            fields: vec![FieldName::parse(&format!("field{at}")).unwrap()],
            member: MemberId::parse("health").unwrap(),
            contract: ContractId::parse("health-street-summary").unwrap(),
            receipt: None,
            outcome: outcome.clone(),
        };
        let parts: Vec<Part> = outcomes.iter().enumerate().map(part).collect();
        UnifiedRecord { complete: false, records: merge(&parts), sources: Vec::new() }
    }

    fn refused(code: Code) -> PartOutcome {
        PartOutcome::Refused { code: code.as_str().to_owned(), clause: "class".to_owned() }
    }

    #[test]
    fn where_nothing_came_the_exit_code_says_so_and_each_reason_has_its_next_step() {
        let failed = PartOutcome::Failed { code: Code::ProviderUnavailable.as_str().to_owned(), since: None };
        let member = MemberId::parse("street-office").unwrap();
        let asker = Asker { member: &member, folder: Path::new("s") };
        let none = answer(&[refused(Code::SealingRequired), refused(Code::SealingKeyUnknown), failed]);
        assert_eq!(show(&none, asker).unwrap_err().code, 4);
        let said = missing(&none, asker).join("\n");
        for part in [
            "withheld (health, `health-street-summary`): sealing_required: HealthSummary.field0; ",
            "--role sealing --name APP",
            "withheld (health, `health-street-summary`): sealing_key_unknown: HealthSummary.field1; ",
            "unavailable (health, `health-street-summary`): provider_unavailable: HealthSummary.field2; ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // One that failed while others gave its fields is named too, and once.
        let state = |contract: &str, state: &str| SourceState {
            member: "health".to_owned(),
            contract: contract.to_owned(),
            record: "HealthSummary".to_owned(),
            state: state.to_owned(),
            clause: String::new(),
            receipt: None,
            truncated: false,
            resume: None,
        };
        let mut some = answer(&[refused(Code::SealingRequired)]);
        some.sources = vec![
            state("health-street-summary", "sealing_required"),
            state("health-street-other", "source_error"),
            state("health-street-third", "answered"),
        ];
        let lines = super::failed(&some, &missing(&some, asker), asker);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("no answer (health, `health-street-other`): source_error: its fields"));
        // That nobody has such a record is an answer; so is one field of many.
        let nothing_found = PartOutcome::Answered { rows: Vec::new(), withheld: Vec::new() };
        assert!(show(&answer(&[refused(Code::SealingRequired), nothing_found.clone()]), asker).is_ok());
        assert!(missing(&answer(&[nothing_found]), asker).is_empty());
        let field = FieldName::parse("field0").unwrap();
        let left_out = vec![(field, "class-3:sealing_required".to_owned())];
        let left_out = answer(&[PartOutcome::Answered { rows: Vec::new(), withheld: left_out }]);
        let said = missing(&left_out, asker).concat();
        assert!(said.contains(": sealing_required: "), "{said}");
        assert_eq!(show(&left_out, asker).unwrap_err().code, 4);
    }

    #[test]
    fn who_says_nothing_is_told_and_what_was_sent_is_prepared_again() {
        let member = MemberId::parse("street-office").unwrap();
        let asker = Asker { member: &member, folder: Path::new("s") };
        let said = |code: Code, clause: &str| {
            let outcome = PartOutcome::Refused { code: code.as_str().to_owned(), clause: clause.to_owned() };
            missing(&answer(&[outcome]), asker).concat()
        };
        for clause in ["the-consumers-standing", "consumer:no-standing-is-known"] {
            let own = said(Code::StandingStale, clause);
            assert!(own.contains("your own member `street-office` says nothing"), "{own}");
            assert!(own.contains("`yiwang adapter run --config s/adapter.toml`"), "{own}");
        }
        let theirs = said(Code::StandingStale, "the-providers-standing");
        assert!(theirs.contains("the adapter host of `health` must run"), "{theirs}");
        // One of many denials in a minute has no clause.
        let either = said(Code::StandingStale, "");
        assert!(either.ends_with(Code::StandingStale.help()), "{either}");
        let again = said(Code::Replayed, "");
        assert!(again.contains("run `yiwang query prepare` again") && !again.contains("retry_of"), "{again}");
    }
}
