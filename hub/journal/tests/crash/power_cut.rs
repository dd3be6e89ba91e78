use crate::mounted::{Mounted, shut_down};
use crate::writer::{Writer, check};

#[test]
fn ten_power_cuts_under_load_lose_nothing_acknowledged() {
    let mut disk = match Mounted::ext4(192 << 20) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no power cuts, an ext4 file system cannot be mounted here: {reason}");
            return;
        }
    };
    let dir = disk.path().join("journal");
    let mut floor = 0;
    let mut torn = 0;
    for round in 0..10u64 {
        let mut writer = Writer::start(&dir, floor);
        writer.run(1 + round * 17 % 50);
        if let Err(reason) = shut_down(&disk.path()) {
            writer.kill();
            println!("SKIPPED: no power cuts, the file system cannot be shut down here: {reason}");
            return;
        }
        let acked = writer.kill();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        let recovery = check(&dir, acked, &format!("power cut {round}"));
        torn += u64::from(recovery.torn.is_some());
        floor = recovery.len;
    }
    println!("10 power cuts, {floor} records, {torn} torn batches cut, 0 acknowledged lost");
}
