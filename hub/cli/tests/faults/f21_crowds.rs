//! F21 to F23: more clients, less memory and fewer files than one would wish.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town, get};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// RSS of a hub at its highest, in KiB.
const RSS_MOST_KIB: u64 = 512 * 1024;
/// Clients of one address are capped: a crowd has many addresses.
const PER_ADDRESS: u32 = 100;

/// Several times what a door waits for a first word.
const SILENT_SECONDS: usize = 15;

/// A connection from one of many loopback addresses; none if it is refused.
async fn connect(number: u32, to: SocketAddr) -> Option<TcpStream> {
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 200, 0, 1)) + number / PER_ADDRESS);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    tokio::time::timeout(Duration::from_secs(30), socket.connect(to)).await.ok()?.ok()
}

/// Does nothing, or sends a byte in a second, until the other end closes. Who does nothing speaks at last: a
/// connection that the system dropped before the hub ever took it is known to be gone only then.
async fn dawdle(mut stream: TcpStream, number: u32) {
    // The beginning of a TLS handshake that never comes to an end.
    let record = [[0x16, 3, 1, 2, 0].as_slice(), &[1; 507]].concat();
    let mut buffer = [0; 256];
    for (second, byte) in record.into_iter().enumerate() {
        let pause = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await;
        if matches!(pause, Ok(Ok(0) | Err(_))) {
            return;
        }
        if (number % 2 == 1 || second > SILENT_SECONDS) && stream.write_all(&[byte]).await.is_err() {
            return;
        }
    }
    panic!("a client that never says who it is was kept for eight minutes");
}

fn kib_of(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f21_a_crowd_of_slow_clients_is_shown_out_and_others_are_served() {
    let crowd = rounds(2000, 10_000);
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    load.more(20).await;
    let mut slow = tokio::task::JoinSet::new();
    let to = town.addresses.listen;
    for number in 0..crowd {
        slow.spawn(async move {
            if let Some(stream) = connect(number, to).await {
                dawdle(stream, number).await;
            }
        });
    }
    load.more(100).await;
    while let Some(ended) = slow.join_next().await {
        ended.unwrap();
    }
    load.more(100).await;
    let pid = town.hub.as_ref().unwrap().child.id();
    let highest = kib_of(pid, "VmHWM:");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    println!("{crowd} slow clients, the hub took {} MiB at most, {open} files open", highest / 1024);
    assert!(open < 200, "{open} files are still open");
    assert!(highest < RSS_MOST_KIB, "{highest} KiB");
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("a crowd of {crowd}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f23_without_free_file_descriptors_old_connections_go_on() {
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    town.kill_hub();
    // 128 files: three quarters for connections, the rest for the ledger.
    let few = ["bash", "-c", "ulimit -n 128; exec \"$@\"", "bash"].map(str::to_owned);
    assert!(town.try_start_hub(&few), "{}", town.hub.as_ref().unwrap().log());
    load.more(50).await;
    let mut crowd = tokio::task::JoinSet::new();
    let (to, size) = (town.addresses.listen, rounds(400, 4000));
    for number in 0..size {
        crowd.spawn(async move { connect(number, to).await });
    }
    let mut held = Vec::new();
    while let Some(connected) = crowd.join_next().await {
        held.extend(connected.unwrap());
    }
    load.more(100).await;
    drop(held);
    load.more(50).await;
    assert!(
        get(town.addresses.health, "/ready").is_some_and(|answer| answer.contains(" 200 ")),
        "ready again"
    );
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{size} clients on 128 files"));
}

/// A memory cgroup of version 1 that goes with the test.
struct Ceiling(PathBuf);

impl Ceiling {
    fn new(bytes: u64) -> Result<Self, std::io::Error> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory/yiwang-faults-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let this = Self(path);
        std::fs::write(this.0.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(this)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_hub_under_a_memory_ceiling_is_not_killed() {
    let ceiling = match Ceiling::new(RSS_MOST_KIB * 1024) {
        Ok(ceiling) => ceiling,
        Err(reason) => return println!("SKIPPED: no memory cgroup of version 1 can be made here: {reason}"),
    };
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    town.kill_hub();
    let line = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", ceiling.0.display());
    let below = ["bash".to_owned(), "-c".to_owned(), line, "bash".to_owned()];
    assert!(town.try_start_hub(&below), "{}", town.hub.as_ref().unwrap().log());
    let pid = town.hub.as_ref().unwrap().child.id();
    // Some ten minutes of answers, in parts that each come within the load's patience.
    for _ in 0..rounds(1, 200) {
        load.more(500).await;
    }
    assert!(ceiling.read("cgroup.procs").contains(&pid.to_string()), "it ran outside of its ceiling");
    let most = ceiling.read("memory.max_usage_in_bytes").trim().parse::<u64>().unwrap() >> 20;
    assert!(ceiling.read("memory.oom_control").contains("oom_kill 0"), "something was killed");
    println!("at most {most} MiB of 512, files in the page cache included");
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, "a ceiling of 512 MiB");
}
