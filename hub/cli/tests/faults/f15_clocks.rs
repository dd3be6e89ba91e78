//! F15: a real adapter process whose clock is wrong. Clocks moved by hand, at every party, are in `tests/tests/faults`.

use crate::judge::judge;
use crate::load::{IN_FLIGHT, Load};
use crate::town::{Places, Town};
use std::path::PathBuf;

/// Outcomes that are looked at while the clock is wrong.
const LOOKED_AT: u64 = 300;

/// The library for programs with threads, wherever the package of this machine puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .chain([PathBuf::from("/usr/lib64/faketime/libfaketimeMT.so.1")])
        .find(|path| path.is_file())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_an_adapter_with_a_wrong_clock_serves_nothing() {
    let Some(library) = library() else { return println!("SKIPPED: libfaketime is not installed") };
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    load.more(20).await;
    for shift in ["+1h", "+1d"] {
        town.kill_adapter();
        let (answered, acknowledged) = (load.answered(), load.acknowledged());
        // Not by the program `faketime`, which stays in between and would be killed in the adapter's place.
        let settings = [format!("LD_PRELOAD={}", library.display()), format!("FAKETIME={shift}")];
        town.start_adapter(&[&["env".to_owned()], settings.as_slice()].concat());
        load.until_acknowledged(acknowledged + LOOKED_AT).await;
        // What was answered before the old process ended may have been counted after: one by each worker.
        let late = load.answered() - answered;
        assert!(late <= IN_FLIGHT as u64, "{late} answers by a clock that is {shift}");
    }
    town.kill_adapter();
    let seen = load.end().await;
    town.kill_hub();
    judge(&town, &seen, "an adapter whose clock was wrong");
}
