//! What `run --dry-run` tells: lines for people, one line of JSON for programs.

use crate::command::OK;
use serde::Serialize;
use std::io::Write;
use yiwang_proto::plural::counted;
use yiwang_proto::time::format_rfc3339;

/// All of it.
#[derive(Default, Serialize)]
pub(super) struct Told {
    ok: bool,
    exit: u8,
    /// None where the configuration names no adapter.
    adapter: Option<String>,
    member: Option<String>,
    pub(super) sources: Vec<Announced>,
    pub(super) left_out: Vec<Left>,
    pub(super) contracts: Vec<Under>,
}

impl Told {
    pub(super) fn of(adapter: String, member: String) -> Self {
        Self { adapter: Some(adapter), member: Some(member), ..Self::default() }
    }

    pub(super) fn write_json(mut self, exit: u8, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        (self.ok, self.exit) = (exit == OK, exit);
        let text = serde_json::to_string(&self).map_err(std::io::Error::other)?;
        writeln!(out, "{text}")
    }
}

/// What would be announced of one mapping.
#[derive(Serialize)]
pub(super) struct Announced {
    pub(super) mapping: String,
    pub(super) record: String,
    pub(super) sha256: String,
    pub(super) operations: Vec<String>,
    /// Why its source does not answer.
    pub(super) trouble: Option<String>,
}

impl Announced {
    pub(super) fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let digest = self.sha256.get(..16).unwrap_or(&self.sha256);
        for operation in &self.operations {
            writeln!(out, "  {operation} of {}, mapping {digest}", self.record)?;
        }
        match &self.trouble {
            Some(why) => writeln!(out, "  ✗ source of `{}`: {why}", self.mapping),
            None => Ok(()),
        }
    }
}

/// A mapping file that would not serve.
#[derive(Serialize)]
pub(super) struct Left {
    pub(super) file: String,
    pub(super) why: String,
}

impl Left {
    pub(super) fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        writeln!(out, "  ✗ mapping file `{}` is left out: {}", self.file, self.why)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Begins,
    InForce,
    Over,
}

/// What one contract would let out.
#[derive(Serialize)]
pub(super) struct Under {
    pub(super) contract: String,
    pub(super) version: u32,
    pub(super) consumer: String,
    #[serde(flatten)]
    pub(super) when: When,
    pub(super) operations: Vec<LetOut>,
}

/// When it holds.
#[derive(Serialize)]
pub(super) struct When {
    state: State,
    valid_from: String,
    valid_until: String,
}

impl When {
    pub(super) fn new(now_ms: i64, from_ms: i64, until_ms: i64) -> Self {
        let state = if now_ms < from_ms {
            State::Begins
        } else if now_ms >= until_ms {
            State::Over
        } else {
            State::InForce
        };
        Self { state, valid_from: format_rfc3339(from_ms), valid_until: format_rfc3339(until_ms) }
    }

    fn words(&self) -> String {
        match self.state {
            State::Begins => format!("begins {}", self.valid_from),
            State::Over => format!("is over since {}", self.valid_until),
            State::InForce => format!("until {}", self.valid_until),
        }
    }
}

impl Under {
    pub(super) fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let Self { contract, version, consumer, when, operations } = self;
        writeln!(out, "contract `{contract}` version {version}, for `{consumer}`, {}", when.words())?;
        operations.iter().try_for_each(|operation| operation.write(out))
    }
}

/// What one operation would let out.
#[derive(Serialize)]
pub(super) struct LetOut {
    pub(super) operation: String,
    /// Whether a mapping serves it; nothing else is known where none does.
    pub(super) served: bool,
    pub(super) records_max: Option<u32>,
    /// Of a search in pages, each of so many records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pages_max: Option<u32>,
    pub(super) fields: Vec<Field>,
    /// Fields that the contract's clauses on rows compare.
    pub(super) clauses: Vec<String>,
}

impl LetOut {
    fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let operation = &self.operation;
        let Some(most) = self.records_max.filter(|_| self.served) else {
            return writeln!(out, "  ✗ {operation}: no mapping serves it");
        };
        let pages = self.pages_max.map(|pages| format!(" in each of {}", counted(pages, "page")));
        writeln!(out, "  {operation}: at most {}{} of", counted(most, "record"), pages.unwrap_or_default())?;
        self.fields.iter().try_for_each(|field| field.write(out))?;
        if self.clauses.is_empty() {
            return Ok(());
        }
        writeln!(out, "    of rows that pass its clauses on {}", self.clauses.join(", "))
    }
}

/// What one field needs to leave.
#[derive(Serialize)]
pub(super) struct Field {
    field: String,
    /// Whether the mapping has it; it is withheld otherwise.
    mapped: bool,
    class: Option<u8>,
    sealed: bool,
    /// `officer`, who signs, or `two_approvals`.
    needs: Option<&'static str>,
}

impl Field {
    pub(super) fn unmapped(field: String) -> Self {
        Self { field, mapped: false, class: None, sealed: false, needs: None }
    }

    pub(super) fn mapped(field: String, class: u8, contract_sealed: bool) -> Self {
        let (sealed, needs) = match class {
            0..=2 => (contract_sealed, None),
            3 => (true, Some("officer")),
            _ => (true, Some("two_approvals")),
        };
        Self { field, mapped: true, class: Some(class), sealed, needs }
    }

    fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let Some(class) = self.class.filter(|_| self.mapped) else {
            return writeln!(out, "    ✗ {}: not mapped, so withheld", self.field);
        };
        let how = match class {
            0..=2 if !self.sealed => "",
            0..=2 => ", sealed",
            3 => ", sealed, for an officer who signs",
            _ => ", sealed, after two approvals",
        };
        writeln!(out, "    {}, class {class}{how}", self.field)
    }
}
