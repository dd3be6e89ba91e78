//! Pieces of a mapping's text. What a source says of itself is a stranger's text: in a comment it is one
//! line, and a value is always written as TOML writes it.

use yiwang_adapter_sdk::words::is_obeyed;

/// Characters of a comment that are kept.
const COMMENT_MAX: usize = 100;

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    if !text.chars().any(is_obeyed) {
        return toml::Value::String(text.to_owned()).to_string();
    }
    // Whoever reviews it sees what is there.
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_obeyed(c) => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// Characters of a line that are read at a glance.
const LINE_MAX: usize = 120;

/// A statement in parts: on one line where it is short, else each part on its own, and as a literal where
/// that can be read.
pub(super) fn statement(parts: &[String]) -> String {
    let plain = |text: &str| !text.contains('\'') && !text.chars().any(is_obeyed);
    let line = parts.join(" ");
    if !parts.iter().all(|part| plain(part)) {
        return quoted(&line);
    }
    if line.chars().count() <= LINE_MAX {
        format!("'{line}'")
    } else {
        format!("'''\n{}'''", parts.join("\n"))
    }
}

/// Columns of a screen that a text takes: a Chinese character is as wide as two others.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// A list: on one line where it is short, else as many entries on each line as fit.
pub(super) fn wrapped(head: &str, entries: impl Iterator<Item = String>, end: &str) -> String {
    let entries: Vec<String> = entries.collect();
    let line = format!("{head}{}{end}", entries.join(", "));
    if width(&line) <= LINE_MAX {
        return line;
    }
    let mut text = head.to_owned();
    let mut used = LINE_MAX;
    for entry in entries {
        let wide = width(&entry) + 2;
        if used + wide > LINE_MAX {
            text.push_str("\n ");
            used = 1;
        }
        text.push_str(&format!(" {entry},"));
        used += wide;
    }
    text.push('\n');
    text.push_str(end);
    text
}

/// One line for a comment.
pub(super) fn line(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).enumerate() {
        if at == COMMENT_MAX {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out.trim().to_owned()
}

/// Words of a name, in lower case and with underscores, for names of operations and tables of codes.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_says_cannot_leave_its_line_or_its_quotes() {
        assert_eq!(line("a\nrecord = \"Other\"\u{7}"), "a record = \"Other\"");
        assert_eq!(line(&"云".repeat(200)).chars().count(), COMMENT_MAX + 1);
        let long = "x".repeat(LINE_MAX);
        for text in ["a\"\nb", "'''", "select 'x' from t", "a\\b", "\u{1}", "a\u{202e}\"b", &long] {
            let parts = [text.to_owned(), "b".to_owned()];
            for (written, said) in [(quoted(text), text.to_owned()), (statement(&parts), format!("{text} b"))]
            {
                assert!(!written.chars().any(|c| c != '\n' && is_obeyed(c)), "{written}");
                let read: toml::Table = toml::from_str(&format!("a = {written}")).unwrap();
                assert_eq!(
                    read["a"].as_str().unwrap().replace('\n', " "),
                    said.replace('\n', " "),
                    "{written}"
                );
            }
        }
        assert_eq!(snake("BenefitStatus"), "benefit_status");
    }

    #[test]
    fn a_list_is_read_at_a_glance_however_long_it_is() {
        for count in [1, 2, 9, 40] {
            let names: Vec<String> = (0..count).map(|number| format!("统一编号{number}")).collect();
            let text = wrapped("columns = [", names.iter().map(|name| quoted(name)), "]");
            let read: toml::Table = toml::from_str(&text).unwrap();
            let back: Vec<&str> =
                read["columns"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
            assert_eq!(back, names);
            assert!(text.lines().all(|line| width(line) <= LINE_MAX), "{text}");
        }
    }
}
