//! A child process that appends without end and tells on a pipe what was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use yiwang_journal::{Journal, Options, Reader, Recovery, fsck};

const DIR_VARIABLE: &str = "YIWANG_JOURNAL_TEST_DIR";
const FLOOR_VARIABLE: &str = "YIWANG_JOURNAL_TEST_FLOOR";

pub fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        max_record: 4096,
        max_batch: 256 << 10,
        reserve: 32 << 10,
        salt: 42,
        ..Options::default()
    }
}

pub fn data(index: u64) -> Bytes {
    let len = 1 + (index * 977) % 2000;
    (0..len).map(|at| (index.wrapping_mul(31) + at * 7) as u8).collect()
}

pub fn next_batch(journal: &Journal) -> Vec<Bytes> {
    let first = journal.len();
    (first..first + 1 + (first * 7) % 64).map(data).collect()
}

/// Does nothing unless started by [`Writer::start`].
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let floor = std::env::var(FLOOR_VARIABLE).unwrap().parse().unwrap();
    let (mut journal, _) = Journal::open(Path::new(&dir), options(), floor).unwrap();
    let mut pipe = std::io::stdout();
    loop {
        let records = next_batch(&journal);
        if let Err(error) = journal.append(&records) {
            let _ = writeln!(pipe, "failed {error}");
            return;
        }
        if writeln!(pipe, "acked {}", journal.len()).and_then(|()| pipe.flush()).is_err() {
            return;
        }
    }
}

pub struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
    acked: u64,
}

impl Writer {
    pub fn start(dir: &Path, floor: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer::child_appends_until_it_is_killed", "--nocapture"])
            .env(DIR_VARIABLE, dir)
            .env(FLOOR_VARIABLE, floor.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, acked: floor }
    }

    /// Reads one line; `false` at the end of the pipe. A line without its end was never sent.
    fn line(&mut self) -> bool {
        let mut line = String::new();
        if self.lines.read_line(&mut line).unwrap() == 0 {
            return false;
        }
        if line.ends_with('\n')
            && let Some(len) = line.trim().strip_prefix("acked ")
        {
            self.acked = len.parse().unwrap();
        }
        true
    }

    /// Waits until so many batches more are acknowledged.
    pub fn run(&mut self, batches: u64) {
        for _ in 0..batches {
            let before = self.acked;
            while self.acked == before {
                assert!(self.line(), "the writer ended by itself after {} records", self.acked);
            }
        }
    }

    /// Kills it in the middle of whatever it does; returns what it acknowledged.
    pub fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        while self.line() {}
        self.child.wait().unwrap();
        self.acked
    }
}

/// Everything acknowledged is there, everything there is right, by every way of reading.
pub fn check(dir: &Path, acked: u64, what: &str) -> Recovery {
    let report = fsck(dir);
    assert!(report.is_sound(), "{what}: {report:?}");
    let (reader, seen) =
        Reader::open_readonly(dir, &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (journal, recovery) =
        Journal::open(dir, options(), acked).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(recovery.len >= acked, "{what}: {acked} acknowledged, {} left", recovery.len);
    assert_eq!((reader.len(), seen.torn), (recovery.len, recovery.torn.clone()), "{what}");
    let mut expected = 0;
    for item in journal.reader().scan(0) {
        let (index, bytes, _) = item.unwrap();
        assert_eq!((index, &bytes), (expected, &data(index)), "{what}");
        expected += 1;
    }
    assert_eq!(expected, recovery.len, "{what}");
    let mut back = recovery.len;
    for item in reader.scan_back(back).take(1000) {
        back -= 1;
        let (index, bytes, _) = item.unwrap();
        assert_eq!((index, &bytes), (back, &data(index)), "{what}");
    }
    recovery
}
