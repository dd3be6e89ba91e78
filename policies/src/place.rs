//! Faults with their place, for whoever wrote the file: what is wrong and what to do, without the values that
//! stand in it, which may be secrets or data of persons.

use yiwang_proto::nearest::did_you_mean;

/// A fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}; {help}")]
pub struct Located {
    /// The file, as it was named to the parser.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong: names keys, never values.
    pub message: String,
    /// What to do next.
    pub help: String,
}

impl Located {
    /// A fault at a byte offset of a text.
    pub fn at(
        file: &str,
        text: &str,
        offset: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (line, column) = position(text, offset);
        Self { file: file.to_owned(), line, column, message: message.into(), help: help.into() }
    }
}

/// Line and column (in characters) of a byte offset, both from 1.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1)
}

/// What a parser of TOML or JSON said, without the value that it met, and what to do.
pub fn without_values(said: &str) -> (String, String) {
    let said = said.lines().next().unwrap_or_default();
    if let Some(rest) = said.strip_prefix("unknown field ") {
        return unknown_key(rest);
    }
    if let Some(rest) = said.strip_prefix("missing field ") {
        let field = rest.split('`').nth(1).unwrap_or_default();
        return (format!("`{field}` is missing"), format!("add `{field}`"));
    }
    if said.starts_with("unknown variant ") {
        let known = said.split_once("expected ").map_or("one that is known", |(_, known)| known);
        return ("the value is not one of those that are known".to_owned(), format!("write {known}"));
    }
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = said.strip_prefix(kind) {
            let wanted = rest.rsplit_once("expected ").map_or("another one", |(_, wanted)| wanted);
            let wanted = match wanted {
                "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that fits",
                other => other,
            };
            return (format!("the value is not {wanted}"), format!("write {wanted}"));
        }
    }
    if said.contains("socket address") {
        let help = "write it like \"127.0.0.1:8443\", or \"[::1]:8443\"";
        return ("the value is not an address and port".to_owned(), help.to_owned());
    }
    if said.starts_with("duplicate ") {
        return ("a key stands twice".to_owned(), "take one of the two out".to_owned());
    }
    // An id's fault begins with the id; the rule comes after it.
    if let Some((_, rule)) = said.split_once("` is not ") {
        return ("the value is not well-formed".to_owned(), format!("write {rule}"));
    }
    if said.contains("base64") || said.contains("key") && said.contains("bytes") {
        let help = "write the 44 characters that `yiwang member init` printed";
        return ("the value is not a key".to_owned(), help.to_owned());
    }
    let plain = said.split('"').step_by(2).collect::<Vec<_>>().join("…");
    let help = "each bracket and quote is closed, each key stands once, and entries are separated as its format asks";
    (format!("the text cannot be read: {plain}"), help.to_owned())
}

fn unknown_key(rest: &str) -> (String, String) {
    let mut names = rest.split('`').skip(1).step_by(2);
    let given: String =
        names.next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(48).collect();
    let known: Vec<&str> = names.collect();
    let help = match did_you_mean(&given, known.iter().copied()) {
        Some(near) => near,
        None if known.is_empty() => "take it out".to_owned(),
        None => format!("known keys: {}", known.join(", ")),
    };
    (format!("unknown key `{given}`"), help)
}

/// A step on the way to a value of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A member of an object.
    Key(&'a str),
    /// An item of a list.
    Item(usize),
}

/// Byte offset of the value at the end of a way through a JSON text that parses; of the last part of the way
/// that is there, where it is not there whole.
pub fn of_json(text: &str, way: &[Step<'_>]) -> usize {
    let bytes = text.as_bytes();
    let mut at = past_space(bytes, 0);
    for step in way {
        let inside = past_space(bytes, at + 1);
        let found = match (step, bytes.get(at)) {
            (Step::Key(key), Some(b'{')) => member(text, inside, key),
            (Step::Item(index), Some(b'[')) => item(bytes, inside, *index),
            _ => None,
        };
        match found {
            Some(place) => at = place,
            None => break,
        }
    }
    at
}

fn member(text: &str, mut at: usize, wanted: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    while bytes.get(at) == Some(&b'"') {
        let end = past_value(bytes, at);
        let key: String = serde_json::from_str(text.get(at..end)?).ok()?;
        let colon = past_space(bytes, end);
        let value = past_space(bytes, colon + 1);
        if key == wanted {
            return Some(value);
        }
        let comma = past_space(bytes, past_value(bytes, value));
        at = past_space(bytes, comma + 1);
    }
    None
}

fn item(bytes: &[u8], mut at: usize, index: usize) -> Option<usize> {
    for _ in 0..index {
        let comma = past_space(bytes, past_value(bytes, at));
        if bytes.get(comma) != Some(&b',') {
            return None;
        }
        at = past_space(bytes, comma + 1);
    }
    (bytes.get(at) != Some(&b']')).then_some(at)
}

fn past_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn past_value(bytes: &[u8], mut at: usize) -> usize {
    let (mut depth, mut quoted) = (0_usize, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => {
                quoted = !quoted;
                if !quoted && depth == 0 {
                    return at + 1;
                }
            }
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_parsers_lose_their_values() {
        for (said, left, help) in [
            (
                "invalid type: string \"hunter2\", expected u16",
                "the value is not a whole number that fits",
                "write a whole",
            ),
            (
                "invalid type: integer `4711`, expected a string",
                "the value is not a string",
                "write a string",
            ),
            ("`Hunter 2` is not a purpose: words", "the value is not well-formed", "write a purpose: words"),
            (
                "unknown variant `hunter2`, expected `a` or `b`",
                "the value is not one of those that are known",
                "write `a` or `b`",
            ),
            (
                "unknown field `lisen`, expected one of `listen`, `names`",
                "unknown key `lisen`",
                "did you mean `listen`?",
            ),
            ("unknown field `colour`, expected `a` or `b`", "unknown key `colour`", "known keys: a, b"),
            ("missing field `names`", "`names` is missing", "add `names`"),
            ("invalid socket address syntax", "the value is not an address and port", "write it like"),
            ("duplicate key `x`", "a key stands twice", "take one"),
            ("wrong \"hunter2\" here", "the text cannot be read: wrong … here", "each bracket"),
        ] {
            let (message, next) = without_values(said);
            assert_eq!(message, left);
            assert!(next.starts_with(help), "{next}");
            assert!(!format!("{message}{next}").contains("unter"), "{message} {next}");
        }
    }

    #[test]
    fn a_way_through_json_is_found_in_any_spacing() {
        let text = r#" { "a\"b" : [ 1 , {"x":"]},"} , [2,3] ], "c":{"d":-1.5e3,"e":null} ,"f":true}"#;
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert!(json.is_object());
        use Step::{Item, Key};
        for (way, begins) in [
            (vec![], "{ \"a"),
            (vec![Key("a\"b")], "[ 1"),
            (vec![Key("a\"b"), Item(1), Key("x")], "\"]},\""),
            (vec![Key("a\"b"), Item(2), Item(1)], "3]"),
            (vec![Key("c"), Key("e")], "null"),
            (vec![Key("f")], "true}"),
            (vec![Key("c"), Key("z")], "{\"d\""),
            (vec![Key("a\"b"), Item(9)], "[ 1"),
            (vec![Item(0)], "{ \"a"),
        ] {
            assert!(text[of_json(text, &way)..].starts_with(begins), "{way:?}");
        }
        for broken in ["", "{", "[", "{\"a\"", "{\"a\":", "\"", "[1,"] {
            of_json(broken, &[Key("a"), Item(1)]);
            of_json(broken, &[Item(1)]);
        }
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("a\n文b", 5), (2, 2));
        assert_eq!(position("ab", 9), (1, 3));
    }
}
