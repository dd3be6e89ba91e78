//! The program itself, and what only shows over days.

use crate::http::get;
use crate::town::{Host, adapter_config, gateway_config, write_config};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock};
use yiwang_proto::time::parse_rfc3339;
use yiwang_tests::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_yiwang-adapter");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_runs_until_it_is_told_to_stop() {
    let world = World::new(51).await;
    let city = world.city();
    let police = world.department(&city, "police", &["person"]).await;
    let path = write_config(&police, &adapter_config(&police));
    let log = path.with_file_name("log");
    let mut program = Command::new(PROGRAM)
        .args(["run", "--config"])
        .arg(&path)
        .envs(&police.settings.0)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let health: std::net::SocketAddr = first.strip_prefix("health http://").unwrap().parse().unwrap();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    world.until_linked(police.id()).await;
    assert_eq!(get(health, "/live").await.status, 200);
    // What another process has is no fault of the configuration: the same command does it later.
    let taken = Command::new(PROGRAM).args(["accept-clock", "--config"]).arg(&path).output().await.unwrap();
    assert_eq!(taken.status.code(), Some(3));
    let said = String::from_utf8(taken.stdout).unwrap();
    assert!(said.contains("is open for writing elsewhere") && said.contains("stop the other"), "{said}");
    assert_eq!(receipts(&path, &[]).await.0, Some(3));
    let id = program.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert_eq!(program.wait().await.unwrap().code(), Some(0));
    // The log names the doors that there are, and no other.
    let log = std::fs::read_to_string(log).unwrap();
    let runs = log.lines().find(|line| line.contains("the host runs")).unwrap();
    assert!(runs.contains(&format!("\"health\":\"{health}\"")) && !runs.contains("gateway"), "{runs}");
    let accepted =
        Command::new(PROGRAM).args(["accept-clock", "--config"]).arg(&path).output().await.unwrap();
    assert_eq!(accepted.status.code(), Some(0));
    let said = String::from_utf8(accepted.stdout).unwrap();
    assert!(said.contains("the clock is not behind the journal"), "{said}");
    assert_eq!(receipts(&path, &[]).await, (Some(0), "no receipt is owed\n".to_owned()));
    let text = std::fs::read_to_string(&path).unwrap();
    let elsewhere = path.with_file_name("elsewhere.toml");
    std::fs::write(&elsewhere, text.replace("journal = \"", "journal = \"nowhere-")).unwrap();
    let (code, said) = receipts(&elsewhere, &[]).await;
    assert!(code == Some(2) && said.contains("nowhere-") && said.contains("cannot be read"), "{said}");
    let (code, said) = receipts(&path, &["--give-up", &"a1".repeat(32), "--reason", "ticket 12"]).await;
    assert!(code == Some(1) && said.contains("no receipt is owed for request `a1a1"), "{said}");
    let missing = Command::new(PROGRAM).args(["run", "--config", "nowhere.toml"]).output().await.unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stdout).unwrap().contains("`nowhere.toml` cannot be read"));
    // Without its database's setting the program does not start, and says which one is missing.
    let bare = Command::new(PROGRAM).args(["run", "--config"]).arg(&path).output().await.unwrap();
    assert_eq!(bare.status.code(), Some(3));
    assert!(String::from_utf8(bare.stdout).unwrap().contains("`POLICE_DB` is not set"));
}

async fn receipts(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    let done = command.args(["receipts", "--config"]).arg(config).args(more).output().await.unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_renewed_after_two_thirds_of_its_life() {
    let clock = Arc::new(ManualClock::new(1_795_000_000_000));
    let world = World::with(52, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let street = world.member("street-office").await;
    for app in ["assistance-desk", "other-desk"] {
        street.app(&world, app).await;
    }
    let before = street.folder.enrolled().unwrap().certificate().unwrap();
    let life = u64::try_from(before.ends_ms - clock.now_ms()).unwrap();
    clock.advance_ms(life / 2);
    let host = Host::start(&world, &street, &gateway_config()).await;
    host.until_ready().await;
    assert_eq!(street.folder.enrolled().unwrap().certificate().unwrap(), before, "not yet due");
    host.stop().await;
    clock.advance_ms(life / 4);
    let host = Host::start(&world, &street, &gateway_config()).await;
    host.until_ready().await;
    let mut ends = 0;
    for _ in 0..600 {
        let status = host.health("/status").await.json();
        ends = parse_rfc3339(status["certificate_ends"].as_str().unwrap()).unwrap();
        if ends > before.ends_ms {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(ends > before.ends_ms, "renewed");
    host.stop().await;
}
