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
    match write(&mut std::io::stdout().lock(), said) {
        Ok(()) => TAKEN.store(true, Ordering::Relaxed),
        Err(error) if is_fault(&error, TAKEN.load(Ordering::Relaxed)) => {
            FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        Err(_) => {}
    }
}

/// Says a line to standard error.
pub fn error_line(said: Arguments<'_>) {
    let _ = write(&mut std::io::stderr().lock(), said);
}

fn write(to: &mut impl Write, said: Arguments<'_>) -> std::io::Result<()> {
    to.write_fmt(said)?;
    to.write_all(b"\n")
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
