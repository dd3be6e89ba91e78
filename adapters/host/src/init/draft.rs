//! The text of a proposed mapping for one operation that finds rows by one key.

use super::field::{self, PERSON, Proposed};
use super::names::{Fit, Match, Names, is_about_person};
use super::read::{Ask, InitError};
use super::text::{line, quoted, snake, statement};
use super::{Described, Hint, Key};
use std::collections::BTreeMap;
use yiwang_adapter_http::DescribedCall;
use yiwang_adapter_sql::{ColumnKind, Dialect};
use yiwang_policies::{Catalogue, RecordDef, SubjectKind};

/// Stands for the record where none was recognised; no record is called so.
pub const UNKNOWN: &str = "Choose";

/// Where a part of a column's name is all that speaks for a field.
const GUESSED: &str = "; choose: is it this field? A part of its name says so";

/// Columns that are listed as other keys.
const OTHER_KEYS: usize = 6;

/// How the source is asked.
pub(super) enum Access<'a> {
    /// With a statement on this table, by its quoted name.
    Sql(&'a dyn Quote, &'a str),
    /// With conditions.
    Where,
    /// With a call.
    Call(&'a DescribedCall),
}

/// How a database quotes a name.
pub(super) trait Quote {
    fn quote(&self, name: &str) -> Option<String>;

    /// Whether a parameter has one type in the whole statement, that of the column beside it: `lower`, which wants a
    /// text, then fits beside a column of type text only.
    fn has_typed_parameters(&self) -> bool;
}

impl<D: Dialect> Quote for D {
    fn quote(&self, name: &str) -> Option<String> {
        Dialect::quote(self, name).ok()
    }

    fn has_typed_parameters(&self) -> bool {
        Dialect::placeholder(self, 1) == "$1"
    }
}

impl Access<'_> {
    fn origin(&self) -> &'static str {
        match self {
            Self::Sql(..) | Self::Where => "from",
            Self::Call(_) => "pointer",
        }
    }
}

/// What the operation is about, once that is settled.
struct Settled {
    /// Whether a person's identifier is looked up.
    person: bool,
    /// Whether only the end of the column's name says that it holds persons' numbers.
    guessed: bool,
    key: Option<Key>,
}

/// The mapping's text. `source` is its `[source.…]` table, codes and all that follows are written here.
pub(super) fn write(
    ask: &Ask,
    described: &Described,
    source: &str,
    access: &Access<'_>,
) -> Result<String, InitError> {
    let catalogue = Catalogue::builtin().map_err(|error| InitError::Program(error.to_string()))?;
    let names = Names::builtin().map_err(InitError::Program)?;
    if let Some(refusal) = yiwang_policies::lint_name(&described.name) {
        return Err(InitError::Refused { what: described.what.clone(), why: refusal.to_string() });
    }
    let fits = fits(ask, &catalogue, &names, described)?;
    let (record, matches, others) = match fits.split_first() {
        Some((best, others)) => (Some(best.record), best.matches.as_slice(), others),
        None => (None, &[][..], &[][..]),
    };
    let settled = settle(ask, &names, described, record, access)?;
    let mut found = Found::default();
    let zone = ask.time_zone.as_str();
    found.recognised(record, matches, described, access.origin(), (&names, zone));
    found.others(&names, described, &settled, access.origin(), zone)?;
    let Found { fields, notes, codes } = found;
    let operation = operation_name(record, &settled);
    let mut text = top(ask, described, record, others);
    text.push_str(source);
    text.push('\n');
    for table in codes {
        text.push_str(&table);
        text.push('\n');
    }
    text.push_str(&asked(described, &settled, access, &operation, &fields)?);
    text.push_str("\n[operation.fields]\n");
    for (_, _, proposed) in &fields {
        text.push_str(&proposed.line);
        text.push('\n');
    }
    for note in notes {
        text.push_str(&note);
        text.push('\n');
    }
    text.push_str(&test(described, &settled, access, &fields));
    Ok(text)
}

/// What becomes of the columns: fields, their tables of codes, and lines about all that is no field.
#[derive(Default)]
struct Found<'a> {
    fields: Vec<(&'a str, &'a Hint, Proposed)>,
    notes: Vec<String>,
    codes: Vec<String>,
}

impl<'a> Found<'a> {
    /// Columns that were recognised, and a line about each that was not.
    fn recognised(
        &mut self,
        record: Option<&'a RecordDef>,
        matches: &[Match],
        described: &'a Described,
        origin: &str,
        (names, zone): (&Names, &str),
    ) {
        for (at, hint) in described.hints.iter().enumerate() {
            if let Some(why) = hint.refused() {
                self.notes.push(format!("# {}: {why}", line(&hint.from)));
                continue;
            }
            let known = matches.iter().find(|one| one.at == at).and_then(|one| {
                let fields = &record?.fields;
                let (name, known) = fields.iter().find(|(name, _)| name.as_str() == one.field)?;
                Some((name, known, one.guessed))
            });
            let Some((name, known, guessed)) = known else {
                self.notes.push(unknown(hint, record, origin));
                continue;
            };
            match field::propose(name.as_str(), known, hint, origin, (names, zone)) {
                Ok(mut proposed) => {
                    if guessed {
                        proposed.line.push_str(GUESSED);
                    }
                    self.codes.extend(proposed.codes.clone());
                    self.fields.push((name.as_str(), hint, proposed));
                }
                Err(why) => self.notes.push(format!("# {}: {why}", line(&hint.from))),
            }
        }
    }

    /// When a row was last good; and one field that may be meant where none was recognised, because a mapping
    /// has one.
    fn others(
        &mut self,
        names: &Names,
        described: &'a Described,
        settled: &Settled,
        origin: &str,
        zone: &str,
    ) -> Result<(), InitError> {
        if self.fields.is_empty() {
            let key = settled.key.as_ref().map(|key| key.at);
            let usable = |(at, hint): &(usize, &Hint)| hint.refused().is_none() && Some(*at) != key;
            let hints = || described.hints.iter().enumerate();
            let hint = hints().find(usable).or_else(|| hints().find(|(_, hint)| hint.refused().is_none()));
            let (_, hint) = hint.ok_or_else(|| InitError::Nothing(described.what.clone()))?;
            let proposed = field::unnamed(hint, origin, zone).map_err(InitError::Program)?;
            self.add("choose", hint, proposed, origin);
        }
        let at = names.as_of(&described.hints, field::can_be_moment);
        match at.and_then(|at| described.hints.get(at)) {
            Some(hint) => {
                let proposed = field::as_of(hint, origin, zone).map_err(InitError::Program)?;
                self.add("as_of", hint, proposed, origin);
            }
            None => {
                self.notes.push("# as_of: choose: the column that says when a row was last good".to_owned());
            }
        }
        Ok(())
    }

    /// A field in the place of the line that said that the column is none.
    fn add(&mut self, name: &'a str, hint: &'a Hint, proposed: Proposed, origin: &str) {
        let lead = format!("# FIELD = {{ {origin} = {},", quoted(&hint.from));
        self.notes.retain(|note| !note.starts_with(&lead));
        self.fields.push((name, hint, proposed));
    }
}

pub(super) fn fits<'c>(
    ask: &Ask,
    catalogue: &'c Catalogue,
    names: &Names,
    described: &Described,
) -> Result<Vec<Fit<'c>>, InitError> {
    let Some(wanted) = &ask.record else {
        return Ok(names.fits(catalogue, &described.name, &described.hints));
    };
    let record = catalogue.records().find(|record| record.name.as_str() == wanted);
    let record = record.ok_or_else(|| InitError::Unknown {
        what: "record",
        name: wanted.clone(),
        known: catalogue.records().map(|record| record.name.to_string()).collect(),
    })?;
    Ok(vec![names.fit(record, &described.name, &described.hints)])
}

fn settle(
    ask: &Ask,
    names: &Names,
    described: &Described,
    record: Option<&RecordDef>,
    access: &Access<'_>,
) -> Result<Settled, InitError> {
    // What a call is found by stands in its body, not in its rows: the number of whoever it is about.
    if matches!(access, Access::Call(_)) {
        let person = record.is_some_and(|record| record.subject != SubjectKind::None);
        return Ok(Settled { person, guessed: false, key: None });
    }
    let always = record.is_some_and(is_about_person);
    // What is about a thing, and about a person where personal fields are asked for, is found by the person where it can be.
    let may = record.is_none_or(|record| record.subject != SubjectKind::None);
    let indexed = |at: usize| described.keys.iter().find(|key| key.at == at).cloned();
    let bare = |at: usize| Key { at, unique: false, indexed: false };
    let fits = |hint: &Hint| field::can_be_key(hint);
    let number = may.then(|| names.person_id(&described.hints, fits)).flatten();
    let key = if let Some(wanted) = &ask.key {
        let at = described.hints.iter().position(|hint| hint.from == *wanted && fits(hint));
        let at = at.ok_or_else(|| InitError::Unknown {
            what: "key",
            name: wanted.clone(),
            known: described.hints.iter().filter(|hint| fits(hint)).map(|hint| hint.from.clone()).collect(),
        })?;
        Some(indexed(at).unwrap_or_else(|| bare(at)))
    } else {
        let usable = |key: &&Key| described.hints.get(key.at).is_some_and(fits);
        number
            .map(|(at, _)| indexed(at).unwrap_or_else(|| bare(at)))
            .or_else(|| described.keys.iter().find(usable).cloned())
            .or_else(|| described.hints.iter().position(fits).map(bare))
    };
    if key.is_none() {
        return Err(InitError::Nothing(described.what.clone()));
    }
    let number = number.filter(|(at, _)| key.as_ref().is_some_and(|key| key.at == *at));
    // Whoever names the column knows what it holds.
    let guessed = ask.key.is_none() && number.is_some_and(|(_, guessed)| guessed);
    Ok(Settled { person: always || number.is_some(), guessed, key })
}

fn top(ask: &Ask, described: &Described, record: Option<&RecordDef>, others: &[Fit<'_>]) -> String {
    let read = match described.sampled.as_slice() {
        [] => "no row was read".to_owned(),
        columns => {
            let columns: Vec<String> = columns.iter().map(|column| format!("`{}`", line(column))).collect();
            format!("rows were read, of {} only, because --sample said so", columns.join(", "))
        }
    };
    let mut text = format!(
        "# Proposed from what {} says of itself; {read}. What is for you to decide is marked `choose:`.\n\
         # Then: yiwang-adapter check --offline FILE, yiwang-adapter test FILE, yiwang-adapter check FILE\n\
         format = \"adapter/1\"\n",
        line(&described.what)
    );
    let name = record.map_or_else(|| "record".to_owned(), |record| snake(record.name.as_str()));
    text.push_str(&format!("mapping = \"{}.{name}\"\n", ask.owner));
    match record {
        Some(record) => {
            let others: Vec<String> =
                others.iter().take(3).map(|fit| format!("{} ({})", fit.record.name, fit.matches.len())).collect();
            let others = match others.is_empty() {
                true => String::new(),
                false => format!("; others that share names with it: {}", others.join(", ")),
            };
            text.push_str(&format!("record = \"{}\" # {}{others}\n", record.name, line(&record.about)));
        }
        None => text.push_str(
            &format!("record = \"{UNKNOWN}\" # choose: a record of the catalogue; none has fields that are called like these\n"),
        ),
    }
    text.push_str(&format!("owner = \"{}\"\n\n", ask.owner));
    text
}

fn operation_name(record: Option<&RecordDef>, settled: &Settled) -> String {
    match record {
        None => "record.by_id".to_owned(),
        Some(record) => {
            let by = if settled.person && record.name.as_str() != "Person" { "by_person" } else { "by_id" };
            format!("{}.{by}", snake(record.name.as_str()))
        }
    }
}

/// A column that is no field: written so that it can be made one.
fn unknown(hint: &Hint, record: Option<&RecordDef>, origin: &str) -> String {
    let kind = match hint.kind {
        ColumnKind::Text | ColumnKind::Opaque => "string",
        ColumnKind::Integer => "integer",
        ColumnKind::Number => "number",
        ColumnKind::Bool => "bool",
        ColumnKind::Date => "date",
        ColumnKind::Moment => "timestamp",
    };
    let said = hint.comment.as_deref().map(|text| format!(", \"{}\"", line(text))).unwrap_or_default();
    let of = record.map_or_else(|| "its record".to_owned(), |record| format!("`{}`", record.name));
    format!(
        "# FIELD = {{ {origin} = {}, type = \"{kind}\" }} # {}{said}; a field of {of}, if one is meant",
        quoted(&hint.from),
        field::shown_type(hint)
    )
}

type Fields<'a> = [(&'a str, &'a Hint, Proposed)];

/// The operation up to its fields.
fn asked(
    described: &Described,
    settled: &Settled,
    access: &Access<'_>,
    operation: &str,
    fields: &Fields<'_>,
) -> Result<String, InitError> {
    let mut text = format!("[[operation]]\nname = \"{operation}\"\nkind = \"lookup\"");
    let key = settled.key.as_ref().and_then(|key| Some((key, described.hints.get(key.at)?)));
    if key.is_some_and(|(key, _)| !key.indexed) && matches!(access, Access::Sql(..)) {
        text.push_str(
            " # choose: no index begins with this column: have one made, or write kind = \"search\"",
        );
    }
    text.push('\n');
    text.push_str(&subject(described, settled, operation));
    match access {
        Access::Call(call) => text.push_str(&super::http::asked(call)?),
        Access::Sql(..) | Access::Where => {
            let Some((_, hint)) = key else { return Err(InitError::Nothing(described.what.clone())) };
            text.push_str(&param(hint, settled));
            text.push_str(&found_by(access, hint, is_person_number(hint, settled), fields)?);
        }
    }
    let one = key.is_some_and(|(key, _)| key.unique);
    // Where several rows may come, the format's own limit holds.
    if one {
        text.push_str("limit = 1\n");
    }
    Ok(text)
}

/// The line that says whom or what the operation is asked about.
fn subject(described: &Described, settled: &Settled, operation: &str) -> String {
    let key = settled.key.as_ref().and_then(|key| described.hints.get(key.at));
    let column = key.map_or_else(|| "`id`".to_owned(), |hint| format!("`{}`", line(&hint.from)));
    if settled.guessed {
        return format!(
            "subject = \"id\" # choose: does {column} hold the number of whoever a row is about? The end of its name says so\n"
        );
    }
    if settled.person {
        return "subject = \"id\"\n".to_owned();
    }
    let text = key.filter(|hint| is_number(hint, settled)).map_or("", |_| ", with params.id of type string");
    let others = described.hints.iter().filter(|hint| field::can_be_key(hint) && Some(*hint) != key);
    let others: Vec<String> = others.take(OTHER_KEYS).map(|hint| format!("`{}`", line(&hint.from))).collect();
    let others = match settled.key {
        Some(_) if !others.is_empty() => {
            format!("; else run init with --key and a column that does: {}", others.join(", "))
        }
        _ => String::new(),
    };
    format!(
        "# subject = \"id\" # choose: apps ask {operation} about one person or thing: take the first # away{text} if {column} \
         names it{others}\n"
    )
}

/// Whether a key holds whole numbers that the parameter takes as such. A subject's parameter is a text.
fn is_number(hint: &Hint, settled: &Settled) -> bool {
    hint.kind == ColumnKind::Integer && !settled.person
}

fn is_person_number(hint: &Hint, settled: &Settled) -> bool {
    settled.person && hint.kind == ColumnKind::Text && hint.length.is_none_or(|length| length >= 18)
}

fn param(hint: &Hint, settled: &Settled) -> String {
    if is_number(hint, settled) {
        return "params.id = { type = \"integer\", min = 0 }\n".to_owned();
    }
    if hint.kind == ColumnKind::Integer {
        return "params.id = { type = \"string\", pattern = \"^[0-9]{1,19}$\" }\n".to_owned();
    }
    if is_person_number(hint, settled) {
        return "params.id = { type = \"string\", pattern = \"^[0-9]{17}[0-9X]$\" }\n".to_owned();
    }
    let most = hint.length.unwrap_or(64).clamp(1, 64);
    format!(
        "params.id = {{ type = \"string\", pattern = \"^[0-9A-Za-z._-]{{1,{most}}}$\" }} # choose: as narrow as keys are\n"
    )
}

/// A person's number may end in a small `x` at the source: who is written so must be found too.
fn found_by(
    access: &Access<'_>,
    key: &Hint,
    is_person: bool,
    fields: &Fields<'_>,
) -> Result<String, InitError> {
    let Access::Sql(dialect, table) = access else {
        let compared = if is_person { "@id" } else { "" };
        return Ok(format!("where = {{ {} = \":id\" }}\n", quoted(&format!("{}{compared}", key.from))));
    };
    let (unfit, untyped) = (|| InitError::Nothing(key.from.clone()), key.length.is_none());
    let cast = dialect.has_typed_parameters().then(|| sized(&key.type_name)).flatten();
    let mut columns: Vec<String> = Vec::new();
    for (_, hint, _) in fields {
        let column = dialect.quote(&hint.from).ok_or_else(unfit)?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let key = dialect.quote(&key.from).ok_or_else(unfit)?;
    if columns.is_empty() {
        columns.push(key.clone());
    }
    let equals = match cast {
        _ if !is_person => "= :id".to_owned(),
        Some(kind) => format!("in (:id, cast(lower(cast(:id as {kind})) as {kind}))"),
        None if untyped || !dialect.has_typed_parameters() => "in (:id, lower(:id))".to_owned(),
        None => "= :id".to_owned(),
    };
    let parts =
        [format!("select {}", columns.join(", ")), format!("from {table}"), format!("where {key} {equals}")];
    Ok(format!("sql = {}\n", statement(&parts)))
}

/// A type of texts with a length, as PostgreSQL writes it: beside such a column a parameter is of that type, and what
/// `lower` makes of it has to be turned back, or the index is not used.
fn sized(type_name: &str) -> Option<&str> {
    let length = type_name
        .strip_prefix("character varying(")
        .or_else(|| type_name.strip_prefix("character("))?
        .strip_suffix(')')?;
    (!length.is_empty() && length.bytes().all(|b| b.is_ascii_digit())).then_some(type_name)
}

/// A row that is made up, and the record that must come of it.
fn test(described: &Described, settled: &Settled, access: &Access<'_>, fields: &Fields<'_>) -> String {
    let key = settled.key.as_ref().and_then(|key| described.hints.get(key.at));
    let id = match key {
        Some(hint) if is_number(hint, settled) => "3".to_owned(),
        Some(hint) if hint.kind == ColumnKind::Integer => quoted("3"),
        Some(hint) if !is_person_number(hint, settled) => quoted("x"),
        _ => quoted(PERSON),
    };
    let mut rows: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, hint, proposed) in fields {
        // One column may be two fields.
        rows.entry(hint.from.as_str()).or_insert(proposed.row.as_str());
    }
    let row = match access {
        Access::Call(_) => super::http::document(&rows),
        _ => {
            let cells: Vec<String> =
                rows.iter().map(|(from, value)| format!("{} = {value}", quoted(from))).collect();
            format!("{{ {} }}", cells.join(", "))
        }
    };
    let expect: Vec<String> =
        fields.iter().map(|(name, _, one)| format!("{name} = {}", one.expect)).collect();
    let coded: Vec<&str> = fields.iter().filter(|(_, _, one)| one.is_code).map(|(name, ..)| *name).collect();
    format!(
        "\n{}[[test]]\nname = \"a row that is made up\"\nargs = {{ id = {id} }}\n\
         rows = [{row}]\nexpect = [{{ {} }}]\n",
        follows(&coded),
        expect.join(", ")
    )
}

/// Which lines of a test go with a table of codes: it fails as long as they say what was proposed.
pub(super) fn follows(coded: &[&str]) -> String {
    if coded.is_empty() {
        return String::new();
    }
    let names = coded.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!("# With the codes of {names} change the test: a code in `rows`, its word in `expect`.\n")
}
