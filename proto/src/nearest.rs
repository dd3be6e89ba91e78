//! Words that were most likely mistyped: which of those that there are was meant. One rule for commands, files and
//! gateway, so that nobody is told another word for the same typing error.

use strsim::damerau_levenshtein;

/// Edits by which even a long word may be off and still be what was meant.
const EDITS_MAX: usize = 6;
/// Words that a line lists, so that it stays one.
const LISTED_MAX: usize = 40;

/// The known words that are near enough to be what was meant, the nearest first, then by their letters.
///
/// A third of the word may be off, and one edit more; capitals do not count. Of a known word something must be left:
/// `id` is not meant by `xy`.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let folded = word.to_lowercase();
    let length = word.chars().count();
    let most = (length / 3 + 1).min(EDITS_MAX);
    let edits_of = |name: &'k str| {
        let long = name.chars().count();
        // Each character that one has more is an edit: of hundreds of words few need to be counted.
        if long.abs_diff(length) > most {
            return None;
        }
        let edits = damerau_levenshtein(&folded, &name.to_lowercase());
        (edits <= most && edits < long).then_some((edits, name))
    };
    let mut near: Vec<(usize, &str)> = known.into_iter().filter_map(edits_of).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, name)| name).collect()
}

/// The known word that was most likely meant.
pub fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    nearest(word, known).into_iter().next()
}

/// The question whether the nearest word was meant, where one is near.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    meant(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// What was meant, or what there is.
pub fn meant_or_known<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    did_you_mean(word, known.iter().copied()).unwrap_or_else(|| there_are(known))
}

fn there_are(mut known: Vec<&str>) -> String {
    if known.is_empty() {
        return "there are none".to_owned();
    }
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    known.truncate(LISTED_MAX);
    format!("there are: {}{more}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant_and_what_is_not_is_listed() {
        assert_eq!(meant_or_known("mian", ["spare", "main"]), "did you mean `main`?");
        assert_eq!(meant_or_known("desk", ["spare", "main"]), "there are: spare, main");
        assert_eq!(meant_or_known("desk", []), "there are none");
        let many: Vec<String> = (0..=LISTED_MAX).map(|number| format!("n{number:05}")).collect();
        let listed = meant_or_known("desk", many.iter().map(String::as_str));
        assert!(listed.ends_with("n00039, …") && !listed.contains("n00040"), "{listed}");
    }

    #[test]
    fn the_nearest_comes_first_whatever_the_order() {
        assert_eq!(nearest("main2", ["man", "main3", "main", "main"]), ["main", "main3", "man"]);
        assert_eq!(nearest("main2", ["main", "main3", "man"]), ["main", "main3", "man"]);
        assert_eq!(meant("XN", ["XM", "XB"]), Some("XB"));
        assert_eq!(meant("person.by_ids", ["person.all", "person.by_id"]), Some("person.by_id"));
    }

    #[test]
    fn capitals_do_not_count_and_letters_do_not_weigh_by_their_bytes() {
        assert_eq!(did_you_mean("PERSN", ["Person"]).as_deref(), Some("did you mean `Person`?"));
        assert_eq!(meant("person", ["Person"]), Some("Person"));
        // Two of two letters are another word, though they have six bytes.
        assert_eq!(meant("姓名", ["性别"]), None);
        assert_eq!(meant("出生日", ["出生日期"]), Some("出生日期"));
    }

    #[test]
    fn another_word_is_not_meant() {
        // What has nothing left of the known word, however short both are.
        assert_eq!(meant("foo", ["sex", "name", "bench"]), None);
        assert_eq!(meant("xy", ["a", "id"]), None);
        assert_eq!(meant("", ["a"]), None);
        assert_eq!(meant("a", []), None);
        // However long a word is, something altogether else is not meant.
        assert_eq!(meant("public-health.surveillance", ["public-health.planning"]), None);
        assert_eq!(meant(&"long".repeat(4000), ["longlong"]), None);
    }
}
