//! A report as people read it.

use yiwang_audit::Report;

pub fn show(report: &Report) -> String {
    let mut text = Vec::new();
    report.write_text(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}
