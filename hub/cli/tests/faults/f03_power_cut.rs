//! F3: power cuts. A file system of its own is cut off from its device without a flush: what was not synced is
//! gone, as when the plug is pulled.

use crate::judge::judge;
use crate::load::Load;
use crate::mounted::{Mounted, shut_down};
use crate::rounds;
use crate::town::{Places, Town};

/// Of a sparse file. What 200 cuts leave is some hundred megabytes, the more the longer a machine takes to come back: a
/// full disk is another fault, and the hub then serves nobody, as it should.
const DISK_BYTES: u64 = 4 << 30;

fn disk() -> Option<Mounted> {
    match Mounted::ext4(DISK_BYTES) {
        Ok(disk) => Some(disk),
        Err(reason) => {
            println!("SKIPPED: no power cuts, an ext4 file system cannot be mounted here: {reason}");
            None
        }
    }
}

/// `false` where the machine has no such fault to offer.
fn cut(disk: &Mounted) -> bool {
    match shut_down(&disk.path()) {
        Ok(()) => true,
        Err(reason) => {
            println!("SKIPPED: no power cuts, the file system cannot be shut down here: {reason}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_what_was_acknowledged_survives_power_cuts_of_the_hub() {
    let Some(mut disk) = disk() else { return };
    let cuts = rounds(10, 200);
    let places = Places { hub: Some(disk.path().join("hub")), ..Places::default() };
    let mut town = Town::new(places).await;
    let load = Load::start(&town).await;
    for round in 0..cuts {
        load.more(3 + u64::from(round * 37 % 101)).await;
        if !cut(&disk) {
            return;
        }
        town.kill_hub();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        town.start_both();
    }
    load.more(20).await;
    let seen = load.end().await;
    town.kill_hub();
    town.kill_adapter();
    judge(&town, &seen, &format!("{cuts} power cuts of the hub"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_what_was_answered_survives_power_cuts_of_the_adapter() {
    let Some(mut disk) = disk() else { return };
    let cuts = rounds(10, 200);
    let places = Places { journal: Some(disk.path().join("journal")), together: true, ..Places::default() };
    let mut town = Town::new(places).await;
    let load = Load::start(&town).await;
    for round in 0..cuts {
        load.more(3 + u64::from(round * 41 % 97)).await;
        if !cut(&disk) {
            return;
        }
        town.kill_adapter();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        town.start_adapter(&[]);
    }
    load.more(20).await;
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{cuts} power cuts of the adapter"));
}
