//! Reads as much of a statement as is needed to know its parameters and to refuse what is no single
//! `select`. The database itself parses it for real when the mapping is checked live.

use std::ops::Range;

/// What a statement looks like from outside.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Names after a colon.
    pub(crate) params: Vec<String>,
    /// Every place of a parameter, colon and name, in the order of the text.
    places: Vec<Range<usize>>,
    /// Whether a backslash stands between quotes: databases do not agree on what it does there.
    pub(crate) backslash: bool,
    /// The first word, in lower case.
    pub(crate) first: String,
    /// What cannot stand.
    pub(crate) faults: Vec<&'static str>,
}

/// A statement in pieces: the text before each parameter with the parameter's name, and the rest. For
/// databases that do not know `:name`.
pub fn parameters(sql: &str) -> (Vec<(&str, &str)>, &str) {
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in scan(sql).places {
        let before = sql.get(start..place.start).unwrap_or_default();
        let name = sql.get(place.start + 1..place.end).unwrap_or_default();
        pieces.push((before, name));
        start = place.end;
    }
    (pieces, sql.get(start..).unwrap_or_default())
}

/// A statement without the values that stand in it: texts and numbers become `…`, comments go. Where texts can stand
/// between double quotes (`double`), those go too; elsewhere they are names.
pub fn without_constants(sql: &str, double: bool) -> String {
    let mut out = String::with_capacity(sql.len());
    let (mut rest, mut unused) = (sql, Scanned::default());
    while let Some(next) = rest.chars().next() {
        let quote = |end| quoted(rest, end, &mut Scanned::default()).len();
        let after = match next {
            '\'' => quote('\''),
            '"' | '`' => quote(next),
            '[' => quote(']'),
            '-' if rest.starts_with("--") => rest.find('\n').map_or(0, |end| rest.len() - end),
            '/' if rest.starts_with("/*") => rest.split_once("*/").map_or(0, |(_, after)| after.len()),
            ':' => parameter(sql, rest, &mut unused).len(),
            _ => match word(rest) {
                ("", _) => rest.len() - next.len_utf8(),
                (_, after) => after.len(),
            },
        };
        let (piece, after) = rest.split_at_checked(rest.len() - after).unwrap_or((rest, ""));
        match next {
            '\'' => out.push_str("'…'"),
            '"' if double => out.push_str("\"…\""),
            '-' | '/' if piece.len() > 1 => {}
            c if c.is_numeric() => out.push('…'),
            _ => out.push_str(piece),
        }
        rest = after;
    }
    out
}

/// The names in a statement, and the texts; what stands between double quotes is a text for some databases. Parameters,
/// numbers and comments are neither.
pub(crate) fn names_in(sql: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut names, mut texts) = (Vec::new(), Vec::new());
    let (mut rest, mut unused) = (sql, Scanned::default());
    while let Some(next) = rest.chars().next() {
        let quote = |end| {
            let after = quoted(rest, end, &mut Scanned::default());
            let piece = rest.get(1..rest.len() - after.len()).unwrap_or_default();
            (piece.strip_suffix(end).unwrap_or(piece), after)
        };
        rest = match next {
            '\'' | '"' => {
                let (piece, after) = quote(next);
                texts.push(piece);
                after
            }
            '`' | '[' => {
                let (piece, after) = quote(if next == '[' { ']' } else { next });
                names.push(piece);
                after
            }
            '-' if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, after)| after),
            '/' if rest.starts_with("/*") => rest.split_once("*/").map_or("", |(_, after)| after),
            ':' => parameter(sql, rest, &mut unused),
            _ => match word(rest) {
                ("", _) => rest.get(next.len_utf8()..).unwrap_or_default(),
                (name, after) => {
                    names.push(name);
                    after
                }
            },
        };
    }
    (names, texts)
}

/// Whether a statement orders its rows, and not only to take the first of them. What stands in parentheses is another
/// statement's.
pub(crate) fn is_ordered(sql: &str) -> bool {
    let (mut rest, mut open, mut unused) = (sql, 0_usize, Scanned::default());
    let mut words: Vec<String> = Vec::new();
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        rest = match next {
            '\'' | '"' | '`' => quoted(rest, next, &mut unused),
            '[' => quoted(rest, ']', &mut unused),
            '-' if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, after)| after),
            '/' if rest.starts_with("/*") => rest.split_once("*/").map_or("", |(_, after)| after),
            ':' => parameter(sql, rest, &mut unused),
            '(' | ')' => {
                open = if next == '(' { open + 1 } else { open.saturating_sub(1) };
                after
            }
            _ => match word(rest) {
                ("", _) => after,
                (name, after) => {
                    words.extend((open == 0).then(|| name.to_ascii_lowercase()));
                    after
                }
            },
        };
    }
    let orders = words.windows(2).any(|pair| *pair == ["order", "by"]);
    orders && !words.ends_with(&["limit".to_owned(), "1".to_owned()])
}

const UNBALANCED: &str = "parentheses do not match: each opens and closes inside the statement";

/// Scans a statement; texts, quoted names and comments are skipped.
pub(crate) fn scan(sql: &str) -> Scanned {
    let mut scanned = Scanned::default();
    let (mut rest, mut open) = (sql, 0_usize);
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '\'' | '"' | '`' => quoted(rest, next, &mut scanned),
            '[' => quoted(rest, ']', &mut scanned),
            '-' if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, after)| after),
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                scanned.faults.push("a comment that some databases execute");
                rest.get(2..).unwrap_or_default()
            }
            '/' if rest.starts_with("/*") => match rest.split_once("*/") {
                Some((_, after)) => after,
                None => {
                    scanned.faults.push("a comment does not end");
                    ""
                }
            },
            ':' => parameter(sql, rest, &mut scanned),
            '?' | '$' | '@' => {
                scanned.faults.push("parameters are written :name");
                rest.get(1..).unwrap_or_default()
            }
            ';' => {
                scanned.faults.push("a statement holds no `;`: one `select` only");
                rest.get(1..).unwrap_or_default()
            }
            '(' | ')' => {
                open = parenthesis(next, open, &mut scanned);
                rest.get(1..).unwrap_or_default()
            }
            '\0' => {
                scanned.faults.push("a statement holds no NUL");
                rest.get(1..).unwrap_or_default()
            }
            _ => {
                let (name, after) = word(rest);
                if name.is_empty() {
                    rest.get(next.len_utf8()..).unwrap_or_default()
                } else {
                    if scanned.first.is_empty() {
                        scanned.first = name.to_ascii_lowercase();
                    }
                    after
                }
            }
        };
    }
    if open > 0 {
        scanned.faults.push(UNBALANCED);
    }
    if !matches!(scanned.first.as_str(), "select" | "with") {
        scanned.faults.push("a statement begins with `select` or `with`");
    }
    scanned.faults.dedup();
    scanned
}

/// Takes a parameter, whose colon `rest` begins with.
fn parameter<'s>(sql: &'s str, rest: &'s str, scanned: &mut Scanned) -> &'s str {
    let (name, after) = word(rest.get(1..).unwrap_or_default());
    if name.is_empty() {
        scanned.faults.push("a colon without a parameter name stands outside quotes");
        return after;
    }
    let start = sql.len() - rest.len();
    scanned.places.push(start..start + 1 + name.len());
    if !scanned.params.iter().any(|known| known == name) {
        scanned.params.push(name.to_owned());
    }
    after
}

/// How many parentheses are open after this one. The adapter puts the statement between parentheses of its
/// own, which it must not leave.
fn parenthesis(which: char, open: usize, scanned: &mut Scanned) -> usize {
    if which == '(' {
        return open.saturating_add(1);
    }
    open.checked_sub(1).unwrap_or_else(|| {
        scanned.faults.push(UNBALANCED);
        0
    })
}

fn word(text: &str) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|(_, c)| !(c.is_alphanumeric() || *c == '_'))
        .map_or(text.len(), |(at, _)| at);
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Skips to the end of a quoted piece; a doubled quote stands for itself and begins a new piece, which is
/// skipped by the next round.
fn quoted<'s>(text: &'s str, end: char, scanned: &mut Scanned) -> &'s str {
    match text.get(1..).unwrap_or_default().split_once(end) {
        Some((inside, after)) => {
            scanned.backslash |= inside.contains('\\');
            after
        }
        None => {
            scanned.faults.push("a quote does not end");
            ""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_outside_quotes_and_comments() {
        let scanned = scan(
            "select ':no', \":no\", `:no`, [:no], a -- :no\n, /* :no */ b from t where x = :id and y = lower(:id)||:day",
        );
        assert_eq!(scanned.params, ["id", "day"]);
        assert!(scanned.faults.is_empty(), "{:?}", scanned.faults);
        assert_eq!(scan("select 'it''s :no' where a = :b").params, ["b"]);
        assert_eq!(scan("-- c\nWITH x as (select 1) select 1").first, "with");
    }

    #[test]
    fn an_order_is_seen_where_it_is_the_statements_own() {
        for sql in [
            "select a from t order by a",
            "select a from t where b = :id\nORDER  BY a desc, b limit 10",
            "select a from t order/* */by a -- limit 1",
            "select a from (select 1 limit 1) q order by a",
        ] {
            assert!(is_ordered(sql), "{sql}");
        }
        for sql in [
            "select a from t",
            "select a from t order by a desc limit 1",
            "select row_number() over (order by a) from t",
            "select a from (select a from t order by a) q",
            "select 'order by', \"order by\" from t -- order by a\n/* order by a */",
            "select a from t where order = :by",
        ] {
            assert!(!is_ordered(sql), "{sql}");
        }
    }

    #[test]
    fn a_statement_is_cut_at_its_parameters_and_nowhere_else() {
        let (pieces, rest) = parameters("select ':a' from t where x = :id or y = :id /* :b */ and 云 = :日");
        assert_eq!(
            pieces,
            [("select ':a' from t where x = ", "id"), (" or y = ", "id"), (" /* :b */ and 云 = ", "日")]
        );
        assert_eq!(rest, "");
        assert_eq!(parameters("select 1"), (vec![], "select 1"));
        assert!(scan("select 'a\\'").backslash && !scan("select a / b, 'c'").backslash);
    }

    #[test]
    fn what_is_no_single_select_is_refused() {
        for sql in [
            "delete from t",
            "select 1; drop table t",
            "select ?1",
            "select $1",
            "select @a",
            "select 'open",
            "select 1 /* open",
            "",
            "select a::text from t",
            "select 1\0",
            "select 1 /*! into outfile '/tmp/x' */",
            "select 1 /*M!100000 , 2 */",
            "select 1) q where true or exists (select 1",
            "select 1) q -- (",
            "select (1",
            "select ')' from (t",
        ] {
            assert!(!scan(sql).faults.is_empty(), "{sql:?}");
        }
        let balanced = "select ')', \"(\" -- )\n from (select (1)) q /* ( */ where f(:a, (:b)) = 1";
        assert_eq!(scan(balanced).faults, [""; 0]);
    }

    #[test]
    fn names_and_texts_are_told_apart_and_comments_are_neither() {
        let sql = "select a.\"B\", [c d], `e` from 重点 t -- face\n where x = 'it''s' /* dna */ and n > 80 and y = :iris";
        let (names, texts) = names_in(sql);
        assert_eq!(
            names,
            ["select", "a", "c d", "e", "from", "重点", "t", "where", "x", "and", "n", "80", "and", "y"]
        );
        assert_eq!(texts, ["B", "it", "s"]);
        for odd in ["'open", "\"", "`", "[", "", ":", "--", "/*", "- 1 / 2"] {
            names_in(odd);
        }
    }

    #[test]
    fn constants_are_masked_and_names_stay() {
        let sql = "select \"A\", [b], `c'1` from t1 -- 'secret'\nwhere x = 'it''s secret' /* 42 */ and n >= 1.5 and d = :day and e like \"secret\"";
        assert_eq!(
            without_constants(sql, true),
            "select \"…\", [b], `c'1` from t1 \nwhere x = '…''…'  and n >= ….… and d = :day and e like \"…\""
        );
        assert!(without_constants(sql, false).starts_with("select \"A\", [b], `c'1` from t1 "));
        for odd in ["select 'open secret", "-- secret", "/* secret", "select - 1 / 2", "", "姓名 = '云'"] {
            let masked = without_constants(odd, false);
            assert!(
                !masked.contains("secret") && !masked.contains('云') && !masked.contains('1'),
                "{masked}"
            );
        }
        assert_eq!(without_constants("a - b / c :x 姓名", false), "a - b / c :x 姓名");
    }
}
