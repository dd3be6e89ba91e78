//! W3C trace context: the caller's trace goes on to the hub under a span of the gateway's own.

use axum::http::HeaderMap;
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::hex;

/// The trace of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) id: String,
    /// What goes on to the hub.
    pub(super) parent: String,
    /// What the caller sent, if it is a context.
    pub(super) caller: Option<String>,
}

impl Trace {
    /// Continues the caller's trace, or begins one.
    pub(super) fn of(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let mut given = headers.get_all("traceparent").iter();
        let caller = match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok().filter(|text| parse(text).is_some()),
            _ => None,
        };
        let (id, flags) = match caller.and_then(parse) {
            Some((id, flags)) => (id.to_owned(), flags.to_owned()),
            None => (hex(&random::<16>(entropy)), "01".to_owned()),
        };
        let parent = format!("00-{id}-{}-{flags}", hex(&random::<8>(entropy)));
        Self { id, parent, caller: caller.map(str::to_owned) }
    }

    /// Goes on as the span that a collector records: its ids instead of those made here.
    pub(super) fn take(&mut self, own: String) {
        if let Some((id, _)) = parse(&own) {
            self.id = id.to_owned();
            self.parent = own;
        }
    }
}

/// Trace id and flags of a `traceparent` of version 00; any other form begins a new trace, as the standard
/// asks.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let some = |text: &str| text.bytes().any(|b| b != b'0');
    let fits = parts.next().is_none()
        && version == "00"
        && hex(id, 32)
        && some(id)
        && hex(span, 16)
        && some(span)
        && hex(flags, 2);
    fits.then_some((id, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::SeededEntropy;

    fn of(values: &[&str]) -> Trace {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        Trace::of(&headers, &SeededEntropy::new(1))
    }

    #[test]
    fn the_trace_goes_on_under_a_span_of_its_own() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = of(&[&format!("00-{id}-00f067aa0ba902b7-01")]);
        assert_eq!(trace.id, id);
        assert!(trace.parent.starts_with(&format!("00-{id}-")) && trace.parent.ends_with("-01"));
        assert!(!trace.parent.contains("00f067aa0ba902b7"));
        assert!(parse(&trace.parent).is_some());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = format!("00-{id}-00f067aa0ba902b7-01");
        let zero = "00000000000000000000000000000000";
        for bad in [
            String::new(),
            format!("01-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}-00f067aa0ba902b7-01-x"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{id}-0000000000000000-01"),
        ] {
            assert_ne!(of(&[&bad]).id, id, "{bad}");
            assert!(parse(&of(&[&bad]).parent).is_some());
        }
        assert_ne!(of(&[&good, &good]).id, id, "two headers are none");
    }
}
