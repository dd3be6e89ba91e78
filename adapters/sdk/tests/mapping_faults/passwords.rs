//! A password is shown in no way of writing it.

use super::*;

/// One address with a password, in every way in which TOML lets it be written, or somebody gets it wrong.
const WAYS: &[&str] = &[
    "[source.postgres]\nurl = \"postgres://role:hunter2@db/x\"",
    "[ source.postgres ]\nurl = \"postgres://role:hunter2@db/x\"",
    "[ source . postgres ]\n  url = 'postgres://role:hunter2@db/x'",
    "[\"source\".postgres]\nurl = \"host=db password=hunter2\"",
    "['source'.\"postgres\"]\n\"url\" = \"host=db password=hunter2\"",
    "[\"so\\u0075rce\".postgres]\nurl = \"host=db password=hunter2\"",
    "source.postgres.url = \"postgres://role:hunter2@db/x\"",
    "source . postgres . \"url\" = \"password=hunter2\"",
    "source = { postgres = { url = \"password=hunter2\", read_only = 7 } }",
    "source.postgres = { read_only = true, url = 'password=hunter2' }",
    "source = { postgres = {\n  read_only = true,\n  url = \"password=hunter2\",\n} }",
    "[[source]]\npostgres.url = \"password=hunter2\"",
    "[[ source.postgres ]]\nurl = [\"password=hunter2\"]",
    "[source.postgres]\nurl = \"\"\"\n\\\n  password=hunter2\"\"\"",
    "[source.postgres]\nurl = '''\nread_only = hunter2\ntime_zone=hunter2\n'''",
    "[source.postgres]\nread_only = true # once hunter2\nurl = 7 # password=hunter2",
    "[source.postgres] # hunter2\nurl = [ # hunter2\n  \"hunter2\",\n  # hunter2\n]",
    "[source.postgres]\ntime_zone = \"postgres://role:hunter2@db/x\"",
    "[source.postgres]\n\"postgres://role:hunter2@db/x\" = true",
    "[source.postgres.\"postgres://role:hunter2@db/x\"]\nurl = 1",
    "[source.postgres]\npool = { max = 8, password = \"hunter2\" }\nretry.value = \"hunter2\"",
    "[sourc.postgres]\nurl = \"hunter2\"",
    "[source.postgres]\nhealth = { probe = \"select 1 from t where k = 'hunter2' -- hunter2\" }",
    "url = \"hunter2\"\npassword = \"hunter2\"",
    "[[operation]]\npassword = \"hunter2\"\nsql = \"\"\"select 1 from t\n  where a = $$hunter2$$ or b = 'x\nhunter2'\"\"\"",
    "[[operation]]\nbody = { token = \"Bearer:hunter2\", \"a\" = [\"x:y hunter2\"] }\nheaders.token = \"hunter2\"",
    "[[ test ]]\nargs = { id = \"hunter2\" }\nrows = [\n  { XM = \"hunter2\" },\n]\nexpect=[{name='hunter2'}]",
    // None of these is TOML.
    "[source.postgres]\nurl = \"postgres://role:hunter2@db/x",
    "[source.postgres]\nurl = postgres://role:hunter2@db/x?a=b",
    "[source.postgres]\nurl \"postgres://role:hunter2@db/x?sslmode=off\"",
    "[source.postgres]\nurl =\n  \"postgres://role:hunter2@db/x?sslmode=off\"",
    "[source.postgres]\nclient_secret = \"\nhunter2=\n\"",
    "[source.postgres]\nurl = \"\"\"\nhunter2 = a\n[hunter2]",
    "[ source.postgres ] url = \"password=hunter2\"",
    "[source.\"postgres://role:hunter2@db\"\nurl = 1",
    "source = { postgres = { url = \"password=hunter2\", read_only = } }",
    "source.postgres.url = \"password=hunter2\" read_only = true",
    "time_zone = \"UTC\", url = \"hunter2\"",
    "# hunter2\nurl = = hunter2",
];

/// Every line of a text that holds the password is pointed at, as a fault of it could.
fn every_line(text: &str) -> String {
    let mut shown = String::new();
    let mut start = 0;
    for (at, line) in text.split('\n').enumerate() {
        if line.contains("hunter2") {
            let fault = MappingFault {
                file: "m.toml".into(),
                span: start..text.len(),
                line: at + 1,
                column: 1,
                message: "wrong".to_owned(),
                help: None,
            };
            shown.push_str(&render(&fault, text));
        }
        start += line.len() + 1;
    }
    shown
}

#[test]
fn a_password_is_shown_in_no_way_of_writing_it() {
    for way in WAYS {
        // At the beginning, so that a broken end breaks the whole file; with the rest of a mapping and without.
        for text in [
            (*way).to_owned(),
            format!("{way}\n{SQLITE}"),
            format!("{SQLITE}\n{way}"),
            format!("\u{feff}{way}"),
        ] {
            for text in [text.replace('\n', "\r\n"), text] {
                let mut shown = every_line(&text);
                for fault in Mapping::parse(&text, Path::new("m.toml")).err().unwrap_or_default() {
                    shown.push_str(&format!("{fault} {:?}", fault.help));
                    shown.push_str(&render(&fault, &text));
                }
                assert!(!shown.contains("hunter2"), "{way}\n\n{shown}");
            }
        }
        // While it is being written, and with each sign forgotten.
        for (at, sign) in way.char_indices() {
            let cut = way.get(..at).unwrap_or_default();
            let rest = way.get(at + sign.len_utf8()..).unwrap_or_default();
            for text in [cut.to_owned(), format!("{cut}{rest}"), format!("{cut}{sign}{sign}{rest}")] {
                // What is left of the word itself is not looked for, and a bare key is named where it stands.
                let whole = text.matches("hunter2").count() == way.matches("hunter2").count();
                // What was a comment may be a name by then.
                if whole && !sign.is_alphanumeric() && !way.contains("--") {
                    let shown = every_line(&text);
                    assert!(!shown.contains("hunter2") || is_key(&text), "{text}\n\n{shown}");
                }
            }
        }
    }
}

/// Whether the password is a key of its own by now, which faults name.
fn is_key(text: &str) -> bool {
    let bare = |line: &str| {
        line.split(['=', '.']).any(|word| word.trim().trim_matches(['"', '\'', '[', ']', ' ']) == "hunter2")
    };
    text.parse::<toml::Table>().is_ok() && text.lines().any(bare)
}
