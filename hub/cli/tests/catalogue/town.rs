//! A hub of its own and members' folders, with the program's own commands.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub error: String,
}

pub fn yiwang(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn good(arguments: &[&str]) -> String {
    let ran = yiwang(arguments);
    assert_eq!(ran.code, 0, "yiwang {}: {}", arguments.join(" "), ran.error);
    ran.out
}

pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_port() -> String {
    yiwang_city::servers::free_port().unwrap().to_string()
}

pub fn hub(dir: &Path) -> Running {
    let hub = dir.join("hub").to_str().unwrap().to_owned();
    let (listen, enrol, health) = (free_port(), free_port(), free_port());
    good(&[
        "hub",
        "init",
        "--dir",
        &hub,
        "--origin",
        "log.city.example/c1",
        "--trust-domain",
        "city.example",
        "--listen",
        &listen,
        "--enrol-listen",
        &enrol,
        "--health-listen",
        &health,
    ]);
    let running = start(dir, &["hub", "run", "--dir", &hub], &[], &listen);
    wait_for(&enrol);
    running
}

pub fn member(dir: &Path, id: &str) -> (String, String) {
    let folder = dir.join(id).to_str().unwrap().to_owned();
    good(&["member", "init", "--folder", &folder, "--id", id, "--name", id]);
    let hub = dir.join("hub").to_str().unwrap().to_owned();
    let token = good(&["hub", "token", "--dir", &hub, "--for", &format!("member:{id}")]);
    good(&["member", "enrol", "--folder", &folder, "--token", token.trim()]);
    let shown = good(&["member", "show", "--folder", &folder]);
    let root = shown.lines().find_map(|line| line.strip_prefix("root:")).unwrap().trim().to_owned();
    (folder, root)
}

fn wait_for(address: &str) -> bool {
    (0..1500).any(|_| {
        let open = std::net::TcpStream::connect(address).is_ok();
        if !open {
            std::thread::sleep(Duration::from_millis(20));
        }
        open
    })
}

/// Starts the program and waits until somebody listens.
pub fn start(dir: &Path, arguments: &[&str], environment: &[(&str, &str)], address: &str) -> Running {
    let log = dir.join(format!("{}.log", address.replace(':', "-")));
    let child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn();
    let running = Running(child.unwrap());
    assert!(wait_for(address), "{}", std::fs::read_to_string(&log).unwrap());
    running
}
