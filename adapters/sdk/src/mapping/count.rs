//! `[[operation]]` of kind `count`: a declared table. Its dimensions have closed lists of values; it has no parameter,
//! and no condition that differs from one question to the next.

use super::def::{
    Access, CodeTable, FieldDef, FieldType, OperationDef, OperationKind, SourceDef, UnknownCode,
};
use super::fault::Faults;
use super::field;
use super::operation::{sql, timeout};
use super::read::{Node, Table, id, one_of, shown, text};
use crate::count::CELLS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use yiwang_policies::count::DIMENSIONS_MAX;
use yiwang_proto::limits::ROWS_MAX;

/// The column in which a source says how many rows a group has.
pub const COUNT_COLUMN: &str = "count";
/// The smallest cell that may be shown; a mapping may raise it.
pub const K_MIN: u32 = 10;
/// A higher one would suppress every table.
const K_MAX: i64 = 1_000_000;
/// Values of one dimension.
const VALUES_MAX: usize = 2_000;

/// What a count has beyond other operations. The dimensions are the operation's fields, in the order of the file.
#[derive(Debug)]
pub struct CountDef {
    /// Cells with fewer rows are suppressed.
    pub k: u32,
    /// The values of each dimension; none stands for a value that is missing.
    pub values: Vec<Vec<Option<Arc<str>>>>,
    /// SHA-256 over all that decides which rows stand in which cell: two tables of the same definition are the same
    /// table.
    pub definition: String,
}

const KEYS: [&str; 6] = ["name", "kind", "k", "timeout", "by", "limit"];

pub(crate) fn read(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<OperationDef> {
    let (wanted, quote) = match source? {
        SourceDef::Sqlite(_) | SourceDef::Postgres(_) => (true, '"'),
        SourceDef::Mariadb(_) => (true, '`'),
        SourceDef::Csv(_) => (false, '"'),
        SourceDef::Http(_) | SourceDef::Fhir(_) => {
            let help =
                "count in a database or a folder of files, where the whole table can be read".to_owned();
            faults.add(table.key_span("kind"), "this kind of source is not counted", Some(help));
            return None;
        }
    };
    for key in ["params", "subject", "where"] {
        if table.get(key).is_some() {
            let help = "take it out: a count is about a whole table, and the same for everybody";
            faults.add(table.key_span(key), format!("a count has no `{key}`"), Some(help.to_owned()));
        }
    }
    let known = if wanted { &["sql"][..] } else { &[] };
    table.only(&[&KEYS[..], known, &["params", "subject", "where"]].concat(), faults);
    let span = table.get("name").map_or_else(|| table.span.clone(), toml::Spanned::span);
    let name = table.need_text("name", faults).and_then(|given| id(given, span.clone(), "name", faults));
    let k = table.integer("k", i64::from(K_MIN)..K_MAX + 1, faults);
    let limit = table.integer("limit", 1..i64::from(ROWS_MAX) + 1, faults);
    let help = "an exchange has 30 s at most, the way there and back included";
    let timeout = timeout(table, help, faults);
    let (fields, values) = dimensions(table, source?, codes, faults)?;
    let statement = match wanted {
        false => None,
        true => Some(sql(
            table.need("sql", faults)?,
            &[],
            quote == '`' || matches!(source, Some(SourceDef::Postgres(_))),
            faults,
        )?),
    };
    let k = k.and_then(|k| u32::try_from(k).ok()).unwrap_or(K_MIN);
    let definition = definition(k, statement.as_deref(), &fields, &values);
    let access = match statement {
        Some(statement) => Access::Sql(grouped(&statement, &fields, quote)),
        None => Access::Where(Vec::new()),
    };
    Some(OperationDef {
        name: name?,
        kind: OperationKind::Count,
        subject: None,
        params: Vec::new(),
        access,
        limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(ROWS_MAX),
        timeout: timeout?,
        fields,
        as_of: None,
        order: Vec::new(),
        page: None,
        count: Some(CountDef { k, values, definition }),
        span,
    })
}

type Dimensions = (Vec<FieldDef>, Vec<Vec<Option<Arc<str>>>>);

fn dimensions(
    table: &Table<'_, '_>,
    source: &SourceDef,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<Dimensions> {
    let node = table.need("by", faults)?;
    let all = Table::of(node, "by", faults)?;
    let entries = all.entries();
    if !(1..=DIMENSIONS_MAX).contains(&entries.len()) {
        let help = "name the fields by which rows are counted, the most important first".to_owned();
        faults.add(node.span(), format!("a count has 1 to {DIMENSIONS_MAX} dimensions"), Some(help));
    }
    let (mut fields, mut values) = (Vec::new(), Vec::new());
    for (name, span, node) in entries {
        let (field, known) = dimension(name, span, node, codes, faults)?;
        if let SourceDef::Csv(csv) = source
            && let Some(column) = field.columns().find(|column| !csv.columns.contains_key(column))
        {
            let message = format!("field `{}` reads `{}`, which is no column", field.name, shown(&column));
            faults.add(node.span(), message, None);
        }
        if field.from.as_deref() == Some(COUNT_COLUMN) {
            let help = "give the column another name in the statement".to_owned();
            faults.add(
                node.span(),
                "a dimension's column is called `count`, as the number of rows is",
                Some(help),
            );
        }
        fields.push(field);
        values.push(known);
    }
    let cells = values.iter().try_fold(1_usize, |cells, values| cells.checked_mul(values.len()));
    if cells.is_none_or(|cells| cells > CELLS_MAX) {
        let help = "take a dimension out, or use fewer values: most cells would be suppressed".to_owned();
        faults.add(node.span(), format!("the table has over {CELLS_MAX} cells"), Some(help));
    }
    Some((fields, values))
}

fn dimension(
    name: &str,
    span: std::ops::Range<usize>,
    node: &Node<'_>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<(FieldDef, Vec<Option<Arc<str>>>)> {
    let table = Table::of(node, format!("dimension `{}`", shown(name)), faults)?;
    table.only(&["from", "type", "steps", "class", "codes", "values", "empty"], faults);
    let kinds = [("string", FieldType::String), ("code", FieldType::Code)];
    let kind = table.need("type", faults).and_then(|node| one_of(node, "type", &kinds, faults));
    let from = table.need_text("from", faults);
    if from.is_some_and(|from| from.is_empty() || from.len() > 128 || from.contains('\0')) {
        faults.add(table.key_span("from"), "`from` is not a column name of 1 to 128 bytes", None);
    }
    let class = table.integer("class", 0..5, faults).and_then(|class| u8::try_from(class).ok());
    let codes = field::code_table(name, &table, kind, codes, faults);
    let steps = field::steps(&table, faults);
    let known = match kind? {
        FieldType::Code => of_codes(codes.as_deref()?, &table, faults),
        _ => of_list(&table, faults),
    };
    let field = FieldDef {
        name: id(name, span.clone(), &shown(name), faults)?,
        from: Some(Arc::from(from?)),
        kind: kind?,
        steps,
        required: false,
        class,
        codes,
        format: None,
        expr: None,
        check: None,
        span,
    };
    Some((field, known))
}

/// The words of a code table.
fn of_codes(codes: &CodeTable, table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Vec<Option<Arc<str>>> {
    let words: BTreeSet<&str> = codes.words.values().map(String::as_str).collect();
    let mut known: Vec<Option<Arc<str>>> = words.into_iter().map(|word| Some(Arc::from(word))).collect();
    match codes.unknown {
        UnknownCode::Fail => {}
        UnknownCode::Null => known.push(None),
        UnknownCode::Keep => {
            let help = "write unknown = \"null\" (counted as one value more) or \"fail\" in the code table"
                .to_owned();
            faults.add(
                table.key_span("codes"),
                "a dimension needs a closed list, and this code table keeps others",
                Some(help),
            );
        }
    }
    for key in ["values", "empty"] {
        if table.get(key).is_some() {
            let help = "take it out: the code table lists the values".to_owned();
            faults.add(table.key_span(key), format!("a dimension of type code has no `{key}`"), Some(help));
        }
    }
    known
}

/// The texts that the dimension lists.
fn of_list(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Vec<Option<Arc<str>>> {
    if table.get("values").is_none() {
        let help = "list them, like values = [\"north\", \"south\"], or use a code table".to_owned();
        faults.add(table.span.clone(), format!("{} lacks `values`", table.what), Some(help));
        return Vec::new();
    }
    let list = table.list("values", faults).unwrap_or_default();
    let words: Vec<&str> = list.iter().filter_map(|node| text(node, "values", faults)).collect();
    let unique: BTreeSet<&str> = words.iter().copied().collect();
    if !(1..=VALUES_MAX).contains(&words.len()) || unique.len() < words.len() {
        let help = "list every value once".to_owned();
        faults.add(
            table.key_span("values"),
            format!("`values` is not 1 to {VALUES_MAX} different texts"),
            Some(help),
        );
    }
    let mut known: Vec<Option<Arc<str>>> = words.into_iter().map(|word| Some(Arc::from(word))).collect();
    if table.boolean("empty", faults) == Some(true) {
        known.push(None);
    }
    known
}

/// The statement, grouped by its dimensions' columns.
fn grouped(statement: &str, fields: &[FieldDef], quote: char) -> String {
    let columns: BTreeSet<String> = fields
        .iter()
        .flat_map(FieldDef::columns)
        .map(|column| {
            let doubled: String = [quote, quote].iter().collect();
            format!("{quote}{}{quote}", column.replace(quote, &doubled))
        })
        .collect();
    // MariaDB takes texts for equal that differ in case: there the bytes decide, as in the code table.
    let exact = quote == '`';
    let list = |each: &dyn Fn(&String) -> String| columns.iter().map(each).collect::<Vec<_>>().join(", ");
    let read = list(&|column| if exact { format!("max({column}) as {column}") } else { column.clone() });
    let groups = list(&|column| if exact { format!("binary {column}") } else { column.clone() });
    // The line breaks end a comment in which the statement may end.
    format!(
        "select {read}, count(*) as {quote}{COUNT_COLUMN}{quote} from (\n{statement}\n) counted group by {groups}"
    )
}

fn definition(
    k: u32,
    statement: Option<&str>,
    fields: &[FieldDef],
    values: &[Vec<Option<Arc<str>>>],
) -> String {
    let mut all = format!("{k}\n{}\n", statement.unwrap_or_default());
    for (field, values) in fields.iter().zip(values) {
        let words = field.codes.as_ref().map(|codes| &codes.words);
        all.push_str(&format!("{} {:?} {:?} {words:?} {values:?}\n", field.name, field.from, field.steps));
    }
    yiwang_proto::hex(&yiwang_proto::sha256(all.as_bytes()))
}
