//! Every file that somebody writes for the network, broken in eighty ways: each fault says where, what and what
//! to do, and shows neither a secret nor a value, though each file holds some.

use std::fmt::Write as _;
use std::path::Path;
use yiwang_adapter::config::Config;
use yiwang_adapter_sdk::mapping::{Mapping, render, run_tests};
use yiwang_policies::{Catalogue, draft::check_draft};

/// Stands wherever a secret can stand, also by mistake.
const SECRET: &str = "canary-secret-9d41";
/// Stands wherever a person's data can stand.
const VALUE: &str = "canary-value-77f3";
/// The digest of a token, which nobody needs to see either.
const DIGEST: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// What is broken, the text that goes, the text that comes.
type Change = (&'static str, &'static str, &'static str);

/// A good file and the ways in which it is broken.
struct Kind {
    name: &'static str,
    file: &'static str,
    good: String,
    changes: &'static [Change],
    /// The faults of a text as whoever wrote it sees them; none where it is sound.
    judge: fn(&str) -> Option<Vec<String>>,
}

fn mapping(text: &str) -> Option<Vec<String>> {
    match Mapping::parse(text, Path::new("m.toml")) {
        Ok(mapping) => {
            let failed = run_tests(&mapping).into_iter().find_map(|test| test.failure);
            assert_eq!(failed, None, "the file's own test");
            None
        }
        Err(faults) => Some(faults.iter().map(|fault| render(fault, text)).collect()),
    }
}

fn adapter(text: &str) -> Option<Vec<String>> {
    Some(split(&Config::parse(Path::new("adapter.toml"), text).err()?.render()))
}

fn hub(text: &str) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hub.toml"), text).unwrap();
    let error = yiwang_hub::config::Config::read(dir.path()).err()?.to_string();
    Some(vec![error.replace(&format!("{}/", dir.path().display()), "")])
}

fn catalogue(text: &str) -> Option<Vec<String>> {
    let purposes = ("purposes.toml", "purpose = [{ id = \"parks.care\", about = \"care\" }]");
    let matters = ("matters.toml", "matter = [{ id = \"parks\", about = \"trees\" }]");
    let error = Catalogue::load(&[("records.toml", text)], purposes, matters).err()?;
    Some(vec![error.to_string()])
}

fn contract(text: &str) -> Option<Vec<String>> {
    let faults = check_draft("draft.json", text, &Catalogue::builtin().unwrap(), None).err()?;
    Some(faults.iter().map(ToString::to_string).collect())
}

/// Several faults, each from its first line to its help.
fn split(rendered: &str) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    for line in rendered.lines() {
        match faults.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line);
            }
            _ => faults.push(line.to_owned()),
        }
    }
    faults
}

/// A secret behind every line, where a comment can stand.
fn commented(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        let turns = line.matches("\"\"\"").count() % 2 == 1;
        if inside || turns {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "{line} # password {SECRET}");
        }
        inside ^= turns;
    }
    out
}

/// A mapping's good text with values in its rows and its statement.
fn planted(text: &str) -> String {
    let text = text.replace("SFZH = :id", &format!("SFZH = :id and XM <> '{VALUE}'"));
    let text = text.replace("sort = \"date\"", &format!("sort = \"{VALUE}\""));
    let text =
        text.replace("云甲", VALUE).replace("asthma", VALUE).replace("\"A1\"", &format!("\"{VALUE}\""));
    commented(&text)
}

const SQLITE: &[Change] = &[
    ("a misspelt key", "mapping = \"police", "maping = \"police"),
    ("no record", "record = \"Person\"", ""),
    ("a password in the path", "{ env = \"POLICE_DB\" }", "\"sqlite://u:canary-secret-9d41@db\""),
    ("a password under another key", "path = {", "canary = \"canary-secret-9d41\"\npath = {"),
    ("a bare password", "path = { env = \"POLICE_DB\" }", "path = canary-secret-9d41"),
    ("a source that may write", "read_only = true", "read_only = false"),
    ("a limit of nothing", "limit = 1 #", "limit = 0 #"),
    ("two statements", "<> 'canary-value-77f3'", "<> 'canary-value-77f3'; drop table T_RY"),
    ("a parameter that is not there", "SFZH = :id", "SFZH = :nobody"),
    ("a code table that is not there", "codes = \"sex\"", "codes = \"xes\""),
    ("a field of no type", "from = \"CSRQ\", type = \"date\"", "from = \"CSRQ\""),
    ("a class that does not exist", "class = 2", "class = 7"),
];

const POSTGRES: &[Change] = &[
    ("an address in the mapping", "{ env = \"POLICE_DB\" }", "\"postgres://u:canary-secret-9d41@db/x\""),
    ("no word on TLS", "tls = {", "# tls = {"),
    ("TLS that proves nothing", "verify-full", "prefer"),
    ("too many connections", "max = 8", "max = 650"),
    ("a comment that is executed", "SFZH = :id", "SFZH = :id /*! or true */"),
    ("a field from nowhere", "from = \"CSRQ\", type", "type"),
];

const MARIADB: &[Change] = &[
    ("another name for the server", "[source.mariadb]", "[source.mysql]"),
    ("a certificate in the mapping", "{ file = \"ca.pem\" }", "\"canary-secret-9d41\""),
    ("a wait that is too long", "acquire = \"2s\"", "acquire = \"31s\""),
    ("a backslash between quotes", "'canary-value-77f3'", "'canary-value-77f3\\\\'"),
    ("a zone that is not known", "Asia/Shanghai", "Asia/Nowhere"),
];

const CSV: &[Change] = &[
    ("a key that is no column", "key = \"CALL_NO\"", "key = \"CALL_NR\""),
    ("files in another folder", "\"calls-*.csv\"", "\"../calls-*.csv\""),
    ("an encoding that is not known", "\"gbk\"", "\"latin1\""),
    ("a condition on another column", "{ AREA = ", "{ AERA = "),
    ("a constant on another column", "AREA = \":area\"", "NAME = \"canary-value-77f3\""),
    ("a condition on another parameter", "\":day\"", "\":dya\""),
    ("a statement", "limit = 200", "sql = \"select 1\"\nlimit = 200"),
    ("a column type that is misspelt", "AREA = \"string\"", "AREA = \"strnig\""),
];

const HTTP: &[Change] = &[
    ("an address in the mapping", "{ env = \"GAS_API\" }", "\"https://u:canary-secret-9d41@gas.example\""),
    ("a secret in the mapping", "{ file = \"secret\" }", "\"canary-secret-9d41\""),
    ("a token endpoint with a password", "https://login", "https://u:canary-secret-9d41@login"),
    ("a method that changes", "method = \"POST\"", "method = \"DELETE\""),
    ("a path that climbs", "/v1/:city/connections/search", "/v1/../:city/search"),
    (
        "an identifier in the query",
        "sort = \"canary-value-77f3\"",
        "holder = \":id\", sort = \"canary-value-77f3\"",
    ),
    ("a pointer that is none", "\"/address/code\"", "\"address.code\""),
    ("calls without end", "attempts = 3", "attempts = 100"),
];

const FHIR: &[Change] = &[
    ("a key in the mapping", "{ file = \"fhir.jwk\" }", "\"canary-secret-9d41\""),
    ("all elements", "elements = true", "elements = false"),
    ("other resources beside it", "_sort = \"-recorded-date\"", "_include = \"canary-value-77f3\""),
    ("a search that is a query", "recorded-date = ", "\"a&b\" = "),
    ("a client without a name", "client_id = \"hub-adapter\", ", ""),
    ("freshness of what is no type", "probe = \"Condition\"", "probe = \"/Condition\""),
];

const ADAPTER: &[Change] = &[
    ("another format", "adapter-host/1", "adapter-host/2"),
    ("no member folder", "member_folder = \"member\"", ""),
    ("a misspelt key", "journal =", "jounal ="),
    ("a name that is none", "\"main\"", "\"Main Street\""),
    ("mappings that are no list", "[\"a.toml\"]", "\"a.toml\""),
    ("a door to the network", "127.0.0.1:8480", "0.0.0.0:8480"),
    ("a token instead of its digest", DIGEST, "canary-secret-9d41"),
    (
        "a token under another key",
        "token_sha256 = \"2c26",
        "token = \"canary-secret-9d41\"\ntoken_sha256 = \"2c26",
    ),
    ("a collector with a password", "http://127.0.0.1:4317", "u:canary-secret-9d41@collector"),
    ("a quote that does not end", "886266e7ae\"", "886266e7ae"),
    ("segments of no size", "journal = \"journal\"", "segment_bytes = 7\njournal = \"journal\""),
    ("no app", "[[gateway.app]]", "[[gateway.apps]]"),
];

const HUB: &[Change] = &[
    ("another format", "hub/1", "hub/2"),
    ("a misspelt key", "enrol_listen", "enroll_listen"),
    ("no names", "names = [\"localhost\"]", "names = []"),
    ("an address without a port", "listen = \"127.0.0.1:8443\"", "listen = \"canary-value-77f3\""),
    ("a port in words", "public_port = 8443", "public_port = \"canary-secret-9d41\""),
    ("an origin with spaces", "log.city.example/yiwang", "canary value 77f3"),
    ("a trust domain in capitals", "trust_domain = \"city.example\"", "trust_domain = \"Canary-Value-77f3\""),
    ("no rate", "per_second = 1000", "per_second = 0"),
    ("a purpose that is none", "emergency.life-safety", "Canary-Value-77f3"),
    ("a collector with a password", "http://127.0.0.1:4317", "canary-secret-9d41@collector"),
    ("a policy that is not there", "witness_policy = \"none\"", "witness_policy = \"nowhere\""),
    ("a key under the wrong table", "burst = 2000", "burts = 2000"),
    ("a key that stands twice", "public_port = 8443", "public_port = 8443\npublic_port = 8443"),
];

const CATALOGUE: &[Change] = &[
    ("a key that is not known", "owner = \"parks\"", "owner = \"parks\"\ncolour = \"canary-value-77f3\""),
    ("a class that does not exist", "class = 1", "class = 9"),
    ("a person's class in a record about none", "class = 1", "class = 2"),
    ("a type that is none", "\"number\"", "\"canary-value-77f3\""),
    ("a record about nobody", "\"none\"", "\"canary-value-77f3\""),
    ("a record's name", "\"Tree\"", "\"canary-value-77f3\""),
    ("a face", "\"Tree\"", "\"FaceImage\""),
    ("a score", "height =", "risk_score ="),
    ("nothing said about a field", "about = \"metres\"", "about = \"\""),
    ("no owner", "owner = \"parks\"", ""),
];

const CONTRACT: &[Change] = &[
    ("another format", "yiwang-contract/1", "yiwang-contract/9"),
    ("a misspelt key", "\"purpose\":", "\"purpse\":"),
    ("a purpose that is none", "public-health.planning", "public-health.plannin"),
    ("a matter that is none", "\"health-planning\"\n", "\"gossip\"\n"),
    ("a method that is none", "\"query\"", "\"canary-value-77f3\""),
    ("a field that is not there", "\"opened_at\",", "\"opened\","),
    ("too many rows", "\"rows\": 200", "\"rows\": 5000"),
    ("a number in words", "\"deadline_ms\": 5000", "\"deadline_ms\": \"canary-value-77f3\""),
    ("a class that is not that of the fields", "\"class\": 1", "\"class\": 3"),
    ("no end", "2027-11-01T00:00:00+08:00", "canary-value-77f3"),
    ("an end before the beginning", "2027-11-01", "2025-11-01"),
    ("a clause without a value", "\"value\": \"canary-value-77f3\"", "\"values\": []"),
    ("a personal constant", "\"field\": \"type\"", "\"field\": \"caller\""),
    (
        "a list of persons",
        "\"op\": \"eq\",\n      \"value\": \"canary-value-77f3\"",
        "\"op\": \"in\",\n      \"values\": [\"key person\"]",
    ),
    ("a comma too many", "\"emergency-call\",", "\"emergency-call\",,"),
];

fn kinds() -> Vec<Kind> {
    let kind = |name, file, good, changes, judge| Kind { name, file, good, changes, judge };
    let read = |name: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(name)).unwrap()
    };
    let sample = |name: &str| planted(&read(&format!("../sdk/tests/mappings/{name}.toml")));
    let host = commented(&format!(
        "format = \"adapter-host/1\"\nmember_folder = \"member\"\nadapter = \"main\"\nmappings = [\"a.toml\"]\n\
         journal = \"journal\"\notlp = \"http://127.0.0.1:4317\"\n[gateway]\nlisten = \"127.0.0.1:8480\"\n\
         [[gateway.app]]\nname = \"assistance-desk\"\ntoken_sha256 = \"{DIGEST}\"\n"
    ));
    let server = commented(
        "format = \"hub/1\"\norigin = \"log.city.example/yiwang\"\ntrust_domain = \"city.example\"\n\
         listen = \"127.0.0.1:8443\"\nenrol_listen = \"127.0.0.1:8444\"\nhealth_listen = \"127.0.0.1:8445\"\n\
         names = [\"localhost\"]\npublic_port = 8443\notlp = \"http://127.0.0.1:4317\"\n\
         [overload]\nper_second = 1000\nburst = 2000\nemergency = [\"emergency.life-safety\"]\n",
    );
    let records = commented(&format!(
        "[[record]]\nname = \"Tree\"\nowner = \"parks\"\nsubject = \"none\"\nabout = \"{VALUE}\"\n\
         fields.height = {{ type = \"number\", class = 1, about = \"metres\" }}\n"
    ));
    let draft = read("../departments/emergency-call/contracts/emergency-health-planning.json")
        .replace("\"medical\"", &format!("\"{VALUE}\""))
        .replace("without persons", &format!("without persons, {VALUE}"))
        .replace("conditional sharing", &format!("conditional sharing, {VALUE}"));
    vec![
        kind("sqlite", "m.toml", sample("sqlite"), SQLITE, mapping),
        kind("postgres", "m.toml", sample("postgres"), POSTGRES, mapping),
        kind(
            "mariadb",
            "m.toml",
            sample("postgres").replace("source.postgres", "source.mariadb"),
            MARIADB,
            mapping,
        ),
        kind("csv", "m.toml", sample("csv"), CSV, mapping),
        kind("http", "m.toml", sample("http"), HTTP, mapping),
        kind("fhir", "m.toml", sample("fhir"), FHIR, mapping),
        kind("adapter", "adapter.toml", host, ADAPTER, adapter),
        kind("hub", "hub.toml", server, HUB, hub),
        kind("catalogue", "records.toml", records, CATALOGUE, catalogue),
        kind("contract", "draft.json", draft, CONTRACT, contract),
    ]
}

#[test]
fn every_file_that_is_broken_here_is_sound_before() {
    for kind in kinds() {
        assert_eq!((kind.judge)(&kind.good), None, "{}", kind.name);
        assert!(kind.good.contains(VALUE) || kind.good.contains(SECRET), "{}: nothing is planted", kind.name);
    }
}

#[test]
fn each_fault_says_where_what_and_what_to_do_and_shows_no_secret_and_no_value() {
    let mut shown = String::new();
    let mut broken = 0;
    for kind in kinds() {
        for (what, from, to) in kind.changes {
            // The hub's file names no policy, which would have to be there.
            let good = match *from {
                "witness_policy = \"none\"" => {
                    kind.good.replacen("[overload]", &format!("{from}\n[overload]"), 1)
                }
                _ => kind.good.clone(),
            };
            assert!(good.contains(from), "{}: {what}: nothing to break", kind.name);
            let text = good.replacen(from, to, 1);
            let faults = (kind.judge)(&text).unwrap_or_else(|| panic!("{}: {what}: is taken", kind.name));
            broken += 1;
            let _ = writeln!(shown, "# {}: {what}", kind.name);
            assert!(!faults.is_empty());
            for fault in faults {
                let _ = writeln!(shown, "{}", fault.trim_end());
                complete(kind.file, &text, &fault);
            }
            shown.push('\n');
        }
    }
    assert!(broken >= 60, "{broken}");
    for planted in [SECRET, VALUE, DIGEST, "anary-", "Canary"] {
        assert!(!shown.contains(planted), "{planted} is shown:\n{shown}");
    }
    insta::assert_snapshot!("misconfigured", shown);
}

/// `file:line:column: reason` with a help, and a place that is in the file.
fn complete(file: &str, text: &str, fault: &str) {
    let rest = fault.strip_prefix(file).and_then(|rest| rest.strip_prefix(':'));
    let mut parts = rest.unwrap_or_else(|| panic!("no file: {fault}")).splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok()).unwrap_or_default();
    let (line, column) = (number(), number());
    let lines = text.lines().count();
    assert!((1..=lines.max(1)).contains(&line), "line {line} of {lines}: {fault}");
    let width = text.lines().nth(line - 1).unwrap_or_default().chars().count();
    assert!((1..=width + 1).contains(&column), "column {column} of {width}: {fault}");
    let said = parts.next().unwrap_or_default();
    let reason = said.lines().next().unwrap_or_default().trim();
    assert!(reason.len() > 8, "no reason: {fault}");
    assert!(fault.contains("= help: ") || reason.contains("; "), "no help: {fault}");
}
