//! PostgreSQL's errors as ours. Its words are repeated only where they speak of a statement, which the
//! mapping's author wrote; elsewhere they can hold values.

use crate::server::{MAY_NOT_READ, Trouble, words};
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::Error;
use yiwang_adapter_sdk::source::SourceError;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Prepare,
    Execute,
}

/// An error of a connection that was open.
pub(super) fn trouble(error: &Error, at: At, timeout: Duration) -> Trouble {
    let Some(db) = error.as_db_error() else {
        return Trouble::Lost("the connection was lost".to_owned());
    };
    let code = state(db.code().code());
    match code {
        // The server stops, crashed, or starts; connections that it ends.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => {
            Trouble::Lost(format!("the server ended it ({code})"))
        }
        _ if code.starts_with("08") => Trouble::Lost(format!("the connection failed ({code})")),
        "57014" => Trouble::Kept(SourceError::Timeout(timeout)),
        "42501" => Trouble::Kept(SourceError::Drift(format!("{MAY_NOT_READ} ({code}); grant it select"))),
        _ if at == At::Prepare && !is_of_the_moment(code) => {
            Trouble::Kept(SourceError::Drift(words(db.message())))
        }
        // The plan or the names of a statement that was prepared before the table changed.
        "0A000" | "26000" => Trouble::Stale(format!("a table has changed ({code})")),
        _ if code.starts_with("42") => Trouble::Stale(format!("a table has changed ({code})")),
        "53300" => Trouble::Spent(SourceError::Busy { waiting: 0 }),
        _ => Trouble::Kept(SourceError::Query(format!("the database says {code}"))),
    }
}

/// Whether it is a matter of the server's means, locks or inside, and none of the statement.
fn is_of_the_moment(code: &str) -> bool {
    ["40", "53", "55", "58", "XX"].iter().any(|class| code.starts_with(class))
}

/// A code as the protocol has it, five letters and digits; what else a server says is not repeated.
fn state(code: &str) -> &str {
    if code.len() == 5 && code.bytes().all(|b| b.is_ascii_alphanumeric()) { code } else { "no code" }
}

/// An error of a connection that was being opened.
pub(super) fn opening(error: &Error) -> SourceError {
    let text = match error.as_db_error().map(|db| state(db.code().code())) {
        Some("28P01" | "28000") => {
            "the server refuses the role or its password; see what `url` refers to".to_owned()
        }
        Some("3D000") => "the server has no database of that name; see what `url` refers to".to_owned(),
        Some("57P03") => "the server is starting or stopping".to_owned(),
        Some("53300") => "the server has no connection left".to_owned(),
        Some(code) => format!("the server refuses the connection ({code})"),
        None => match tls_fault(error) {
            Some(fault) => format!("TLS to the server failed: {fault}"),
            None => "the connection could not be opened".to_owned(),
        },
    };
    SourceError::Unavailable(text)
}

/// What is wrong with a certificate or a handshake. Speaks of names and keys of the server only.
fn tls_fault(error: &Error) -> Option<String> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    let fault = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(words(&fault.to_string()))
}
