//! The demo over the departments' own servers: seven members, the same story, and everything is gone afterwards.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The folder of real data, if it is there: its patients are served beside the city's.
fn data() -> Vec<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let folder = std::env::var("YIWANG_TEST_DATA").unwrap_or_else(|_| default.to_owned());
    let data = std::path::Path::new(&folder).join("data");
    if data.is_dir() {
        return vec!["--data".to_owned(), data.display().to_string()];
    }
    println!("no test data: the city's patients only");
    Vec::new()
}

/// Where the servers listened, as the demo says.
fn ports(text: &str) -> Vec<u16> {
    let places = text.lines().filter_map(|line| line.split(" at 127.0.0.1:").nth(1));
    places.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
}

/// Whether all servers are installed; says what is not, and fails where all must be.
fn is_whole(text: &str) -> bool {
    let missing: Vec<&str> = text.lines().filter(|line| line.contains("MISSING: ")).collect();
    let required = std::env::var("YIWANG_REQUIRE_SERVICES").as_deref() == Ok("1");
    assert!(missing.is_empty() || !required, "{missing:#?}");
    for line in &missing {
        println!("SKIPPED in part:{line}");
    }
    missing.is_empty()
}

fn all_closed(ports: &[u16]) {
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", *port)).is_err(), "something still listens at {port}");
    }
}

#[test]
fn seven_members_answer_from_their_own_systems_and_nothing_is_left_running() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yiwang"));
    command.args(["demo", "--services", "--once", "--scale", "0.001"]).args(data());
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let ports = ports(&text);
    all_closed(&ports);
    // With a server missing the story is told all the same, over what is there.
    if !is_whole(&text) {
        return;
    }
    assert_eq!(ports.len(), 4, "{text}");
    for word in [
        "police: MariaDB at",
        "civil-affairs: PostgreSQL at",
        "health: a double of a FHIR R4 server",
        "emergency-call and housing: SQLite",
        "urban-management: CSV",
        "gas: a REST API at",
        "✓ six departments answered",
        "checked: civil-affairs, emergency-call,",
        "Dwelling.tenure_kind: public",
        "UtilityConnection.state: connected",
        "MentalHealthRecord.support_need: help with housework",
        "✓ urban management answers for a place, and names nobody",
        "✓ police: its own fields are missing, all others there; then they are back",
        "✓ civil-affairs: its own fields are missing, all others there; then they are back",
        "✓ health: its own fields are missing, all others there; then they are back",
        "✓ gas: its own fields are missing, all others there; then they are back",
    ] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
}

#[test]
fn what_is_not_installed_is_said_and_the_rest_tells_the_story() {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["demo", "--services", "--once", "--scale", "0.0005"])
        .env("YIWANG_PYTHON", "/no/such/python")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        "health: MISSING: `/no/such/python` is not installed",
        "it answers from its embedded source (SQLite)",
        "gas: MISSING: `/no/such/python` is not installed",
        "it has no embedded source and is left out",
        "✓ five departments answered",
    ] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    all_closed(&ports(&text));
}

#[test]
fn a_key_that_is_pressed_stops_all_servers() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["demo", "--services", "--scale", "0.0005"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Read to the end, so that nothing that it writes finds a closed pipe.
    let (mut text, mut asked) = (String::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // In the middle of the story: servers run, the hub and its members too.
        if line.contains("One call asks every department") && !asked {
            asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success();
        }
        text.push_str(&line);
        text.push('\n');
    }
    child.wait().unwrap();
    assert!(asked && text.contains("stopped; processes and temporary files are removed"), "{text}");
    let ports = ports(&text);
    assert!(!is_whole(&text) || ports.len() == 4, "{text}");
    all_closed(&ports);
}

/// Nobody tidies up behind a killed demo: its folder, and a hub that it may have started just then, end here.
fn end_what_had_begun(text: &str) {
    let dir = text.lines().find_map(|line| line.strip_prefix("Everything lies in ")).unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(" hub run ") && line.contains(dir) {
            let id = process.file_name();
            Command::new("kill").arg("-KILL").arg(id).status().unwrap();
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}

/// Killed without a chance to tidy up, and the servers end all the same.
#[test]
fn servers_end_with_the_demo_however_it_ends() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["demo", "--services", "--scale", "0.0005"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.contains("emergency-call and housing: SQLite") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    end_what_had_begun(&text);
    is_whole(&text);
    let ports = ports(&text);
    // The pipe that each server's shell reads has ended; the servers need a moment of their own.
    for _ in 0..600 {
        if ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("a server outlives the demo: {text}");
}
