//! `adapter.toml`: what it says, and twenty and more ways in which it does not hold, each with its place.

use std::path::Path;
use yiwang_adapter::config::{Config, ConfigError};
use yiwang_adapter_sdk::mapping::Mapping;

const DIGEST: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn good() -> String {
    format!(
        "format = \"adapter-host/1\"
member_folder = \"member\"
adapter = \"main\"
mappings = [\"a.toml\", \"b.toml\"]
journal = \"journal\"
otlp = \"http://127.0.0.1:4317\"
[gateway]
listen = \"127.0.0.1:8480\"
[[gateway.app]]
name = \"assistance-desk\"
token_sha256 = \"{DIGEST}\"
[health]
listen = \"[::1]:8481\"
"
    )
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("etc/adapter.toml"), text)
}

#[test]
fn a_good_file_says_what_it_says() {
    let config = parse(&good()).unwrap();
    assert_eq!(config.member_folder, Path::new("etc/member"));
    let adapter = config.adapter.unwrap();
    assert_eq!(adapter.mappings, [Path::new("etc/a.toml"), Path::new("etc/b.toml")]);
    assert_eq!((adapter.name.as_str(), adapter.segment_bytes), ("main", 64 << 20));
    assert_eq!(adapter.only_contracts, None);
    let gateway = config.gateway.unwrap();
    assert_eq!((gateway.apps.len(), gateway.apps[0].name.as_str()), (1, "assistance-desk"));
    assert_eq!(gateway.apps[0].token_sha256[..3], [0x2c, 0x26, 0xb4]);
    assert_eq!(config.health.unwrap().port(), 8481);
    let network = good().replace("\"127.0.0.1:8480\"", "\"192.0.2.1:8480\"\nallow_network = true");
    assert!(parse(&network).is_ok());
    let only = good().replace("otlp", &format!("only_contracts = [\"{DIGEST}\"]\notlp"));
    assert_eq!(parse(&only).unwrap().adapter.unwrap().only_contracts.unwrap().len(), 1);
    let gateway_only =
        "format = \"adapter-host/1\"\nmember_folder = \".\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n";
    let gateway_only = format!("{gateway_only}[[gateway.app]]\nname = \"aa\"\ntoken_sha256 = \"{DIGEST}\"\n");
    assert_eq!(parse(&gateway_only).unwrap().adapter, None);
}

/// What is replaced by what, where the fault is, and what it says.
const BROKEN: &[(&str, &str, &str, &str)] = &[
    ("format = \"adapter-host/1\"", "format = \"adapter-host/2\"", "1:10", "`format` is not known"),
    ("format = \"adapter-host/1\"", "format = \"adapter/1\"", "1:10", "is a mapping and no adapter.toml"),
    ("format = \"adapter-host/1\"\n", "", "1:1", "lacks `format`"),
    ("format = \"adapter-host/1\"", "format = 1", "1:10", "`format` is a whole number, not a text"),
    ("member_folder", "member_foldr", "2:1", "did you mean `member_folder`?"),
    ("member_folder = \"member\"\n", "", "1:1", "lacks `member_folder`"),
    ("member_folder = \"member\"", "member_folder = \"\"", "2:17", "`member_folder` is not a path"),
    ("adapter = \"main\"\n", "", "3:1", "`mappings` without `adapter`"),
    ("\"main\"", "\"Main Street\"", "3:11", "`adapter` is not well-formed"),
    ("[\"a.toml\", \"b.toml\"]", "\"a.toml\"", "4:12", "`mappings` is a text, not a list"),
    ("[\"a.toml\", \"b.toml\"]", "[]", "4:12", "`mappings` lists 1 to"),
    ("[\"a.toml\", \"b.toml\"]", "[\"a.toml\", \"a.toml\"]", "4:23", "listed already"),
    ("[\"a.toml\", \"b.toml\"]", "[\"a.toml\", 7]", "4:23", "`mappings` is a whole number, not a text"),
    ("journal = \"journal\"\n", "", "1:1", "lacks `journal`"),
    ("journal = \"journal\"", "journal = \"journal\"\nsegment_bytes = 4097", "6:17", "`segment_bytes`"),
    ("http://127.0.0.1:4317", "127.0.0.1:4317", "6:8", "`otlp` is not a URL"),
    ("[gateway]\nlisten = \"127.0.0.1:8480\"\n", "[gateway]\n", "7:1", "[gateway] lacks `listen`"),
    ("127.0.0.1:8480", "localhost", "8:10", "`listen` is not an address and port"),
    ("127.0.0.1:8480", "0.0.0.0:8480", "8:10", "reachable from the network"),
    ("\"127.0.0.1:8480\"", "\"0.0.0.0:8480\"\nallow_network = \"yes\"", "9:17", "not true or false"),
    ("[[gateway.app]]", "[[gateway.apps]]", "9:11", "did you mean `app`?"),
    ("name = \"assistance-desk\"\n", "", "9:1", "[[gateway.app]] lacks `name`"),
    ("\"assistance-desk\"", "\"a\"", "10:8", "`name` is not well-formed"),
    ("2c26b46b", "2c26b46", "11:16", "`token_sha256` is not a SHA-256"),
    ("token_sha256", "token", "11:1", "unknown key `token`"),
    ("[::1]:8481", "127.0.0.1:8480", "13:10", "`listen` is the gateway's address too"),
    (
        "[::1]:8481\"",
        "0.0.0.0:8480\"\nallow_network = true",
        "13:10",
        "`listen` is the gateway's address too",
    ),
    ("listen = \"[::1]:8481\"", "port = 8481", "13:1", "unknown key `port`"),
    ("[health]", "[health", "12:8", "not TOML"),
    (
        "[health]\nlisten = \"[::1]:8481\"\n",
        "[[gateway.app]]\nname = \"assistance-desk\"\ntoken_sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n",
        "12:1",
        "of this name is there already",
    ),
    (
        "[health]\nlisten = \"[::1]:8481\"\n",
        "[[gateway.app]]\nname = \"other-desk\"\ntoken_sha256 = \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n",
        "12:1",
        "same token",
    ),
];

#[test]
fn every_fault_has_its_place_and_says_what_is_wrong() {
    let mut wrong = Vec::new();
    for (from, to, place, words) in BROKEN {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good(), "{from}");
        let error = parse(&text).err().unwrap_or_else(|| panic!("accepted: {to}"));
        let told = error.render();
        let place = format!("etc/adapter.toml:{place}: ");
        if !told.contains(&place) || !told.contains(words) {
            wrong.push(format!("expected {place}{words}, got\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each key that is missing comes with what to write.
#[test]
fn what_is_missing_comes_with_a_next_step() {
    let no_app = "format = \"adapter-host/1\"\nmember_folder = \".\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n";
    let without = |line: &str| {
        let text = good().replace(line, "");
        assert_ne!(text, good(), "{line}");
        text
    };
    for (text, step) in [
        (without("format = \"adapter-host/1\"\n"), "`format = \"adapter-host/1\"`"),
        (without("member_folder = \"member\"\n"), "`member_folder = \".\"`"),
        (without("journal = \"journal\"\n"), "`journal = \"journal\"`"),
        (without("name = \"assistance-desk\"\n"), "yiwang member delegate --role app"),
        (without(&format!("token_sha256 = \"{DIGEST}\"\n")), "sha256sum | cut -c1-64`"),
        (without("listen = \"127.0.0.1:8480\"\n"), "with a port that is free"),
        (no_app.to_owned(), "add a [[gateway.app]]"),
    ] {
        let told = parse(&text).unwrap_err().render();
        assert!(told.contains("lacks `") && told.contains(step), "{step}: {told}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = good()
        .replace("member_folder", "folder")
        .replace("\"main\"", "7")
        .replace("127.0.0.1:8480", "0.0.0.0:1")
        .replace("[::1]:8481", "x");
    let ConfigError::Faults { faults, .. } = parse(&text).unwrap_err() else { panic!("not read") };
    assert!(faults.len() >= 5, "{faults:#?}");
    assert!(faults.is_sorted_by_key(|fault| (fault.line, fault.column)));
}

#[test]
fn a_mapping_that_is_named_instead_is_told_and_nothing_else() {
    let mapping = include_str!("../../../departments/police/person.toml");
    let ConfigError::Faults { faults, .. } = parse(mapping).unwrap_err() else { panic!("not read") };
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("`yiwang adapter check FILE`")));
    let faults = Mapping::parse(&good(), Path::new("adapter.toml")).unwrap_err();
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    assert_eq!(
        (fault.line, fault.column, fault.message.as_str()),
        (1, 10, "this is an adapter.toml and no mapping")
    );
    assert!(fault.help.as_deref().is_some_and(|help| help.contains("`yiwang adapter check --config FILE`")));
}

#[test]
fn one_port_on_different_addresses_is_no_fault() {
    assert!(parse(&good().replace("[::1]:8481", "[::1]:8480")).is_ok());
    assert!(
        parse(&good().replace("127.0.0.1:8480", "127.0.0.1:0").replace("[::1]:8481", "127.0.0.1:0")).is_ok()
    );
}

#[test]
fn a_file_that_names_nothing_to_run_is_refused() {
    let error = parse("format = \"adapter-host/1\"\nmember_folder = \".\"\n").unwrap_err();
    assert!(error.to_string().contains("nothing to run"), "{error}");
}

#[test]
fn a_token_or_password_written_by_mistake_is_never_shown() {
    let secret = "kept-to-myself";
    for text in [
        good().replace(DIGEST, secret),
        good().replace("token_sha256", "token").replace(DIGEST, secret),
        good().replace("http://127.0.0.1:4317", &format!("user:{secret}@collector")),
        good().replace(&format!("\"{DIGEST}\""), &format!("\"\"\"\n{secret}\"\"\"")),
        good().replace("[health]", &format!("password = \"{secret}\"\n[health]")),
        good().replace("[health]", &format!("password = \"{secret}")),
        good().replace("name = \"assistance-desk\"", &format!("name = \"assistance-desk\"\n{secret}")),
        // Beside what may be shown: a comment, another key of the line, a line of a text that does not end.
        good().replace("[health]", &format!("[health] # {secret}\n# {secret}\nlisten = = 1")),
        good().replace("name = \"assistance-desk\"", &format!("name = \"a\", token = \"{secret}\"")),
        good().replace(&format!("\"{DIGEST}\""), &format!("\"\n{secret}=\n\"")),
        good().replace(
            "[health]",
            &format!("[health]\ngateway = {{ app = [{{ name = \"a\", token = \"{secret}\" }}] }}"),
        ),
        good()
            .replace("\"main\"", &format!("\"main\" # {secret}\nadapter = \"{secret}\""))
            .replace(&format!("adapter = \"{secret}\""), &format!("\"https://{secret}@x\" = 1")),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(!error.render().contains(secret), "{}", error.render());
        assert!(!error.to_string().contains(secret), "{error}");
    }
}
