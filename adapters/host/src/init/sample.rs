//! `init --sample N`: reads up to N real rows, of those columns only about which the source does not say how days or
//! codes are written. What was read goes to a screen by its shape, and into the proposal as a format or as the keys of
//! a table of codes; no other value does.

use super::draft::{self, Quote};
use super::field;
use super::names::Names;
use super::read::{Ask, InitError};
use super::text::{line, quoted};
use super::{Described, Hint};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{ColumnDef, ColumnType, Mapping};
use yiwang_adapter_sdk::source::{Environment, FetchQuery, SourceError};
use yiwang_adapter_sdk::value::{Cell, typed_column, zone};
use yiwang_adapter_sql::ColumnKind;
use yiwang_policies::{Catalogue, FieldType};
use yiwang_proto::contract::Scalar;
use yiwang_proto::plural::counted;

/// How long the rows may take: no index serves, so a view over much may be slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// Fields of class 3 and above are not read at all: how they are written is for whoever may know them.
const CLASS_MAX: u8 = 2;
/// Values under which nothing is told of a column.
const VALUES_MIN: usize = 20;
/// Different codes of one column: longer lists are names or places.
const CODES_MAX: usize = 20;
/// Times that each code comes on average, and at the least: what is of one row only may be of one person only.
const TIMES_MEAN: usize = 5;
const TIMES_MIN: usize = 2;
/// Characters of a code.
const CODE_MAX: usize = 8;
/// Characters of a shape, and shapes of a column, that are shown.
const SHAPE_MAX: usize = 32;
const SHAPES_MAX: usize = 3;

/// How days or moments of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// None where it is what is read anyway.
    pub(super) format: Option<&'static str>,
    /// The made-up value, written so.
    pub(super) example: &'static str,
}

/// What real rows told of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sampled {
    /// Rows in which it was not empty.
    pub(super) values: usize,
    pub(super) form: Option<Form>,
}

const DAYS: [Form; 5] = [
    Form { format: None, example: "1990-01-01" },
    Form { format: Some("%Y%m%d"), example: "19900101" },
    Form { format: Some("%Y/%m/%d"), example: "1990/01/01" },
    Form { format: Some("%Y.%m.%d"), example: "1990.01.01" },
    Form { format: Some("%Y年%m月%d日"), example: "1990年01月01日" },
];

const MOMENTS: [Form; 3] = [
    Form { format: None, example: "2026-11-01 08:00:00" },
    Form { format: Some("%Y%m%d%H%M%S"), example: "20261101080000" },
    Form { format: Some("%Y/%m/%d %H:%M:%S"), example: "2026/11/01 08:00:00" },
];

/// Values of one column, empty ones left out.
type Values = Vec<String>;

/// A column that is worth reading, and what of it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Which of the hints.
    pub(super) at: usize,
    kind: FieldType,
}

/// Columns about which the source leaves something open that rows can tell.
pub(super) fn open(ask: &Ask, described: &Described) -> Result<Vec<Open>, InitError> {
    let catalogue = Catalogue::builtin().map_err(|error| InitError::Program(error.to_string()))?;
    let names = Names::builtin().map_err(InitError::Program)?;
    let mut open: Vec<Open> = Vec::new();
    if let Some(best) = draft::fits(ask, &catalogue, &names, described)?.first() {
        // What is only guessed is not read.
        for one in best.matches.iter().filter(|one| !one.guessed) {
            let known = best.record.fields.iter().find(|(name, _)| name.as_str() == one.field);
            let Some((_, known)) = known.filter(|(_, known)| known.class <= CLASS_MAX) else { continue };
            open.push(Open { at: one.at, kind: known.kind });
        }
    }
    if let Some(at) = names.as_of(&described.hints, field::can_be_moment)
        && !open.iter().any(|one| one.at == at)
    {
        open.push(Open { at, kind: FieldType::Timestamp });
    }
    open.retain(|one| described.hints.get(one.at).is_some_and(|hint| is_open(one.kind, hint)));
    open.sort_by_key(|one| one.at);
    Ok(open)
}

fn is_open(kind: FieldType, hint: &Hint) -> bool {
    let readable = matches!(hint.kind, ColumnKind::Text | ColumnKind::Integer);
    hint.refused().is_none()
        && match kind {
            FieldType::Code => readable && hint.words.is_empty(),
            FieldType::Date | FieldType::Timestamp => hint.kind == ColumnKind::Text,
            _ => false,
        }
}

/// Rows of a database's table, under the rules and with the rights of an adapter that serves.
pub(super) async fn of_table(
    ask: &Ask,
    described: &Described,
    open: &[Open],
    table: (&str, &(dyn Quote + Sync)),
    environment: &Arc<dyn Environment>,
) -> Result<Vec<Values>, InitError> {
    let hints: Vec<&Hint> = open.iter().filter_map(|one| described.hints.get(one.at)).collect();
    if hints.is_empty() {
        return Ok(Vec::new());
    }
    let unfit = || InitError::Nothing(described.what.clone());
    let columns: Option<Vec<String>> = hints.iter().map(|hint| table.1.quote(&hint.from)).collect();
    let columns = columns.ok_or_else(unfit)?.join(", ");
    let statement = quoted(&format!("select {columns} from {} where :id = 'a'", table.0));
    let field = |(at, hint): (usize, &&Hint)| {
        format!("f{at} = {{ from = {}, type = \"string\" }}\n", quoted(&hint.from))
    };
    let fields: String = hints.iter().enumerate().map(field).collect();
    let text = format!(
        "format = \"adapter/1\"\nmapping = \"init.sample\"\nrecord = \"Person\"\nowner = \"{}\"\n{}\
         [[operation]]\nname = \"sample.by_id\"\nkind = \"search\"\nparams.id = {{ type = \"string\", pattern = \"a\" }}\n\
         sql = {statement}\nlimit = {}\ntimeout = \"20s\"\n[operation.fields]\n{fields}",
        ask.owner,
        ask.source(),
        ask.sample.unwrap_or(1),
    );
    let mapping = Mapping::parse(&text, &ask.file)
        .map_err(|faults| InitError::Program(faults.first().map(ToString::to_string).unwrap_or_default()))?;
    let operation = mapping.operations().first().cloned().ok_or_else(unfit)?;
    let (opened, around) = (mapping, Arc::clone(environment));
    let opening = tokio::task::spawn_blocking(move || crate::sources::open(&opened, &around));
    let failed = |_| Err(SourceError::Unavailable("opening it failed".to_owned()));
    let source = opening.await.unwrap_or_else(failed)?;
    let query = FetchQuery {
        operation,
        columns: hints.iter().map(|hint| Arc::from(hint.from.as_str())).collect(),
        params: vec![(Arc::from("id"), Some(Scalar::Text("a".to_owned())))],
        filter: None,
        page: None,
        limit: ask.sample.unwrap_or(1),
        timeout: PATIENCE,
    };
    let rows = source.fetch(query).await?.rows;
    let value = |row, column| match rows.cell(row, column) {
        Cell::Text(text) => Some(text.to_owned()),
        Cell::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    let column = |column| (0..rows.len()).filter_map(|row| value(row, column)).collect::<Values>();
    Ok((0..hints.len()).map(column).collect())
}

/// Puts what rows told into the hints; lines about them for a screen, without a value.
pub(super) fn tell(described: &mut Described, open: &[Open], columns: &[Values], zone: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (one, values) in open.iter().zip(columns) {
        let Some(hint) = described.hints.get_mut(one.at) else { continue };
        let values: Vec<&str> =
            values.iter().map(String::as_str).filter(|value| !value.trim().is_empty()).collect();
        let form = form(one.kind, &values, zone);
        let codes = codes(one.kind, &values);
        let told = match (&form, &codes) {
            (Some(Form { format: Some(format), .. }), _) => format!("format {format}"),
            (Some(_), _) => "read as it is".to_owned(),
            (None, Some(codes)) => format!("{}, which the proposal lists", counted(codes.len(), "code")),
            (None, None) if values.len() < VALUES_MIN => {
                format!("nothing that is sure: {VALUES_MIN} values tell it")
            }
            (None, None) => "nothing that is sure".to_owned(),
        };
        let read = counted(values.len(), "value");
        lines.push(format!("{}: {read}, {}; {told}", line(&hint.from), shapes(&values)));
        hint.words.extend(codes.into_iter().flatten());
        hint.sampled = Some(Sampled { values: values.len(), form });
        described.sampled.push(hint.from.clone());
    }
    lines
}

/// The one way in which all days or moments are written.
fn form(kind: FieldType, values: &[&str], zone_name: &str) -> Option<Form> {
    let (forms, kind) = match kind {
        FieldType::Date => (&DAYS[..], ColumnType::Date),
        FieldType::Timestamp => (&MOMENTS[..], ColumnType::Timestamp),
        _ => return None,
    };
    let zone = zone(zone_name)?;
    let fits = |form: &&Form| {
        let column = ColumnDef { kind, format: form.format.map(str::to_owned) };
        values.iter().all(|value| typed_column(value, &column, &zone).is_ok())
    };
    (values.len() >= VALUES_MIN).then(|| forms.iter().find(fits).copied()).flatten()
}

/// The values, where they plainly are codes: short, few, and each of many rows.
fn codes(kind: FieldType, values: &[&str]) -> Option<Vec<String>> {
    if kind != FieldType::Code || values.len() < VALUES_MIN {
        return None;
    }
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *times.entry(value).or_default() += 1;
    }
    let short = |code: &&str| {
        code.len() <= CODE_MAX && code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let plainly = times.len() <= CODES_MAX
        && times.len() * TIMES_MEAN <= values.len()
        && times.values().all(|times| *times >= TIMES_MIN)
        && times.keys().all(short);
    plainly.then(|| times.into_keys().map(str::to_owned).collect())
}

/// How values look, without what they say: `9` for a digit, `A` for a letter, `字` for another sign of writing.
fn shapes(values: &[&str]) -> String {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        *times.entry(shape(value)).or_default() += 1;
    }
    let all = times.len();
    let mut times: Vec<(String, usize)> = times.into_iter().collect();
    times.sort_by_key(|(shape, times)| (std::cmp::Reverse(*times), shape.clone()));
    let mut shown: Vec<String> = times
        .iter()
        .take(SHAPES_MAX)
        .map(|(shape, times)| format!("`{shape}` {}", counted(*times, "time")))
        .collect();
    if all > SHAPES_MAX {
        shown.push(format!("{} other shapes", all - SHAPES_MAX));
    }
    if shown.is_empty() { "all empty".to_owned() } else { shown.join(", ") }
}

fn shape(value: &str) -> String {
    let sign = |c: char| match c {
        c if c.is_ascii_digit() => '9',
        c if c.is_ascii_alphabetic() => 'A',
        '-' | '/' | '.' | ':' | ' ' | '年' | '月' | '日' => c,
        _ => '字',
    };
    value.chars().take(SHAPE_MAX).map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed_reads(kind: ColumnType, form: &Form) -> bool {
        let column = ColumnDef { kind, format: form.format.map(str::to_owned) };
        typed_column(form.example, &column, &zone("UTC").unwrap()).is_ok()
    }

    fn many(values: &[&'static str], times: usize) -> Vec<&'static str> {
        values.iter().copied().cycle().take(values.len() * times).collect()
    }

    #[test]
    fn only_what_is_short_few_and_common_is_a_code() {
        let code = |values: &[&str]| codes(FieldType::Code, values);
        assert_eq!(code(&many(&["2", "1"], 10)).unwrap(), ["1", "2"]);
        for no in [
            // Too few rows to tell.
            many(&["1", "2"], 9),
            // Names, and what only looks like a code.
            many(&["云甲", "云乙"], 20),
            many(&["980101199001010017", "980101199001010025"], 20),
            many(&["Smith J", "Jones A"], 20),
            // Not often enough: what is of one row may be of one person.
            many(&["1", "2", "3", "4", "5", "6", "7"], 4),
            [many(&["1", "2"], 30), vec!["7"]].concat(),
        ] {
            assert_eq!(code(&no), None, "{no:?}");
        }
        let long: Vec<String> = (0..21).flat_map(|code| vec![code.to_string(); 10]).collect();
        assert_eq!(code(&long.iter().map(String::as_str).collect::<Vec<_>>()), None);
        assert_eq!(codes(FieldType::String, &many(&["1", "2"], 10)), None);
    }

    #[test]
    fn a_format_is_told_where_every_value_has_it() {
        let day = |values: &[&str]| form(FieldType::Date, values, "Asia/Shanghai").map(|form| form.format);
        assert_eq!(day(&many(&["1990/02/28", "1990/12/01"], 10)), Some(Some("%Y/%m/%d")));
        assert_eq!(day(&many(&["1990-02-28"], 20)), Some(None));
        assert_eq!(day(&many(&["1990-02-28", "28.2.1990"], 10)), None);
        assert_eq!(day(&many(&["1990-02-28"], 19)), None);
        for (kind, kind_of, forms) in [
            (FieldType::Date, ColumnType::Date, &DAYS[..]),
            (FieldType::Timestamp, ColumnType::Timestamp, &MOMENTS[..]),
        ] {
            for one in forms {
                // The made-up value is written in its format, and is what is found again.
                let reads = |form: &Form| {
                    let column = ColumnDef { kind: kind_of, format: form.format.map(str::to_owned) };
                    typed_column(one.example, &column, &zone("UTC").unwrap()).is_ok()
                };
                assert!(reads(one), "{one:?}");
                let found = form(kind, &many(&[one.example], 20), "UTC").unwrap();
                assert!(reads(&found) && typed_reads(kind_of, &found), "{one:?} {found:?}");
            }
        }
    }

    #[test]
    fn a_screen_shows_shapes_and_no_value() {
        let shown = shapes(&["canary-A7", "canary-B8", "云甲", "1990/01/02"]);
        assert_eq!(shown, "`AAAAAA-A9` 2 times, `9999/99/99` 1 time, `字字` 1 time");
        assert_eq!(shapes(&[]), "all empty");
    }
}
