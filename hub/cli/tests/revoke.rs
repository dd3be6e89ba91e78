//! `yiwang member revoke`, as a member's IT types it: the list, the acknowledgement, the refusals after it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap()
}

fn yiwang(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "yiwang {}: {error}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and words of a command that must fail.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert!(!output.status.success(), "yiwang {} succeeded", arguments.join(" "));
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

struct Hub(Child);

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Below the ports of outgoing connections, and away from those of other tests.
fn free_port() -> String {
    yiwang_city::servers::free_port().unwrap().to_string()
}

fn until_open(address: &str) {
    for _ in 0..600 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the hub did not listen on {address} within 12 s");
}

fn start(dir: &Path) -> Hub {
    let (listen, enrol, health) = (free_port(), free_port(), free_port());
    let path = dir.to_str().unwrap();
    let addresses = ["--listen", &listen, "--enrol-listen", &enrol, "--health-listen", &health];
    let mut init = vec!["hub", "init", "--dir", path, "--origin", "log.city.example/revoke"];
    init.extend(["--trust-domain", "city.example"]);
    init.extend(addresses);
    yiwang(&init);
    let child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["hub", "run", "--dir", path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hub = Hub(child);
    until_open(&listen);
    until_open(&enrol);
    hub
}

/// An officer with a key of its own that the member delegated: the pseudonym.
fn officer(dir: &Path, folder: &str) -> String {
    let (key, delegation) = (dir.join("officer.key"), dir.join("officer.json"));
    let made = yiwang(&["officer", "keygen", "--out", key.to_str().unwrap()]);
    let line = |name: &str| made.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (officer, public) = (line("officer:"), line("key:"));
    let names = ["--officer", &officer, "--key", &public, "--out", delegation.to_str().unwrap()];
    yiwang(&[&["officer", "delegate", "--folder", folder], &names[..]].concat());
    officer
}

fn open_case<'a>(folder: &'a str, app: &'a str) -> [&'a str; 8] {
    ["case", "open", "--folder", folder, "--app", app, "--matter", "social-assistance"]
}

/// The key of an app that was taken back gets no role by a slip of the hand.
fn has_a_new_key(folder: &str) {
    let again = ["member", "delegate", "--folder", folder, "--role", "app", "--name", "desk"];
    let (code, words) = refused(&again);
    assert!(code == 2 && words.contains("make another with `--new-key`"), "{words}");
    yiwang(&[&again[..], &["--new-key", "--publish"]].concat());
    yiwang(&open_case(folder, "desk"));
}

/// Under the next root the member goes on; the operator's word is needed again.
fn goes_on(folder: &str, hub: &str) {
    let rotate = ["member", "rotate-root", "--folder", folder];
    let said = yiwang(&rotate);
    assert!(said.contains("`street-office` goes on under its next root: "), "{said}");
    joined_anew(folder, hub);
    // Once more, for a root that was stolen and is not taken back yet: the next one takes it back, before it is known.
    let root = |line: &str| {
        let shown = yiwang(&["member", "show", "--folder", folder]);
        shown.lines().find_map(|text| text.trim().strip_prefix(line)).map(|rest| rest.trim().to_owned())
    };
    let stolen = root("root:").unwrap();
    yiwang(&rotate);
    let (code, words) = refused(&rotate);
    assert!(code == 2 && words.contains("`yiwang member enrol` first"), "{words}");
    assert_eq!(root("which the hub does not know yet, but "), Some(format!("{stolen}: enrol")));
    let said = yiwang(&["member", "revoke", "--folder", folder, "--root"]);
    assert!(said.contains(&format!("revoked under the root {stolen}, entry ")), "{said}");
    joined_anew(folder, hub);
    assert_eq!(root("which the hub does not know yet, but "), None);
}

fn joined_anew(folder: &str, hub: &str) {
    let (code, words) = refused(&open_case(folder, "other"));
    assert!(code == 2 && words.contains("has no app `other`"), "{words}");
    let token = yiwang(&["hub", "token", "--dir", hub, "--for", "member:street-office"]);
    yiwang(&["member", "enrol", "--folder", folder, "--token", token.trim()]);
    yiwang(&["member", "delegate", "--folder", folder, "--role", "standing", "--name", "main"]);
    yiwang(&["member", "delegate", "--folder", folder, "--role", "app", "--name", "other", "--publish"]);
    yiwang(&open_case(folder, "other"));
}

#[test]
fn a_member_takes_back_its_apps_key_and_its_root_and_learns_when_nothing_is_under_way() {
    let temporary = tempfile::tempdir().unwrap();
    let (hub_dir, member) = (temporary.path().join("hub"), temporary.path().join("member"));
    let hub = start(&hub_dir);
    let (hub_text, folder) = (hub_dir.to_str().unwrap(), member.to_str().unwrap());
    yiwang(&["member", "init", "--folder", folder, "--id", "street-office", "--name", "Street office"]);
    let token = yiwang(&["hub", "token", "--dir", hub_text, "--for", "member:street-office"]);
    yiwang(&["member", "enrol", "--folder", folder, "--token", token.trim()]);
    for name in ["desk", "other"] {
        yiwang(&["member", "delegate", "--folder", folder, "--role", "app", "--name", name, "--publish"]);
    }
    let open = |app| open_case(folder, app);
    yiwang(&open("desk"));

    let revoke = |more: &[&'static str]| {
        let mut arguments = vec!["member", "revoke", "--folder", folder];
        arguments.extend(more);
        arguments
    };
    let (code, words) = refused(&revoke(&[]));
    assert_eq!((code, words.contains("nothing is named")), (2, true), "{words}");
    let (code, words) = refused(&revoke(&["--app", "dsk"]));
    assert_eq!(code, 2);
    assert!(words.contains("has no app `dsk`; name one that it has: `desk`, `other`; or "), "{words}");
    let (code, words) = refused(&revoke(&["--adapter", "main"]));
    assert_eq!(code, 2);
    assert!(words.contains("has no adapter `main`, and no other: `yiwang member delegate --"), "{words}");
    assert!(refused(&open("desk2")).1.contains("has no app `desk2`; name one that it has: `desk`, "));
    // Without a standing key the list is kept, and the words say what is missing.
    let (code, words) = refused(&revoke(&["--app", "desk"]));
    assert_eq!((code, words.contains("standing key")), (3, true), "{words}");
    let long =
        ["member", "delegate", "--folder", folder, "--role", "standing", "--name", "main", "--days", "8"];
    assert_eq!(refused(&long).0, 2);
    yiwang(&["member", "delegate", "--folder", folder, "--role", "standing", "--name", "main"]);

    // A name that was mistyped would be kept, and what was meant would go on.
    let officer = officer(temporary.path(), folder);
    let other = if officer.ends_with('a') { 'b' } else { 'a' };
    let mistyped = format!("{}{other}", officer.get(..17).unwrap());
    let (code, words) = refused(&["member", "revoke", "--folder", folder, "--officer", &mistyped]);
    assert!(code == 2 && words.contains(&format!("did you mean `{officer}`?")), "{words}");
    assert!(words.contains("nothing was taken back"), "{words}");
    let list = std::fs::read_to_string(member.join("revoked.json")).unwrap();
    assert!(!list.contains(&mistyped), "{list}");
    yiwang(&["member", "revoke", "--folder", folder, "--officer", &officer]);

    // A hub that says that it knows no such contract holds nothing up.
    let output = run(&revoke(&["--app", "desk", "--contract", "police-street-person@2"]));
    let (said, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("acknowledged: no earlier reply is under way"), "{said}{words}");
    assert!(words.contains("it knows no contract `police-street-person` of `street-"), "{words}");
    let list = std::fs::read_to_string(member.join("revoked.json")).unwrap();
    assert!(list.contains("police-street-person") && list.contains("\"up_to_version\": 2"), "{list}");
    let (_, words) = refused(&open("desk"));
    assert!(words.contains("revoked"), "{words}");
    yiwang(&open("other"));
    has_a_new_key(folder);

    let said = yiwang(&revoke(&["--app", "other", "--with-root"]));
    assert!(said.contains("revoked under the root "), "{said}");
    let said = yiwang(&revoke(&["--root"]));
    assert!(said.contains("acknowledged"), "{said}");
    let (_, words) = refused(&open("other"));
    assert!(words.contains("revoked"), "{words}");

    goes_on(folder, hub_text);

    // Away from the hub: kept, not acknowledged, and it says so.
    drop(hub);
    let (code, words) = refused(&revoke(&["--officer", "o-aaaaaaaaaaaaaaaa"]));
    assert_eq!((code, words.contains("not acknowledged")), (3, true), "{words}");
    assert!(words.contains("no officer `o-aaaaaaaaaaaaaaaa` is delegated in"), "{words}");
    let (code, words) = refused(&revoke(&["--contract", "police-street-residence"]));
    assert_eq!((code, words.contains("not acknowledged")), (3, true), "{words}");
    assert!(words.contains("not checked that there is such a contract: "), "{words}");
    assert!(std::fs::read_to_string(member.join("revoked.json")).unwrap().contains("o-aaaaaaaaaaaaaaaa"));
    let key = std::fs::read_to_string(hub_dir.join("ledger/verifier.key")).unwrap();
    let ledger = hub_dir.join("ledger");
    yiwang(&["audit", "verify", "--ledger", ledger.to_str().unwrap(), "--key", key.trim()]);
}
