//! MariaDB's errors as ours. Its words are repeated only where they speak of a statement, which the
//! mapping's author wrote; elsewhere they can hold values.

use crate::server::{Trouble, not_reached, words};
use mysql_async::{Error, IoError};
use std::time::Duration;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sdk::value::TooMuchText;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Prepare,
    Execute,
}

/// An error of a connection that was open.
pub(super) fn trouble(error: &Error, at: At, timeout: Duration) -> Trouble {
    let Error::Server(fault) = error else {
        return match error {
            Error::Io(IoError::Io(fault)) if is_too_large(fault) => {
                Trouble::Spent(SourceError::TooLarge(TooMuchText))
            }
            Error::Io(_) => Trouble::Lost("the connection was lost".to_owned()),
            Error::Driver(mysql_async::DriverError::ConnectionClosed) => {
                Trouble::Lost("the connection was closed".to_owned())
            }
            // A row over the limit, a packet out of order: what is left of the answer is of no use.
            _ => Trouble::Spent(SourceError::Query("the answer cannot be read".to_owned())),
        };
    };
    let code = fault.code;
    match code {
        // The server stops; somebody ended the connection.
        1053 | 1077 | 1079 | 1152 | 1158..=1161 | 1927 | 4031 => {
            Trouble::Lost(format!("the server ended it ({code})"))
        }
        // Ended by its time limit, or from outside.
        1317 | 1969 | 3024 => Trouble::Kept(SourceError::Timeout(timeout)),
        1142 | 1143 | 1044 | 1045 | 1227 | 1370 => Trouble::Kept(SourceError::Drift(format!(
            "what the statement names is not there, or the role may not read it ({code}); grant it select"
        ))),
        1243 | 1615 => Trouble::Stale(format!("a table has changed ({code})")),
        _ if at == At::Prepare => Trouble::Kept(SourceError::Drift(words(&fault.message))),
        // Names of tables, columns and functions that are not there any more are told when the statement is
        // prepared anew, before a value is sent.
        1051 | 1054 | 1146 | 1305 | 1356 => Trouble::Stale(format!("a table has changed ({code})")),
        _ => Trouble::Kept(SourceError::Query(format!("the database says {code}"))),
    }
}

/// The library shows this kind of fault by its words only; where they change, the connection is lost instead.
fn is_too_large(fault: &std::io::Error) -> bool {
    fault.get_ref().is_some_and(|inner| inner.to_string().contains("larger than max_allowed_packet"))
}

/// An error of a connection that was being opened.
pub(super) fn opening(error: &Error) -> SourceError {
    let text = match error {
        Error::Server(fault) => match fault.code {
            1045 | 1698 => "the server refuses the role or its password; see what `url` refers to".to_owned(),
            1044 | 1049 => {
                "the server has no database of that name for the role; see what `url` refers to".to_owned()
            }
            1040 | 1203 | 1226 => "the server has no connection left".to_owned(),
            1129 | 1130 => "the server lets nobody in from this host".to_owned(),
            1053 => "the server is stopping".to_owned(),
            code => format!("the server refuses the connection ({code})"),
        },
        Error::Io(IoError::Tls(fault)) => format!("TLS to the server failed: {}", words(&fault.to_string())),
        Error::Io(IoError::Io(fault)) => {
            match fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(fault) => format!("TLS to the server failed: {}", words(&fault.to_string())),
                None => not_reached(fault),
            }
        }
        _ => "the connection could not be opened".to_owned(),
    };
    SourceError::Unavailable(text)
}
