//! What every source must do, as code: `adapters/SPEC.md` says it in words. A source crate builds the
//! suite's table in its own form, opens it with the suite's mapping, and runs every check.

mod checks;
mod counts;
mod data;
mod recording;

pub use counts::{count_mapping, counts};
pub use data::{COLUMNS, HOSTILE, NOW_MS, hostile_texts, mapping, mapping_of_documents, rows};
pub use recording::Recording;

use crate::fetch::MappedSource;
use crate::mapping::{Mapping, SourceDef};
use crate::source::Source;
use std::sync::Arc;

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was checked.
    pub check: &'static str,
    /// What is wrong; none if the source complies.
    pub failure: Option<String>,
}

/// The fixture that a check works on: the source as it was made, with a record of what it was asked.
pub struct Fixture {
    /// Mapping and recorded source.
    pub mapped: MappedSource,
    /// What the source was asked.
    pub recording: Arc<Recording>,
    /// The source's own name of a column of the suite's table.
    pub name: fn(&str) -> String,
}

impl Fixture {
    /// Whether a text must be refused: services, unlike databases and files, drop or cut it on the way.
    fn drops(&self, text: &str) -> bool {
        let service = matches!(self.mapped.mapping().source(), SourceDef::Http(_) | SourceDef::Fhir(_));
        service && (text.contains(char::is_control) || !text.contains(char::is_alphanumeric))
    }
}

/// Runs every check, each on a fixture of its own. `make` builds the suite's table ([`COLUMNS`],
/// [`rows`]) as a source, and a mapping of it by [`mapping`].
pub async fn run(make: impl Fn() -> (Arc<Mapping>, Arc<dyn Source>)) -> Vec<Outcome> {
    run_named(make, str::to_owned).await
}

/// As [`run`], for a source whose columns have other names; the mapping is by [`mapping_of_documents`].
pub async fn run_named(
    make: impl Fn() -> (Arc<Mapping>, Arc<dyn Source>),
    name: fn(&str) -> String,
) -> Vec<Outcome> {
    let fixture = || {
        let (mapping, source) = make();
        let recording = Arc::new(Recording::new(source));
        let mapped = MappedSource::new(mapping, Arc::clone(&recording) as Arc<dyn Source>);
        Fixture { mapped, recording, name }
    };
    let mut outcomes = Vec::new();
    let mut add = |check, outcome: Result<(), String>| {
        outcomes.push(Outcome { check, failure: outcome.err() });
    };
    add("a record has the granted fields and no others", checks::granted(&fixture()).await);
    add("only columns of granted fields are read", checks::columns(&fixture()).await);
    add("fields that cannot be let out are withheld with a reason", checks::withheld(&fixture()).await);
    add("nothing is read if nothing may be let out", checks::nothing_to_let_out(&fixture()).await);
    add("hostile arguments are data", checks::hostile(&fixture()).await);
    add("a thousand hostile arguments are data or refused", checks::thousand(&fixture()).await);
    add("arguments are checked before the source is asked", checks::arguments(&fixture()).await);
    add("rows outside the contract are not let out", checks::row_filter(&fixture()).await);
    add("a filter on converted values holds too", checks::converted_filter(&fixture()).await);
    add("rows are bounded and a cut shows", checks::bounds(&fixture()).await);
    add("what is not there gives no record", checks::absent(&fixture()).await);
    add("bad values are flagged or refused, never guessed", checks::bad_values(&fixture()).await);
    add("a deadline that has passed stops the way", checks::deadline(&fixture()).await);
    add("many questions at once are answered each by its own", checks::parallel(&fixture()).await);
    add("the live check finds no error", checks::live(&fixture()).await);
    outcomes
}

/// The failures of a run as one text, empty if there is none.
pub fn failures(outcomes: &[Outcome]) -> String {
    outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}\n", outcome.check, outcome.failure.as_ref()?)))
        .collect()
}
