//! Broken mapping files: each fault has its place and a help, all faults come at once, and no secret or
//! value is ever shown.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use yiwang_adapter_sdk::mapping::{Mapping, MappingFault, render};

#[path = "mapping_faults/constants.rs"]
mod constants;
#[path = "mapping_faults/judged.rs"]
mod judged;
#[path = "mapping_faults/passwords.rs"]
mod passwords;

const SQLITE: &str = include_str!("mappings/sqlite.toml");
const CSV: &str = include_str!("mappings/csv.toml");
const HTTP: &str = include_str!("mappings/http.toml");
const FHIR: &str = include_str!("mappings/fhir.toml");
const POSTGRES: &str = include_str!("mappings/postgres.toml");

/// What is changed in a good file: its name, the text that goes, the text that comes.
type Change = (&'static str, &'static str, &'static str);

const SQLITE_CHANGES: &[Change] = &[
    ("a key that is misspelt", "mapping = \"police", "maping = \"police"),
    ("another format", "adapter/1", "adapter/2"),
    ("no record", "record = \"Person\"\n", ""),
    ("a record that is no record type", "\"Person\"", "\"person\""),
    ("an owner that is no member", "owner = \"police\"", "owner = \"Police Bureau\""),
    ("a source that is not known", "[source.sqlite]", "[source.sqlit]"),
    ("two sources", "[codes.sex]", "[source.csv]\nfolder = \"x\"\n[codes.sex]"),
    ("an address with a password", "path = { env = \"POLICE_DB\" }", "path = \"postgres://u:hunter2@db/x\""),
    ("a password without quotes", "path = { env = \"POLICE_DB\" }", "path = hunter2"),
    ("a password under another key", "path = { env = \"POLICE_DB\" }", "pasword = \"hunter2\""),
    ("two references at once", "{ env = \"POLICE_DB\" }", "{ env = \"A\", file = \"hunter2\" }"),
    ("a reference that is misspelt", "{ env = \"POLICE_DB\" }", "{ evn = \"hunter2\" }"),
    ("a source that may write", "read_only = true", "read_only = false"),
    ("a zone that is not known", "Asia/Shanghai", "Asia/Shanghia"),
    ("no zone", "time_zone = \"Asia/Shanghai\"\n", ""),
    ("a duration without a unit", "every = \"15s\"", "every = \"15\""),
    ("a probe that writes", "probe = \"select 1\"", "probe = \"delete from t\""),
    ("a warning after the failure", "warn = \"24h\"", "warn = \"24d\""),
    ("codes without a rule for others", "unknown = \"fail\"\n", ""),
    ("a rule for others that is not known", "unknown = \"fail\"", "unknown = \"guess\""),
    ("codes without codes", "\"1\" = \"male\"\n\"2\" = \"female\"\n", ""),
    ("an operation's name", "name = \"person.by_id\"\nkind", "name = \"Person by id\"\nkind"),
    ("a kind that is misspelt", "kind = \"lookup\"", "kind = \"lokup\""),
    ("a subject that is no parameter", "subject = \"id\"", "subject = \"idd\""),
    ("a subject that is optional", "[0-9X]$\" }", "[0-9X]$\", optional = true }"),
    ("a parameter that is misspelt in the statement", "SFZH = :id", "SFZH = :idd"),
    ("a parameter that is not used", "SFZH = :id", "SFZH = '1'"),
    ("two statements", "SFZH = :id", "SFZH = :id; drop table T_RY"),
    ("a statement that deletes", "select XM", "delete XM"),
    ("a parameter by number", "SFZH = :id", "SFZH = :id and 1 = ?1"),
    ("a quote that does not end", "SFZH = :id", "SFZH = :id and XM = 'x"),
    ("conditions of a CSV source", "limit = 1", "where = { SFZH = \":id\" }\nlimit = 1"),
    ("a limit of nothing", "limit = 1\n", "limit = 0\n"),
    ("a limit that is too large", "limit = 1", "limit = 1001"),
    ("an order that is no list", "limit = 1\n", "order = \"GXSJ\"\nlimit = 1\n"),
    ("an order of nothing", "limit = 1\n", "order = []\nlimit = 1\n"),
    (
        "an order by what is no column",
        "limit = 1\n",
        "order = [\"GXSJ+1\", \"1\", \"\\\"XM\\\"\", 7]\nlimit = 1\n",
    ),
    ("an order with more words", "limit = 1\n", "order = [\"GXSJ decs\", \"XM desc, XB\"]\nlimit = 1\n"),
    ("a column twice in an order", "limit = 1\n", "order = [\"XM\", \"XM desc\"]\nlimit = 1\n"),
    ("pages of a look-up", "limit = 1\n", "key = \"SFZH\"\nlimit = 1\n"),
    ("pages without a key", "kind = \"lookup\"", "kind = \"search\"\npages = 3"),
    ("a key beside an order", "kind = \"lookup\"", "kind = \"search\"\nkey = \"SFZH\"\norder = [\"XM\"]"),
    ("a key without a name, and no pages", "kind = \"lookup\"", "kind = \"search\"\nkey = \"\"\npages = 0"),
    ("pages of no question", "kind = \"lookup\"", "kind = \"search\"\nkey = \"SFZH\"\npages = 21"),
    (
        "a parameter called as a next page is",
        "kind = \"lookup\"",
        "kind = \"search\"\nkey = \"SFZH\"\nparams.resume = { type = \"integer\" }",
    ),
    ("a timeout that is misspelt", "timeout = \"2s\"", "timeuot = \"2s\""),
    ("a timeout in words", "timeout = \"2s\"", "timeout = \"2 sec\""),
    ("a timeout that is too long", "timeout = \"2s\"", "timeout = \"1m\""),
    ("a field without type", "from = \"CSRQ\", type = \"date\"", "from = \"CSRQ\""),
    ("a type that is misspelt", "type = \"date\"", "type = \"dat\""),
    ("a field from nowhere", "from = \"CSRQ\", type", "type"),
    ("a step that is misspelt", "[\"trim\", \"nfc\"]", "[\"trimm\", \"nfc\"]"),
    ("a code table that is not there", "codes = \"sex\"", "codes = \"sexx\""),
    ("a code without table", ", codes = \"sex\"", ""),
    ("a format on a text", "steps = [\"trim\", \"nfc\"]", "format = \"%Y\""),
    ("an expression that does not parse", "'g-' + row.GRID", "'g-' + row."),
    ("an expression that loops", "'g-' + row.GRID", "[row.GRID].map(x, x)[0]"),
    ("an expression over nothing", "'g-' + row.GRID", "'g-' + rwo.GRID"),
    ("an expression that calls what is not there", "'g-' + row.GRID", "sizee(row.GRID)"),
    ("a class that does not exist", "class = 2", "class = 5"),
    ("an as-of time that is a date", "type = \"timestamp\", required", "type = \"date\", required"),
    ("a field's name", "birth_date = {", "birthDate = {"),
    ("a field that is no table", "sex = { from = \"XB\", type = \"code\", codes = \"sex\" }", "sex = \"XB\""),
    ("a parameter without pattern", ", pattern = \"^[0-9]{17}[0-9X]$\"", ""),
    ("a pattern that does not parse", "[0-9X]$", "[0-9X$"),
    ("a pattern on a day", "type = \"string\", pattern", "type = \"date\", pattern"),
    ("a test of another operation", "operation = \"person.by_id\"", "operation = \"person.by_di\""),
    ("an argument of another parameter", "args = { id =", "args = { idd ="),
    ("a row with another column", "{ XM = \"云甲\"", "{ XN = \"云甲\""),
    ("an expectation of another field", "{ name = \"云甲\"", "{ nmae = \"云甲\""),
    ("a test with two outcomes", "expect = [", "expect_error = \"x\"\nexpect = ["),
    ("a key that stands twice", "owner = \"police\"", "owner = \"police\"\nowner = \"police\""),
];

const CSV_CHANGES: &[Change] = &[
    ("a key that is no column", "key = \"CALL_NO\"", "key = \"CALL_NR\""),
    ("files in another folder", "\"calls-*.csv\"", "\"../calls-*.csv\""),
    ("an encoding that is not known", "\"gbk\"", "\"latin1\""),
    ("a column type that is misspelt", "AREA = \"string\"", "AREA = \"strnig\""),
    ("a condition on another column", "{ AREA = ", "{ AERA = "),
    ("a part that is not known", "\"CALL_TIME@date\"", "\"CALL_TIME@day\""),
    ("a moment as an identity", "\"CALL_TIME@date\"", "\"CALL_TIME@id\""),
    ("the day of a text", "\"CALL_TIME@date\"", "\"CALL_NO@date\""),
    ("a condition on another parameter", "\":day\"", "\":dya\""),
    ("a statement", "limit = 200", "sql = \"select 1\"\nlimit = 200"),
    ("an order of files", "limit = 200", "order = [\"CALL_NO\"]\nlimit = 200"),
    ("pages of files", "limit = 200", "key = \"CALL_NO\"\nlimit = 200"),
    ("a field of another column", "from = \"CALL_NO\"", "from = \"CALLNO\""),
    ("no columns", "[source.csv.columns]", "[source.csv.colums]"),
    ("a probe", "time_zone", "health = { probe = \"select 1\" }\ntime_zone"),
];

const HTTP_CHANGES: &[Change] = &[
    ("an address in the mapping", "url = { env = \"GAS_API\" }", "url = \"https://u:hunter2@gas.example\""),
    (
        "a header's value in the mapping",
        "kind = \"client-credentials\"",
        "kind = \"header\", value = \"hunter2\"",
    ),
    ("a secret in the mapping", "client_secret = { file = \"secret\" }", "client_secret = \"hunter2\""),
    ("a way to show oneself that is not known", "\"client-credentials\"", "\"client-credential\""),
    ("a token endpoint with a password", "https://login.gas.example", "https://u:hunter2@login.gas.example"),
    ("scopes that are no list", "scopes = [\"meters.read\"]", "scopes = \"meters.read\""),
    ("a mode of TLS that is not known", "verify-full", "verify-none"),
    ("authorities in the mapping", "ca = { file = \"ca.pem\" }", "ca = \"ca.pem\""),
    ("a certificate without key", "ca = { file", "cert = { file = \"c.pem\" }, ca = { file"),
    ("a proxy in the mapping", "proxy = { env = \"GAS_PROXY\" }", "proxy = \"http://u:hunter2@proxy:3128\""),
    ("another call after a refusal", "\"429\", \"503\"", "\"429\", \"403\""),
    ("calls without end", "attempts = 3", "attempts = 100"),
    ("an answer without end", "max_bytes = 65536", "max_bytes = 6553600000"),
    ("a probe elsewhere", "probe = \"/health\"", "probe = \"https://b.example/health\""),
    ("a time that stands nowhere", "/status#/updated_at", "/status"),
    ("a method that changes", "method = \"POST\"", "method = \"DELETE\""),
    ("a body of a GET", "method = \"POST\"", "method = \"GET\""),
    ("a path that climbs", "/v1/:city/connections/search", "/v1/../:city/search"),
    ("a path with a query", "connections/search", "connections?all=1"),
    ("an identifier in the path", "/v1/:city/connections/search", "/v1/:city/connections/:id"),
    ("an identifier in the query", "sort = \"date\"", "holder = \":id\""),
    ("a parameter of the path in the body", "open = true", "open = \":city\""),
    ("a place that is not known", "in = \"path\"", "in = \"header\""),
    ("a parameter that is misspelt in the body", "id = \":id\"", "id = \":idd\""),
    ("a parameter that the call does not use", "page = \":page\", ", ""),
    ("rows at no pointer", "rows = \"/items\"", "rows = \"items\""),
    ("a next page at no pointer", "\"/links/next\"", "\"links.next\""),
    ("a statement in a call", "limit = 5", "sql = \"select 1\"\nlimit = 5"),
    ("a column's name", "pointer = \"/address/code\"", "from = \"/address/code\""),
    ("a pointer that is none", "\"/address/code\"", "\"address.code\""),
    (
        "an expression over a thing and its part",
        "row.meters[0].gas ?",
        "row.meters[0].gas && row.meters[0] ?",
    ),
];

const FHIR_CHANGES: &[Change] = &[
    ("a key in the mapping", "key = { file = \"fhir.jwk\" }", "key = \"hunter2\""),
    (
        "a key in a table of its own",
        "freshness = { probe = \"Condition\", warn = \"24h\", fail = \"72h\" }",
        "[source.fhir.tls]\nkey = \"hunter2\"",
    ),
    ("a key under no table", "pool = {", "key = \"hunter2\"\npool = {"),
    ("other resources beside it, and theirs", "_sort = \"-recorded-date\"", "\"_include:iterate\" = \"*\""),
    (
        "a search that can be left empty",
        "[0-9X]$\" }\nparams.since = { type = \"date\" }",
        "[0-9X]$\", optional = true }\nparams.since = { type = \"date\", optional = true }",
    ),
    ("a client without a name", "client_id = \"hub-adapter\", ", ""),
    ("a type of resource that is none", "resource = \"Condition\"", "resource = \"condition/1\""),
    ("all elements", "elements = true", "elements = false"),
    ("other resources beside it", "_sort = \"-recorded-date\"", "_include = \"Condition:subject\""),
    ("free text", "_sort = \"-recorded-date\"", "_content = \":id\""),
    ("elements by hand", "_sort = \"-recorded-date\"", "_elements = \"subject\""),
    ("a search that is a query", "recorded-date = ", "\"a&b\" = "),
    ("a page without end", "_count = \"5\"", "_count = \"100000\""),
    ("a parameter that is misspelt in the search", "urn:national-id|:id", "urn:national-id|:idd"),
    ("a parameter that the search does not use", "urn:national-id|:id", "urn:national-id|1"),
    ("an identifier in the address of a search", "[0-9X]$\" }", "[0-9X]$\", in = \"query\" }"),
    ("an order of a search", "elements = true", "order = [\"date\"]\nelements = true"),
    ("no search", "search = {", "serach = {"),
    ("freshness of what is no type", "probe = \"Condition\"", "probe = \"/Condition\""),
];

const POSTGRES_CHANGES: &[Change] = &[
    ("an address in the mapping", "url = { env = \"POLICE_DB\" }", "url = \"postgres://u:hunter2@db/x\""),
    ("no address", "url = { env = \"POLICE_DB\" }\n", ""),
    ("another name for the server", "[source.postgres]", "[source.mysql]"),
    ("a misspelt server", "[source.postgres]", "[source.postgre]"),
    ("no word on TLS", "tls = { mode = \"verify-full\", ca = { file = \"ca.pem\" } }\n", ""),
    ("TLS without an authority", ", ca = { file = \"ca.pem\" }", ""),
    ("TLS that proves nothing", "verify-full", "prefer"),
    ("an authority without TLS", "verify-full", "off"),
    ("a certificate in the mapping", "{ file = \"ca.pem\" }", "\"hunter2\""),
    ("too many connections", "max = 8", "max = 65"),
    ("no connection", "max = 8", "max = 0"),
    ("a wait that is too long", "acquire = \"2s\"", "acquire = \"31s\""),
    ("a pool's key that is misspelt", "idle = ", "idel = "),
    ("a server that may be written to", "read_only = true", "read_only = false"),
    ("a backslash between quotes", "SFZH = :id", "SFZH = :id and XM <> 'a\\\\'"),
    ("a comment that is executed", "SFZH = :id", "SFZH = :id /*! or true */"),
];

fn all() -> Vec<(&'static Change, String, Vec<MappingFault>)> {
    let bases = [
        (SQLITE, SQLITE_CHANGES),
        (CSV, CSV_CHANGES),
        (POSTGRES, POSTGRES_CHANGES),
        (HTTP, HTTP_CHANGES),
        (FHIR, FHIR_CHANGES),
    ];
    let changes =
        bases.into_iter().flat_map(|(base, changes)| changes.iter().map(move |change| (base, change)));
    changes
        .map(|(base, change)| {
            assert!(base.contains(change.1), "{}: nothing to change", change.0);
            let text = base.replacen(change.1, change.2, 1);
            match Mapping::parse(&text, Path::new("m.toml")) {
                Ok(_) => panic!("{} is taken", change.0),
                Err(faults) => (change, text, faults),
            }
        })
        .collect()
}

#[test]
fn the_files_that_are_broken_here_are_sound() {
    for text in [SQLITE, CSV, POSTGRES, HTTP, FHIR] {
        let mapping = match Mapping::parse(text, Path::new("m.toml")) {
            Ok(mapping) => mapping,
            Err(faults) => {
                panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
            }
        };
        for result in yiwang_adapter_sdk::mapping::run_tests(&mapping) {
            assert_eq!(result.failure, None, "{}", result.name);
        }
    }
}

#[test]
fn each_fault_has_its_place_and_no_secret_is_shown() {
    let mut shown = String::new();
    let mut broken = 0;
    for (change, text, faults) in all() {
        broken += 1;
        let _ = writeln!(shown, "# {}", change.0);
        assert!(!faults.is_empty());
        for fault in faults {
            assert!(fault.line >= 1 && fault.column >= 1);
            assert!(fault.help.is_some(), "no help: {fault}");
            let rendered = render(&fault, &text);
            assert!(rendered.starts_with(&format!("m.toml:{}:{}: ", fault.line, fault.column)));
            assert!(!rendered.contains("hunter2"), "{rendered}");
            assert!(!format!("{fault} {:?}", fault.help).contains("hunter2"));
            shown.push_str(&rendered);
        }
        shown.push('\n');
    }
    assert!(broken >= 110);
    insta::assert_snapshot!("faults", shown);
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let text = SQLITE
        .replace("owner = \"police\"", "ownr = \"police\"")
        .replace("Asia/Shanghai", "Asia/Nowhere")
        .replace("SFZH = :id", "SFZH = :idd")
        .replace("timeout = \"2s\"", "timeout = \"2\"")
        .replace("codes = \"sex\"", "codes = \"xes\"");
    let faults = match Mapping::parse(&text, Path::new("m.toml")) {
        Ok(_) => panic!("taken"),
        Err(faults) => faults,
    };
    assert!(faults.len() >= 6, "{faults:?}");
    assert!(faults.windows(2).all(|pair| match pair {
        [a, b] => (a.line, a.column) <= (b.line, b.column),
        _ => true,
    }));
}

#[test]
fn what_a_test_misspells_is_pointed_at_itself() {
    for (good, bad, column) in [
        ("{ id =", "{ idd =", 10_usize),
        ("{ XM =", "{ XN =", 11),
        ("{ name = \"云甲\"", "{ nmae = \"云甲\"", 13),
    ] {
        let text = SQLITE.replacen(good, bad, 1);
        let Err(faults) = Mapping::parse(&text, Path::new("m.toml")) else { panic!("{bad} is taken") };
        let name = bad.split(' ').nth(1);
        let told: Vec<_> = faults.iter().map(|fault| (text.get(fault.span.clone()), fault.column)).collect();
        assert_eq!(told, [(name, column)], "{faults:?}");
    }
}

#[test]
fn a_field_that_is_mistyped_is_not_spread_to_its_test() {
    for (good, bad, help) in [
        (
            "from = \"CSRQ\"",
            "from = \"CSRO\"",
            "the field `birth_date` reads `CSRO`: which of the two is mistyped?",
        ),
        (
            "\nbirth_date = ",
            "\nbirht_date = ",
            "there is a field `birht_date`: which of the two is mistyped?",
        ),
    ] {
        let text = SQLITE.replacen(good, bad, 1);
        let Err(faults) = Mapping::parse(&text, Path::new("m.toml")) else { panic!("{bad} is taken") };
        let helps: Vec<_> = faults.iter().filter_map(|fault| fault.help.as_deref()).collect();
        assert_eq!(helps, [help], "{faults:?}");
    }
}

#[test]
fn a_format_that_no_day_can_be_read_by_is_told_when_the_file_is_read() {
    // Without a test in the file nothing else would say so before the first row.
    let end = SQLITE.find("[[test]]").unwrap_or(SQLITE.len());
    let untested = SQLITE.get(..end).unwrap_or_default();
    for (base, good, written, format, message) in [
        (untested, "\"%Y%m%d\"", "\"%Y%m%q\"", "\"%Y%m%q\"", "`format` cannot be read"),
        (untested, "\"%Y%m%d\"", "\"YYYYMMDD\"", "\"YYYYMMDD\"", "`format` holds no whole day"),
        (CSV, "%Y-%m-%d %H:%M:%S", "%H:%M:%S", "\"%H:%M:%S\"", "`format` holds no whole day"),
        (
            CSV,
            "params.day = { type = \"date\" }",
            "params.day = { type = \"date\", format = \"%Y%m%d%H\" }",
            "\"%Y%m%d%H\"",
            "`format` cannot be written",
        ),
    ] {
        let text = base.replacen(good, written, 1);
        let Err(faults) = Mapping::parse(&text, Path::new("m.toml")) else { panic!("{written} is taken") };
        let told: Vec<_> =
            faults.iter().map(|fault| (text.get(fault.span.clone()), fault.message.as_str())).collect();
        assert_eq!(told, [(Some(format), message)], "{faults:?}");
        let help = faults.first().and_then(|fault| fault.help.as_deref()).unwrap_or_default();
        assert!(help.contains("\"%Y%m%d\""), "{help}");
    }
}

#[test]
fn a_columns_type_that_is_not_known_is_named_with_its_column() {
    let help =
        |near: &str| format!("{near}a column is one of: string, integer, number, bool, date, timestamp");
    let long = format!("\"{}\"", "x".repeat(40));
    for (written, what, near) in [
        ("\"strnig\"", "has the type `strnig`, which", "did you mean `string`? "),
        ("\"varchar(40)\"", "has the type `varchar(40)`, which", "did you mean `string`? "),
        ("{ type = \"DateTime\" }", "has the type `DateTime`, which", "did you mean `timestamp`? "),
        ("\"colour\"", "has the type `colour`, which", ""),
        (long.as_str(), "has a type, which", ""),
    ] {
        let text = CSV.replacen("AREA = \"string\"", &format!("AREA = {written}"), 1);
        let Err(faults) = Mapping::parse(&text, Path::new("m.toml")) else { panic!("{written} is taken") };
        let message = format!("column `AREA` {what} is not known");
        let found = faults.iter().find(|fault| fault.message == message);
        assert_eq!(found.and_then(|fault| fault.help.clone()), Some(help(near)), "{faults:?}");
    }
}

#[test]
fn hostile_files_are_refused_without_a_panic() {
    let deep = format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let wide = "x = 1\n".repeat(200_000);
    let random: String = (0..5000_u32).map(|n| char::from_u32(n * 97 % 0xd7ff).unwrap_or(' ')).collect();
    for text in ["", "\u{0}", "[[[[", "= = =", "format", "[source]", "operation = 1", &deep, &wide, &random] {
        match Mapping::parse(text, Path::new("m.toml")) {
            Ok(_) => panic!("taken"),
            Err(faults) => {
                assert!(!faults.is_empty());
                for fault in faults {
                    render(&fault, text);
                }
            }
        }
    }
    // Every prefix of a good file: a file that is still being written.
    for (at, _) in SQLITE.char_indices().step_by(7) {
        if let Err(faults) = Mapping::parse(SQLITE.get(..at).unwrap_or_default(), Path::new("m.toml")) {
            assert!(!faults.is_empty());
        }
    }
}

#[tokio::test]
async fn what_is_asked_about_a_subject_and_declares_none_is_warned_of() {
    use yiwang_adapter_sdk::check::{Finding, Level, Severity, check};
    let by_id = CSV.replace("incident.by_area_day", "incident.by_id");
    let lookup = CSV.replace("kind = \"search\"", "kind = \"lookup\"");
    let personal = lookup
        .replace("[operation.fields]", "[operation.fields]\ncaller = { from = \"AREA\", type = \"string\" }");
    let declared = by_id.replace("kind = \"search\"", "kind = \"search\"\nsubject = \"area\"");
    for (text, why) in [
        (CSV, None),
        (by_id.as_str(), Some("called by_id or by_person")),
        (lookup.as_str(), None),
        (personal.as_str(), Some("of class 2 and above")),
        (declared.as_str(), None),
    ] {
        let mapping = match Mapping::parse(text, Path::new("m.toml")) {
            Ok(mapping) => mapping,
            Err(faults) => panic!("{faults:?}"),
        };
        let findings = check(&mapping, Level::Offline).await;
        let told: Vec<&Finding> = findings.iter().filter(|finding| finding.code == "A-MAP-016").collect();
        assert_eq!(told.len(), usize::from(why.is_some()), "{findings:?}");
        for finding in told {
            assert!(finding.severity == Severity::Warning && finding.span.is_some(), "{finding:?}");
            assert!(why.is_some_and(|why| finding.message.contains(why)), "{finding:?}");
            let help = finding.help.as_deref().unwrap_or_default();
            assert!(help.starts_with("write subject = \"area\" below its name"), "{help}");
        }
    }
}

#[tokio::test]
async fn an_order_that_mariadb_forgets_is_told_and_one_of_the_mapping_is_not() {
    use yiwang_adapter_sdk::check::{Level, Severity, check};
    let mariadb = POSTGRES.replace("[source.postgres]", "[source.mariadb]");
    for (base, condition, more, told) in [
        (&mariadb, " order by GXSJ", "", 1),
        (&mariadb, " order by GXSJ desc limit 5", "", 1),
        (&mariadb, " order by GXSJ desc limit 1", "", 0),
        (&mariadb, "", "order = [\"GXSJ desc\"]\n", 0),
        (&mariadb, "", "", 0),
        (&POSTGRES.to_owned(), " order by GXSJ", "", 0),
    ] {
        let text = base.replacen("SFZH = :id", &format!("SFZH = :id{condition}"), 1).replacen(
            "limit = 1\n",
            &format!("{more}limit = 1\n"),
            1,
        );
        let mapping = match Mapping::parse(&text, Path::new("m.toml")) {
            Ok(mapping) => mapping,
            Err(faults) => panic!("{faults:?}"),
        };
        let findings = check(&mapping, Level::Offline).await;
        let about: Vec<_> = findings.iter().filter(|finding| finding.code == "A-MAP-017").collect();
        assert_eq!(about.len(), told, "{condition}: {findings:?}");
        assert!(about.iter().all(|one| one.severity == Severity::Warning && one.help.is_some()));
    }
}

#[tokio::test]
async fn a_mapping_that_parses_is_held_against_the_catalogue() {
    use yiwang_adapter_sdk::check::{Level, check, render};
    let changes = [
        ("name = { from = \"XM\"", "nam = { from = \"XM\"", "A-MAP-005"),
        ("record = \"Person\"", "record = \"Persona\"", "A-MAP-003"),
        ("class = 2", "class = 1", "A-MAP-007"),
        ("type = \"date\", format = \"%Y%m%d\"", "type = \"integer\"", "A-MAP-006"),
        ("subject = \"id\"\n", "", "A-MAP-008"),
        ("as_of = { from = \"GXSJ\", type = \"timestamp\", required = true }\n", "", "A-MAP-004"),
        ("\"1\" = \"male\"", "\"1\" = \"man\"", "A-MAP-010"),
        ("from = \"XM\"", "from = \"BIRTH_FAITH_RELIGION\"", "A-MAP-002"),
        ("\"2\" = \"female\"", "\"2\" = \"female\"\n\"7\" = \"key person\"", "A-MAP-002"),
    ];
    let mut shown = String::new();
    for (from, to, code) in changes {
        let text = match code {
            "A-MAP-005" | "A-MAP-002" | "A-MAP-004" => {
                // Tests that would not parse any more go too.
                let end = SQLITE.find("[[test]]").unwrap_or(SQLITE.len());
                SQLITE.get(..end).unwrap_or_default().replacen(from, to, 1)
            }
            _ => SQLITE.replacen(from, to, 1),
        };
        let mapping = match Mapping::parse(&text, Path::new("m.toml")) {
            Ok(mapping) => mapping,
            Err(faults) => panic!("{code}: {faults:?}"),
        };
        let findings = check(&mapping, Level::Offline).await;
        let found = findings.iter().find(|finding| finding.code == code);
        match found {
            Some(finding) => shown.push_str(&render(finding, &mapping, &text)),
            None => panic!("{code}: {findings:?}"),
        }
    }
    insta::assert_snapshot!("findings", shown);
}
