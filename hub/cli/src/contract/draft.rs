//! `yiwang contract draft`: a whole draft from flags. What only people know is a placeholder that `new` and `sign` refuse.

use super::added;
use crate::fail::{Failure, Outcome, file};
use crate::setup;
use clap::{Args, ValueEnum};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use yiwang_policies::draft::{REPLACE, REPLACE_WORD, Side, placeholders};
use yiwang_policies::{Catalogue, RecordTypeVersion, check_contract};
use yiwang_proto::contract::{ContractText, FORMAT, Limits, Method, Notice, OnwardSharing, Party};
use yiwang_proto::ids::{
    AppId, ContractId, FieldName, Matter, MemberId, Officer, Operation, Purpose, RecordType,
};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::plural::counted;
use yiwang_proto::time::format_rfc3339;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// A contract that nobody looks at again ends after a year.
const DAYS: i64 = 365;

/// How data is handed over.
#[derive(Clone, Copy, ValueEnum)]
enum MethodArg {
    /// Single look-ups.
    Query,
    /// All rows that the contract lets out, page by page.
    Batch,
    /// Counts over a declared table.
    Count,
}

impl MethodArg {
    fn method(self) -> Method {
        match self {
            Self::Query => Method::Query,
            Self::Batch => Method::Batch,
            Self::Count => Method::Count,
        }
    }

    /// Rows of an answer and milliseconds until it is too late: a look-up finds few, a page and a table hold more.
    fn bounds(self) -> (u32, u32) {
        match self {
            Self::Query => (20, 2000),
            Self::Batch => (500, 5000),
            Self::Count => (200, 5000),
        }
    }
}

/// Arguments of `draft`.
#[derive(Args)]
pub struct Draft {
    /// Who gives: its id, or a member's folder, whose root is put in.
    #[arg(long, value_name = "MEMBER|DIR")]
    provider: String,
    /// Who gets: its id, or a member's folder.
    #[arg(long, value_name = "MEMBER|DIR")]
    consumer: String,
    /// The record; `yiwang catalogue show RECORD` says its fields and classes.
    #[arg(long)]
    record: RecordType,
    /// An operation of the provider's mapping; may be given several times.
    #[arg(long = "operation", value_name = "OPERATION", required = true)]
    operations: Vec<Operation>,
    /// A field that is needed; may be given several times.
    #[arg(long = "field", value_name = "FIELD", required = true)]
    fields: Vec<FieldName>,
    /// An app of the consumer; may be given several times.
    #[arg(long = "app", value_name = "APP", required = true)]
    apps: Vec<AppId>,
    /// What for, of the closed list; a placeholder without it.
    #[arg(long)]
    purpose: Option<Purpose>,
    /// A kind of case; may be given several times; the one that the purpose is called after without it.
    #[arg(long = "matter", value_name = "MATTER")]
    matters: Vec<Matter>,
    /// How data is handed over.
    #[arg(long, value_enum, default_value = "query")]
    method: MethodArg,
    /// The contract's id; of both members and the record without it.
    #[arg(long)]
    id: Option<ContractId>,
    /// One more than the version that it replaces.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    /// The signed record type, for a record that members added.
    #[arg(long, value_name = "FILE")]
    record_type: Option<PathBuf>,
    /// Where to write it; standard output otherwise. A file that is there stays.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

pub fn run(asked: &Draft) -> Outcome {
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    let added = added(asked.record_type.as_deref())?;
    let text = asked.text(&catalogue, added.as_ref(), setup::clock().now_ms())?;
    stands(&text, &catalogue, added.as_ref())?;
    let json = text.to_json();
    match &asked.out {
        Some(path) => write_new(path, &json)?,
        None => println!("{}", String::from_utf8_lossy(&json)),
    }
    // Beside the text, which may go to standard output.
    said(&text, asked).iter().for_each(|line| eprintln!("{line}"));
    Ok(())
}

impl Draft {
    fn text(
        &self,
        catalogue: &Catalogue,
        added: Option<&RecordTypeVersion>,
        now_ms: i64,
    ) -> Result<ContractText, Failure> {
        let provider = party(&self.provider, Side::Provider)?;
        let consumer = party(&self.consumer, Side::Consumer)?;
        let word = |_| Failure::environment("the placeholder is no word of the grammar");
        let purpose = match &self.purpose {
            Some(purpose) => purpose.clone(),
            None => Purpose::parse(REPLACE_WORD).map_err(word)?,
        };
        let matters = match (self.matters.is_empty(), matter_of(&purpose, catalogue)) {
            (false, _) => self.matters.clone(),
            (true, Some(matter)) => vec![matter],
            (true, None) => vec![Matter::parse(REPLACE_WORD).map_err(word)?],
        };
        let id = match &self.id {
            Some(id) => id.clone(),
            None => named(&provider.member, &consumer.member, &self.record)?,
        };
        let from_ms = now_ms - now_ms.rem_euclid(DAY_MS);
        let (rows, deadline_ms) = self.method.bounds();
        let class = self.class(catalogue, added);
        Ok(ContractText {
            format: FORMAT.to_owned(),
            id,
            version: self.version,
            provider,
            consumer,
            legal_basis: format!("{REPLACE}: law and article that allow it"),
            scenario: format!("{REPLACE}: what happens with the data, in a sentence"),
            purpose,
            matters,
            method: self.method.method(),
            record: self.record.clone(),
            record_type: added.map(|version| yiwang_proto::hex(&version.digest)),
            operations: self.operations.clone(),
            fields: self.fields.clone(),
            rows: Vec::new(),
            apps: self.apps.clone(),
            valid_from: format_rfc3339(from_ms),
            valid_until: format_rfc3339(from_ms + DAYS * DAY_MS),
            limits: Limits { rows, per_app_per_minute: 600, per_officer_per_day: 200, deadline_ms },
            retention_days: 30,
            disposal_days: 10,
            onward_sharing: OnwardSharing::None,
            class,
            assessment: (class >= 3).then(|| format!("{REPLACE}: id of the impact assessment")),
            notice: Notice::Immediate,
            break_glass: false,
            sealed: false,
            standing_seconds: None,
            batch_signatures: false,
        })
    }

    /// The highest class of the fields that there are; what is no field is told by the check.
    fn class(&self, catalogue: &Catalogue, added: Option<&RecordTypeVersion>) -> u8 {
        let record = added.map(|version| version.def.as_ref()).or_else(|| catalogue.record(&self.record));
        let classes = self.fields.iter().filter_map(|name| Some(record?.field(name)?.class));
        classes.max().unwrap_or_default()
    }
}

/// One side; the root of a folder that is at hand, else a placeholder that `new --…-root` replaces.
fn party(given: &str, side: Side) -> Result<Party, Failure> {
    let dir = Path::new(given);
    let (member, root) = if dir.join("member.toml").is_file() {
        let folder = setup::folder(dir)?;
        (folder.member().clone(), folder.root_public())
    } else {
        let no_member = |error| Failure::usage(format!("{error}; nor is `{given}` a member's folder"));
        let member = MemberId::parse(given).map_err(no_member)?;
        (member, PublicKey::from_base64(side.root()).map_err(Failure::environment)?)
    };
    let approver = Officer::parse(side.approver()).map_err(Failure::environment)?;
    Ok(Party { member, root, approver })
}

/// `police-street-office-benefit-status`.
fn named(provider: &MemberId, consumer: &MemberId, record: &RecordType) -> Result<ContractId, Failure> {
    let mut name = format!("{provider}-{consumer}");
    let mut word = false;
    for letter in record.as_str().chars() {
        if letter.is_ascii_uppercase() && !word {
            name.push('-');
        }
        word = letter.is_ascii_uppercase();
        name.push(letter.to_ascii_lowercase());
    }
    ContractId::parse(&name).map_err(|error| Failure::usage(format!("{error}; name it with --id")))
}

/// The matter that a purpose is called after: `utility-connection` of `utility.connection.residential`.
fn matter_of(purpose: &Purpose, catalogue: &Catalogue) -> Option<Matter> {
    let purpose = purpose.as_str().replace('.', "-");
    let begins = |matter: &&Matter| {
        purpose.strip_prefix(matter.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let matters = catalogue.matters().map(|(matter, _)| matter);
    matters.filter(begins).max_by_key(|matter| matter.as_str().len()).cloned()
}

/// All but the placeholders must stand already: what is wrong with flags is told at once.
fn stands(text: &ContractText, catalogue: &Catalogue, added: Option<&RecordTypeVersion>) -> Outcome {
    let mut filled = text.clone();
    if filled.purpose.as_str() == REPLACE_WORD
        && let Some((purpose, _)) = catalogue.purposes().next()
    {
        filled.purpose = purpose.clone();
    }
    for matter in filled.matters.iter_mut().filter(|matter| matter.as_str() == REPLACE_WORD) {
        if let Some((known, _)) = catalogue.matters().next() {
            *matter = known.clone();
        }
    }
    let mut faults = filled.faults();
    faults.extend(check_contract(&filled, catalogue, added).iter().map(ToString::to_string));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("such a contract cannot stand:\n  - {}", faults.join("\n  - "))))
}

/// What somebody has filled in is not written over.
fn write_new(path: &Path, json: &[u8]) -> Outcome {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
            "`{}` is there already and stays as it is; name another file",
            path.display()
        ))),
        opened => opened.and_then(|mut out| out.write_all(json)).map_err(file(path)),
    }
}

/// What was taken without being asked for, what is to be filled in, and the next command.
fn said(text: &ContractText, asked: &Draft) -> Vec<String> {
    let limits = &text.limits;
    let mut lines = vec![
        format!("class {}, the highest of its fields", text.class),
        format!("by default: valid from {} until {}", text.valid_from, text.valid_until),
        format!(
            "by default: {} in an answer, {} of an app in a minute, {} of an officer in a day, late after {} ms",
            counted(limits.rows, "row"),
            counted(limits.per_app_per_minute, "exchange"),
            limits.per_officer_per_day,
            limits.deadline_ms
        ),
        format!(
            "by default: every row that the operation finds (`rows` narrows it); kept {}, disposed of within {}; subjects \
             learn of it at once",
            counted(text.retention_days, "day"),
            text.disposal_days
        ),
    ];
    if asked.matters.is_empty() && text.matters.iter().all(|matter| matter.as_str() != REPLACE_WORD) {
        let matters: Vec<&str> = text.matters.iter().map(Matter::as_str).collect();
        lines.push(format!("by default: in cases of {} (--matter names others)", matters.join(", ")));
    }
    if text.class >= 3 {
        lines.push(
            "from class 3 bodies travel sealed and an officer signs each request: `yiwang member delegate --role sealing`, \
             `yiwang officer`"
                .to_owned(),
        );
    }
    let open = placeholders(text);
    lines.extend(open.iter().map(|fault| format!("to be replaced: {}: {}", fault.place, fault.next)));
    let draft = asked.out.as_deref().map_or_else(|| "DRAFT".to_owned(), |path| path.display().to_string());
    // A root that a member's folder gave is in the draft: asked for again, it would only be copied from there.
    let missing = [Side::Provider, Side::Consumer].into_iter().map(Side::as_str);
    let missing = missing.filter(|side| open.iter().any(|fault| fault.place == format!("{side}.root")));
    let roots: String = missing.map(|side| format!(" --{side}-root KEY")).collect();
    lines.push(format!("then: yiwang contract new {draft}{roots} -o text.json"));
    lines
}
