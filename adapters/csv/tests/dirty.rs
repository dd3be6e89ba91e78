//! Dirty data as old systems hold it: each kind is carried as it stands, with a flag where it is not what it seems, or
//! refused with its reason. Nothing is silently altered: what the snapshot shows as carried is the source's own text,
//! but for the steps that the mapping declares.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use yiwang_adapter_csv::CsvSource;
use yiwang_adapter_sdk::compliance::NOW_MS;
use yiwang_adapter_sdk::fetch::{Ask, MappedSource};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{ProcessEnvironment, Source};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{FieldName, Operation};

const MAPPING: &str = r#"format = "adapter/1"
mapping = "police.dirty"
record = "Person"
owner = "police"

[source.csv]
folder = "files"
files = "*.csv"
encoding = "gbk"
time_zone = "Asia/Shanghai"

[source.csv.columns]
KEY = "string"
ID_NO = "string"
NAME = "string"
BORN = "string"
AREA = "string"
ADDR = "string"
HEAD = "string"
COUNT = "string"
SEEN = "string"

[codes.area]
"980101" = "980101"
unknown = "keep"

[codes.area_closed]
"980101" = "980101"
unknown = "fail"

[[operation]]
name = "person.by_id"
kind = "lookup"
subject = "id"
params.id = { type = "string", pattern = "K[0-9]" }
where = { KEY = ":id" }
limit = 5
timeout = "5s"
[operation.fields]
id_number = { from = "ID_NO", type = "string" }
name = { from = "NAME", type = "string" }
birth_date = { from = "BORN", type = "date" }
area_code = { from = "AREA", type = "code", codes = "area" }
state = { from = "AREA", type = "code", codes = "area_closed" }
address = { from = "ADDR", type = "string" }
given_name = { from = "HEAD", type = "string", required = true }
postcode = { from = "COUNT", type = "integer" }
suburb = { from = "COUNT", type = "integer", steps = ["halfwidth"] }
as_of = { from = "SEEN", type = "timestamp", required = true }
"#;

const HEADER: &str = "KEY,ID_NO,NAME,BORN,AREA,ADDR,HEAD,COUNT,SEEN";

/// A kind of dirt: what it is, the row's cells, the field that is asked for.
struct Dirt {
    what: &'static str,
    rows: &'static [&'static str],
    field: &'static str,
    file: File,
}

/// How the file is written.
#[derive(Clone, Copy, PartialEq)]
enum File {
    Utf8,
    Utf8Bom,
    Gbk,
    GbkBom,
    Gb18030,
    Utf16,
}

const fn dirt(what: &'static str, rows: &'static [&'static str], field: &'static str) -> Dirt {
    Dirt { what, rows, field, file: File::Utf8Bom }
}

const ALL: &[Dirt] = &[
    dirt("an identity number of 15 digits", &["K1,980101900101001,,,,,h,,2026-11-01 08:00:00"], "id_number"),
    dirt("a wrong check digit", &["K1,980101199001010015,,,,,h,,2026-11-01 08:00:00"], "id_number"),
    dirt(
        "a check character in lower case",
        &["K1,98010119900101002x,,,,,h,,2026-11-01 08:00:00"],
        "id_number",
    ),
    dirt(
        "an identity number in full width",
        &["K1,９８０１０１１９９００１０１００１７,,,,,h,,2026-11-01 08:00:00"],
        "id_number",
    ),
    dirt(
        "a person who was registered twice",
        &[
            "K1,980101199001010017,云甲,,,,h,,2026-11-01 08:00:00",
            "K1,980101199001010017,雲甲,,,,h,,2026-11-02 08:00:00",
        ],
        "name",
    ),
    dirt("traditional characters", &["K1,,雲慶華,,,,h,,2026-11-01 08:00:00"], "name"),
    Dirt {
        what: "rare characters of GB 18030",
        rows: &["K1,,𠮷㐂䶮,,,,h,,2026-11-01 08:00:00"],
        field: "name",
        file: File::Gb18030,
    },
    dirt("an address without a house number", &["K1,,,,,松风路号,h,,2026-11-01 08:00:00"], "address"),
    dirt("no address at all", &["K1,,,,,,h,,2026-11-01 08:00:00"], "address"),
    dirt(
        "an old area code, and a table that keeps it",
        &["K1,,,,980199,,h,,2026-11-01 08:00:00"],
        "area_code",
    ),
    dirt("an old area code, and a table that lists all", &["K1,,,,980199,,h,,2026-11-01 08:00:00"], "state"),
    dirt("a date of 1900-01-01", &["K1,,,1900-01-01,,,h,,2026-11-01 08:00:00"], "birth_date"),
    dirt("a day that never was", &["K1,,,1991-02-30,,,h,,2026-11-01 08:00:00"], "birth_date"),
    dirt("digits of full width in a number", &["K1,,,,,,h,１２,2026-11-01 08:00:00"], "postcode"),
    dirt("digits of full width, and a step that says so", &["K1,,,,,,h,１２,2026-11-01 08:00:00"], "suburb"),
    dirt("spaces of full width around a name", &["K1,,　云甲　,,,,h,,2026-11-01 08:00:00"], "name"),
    dirt("a household without head", &["K1,,,,,,,,2026-11-01 08:00:00"], "given_name"),
    dirt("a local time without zone", &["K1,,,,,,h,,2026-11-01 08:00:00"], "name"),
    dirt("no time at all", &["K1,,,,,,h,,"], "name"),
    Dirt { what: "GBK", rows: &["K1,,云甲,,,,h,,2026-11-01 08:00:00"], field: "name", file: File::Gbk },
    Dirt {
        what: "GBK behind the mark of UTF-8",
        rows: &["K1,,云甲,,,,h,,2026-11-01 08:00:00"],
        field: "name",
        file: File::GbkBom,
    },
    Dirt {
        what: "UTF-16", rows: &["K1,,云甲,,,,h,,2026-11-01 08:00:00"], field: "name", file: File::Utf16
    },
    Dirt {
        what: "UTF-8 without its mark, and a mapping that says GBK",
        rows: &["K1,,云甲,,,,h,,2026-11-01 08:00:00"],
        field: "name",
        file: File::Utf8,
    },
    dirt("a row with a cell too few", &["K1,,云甲,,,,h,2026-11-01 08:00:00"], "name"),
    dirt("a quote that does not end", &["K1,,\"云甲,,,,h,,2026-11-01 08:00:00"], "name"),
    dirt(
        "a stray quote in each of two persons' rows",
        &["K1,,\"云甲,,,三号院,h,,2026-11-01 08:00:00", "K2,,\"云乙,,,五号院,h,,2026-11-01 08:00:00"],
        "address",
    ),
    dirt(
        "a stray quote before a name, and one after another's",
        &["K1,,\"云甲,,,三号院,h,,2026-11-01 08:00:00", "K2,,云乙\",,,五号院,h,,2026-11-01 08:00:00"],
        "address",
    ),
    dirt(
        "a stray quote, and the same person's row after it",
        &["K1,,\"云甲,,,,h,,2026-11-01 08:00:00", "K1,,\"云乙\",,,,h,,2026-11-01 08:00:00"],
        "name",
    ),
    dirt("quotes that are not doubled", &["K1,,,,,\"老\"王\"超市旁\",h,,2026-11-01 08:00:00"], "address"),
    dirt("quotes in a cell without quotes", &["K1,,,,,老\"王\"超市旁,h,,2026-11-01 08:00:00"], "address"),
    dirt("a quoted cell of two lines", &["K1,,,,,\"三号院,\n二楼\",h,,2026-11-01 08:00:00"], "address"),
    dirt("a formula", &["K1,,=1+1,,,,h,,2026-11-01 08:00:00"], "name"),
];

fn bytes(dirt: &Dirt) -> Vec<u8> {
    let text = format!("{HEADER}\n{}\n", dirt.rows.join("\n"));
    let gbk = |text: &str| encoding_rs::GB18030.encode(text).0.into_owned();
    match dirt.file {
        File::Utf8 => text.into_bytes(),
        File::Utf8Bom => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        File::Gbk | File::Gb18030 => gbk(&text),
        File::GbkBom => [b"\xef\xbb\xbf", gbk(&text).as_slice()].concat(),
        File::Utf16 => {
            [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
        }
    }
}

/// What comes of one kind.
async fn outcome(dirt: &Dirt, folder: &Path) -> String {
    std::fs::create_dir(folder.join("files")).unwrap();
    std::fs::write(folder.join("files/a.csv"), bytes(dirt)).unwrap();
    let mapping = Mapping::parse(MAPPING, &folder.join("dirty.toml")).unwrap();
    let source = match CsvSource::open(&mapping, &ProcessEnvironment) {
        Ok(source) => Arc::new(source),
        Err(error) => return format!("refused: the whole file: {error}\n"),
    };
    let mapped = MappedSource::new(Arc::new(mapping), Arc::clone(&source) as Arc<dyn Source>);
    let (operation, field) =
        (Operation::parse("person.by_id").unwrap(), FieldName::parse(dirt.field).unwrap());
    let arguments = [].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&field),
        rows: &[],
        subject: "K1",
        arguments: &arguments,
        limit: 5,
        now_ms: NOW_MS,
        deadline_ms: NOW_MS + 60_000,
    };
    let mut said = String::new();
    match mapped.answer(ask).await {
        Ok(answer) => {
            let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
            for record in records {
                let _ = writeln!(said, "carried: {record}");
            }
        }
        Err(error) => {
            assert!(!format!("{error} {}", error.clause).contains("980"), "a value is shown: {error}");
            let _ = writeln!(said, "refused: {}: {}", error.code, error.clause);
        }
    }
    for put_aside in source.quarantine().0 {
        let _ = writeln!(said, "put aside: line {}: {}", put_aside.line, put_aside.reason);
    }
    said
}

/// `YIWANG_WRITE_SNAPSHOTS=1` writes the file anew; the difference is then read by whoever reviews it.
#[tokio::test]
async fn each_kind_of_dirty_data_is_carried_with_its_flag_or_refused_with_its_reason() {
    let mut shown = String::new();
    for dirt in ALL {
        let folder = tempfile::tempdir().unwrap();
        let _ = writeln!(shown, "# {}\nsource: {}", dirt.what, dirt.rows.join("\n        "));
        let said = outcome(dirt, folder.path()).await;
        assert!(!said.is_empty(), "{}: it is lost without a word", dirt.what);
        // What is carried without a flag is, letter by letter, in the source, or nothing.
        for record in said.lines().filter_map(|line| line.strip_prefix("carried: ")) {
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            let declared = dirt.field == "suburb";
            if record.get("quality").is_none()
                && !declared
                && let Some(value) = record["fields"][dirt.field].as_str()
            {
                assert!(dirt.rows.iter().any(|row| row.contains(value)), "{}: altered to {value}", dirt.what);
            }
        }
        shown.push_str(&said);
        shown.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dirty.txt");
    if std::env::var_os("YIWANG_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == shown, "tests/dirty.txt differs; it is now:\n{shown}");
}
