//! One field: how a column becomes it, and a made-up value with what must come out of it.

use super::Hint;
use super::names::Names;
use super::text::{line, quoted};
use yiwang_adapter_sdk::value::{parse_instant, write_instant, zone};
use yiwang_adapter_sql::ColumnKind as Column;
use yiwang_policies::{FieldDef, FieldType};

/// A made-up moment and day. The day of the first of November is nobody's.
const MOMENT: &str = "2026-11-01 08:00:00";
const DAY: &str = "1990-01-01";
/// Codes that a field's line can hold.
const INLINE_MAX: usize = 6;
/// Words of one source's column, and bytes of each: what the catalogue's lists have.
const WORDS_MAX: usize = 512;
const WORD_MAX: usize = 64;
/// Words of a closed list that a comment names.
const LISTED: usize = 8;
/// A code that no source has.
const MADE_UP: &str = "x";
/// An identity number of an area that does not exist.
pub(super) const PERSON: &str = "980101199001010017";

/// A field that is proposed.
pub(super) struct Proposed {
    /// The line of `[operation.fields]`.
    pub(super) line: String,
    /// The table of codes that it needs.
    pub(super) codes: Option<String>,
    /// The column's value in the test.
    pub(super) row: String,
    /// The field's value in the test.
    pub(super) expect: String,
    /// Whether it is a code in the catalogue, so that its table may be somebody's choice.
    pub(super) is_code: bool,
}

/// How a type of the source is read as a type of the catalogue.
struct Reading {
    /// The word in the mapping.
    kind: &'static str,
    format: Option<&'static str>,
    /// What is for somebody to decide.
    choose: Option<&'static str>,
}

fn plain(kind: &'static str) -> Option<Reading> {
    Some(Reading { kind, format: None, choose: None })
}

fn reading(known: FieldType, hint: &Hint) -> Option<Reading> {
    let format = |kind, format| Some(Reading { kind, format: Some(format), choose: None });
    let unsure = |kind, choose| Some(Reading { kind, format: None, choose: Some(choose) });
    let said = !hint.type_name.is_empty();
    let form = hint.sampled.as_ref().and_then(|sampled| sampled.form);
    let written = match known {
        FieldType::Date => Some("date"),
        FieldType::Timestamp => Some("timestamp"),
        _ => None,
    };
    if let (Column::Text, Some(form), Some(kind)) = (hint.kind, form, written) {
        return Some(Reading { kind, format: form.format, choose: None });
    }
    match (known, hint.kind) {
        (_, Column::Opaque) => None,
        (FieldType::Code, _) => unsure(
            "string",
            "where the source writes codes: type = \"code\", codes = { \"…\" = \"…\", unknown = \"fail\" }",
        ),
        (FieldType::String, _) => plain("string"),
        (FieldType::Date, Column::Date | Column::Moment) => plain("date"),
        (FieldType::Date, Column::Text) if hint.length == Some(8) => format("date", "%Y%m%d"),
        (FieldType::Date, Column::Text) => {
            unsure("date", "format = \"%Y%m%d\" or the like where days are not written 1990-01-01")
        }
        (FieldType::Timestamp, Column::Moment) => plain("timestamp"),
        (FieldType::Timestamp, Column::Text) if hint.length == Some(14) => {
            format("timestamp", "%Y%m%d%H%M%S")
        }
        (FieldType::Timestamp, Column::Text) => {
            unsure("timestamp", "format = … where moments are not written 2026-11-01 08:00:00 or RFC 3339")
        }
        (FieldType::Integer, Column::Integer) => plain("integer"),
        (FieldType::Integer, Column::Text) if !said => plain("integer"),
        (FieldType::Number, Column::Integer | Column::Number) => plain("number"),
        (FieldType::Number, Column::Text) if !said => plain("number"),
        (FieldType::Bool, Column::Bool) => plain("bool"),
        (FieldType::Bool, Column::Integer | Column::Text) => {
            // Files and services have no statement.
            let choose = if said {
                "0, 1, true and false are known; write others as a condition in the statement"
            } else {
                "0, 1, true and false are known; for others put expr = 'row.NAME == \"Y\"' in place of from"
            };
            unsure("bool", choose)
        }
        _ => None,
    }
}

/// Whether an `as_of` can be read from it.
pub(super) fn can_be_moment(hint: &Hint) -> bool {
    hint.refused().is_none() && reading(FieldType::Timestamp, hint).is_some()
}

/// Whether a person's number can be looked up in it.
pub(super) fn can_be_key(hint: &Hint) -> bool {
    hint.refused().is_none() && matches!(hint.kind, Column::Text | Column::Integer)
}

/// Proposes a field; the reason where the column cannot be read as one.
pub(super) fn propose(
    name: &str,
    known: &FieldDef,
    hint: &Hint,
    origin: &str,
    (names, zone_name): (&Names, &str),
) -> Result<Proposed, String> {
    let table = codes(name, known, hint, names);
    let reading = match &table {
        Some(table) => Some(Reading { kind: "code", format: None, choose: Some(table.choose) }),
        None => reading(known.kind, hint),
    };
    let Some(reading) = reading else {
        let (has, wants) = (shown_type(hint), known.kind.as_str());
        return Err(format!("is {has}, and `{name}` is a {wants}: cast it in the statement"));
    };
    let steps = match (name, known.kind, hint.kind) {
        ("id_number", _, Column::Text) => "steps = [\"trim\", \"upper\"]",
        ("name" | "given_name" | "surname", FieldType::String, Column::Text) => "steps = [\"trim\", \"nfc\"]",
        _ => "",
    };
    let (inline, codes) = match &table {
        // What is read at a glance stands where it is used.
        Some(table) if table.pairs.len() <= INLINE_MAX => {
            (Some(format!("codes = {{ {}, unknown = \"fail\" }}", table.lines().join(", "))), None)
        }
        Some(table) => (Some(format!("codes = \"{name}\"")), Some(code_table(name, table, hint))),
        None => (None, None),
    };
    let mut parts =
        vec![format!("{origin} = {}", quoted(&hint.from)), format!("type = \"{}\"", reading.kind)];
    parts.extend(inline);
    parts.extend((!steps.is_empty()).then(|| steps.to_owned()));
    parts.extend(reading.format.map(|format| format!("format = {}", quoted(format))));
    let about = line(&known.about);
    let listed = listed(known);
    let seen = if table.is_some() { seen(hint) } else { String::new() };
    let choose = reading.choose.map(|what| format!("; choose: {what}{listed}{seen}")).unwrap_or_default();
    let text = format!("{name} = {{ {} }} # class {}: {about}{choose}", parts.join(", "), known.class);
    let (row, expect) = match table.as_ref().and_then(|table| table.pairs.first()) {
        Some((code, word)) => (quoted(code), quoted(word)),
        None => example(name, &reading, hint, zone_name)?,
    };
    Ok(Proposed { line: text, codes, row, expect, is_code: known.kind == FieldType::Code })
}

/// A field whose name is for somebody to choose.
pub(super) fn unnamed(hint: &Hint, origin: &str, zone_name: &str) -> Result<Proposed, String> {
    let kind = match hint.kind {
        Column::Text | Column::Opaque => "string",
        Column::Integer => "integer",
        Column::Number => "number",
        Column::Bool => "bool",
        Column::Date => "date",
        Column::Moment => "timestamp",
    };
    let reading = Reading { kind, format: None, choose: None };
    let from = quoted(&hint.from);
    let text = format!(
        "choose = {{ {origin} = {from}, type = \"{kind}\" }} # {}; choose: which field of the record it is",
        shown_type(hint)
    );
    let (row, expect) = example("choose", &reading, hint, zone_name)?;
    Ok(Proposed { line: text, codes: None, row, expect, is_code: false })
}

/// The line of `as_of` and its values.
pub(super) fn as_of(hint: &Hint, origin: &str, zone_name: &str) -> Result<Proposed, String> {
    let reading = reading(FieldType::Timestamp, hint).ok_or_else(|| "is no moment".to_owned())?;
    let format = reading.format.map(|format| format!(", format = {}", quoted(format))).unwrap_or_default();
    let text = format!(
        "as_of = {{ {origin} = {}, type = \"timestamp\"{format}, required = true }} # when the row was last good",
        quoted(&hint.from)
    );
    let (row, expect) = example("as_of", &reading, hint, zone_name)?;
    Ok(Proposed { line: text, codes: None, row, expect, is_code: false })
}

pub(super) fn shown_type(hint: &Hint) -> String {
    if hint.type_name.is_empty() { "of a type that is not said".to_owned() } else { line(&hint.type_name) }
}

/// Words that can be codes of a table, each once: what a source says of itself is a stranger's text.
fn usable(all: &[String]) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for word in all.iter().map(String::as_str) {
        let fits = !word.is_empty()
            && word != "unknown"
            && word.len() <= WORD_MAX
            && !word.chars().any(char::is_control);
        if fits && words.len() < WORDS_MAX && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// A table of codes that is proposed.
struct Codes<'a> {
    /// Each code with its word of the catalogue.
    pairs: Vec<(&'a str, &'a str)>,
    choose: &'static str,
}

impl Codes<'_> {
    fn lines(&self) -> Vec<String> {
        self.pairs.iter().map(|(code, word)| format!("{} = {}", quoted(code), quoted(word))).collect()
    }
}

/// The table of a code: of the source's words each as what it most likely means, and where the source tells none, one
/// that holds the words of the catalogue, or what is made up, until somebody writes the codes into it. Nothing that is
/// not in it is handed on.
fn codes<'a>(name: &str, known: &'a FieldDef, hint: &'a Hint, names: &'a Names) -> Option<Codes<'a>> {
    if known.kind != FieldType::Code || hint.kind == Column::Opaque {
        return None;
    }
    let said = usable(&hint.words);
    if !said.is_empty() {
        let pairs = said.into_iter().map(|word| (word, names.word(name, word))).collect();
        return Some(Codes { pairs, choose: "on the right the word of the catalogue" });
    }
    if !matches!(hint.kind, Column::Text | Column::Integer) {
        return None;
    }
    let listed = usable(&known.codes);
    if !listed.is_empty() {
        let pairs = listed.into_iter().map(|word| (word, word)).collect();
        return Some(Codes {
            pairs,
            choose: "on the left the code of the source for each word of the catalogue",
        });
    }
    // Codes of areas, addresses and the like are keys of a register that the catalogue does not list: they go as they are.
    let is_key = name == "code" || name.ends_with("_code");
    let choose = "each code of the source, and what it means; `x` is made up";
    (!is_key).then(|| Codes { pairs: vec![(MADE_UP, MADE_UP)], choose })
}

/// The catalogue's own words, where its list is closed.
fn listed(known: &FieldDef) -> String {
    match known.codes.as_slice() {
        words @ [_, ..] if words.len() <= LISTED => format!(" ({})", words.join(", ")),
        _ => String::new(),
    }
}

/// From how many rows the codes come, where rows were read and told some.
fn seen(hint: &Hint) -> String {
    let sampled = hint.sampled.as_ref().filter(|_| !hint.words.is_empty());
    sampled.map_or_else(String::new, |sampled| {
        format!("; on the left the codes of {} rows that were read, and others may come", sampled.values)
    })
}

fn code_table(name: &str, table: &Codes<'_>, hint: &Hint) -> String {
    let (choose, said) = (table.choose, seen(hint));
    let words = table.lines().join("\n");
    format!("[codes.{name}] # choose: {choose}{said}\n{words}\nunknown = \"fail\"\n")
}

/// A value of the column, and what it must become.
fn example(name: &str, reading: &Reading, hint: &Hint, zone_name: &str) -> Result<(String, String), String> {
    let form = hint.sampled.as_ref().and_then(|sampled| sampled.form);
    Ok(match (reading.kind, form) {
        ("timestamp", Some(form)) => (quoted(form.example), quoted(&moment(zone_name)?)),
        ("date", Some(form)) => (quoted(form.example), quoted(DAY)),
        (kind, _) => return plainly(kind, name, reading, hint, zone_name),
    })
}

fn plainly(
    kind: &str,
    name: &str,
    reading: &Reading,
    hint: &Hint,
    zone_name: &str,
) -> Result<(String, String), String> {
    let same = |text: &str| (text.to_owned(), text.to_owned());
    Ok(match kind {
        "timestamp" => {
            let row = if reading.format.is_some() { "20261101080000" } else { MOMENT };
            (quoted(row), quoted(&moment(zone_name)?))
        }
        "date" => {
            let row = match (reading.format, hint.kind) {
                (Some(_), _) => "19900101".to_owned(),
                (None, Column::Moment) => format!("{DAY} 08:00:00"),
                (None, _) => DAY.to_owned(),
            };
            (quoted(&row), quoted(DAY))
        }
        "integer" | "number" => match hint.kind {
            Column::Text => (quoted("3"), "3".to_owned()),
            Column::Number => same("3.5"),
            _ => same("3"),
        },
        "bool" => match hint.kind {
            Column::Bool => same("true"),
            Column::Text => (quoted("1"), "true".to_owned()),
            _ => ("1".to_owned(), "true".to_owned()),
        },
        _ => string(name, hint),
    })
}

fn string(name: &str, hint: &Hint) -> (String, String) {
    match hint.kind {
        Column::Integer => ("3".to_owned(), quoted("3")),
        Column::Number => ("3.5".to_owned(), quoted("3.5")),
        Column::Bool => ("true".to_owned(), quoted("true")),
        Column::Date => (quoted(DAY), quoted(DAY)),
        Column::Moment | Column::Opaque => (quoted(MOMENT), quoted(MOMENT)),
        Column::Text => match name {
            "id_number" => (quoted(PERSON), quoted(PERSON)),
            "name" => (quoted(" 云甲 "), quoted("云甲")),
            _ => (quoted("x"), quoted("x")),
        },
    }
}

fn moment(zone_name: &str) -> Result<String, String> {
    moment_of(MOMENT, zone_name)
}

/// A moment as it is written in a zone.
pub(super) fn moment_of(text: &str, zone_name: &str) -> Result<String, String> {
    let zone = zone(zone_name).ok_or_else(|| format!("time zone `{}` is not known", line(zone_name)))?;
    let at = parse_instant(text, None, &zone).ok_or_else(|| "no moment".to_owned())?;
    let mut out = Vec::new();
    write_instant(&mut out, at, &zone);
    String::from_utf8(out).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_policies::Catalogue;

    fn column(kind: Column, words: Vec<String>) -> Hint {
        Hint {
            from: "C".to_owned(),
            path: Vec::new(),
            type_name: "char(2)".to_owned(),
            kind,
            length: None,
            comment: None,
            words,
            sampled: None,
        }
    }

    fn proposed(record: &str, name: &str, hint: &Hint) -> (Proposed, String) {
        let (catalogue, names) = (Catalogue::builtin().unwrap(), Names::builtin().unwrap());
        let record = catalogue.records().find(|known| known.name.as_str() == record).unwrap();
        let known =
            record.fields.iter().find(|(known, _)| known.as_str() == name).map(|(_, def)| def).unwrap();
        let proposed = propose(name, known, hint, "from", (&names, "UTC")).unwrap();
        let text = format!("{}\n{}", proposed.line, proposed.codes.clone().unwrap_or_default());
        (proposed, text)
    }

    /// The table, wherever it stands.
    fn table(name: &str, text: &str) -> Option<toml::Table> {
        let read: toml::Table = toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let inline = read[name].get("codes").and_then(toml::Value::as_table);
        inline.or_else(|| read.get("codes")?.get(name)?.as_table()).cloned()
    }

    /// The test's cell is a code of the table, and what is expected is its word.
    fn is_tested(proposed: &Proposed, table: &toml::Table) -> bool {
        let one = |value: &str| toml::from_str::<toml::Table>(&format!("a = {value}")).unwrap();
        let (row, expect) = (one(&proposed.row), one(&proposed.expect));
        table.get(row["a"].as_str().unwrap()) == expect.get("a")
    }

    #[test]
    fn words_of_a_source_never_leave_their_table() {
        let many: Vec<String> = (0..600).map(|word| format!("w{word}")).collect();
        // Where none is left, the catalogue's own stand there, without the one that is a key of every table.
        for (words, kept) in [
            (vec![String::new()], 4),
            (vec!["unknown".to_owned()], 4),
            (vec!["unknown".to_owned(), "M".to_owned(), "M".to_owned()], 1),
            (vec!["a\"b\" = 1 }".to_owned(), "x\\y".to_owned(), "'''".to_owned()], 3),
            (vec!["a\nrecord = \"Other\"".to_owned(), "\u{1}".to_owned(), "F".to_owned()], 1),
            (vec!["x".repeat(65)], 4),
            (many, WORDS_MAX),
        ] {
            let (proposed, text) = proposed("Person", "sex", &column(Column::Text, words));
            let table = table("sex", &text).unwrap();
            assert_eq!(table.len() - 1, kept, "{text}");
            assert!(is_tested(&proposed, &table), "{text}");
        }
    }

    #[test]
    fn a_code_has_a_table_also_where_the_source_says_none_and_its_test_holds_one_of_it() {
        for (record, name, codes) in [
            ("BenefitStatus", "scheme", &["x"][..]),
            ("BenefitStatus", "status", &["applied", "ended", "granted", "refused"]),
            ("HealthCoverage", "scheme", &["x"]),
            ("Person", "sex", &["female", "male", "not stated", "other"]),
        ] {
            for kind in [Column::Text, Column::Integer] {
                let (proposed, text) = proposed(record, name, &column(kind, Vec::new()));
                let table = table(name, &text).unwrap();
                let mut left: Vec<&str> =
                    table.keys().map(String::as_str).filter(|key| *key != "unknown").collect();
                left.sort_unstable();
                assert_eq!(left, codes, "{text}");
                assert!(is_tested(&proposed, &table) && proposed.is_code, "{text}");
                assert!(text.contains("type = \"code\"") && text.contains("choose: "), "{text}");
            }
        }
        // Keys of registers go as they are; so does what is no text.
        for (record, name, kind) in [
            ("BenefitStatus", "area_code", Column::Text),
            ("Residence", "address_code", Column::Text),
            ("BenefitStatus", "scheme", Column::Bool),
        ] {
            let (proposed, text) = proposed(record, name, &column(kind, Vec::new()));
            assert!(table(name, &text).is_none() && proposed.is_code, "{text}");
        }
    }
}
