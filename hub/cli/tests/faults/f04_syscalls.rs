//! F4: one call to the system fails, or is the last that a process makes. strace puts the fault where no file
//! system of a test machine would: at the n-th sync, write or rename of each thread.

use crate::judge::judge;
use crate::load::{IN_FLIGHT, Load};
use crate::town::{Places, Town};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Call, what happens to it, and at which one.
type Fault = (&'static str, &'static str, u32);

/// `strace`'s own parent is not the program: killing the child kills the program itself.
fn strace(fault: Fault, trace: &std::path::Path) -> Vec<String> {
    let (call, what, at) = fault;
    let words = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-qq",
        "--seccomp-bpf",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:{what}:when={at}"),
    ];
    words.map(str::to_owned).to_vec()
}

fn can_trace() -> bool {
    let line = ["-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync", "true"];
    let status = Command::new("strace").args(line).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = status.is_ok_and(|status| status.success());
    if !can {
        println!("SKIPPED: no faults in system calls, strace is not installed or may not trace here");
    }
    can
}

/// The short tier's places; the long one takes every place of every kind.
fn faults(short: &[Fault]) -> Vec<Fault> {
    if std::env::var_os("YIWANG_LONG").is_none() {
        return short.to_vec();
    }
    const CALLS: [&str; 5] = ["pwrite64", "write", "fdatasync", "fsync", "rename"];
    const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];
    let places = |call| FAULTS.into_iter().flat_map(move |what| (1..=25).map(move |at| (call, what, at)));
    // A program that cannot write its log stops for no good reason: the log's writes are left alone.
    CALLS.into_iter().filter(|call| *call != "write").flat_map(places).collect()
}

/// Whether the fault was put in. A program that was killed is seen to be before strace has written it down.
fn has_struck(trace: &str, ended: Option<ExitStatus>) -> bool {
    trace.contains("(INJECTED)") || ended.is_some_and(|status| status.signal() == Some(9))
}

/// Whether a call on a file of a journal was made to fail.
fn failed_in_a_journal(trace: &str) -> bool {
    trace.lines().any(|line| line.contains("(INJECTED)") && line.contains(".seg>"))
}

/// The program whose journal could not be written stops by itself, and with a failing code.
async fn stops(child: &mut std::process::Child, what: &str) {
    for _ in 0..1200 {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(!status.success(), "{what}: it ended as if nothing had happened");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: it went on after its journal failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_a_hub_whose_calls_fail_acknowledges_nothing_that_is_lost() {
    if !can_trace() {
        return;
    }
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    let short = [
        ("fdatasync", "error=EIO", 2),
        ("fdatasync", "error=EIO", 9),
        ("fdatasync", "signal=KILL", 6),
        ("pwrite64", "error=EIO", 5),
        ("pwrite64", "error=ENOSPC", 3),
        ("pwrite64", "signal=KILL", 12),
        ("rename", "error=EIO", 2),
        ("fsync", "error=EIO", 1),
    ];
    let (mut struck, mut stopped) = (0, 0);
    for fault in faults(&short) {
        let what = format!("{fault:?}");
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let traced = || std::fs::read_to_string(&trace).unwrap_or_default();
        town.kill_hub();
        if town.try_start_hub(&strace(fault, &trace)) {
            town.kill_adapter();
            town.start_adapter(&[]);
            let child = &mut town.hub.as_mut().unwrap().child;
            load.more_unless(60, || child.try_wait().unwrap().is_some() || failed_in_a_journal(&traced()))
                .await;
            if fault.1 != "signal=KILL" && failed_in_a_journal(&traced()) {
                stops(child, &what).await;
            }
            stopped += u32::from(child.try_wait().unwrap().is_some());
        }
        let ended = town.hub.as_mut().unwrap().child.try_wait().unwrap();
        struck += u32::from(has_struck(&traced(), ended));
        town.kill_hub();
        town.start_both();
        load.more(3).await;
    }
    assert!(struck > 4, "only {struck} faults struck");
    let seen = load.end().await;
    town.kill_hub();
    town.kill_adapter();
    judge(&town, &seen, &format!("{struck} faults in calls of the hub ({stopped} stopped it)"));
}

/// Answers within which each fault of the short tier strikes the adapter: the slower the machine, the more answers share
/// one write and one sync, all that are under way at the most. The long tier has places that are never come to.
fn answers() -> u64 {
    if std::env::var_os("YIWANG_LONG").is_none() { 16 * IN_FLIGHT as u64 } else { 60 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_an_adapter_whose_calls_fail_answers_nothing_that_it_did_not_keep() {
    if !can_trace() {
        return;
    }
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    let short = [
        ("fdatasync", "error=EIO", 2),
        ("fdatasync", "signal=KILL", 7),
        ("pwrite64", "error=EIO", 4),
        ("pwrite64", "error=ENOSPC", 9),
    ];
    let (mut struck, mut stopped) = (0, 0);
    for fault in faults(&short) {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let traced = || std::fs::read_to_string(&trace).unwrap_or_default();
        town.kill_adapter();
        town.start_adapter(&strace(fault, &trace));
        let child = &mut town.adapter.as_mut().unwrap().child;
        load.more_unless(answers(), || child.try_wait().unwrap().is_some() || failed_in_a_journal(&traced()))
            .await;
        if fault.1 != "signal=KILL" && failed_in_a_journal(&traced()) {
            stops(child, &format!("{fault:?}")).await;
        }
        let ended = child.try_wait().unwrap();
        stopped += u32::from(ended.is_some());
        struck += u32::from(has_struck(&traced(), ended));
        town.kill_adapter();
        town.start_adapter(&[]);
        load.more(3).await;
    }
    assert!(struck > 2, "only {struck} faults struck");
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{struck} faults in calls of the adapter ({stopped} stopped it)"));
}
