//! What commands say on standard output. Nobody may read it to its end (`yiwang contract show ... | head`), and its disk may
//! be full: a command still does what it began, and says so by its exit code.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

static FAILED: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// In place of the standard one, which panics where nobody reads.
macro_rules! println {
    ($($said:tt)*) => { $crate::out::line(format_args!($($said)*)) };
}

/// Says a line.
pub fn line(said: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let Err(error) = out.write_fmt(said).and_then(|()| out.write_all(b"\n")) else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Why something was not said, unless it is that nobody reads.
pub fn failed() -> Option<std::io::Error> {
    let flushed = std::io::stdout().flush().err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take().or(flushed)
}
