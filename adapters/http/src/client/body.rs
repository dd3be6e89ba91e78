//! Reading an answer: its type, its size, its depth and its number of values are bounded while it comes in,
//! before anything is parsed.

use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sdk::value::TooMuchText;

/// Levels of a document: records are flat, and resources some ten levels deep.
const DEPTH_MAX: u32 = 64;
/// Values of a document; each costs some tens of bytes in memory, however short its text.
const VALUES_MAX: u32 = 200_000;
/// Bytes of one text or name as it stands in the document.
const TEXT_MAX: u32 = 1024 * 1024;

fn drift(what: &str) -> SourceError {
    SourceError::Drift(format!("its answer {what}"))
}

/// Reads a body of JSON.
pub(crate) async fn read_json(response: Response<Incoming>, max: usize) -> Result<Value, SourceError> {
    let (head, mut body) = response.into_parts();
    is_plain_json(&head.headers)?;
    let said = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if said.is_some_and(|length: usize| length > max) {
        return Err(SourceError::TooLarge(TooMuchText));
    }
    let (mut bytes, mut gauge) = (Vec::new(), Gauge::default());
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| SourceError::Unavailable("the connection broke within an answer".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err(SourceError::TooLarge(TooMuchText));
        }
        gauge.feed(&data)?;
        bytes.extend_from_slice(&data);
    }
    serde_json::from_slice(&bytes).map_err(|_| drift("is broken JSON"))
}

fn is_plain_json(headers: &HeaderMap) -> Result<(), SourceError> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(drift("is compressed, which was not asked for"));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json") {
        Ok(())
    } else {
        Err(drift("is no JSON by its content type"))
    }
}

/// Counts levels and values of JSON as its bytes come in.
#[derive(Debug, Default)]
struct Gauge {
    depth: u32,
    values: u32,
    text: u32,
    in_text: bool,
    escaped: bool,
}

impl Gauge {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        for byte in bytes {
            if self.in_text {
                self.text += 1;
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                if self.text > TEXT_MAX {
                    return Err(drift("holds a text that is too long"));
                }
                continue;
            }
            match byte {
                b'"' => (self.in_text, self.text) = (true, 0),
                b'{' | b'[' => (self.depth, self.values) = (self.depth + 1, self.values + 1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                // Each value but the first of a list or object follows a comma.
                b',' => self.values += 1,
                _ => {}
            }
            if self.depth > DEPTH_MAX {
                return Err(drift("is nested too deeply"));
            }
            if self.values > VALUES_MAX {
                return Err(drift("holds too many values"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str) -> bool {
        // In pieces of three bytes, as a slow sender would.
        let mut gauge = Gauge::default();
        text.as_bytes().chunks(3).all(|piece| gauge.feed(piece).is_ok())
    }

    #[test]
    fn t19_bombs_are_refused_before_they_are_parsed() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(fits(&deep(64)));
        assert!(!fits(&deep(65)));
        assert!(!fits(&"{\"a\":".repeat(100_000)));
        assert!(!fits(&format!("[{}0]", "0,".repeat(VALUES_MAX as usize))));
        assert!(!fits(&format!("\"{}\"", "x".repeat(TEXT_MAX as usize + 1))));
        // Brackets and quotes inside a text are text.
        assert!(fits(&format!("\"{}\\\"{}\"", "[".repeat(100), "[".repeat(100))));
        assert!(!fits(&format!("\"\\\\\"{}", "[".repeat(100))));
    }
}
