//! Prometheus' text exposition format 0.0.4. Written here because the crates for it bring a second registry
//! (`opentelemetry-prometheus` brings `prometheus`, which brings a second protobuf), and our counters are
//! plain atomics already.

use crate::histogram::Histogram;
use std::fmt::Write as _;

/// `Content-Type` of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A page that is being written. All samples of one metric stand together, as the format asks.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a metric; its samples follow by [`Page::sample`]. A counter's name ends in `_total`.
    pub fn metric(&mut self, name: &str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.begin(name, kind, help)
    }

    fn begin(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// One sample of the metric that was begun.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) -> &mut Self {
        let _ = writeln!(self.0, "{name}{} {value}", braces(labels));
        self
    }

    /// A metric with one sample.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: u64) -> &mut Self {
        self.metric(name, kind, help).sample(name, &[], value)
    }

    /// A gauge in seconds from milliseconds.
    pub fn seconds(&mut self, name: &str, labels: &[(&str, &str)], ms: u64) -> &mut Self {
        let _ = writeln!(self.0, "{name}{} {}", braces(labels), decimal(ms, 1_000));
        self
    }

    /// A histogram in seconds by one label; its name ends in `_seconds`.
    pub fn histograms<'n, 'h>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        series: impl IntoIterator<Item = (&'n str, &'h Histogram)>,
    ) -> &mut Self {
        self.begin(name, "histogram", help);
        for (value, histogram) in series {
            let mut count = 0;
            for (bound, below) in histogram.cumulative() {
                let le = bound.map_or_else(|| "+Inf".to_owned(), |us| decimal(us, 1_000_000));
                let _ = writeln!(self.0, "{name}_bucket{} {below}", braces(&[(label, value), ("le", &le)]));
                count = below;
            }
            let labels = braces(&[(label, value)]);
            let sum = decimal(histogram.sum_us(), 1_000_000);
            let _ = writeln!(self.0, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
        }
        self
    }

    /// The page.
    pub fn finish(self) -> String {
        self.0
    }
}

fn braces(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// A whole number over a power of ten, without rounding.
fn decimal(value: u64, unit: u64) -> String {
    let width = unit.to_string().len().saturating_sub(1);
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        assert_eq!(decimal(0, 1_000_000), "0");
        assert_eq!(decimal(10, 1_000_000), "0.00001");
        assert_eq!(decimal(30_000_000, 1_000_000), "30");
        assert_eq!(decimal(1_500, 1_000), "1.5");
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut page = Page::default();
        page.metric("a_total", Kind::Counter, "line\nline").sample("a_total", &[("code", "x\"}\n\\")], 1);
        assert_eq!(
            page.finish(),
            "# HELP a_total line\\nline\n# TYPE a_total counter\na_total{code=\"x\\\"}\\n\\\\\"} 1\n"
        );
    }
}
