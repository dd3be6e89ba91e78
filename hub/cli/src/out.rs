//! What commands say. Nobody may read it to its end (`yiwang contract show ... | head`), and its disk may be full: a command
//! still does what it began, and says so by its exit code.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static FAILED: Mutex<Option<Error>> = Mutex::new(None);
/// Something was taken by whoever reads.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// In place of the standard one, which panics where nobody reads.
macro_rules! println {
    ($($said:tt)*) => { $crate::out::line(format_args!($($said)*)) };
}

/// The same for standard error, of which nothing can be told any more.
macro_rules! eprintln {
    ($($said:tt)*) => { $crate::out::error_line(format_args!($($said)*)) };
}

/// Says a line.
pub fn line(said: Arguments<'_>) {
    let (taken, written) = write(&mut std::io::stdout().lock(), format!("{said}\n").as_bytes());
    if taken {
        TAKEN.store(true, Ordering::Relaxed);
    }
    if let Err(error) = written
        && is_fault(&error, TAKEN.load(Ordering::Relaxed))
    {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Says a line to standard error.
pub fn error_line(said: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_all(format!("{said}\n").as_bytes());
}

/// Writes all of it, and tells whether some was taken: a reader may go in the middle of a long line. Given with its end,
/// a line goes to the reader first, and only what that did not take is buffered.
fn write(to: &mut impl Write, mut rest: &[u8]) -> (bool, std::io::Result<()>) {
    let mut taken = false;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return (taken, Err(ErrorKind::WriteZero.into())),
            Ok(count) => {
                taken = true;
                rest = rest.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// A reader that has seen enough goes; one that took nothing misses what was made, a token or a number of a case.
fn is_fault(error: &Error, taken: bool) -> bool {
    error.kind() != ErrorKind::BrokenPipe || !taken
}

/// Why something was not said that somebody would miss.
pub fn failed() -> Option<Error> {
    let taken = TAKEN.load(Ordering::Relaxed);
    let flushed = std::io::stdout().flush().err().filter(|error| is_fault(error, taken));
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take().or(flushed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and goes.
    struct Reader(usize);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_in_the_middle_of_a_line_took_something() {
        // Longer than what is buffered of it.
        let line = format!("{}\n", "x".repeat(5000));
        for (bytes, taken, whole) in [(0, false, false), (2000, true, false), (line.len(), true, true)] {
            let (some, written) = write(&mut std::io::LineWriter::new(Reader(bytes)), line.as_bytes());
            assert_eq!((some, written.is_ok()), (taken, whole), "{bytes}");
        }
    }

    #[test]
    fn a_reader_that_goes_is_a_fault_only_if_it_took_nothing() {
        for (kind, taken, fault) in [
            (ErrorKind::BrokenPipe, true, false),
            (ErrorKind::BrokenPipe, false, true),
            (ErrorKind::StorageFull, true, true),
            (ErrorKind::StorageFull, false, true),
        ] {
            assert_eq!(is_fault(&Error::from(kind), taken), fault, "{kind:?} {taken}");
        }
    }
}
