//! The suite's table and mapping.

/// Columns of the table, all texts.
pub const COLUMNS: [&str; 8] = ["ID", "NM", "SEX", "BORN", "AREA", "AMT", "STATE", "UPD"];

/// The moment at which the suite asks: 2026-11-23T00:00:00Z.
pub const NOW_MS: i64 = 1_795_392_000_000;

/// Texts that break what splices them into a statement, a path or a line. The first ones also stand in
/// the table as values of AREA.
pub const HOSTILE: [&str; 24] = [
    "' or '1'='1",
    "\"; drop table PERSON; --",
    "x' union select ID from PERSON --",
    "=cmd|' /C calc'!A0",
    "../../etc/passwd",
    "%' or 1=1 --",
    "1; delete from PERSON",
    "') or ('a'='a",
    "a,b\"c",
    "line\nbreak",
    "\u{202e}drawkcab",
    "𠮷野家",
    "'",
    "''",
    "\"",
    ";",
    "--",
    "/*",
    "\\",
    "\0",
    "a\0b",
    ":id",
    "?1",
    "\u{feff}",
];

/// What parts things in statements, addresses, paths, lines and JSON; between two hostile texts it makes a third.
const GLUE: [&str; 8] = ["", "'", "\\", "/", "\"}]}", "%2f..%2f", "\r\n", "＇"];

/// Over a thousand hostile texts: pairs of [`HOSTILE`], glued, and what is only hostile as a whole.
pub fn hostile_texts() -> Vec<String> {
    let pairs = HOSTILE.iter().flat_map(|first| HOSTILE.iter().map(move |second| (first, second)));
    let mut all: Vec<String> = pairs
        .zip((0..GLUE.len()).cycle())
        .flat_map(|((first, second), at)| {
            let glue = |at: usize| GLUE.get(at % GLUE.len()).copied().unwrap_or_default();
            [format!("{first}{}{second}", glue(at)), format!("{first}{}{second}", glue(at + 3))]
        })
        .collect();
    let odd = [
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1)",
        "\t=1",
        "．．／etc",
        "..\\..\\windows",
        "/dev/zero",
        "file:///etc/passwd",
        "${HOME}",
        "{{7*7}}",
        "$(id)",
        "`id`",
        "{\"$ne\":null}",
        "\u{202e}' or ''='",
        "ＯＲ １＝１",
        "ʼ or ʼ1ʼ=ʼ1",
        "P1\u{200b}",
        "\u{fffd}",
        "\u{10ffff}",
        "é\u{301}",
        "\u{7f}",
        "\u{1b}[2J",
        "\n\n",
        "\t",
    ];
    all.extend(odd.map(str::to_owned));
    all.extend(["[", "{\"a\":", "(", "'", "\\", "/../"].map(|text| text.repeat(200 / text.len())));
    all.sort();
    all.dedup();
    all
}

/// How many of `HOSTILE` stand in the table.
const STORED: usize = 12;

/// The table's rows; an empty text is no value.
pub fn rows() -> Vec<[String; 8]> {
    let row = |cells: [&str; 8]| cells.map(str::to_owned);
    let mut rows = vec![
        row(["P1", " 云甲 ", "1", "19900131", "980101", "12", "ok", "2026-11-01 08:00:00"]),
        row(["P2", "松乙", "2", "19000101", "980102", "x", "ok", "2026-11-02 08:00:00"]),
        row(["P3", "", "1", "19910101", "980102", "1", "ok", "2026-11-02 08:00:00"]),
        row(["P4", "竹丙", "9", "19910101", "980102", "1", "ok", "2026-11-02 08:00:00"]),
        row(["P5", "梅丁", "2", "1991-13-45", "980102", "", "ok", "2026-11-02 08:00:00"]),
        row(["P6", "兰戊", "2", "19910101", "980102", "7", "ok", "secret-time"]),
    ];
    for at in 0..20 {
        let (id, sex) = (format!("L{at:02}"), if at % 2 == 0 { "1" } else { "2" });
        let name = format!("many {at}");
        rows.push(row([&id, &name, sex, "19800101", "980199", "3", "ok", "2026-11-03 08:00:00"]));
    }
    for (at, text) in HOSTILE.iter().take(STORED).enumerate() {
        let id = format!("H{at:02}");
        rows.push(row([&id, text, "1", "19800101", text, "3", "ok", "2026-11-03 08:00:00"]));
    }
    rows
}

/// Which hostile texts are in the table.
pub(super) fn stored() -> impl Iterator<Item = &'static str> {
    HOSTILE.iter().take(STORED).copied()
}

/// The suite's mapping: `source` is the `[source.…]` section, the others are how a row is found by ID,
/// with parameter `:id`, and by AREA, with parameter `:area` (a `sql = …` or `where = …` line).
pub fn mapping(source: &str, by_id: &str, by_area: &str) -> String {
    format!(
        r#"format = "adapter/1"
mapping = "compliance.person"
record = "Person"
owner = "police"
{source}
[codes.sex]
"1" = "male"
"2" = "female"
unknown = "fail"

[[operation]]
name = "person.by_id"
kind = "lookup"
subject = "id"
params.id = {{ type = "string", pattern = "[A-Z][0-9]{{1,4}}" }}
{by_id}
limit = 1
timeout = "10s"
{FIELDS}
[[operation]]
name = "person.by_area"
kind = "search"
params.area = {{ type = "string", pattern = "(?s).{{0,200}}" }}
{by_area}
limit = 100
timeout = "10s"
{FIELDS}
"#
    )
}

/// The suite's mapping of a source whose rows are JSON documents: `place` is the JSON pointer of a column.
pub fn mapping_of_documents(
    source: &str,
    by_id: &str,
    by_area: &str,
    place: impl Fn(&str) -> String,
) -> String {
    let mut text = mapping(source, by_id, by_area);
    for column in COLUMNS {
        let pointer = place(column);
        let member = pointer.trim_start_matches('/').replace('/', ".");
        text = text
            .replace(&format!("from = \"{column}\""), &format!("pointer = \"{pointer}\""))
            .replace(&format!("row.{column}"), &format!("row.{member}"));
    }
    text
}

const FIELDS: &str = r#"[operation.fields]
pseudonym = { from = "ID", type = "string" }
name = { from = "NM", type = "string", steps = ["trim"], required = true }
sex = { from = "SEX", type = "code", codes = "sex" }
birth_date = { from = "BORN", type = "date", format = "%Y%m%d" }
area_code = { from = "AREA", type = "string" }
amount = { from = "AMT", type = "integer" }
alive = { from = "STATE", type = "bool", expr = "row.STATE == 'ok'" }
grid = { from = "AREA", type = "string", expr = "'g-' + row.AREA" }
sealed = { from = "STATE", type = "string", class = 4 }
as_of = { from = "UPD", type = "timestamp", required = true }
"#;
