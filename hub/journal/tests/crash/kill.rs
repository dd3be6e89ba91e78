use crate::writer::{Writer, check};

#[test]
fn twenty_five_kills_under_load_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut floor = 0;
    let mut torn = 0;
    for round in 0..25u64 {
        let mut writer = Writer::start(dir.path(), floor);
        writer.run(1 + round * 13 % 60);
        let acked = writer.kill();
        let recovery = check(dir.path(), acked, &format!("kill {round}"));
        torn += u64::from(recovery.torn.is_some());
        floor = recovery.len;
    }
    println!("25 kills, {floor} records, {torn} torn batches cut, 0 acknowledged lost");
}
