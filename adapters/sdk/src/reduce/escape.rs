//! Which bytes of a text JSON escapes, eight at a time: a whole page is looked through twice, and byte by byte that took a
//! seventh of a batch. No instructions of their own are asked for, so it is as fast in programs that are built small.

/// One bit of each byte of a word: its lowest, its highest.
const LOW: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The highest bit of each byte that JSON escapes: below a blank, a quotation mark, a backslash.
const fn escaped(word: u64) -> u64 {
    // Seven bits and what is added to them stay within a byte.
    let low = word & !HIGH;
    let from_blank = low + LOW * 0x60;
    let no_mark = (low ^ (LOW * b'"' as u64)) + LOW * 0x7f;
    let no_backslash = (low ^ (LOW * b'\\' as u64)) + LOW * 0x7f;
    !(from_blank & no_mark & no_backslash) & !word & HIGH
}

/// The highest bit of each byte that is none of ASCII.
const fn beyond_ascii(word: u64) -> u64 {
    word & HIGH
}

/// Whether a text stands in JSON as it is. Every byte is looked at, which takes less time than to stop at the first.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    words(text).fold(0, |found, word| found | escaped(word)) == 0
}

/// How many bytes JSON escapes.
pub(crate) fn escaped_in(text: &[u8]) -> usize {
    words(text).map(|word| escaped(word).count_ones() as usize).sum()
}

/// How many bytes belong to characters beyond ASCII.
pub(crate) fn beyond_ascii_in(text: &[u8]) -> usize {
    words(text).map(|word| beyond_ascii(word).count_ones() as usize).sum()
}

/// The last one filled up with what nobody counts: letters.
fn words(text: &[u8]) -> impl Iterator<Item = u64> {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b'x'; 8];
    for (byte, of_rest) in last.iter_mut().zip(rest) {
        *byte = *of_rest;
    }
    let last = (!rest.is_empty()).then(|| u64::from_ne_bytes(last));
    words.iter().map(|word| u64::from_ne_bytes(*word)).chain(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(text: &[u8]) {
        let is_escaped = |byte: &&u8| **byte < 0x20 || **byte == b'"' || **byte == b'\\';
        assert_eq!(escaped_in(text), text.iter().filter(is_escaped).count(), "{text:?}");
        assert_eq!(is_plain(text), !text.iter().any(|byte| is_escaped(&byte)), "{text:?}");
        assert_eq!(beyond_ascii_in(text), text.iter().filter(|byte| !byte.is_ascii()).count(), "{text:?}");
    }

    #[test]
    fn every_byte_at_every_place_is_told_apart() {
        for byte in 0..=u8::MAX {
            for length in 0..20 {
                for at in 0..length {
                    for around in [b'x', 0xff, 0x80, 0x1f, 0x7f, b'"'] {
                        let mut text = vec![around; length];
                        text[at] = byte;
                        holds(&text);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_apart(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            holds(&text);
        }
    }
}
