//! T26: texts that look like ids. Every accepted one is its own canonical form; none is changed silently.

use crate::rounds;
use yiwang_proto::ambient::{SeededEntropy, random};
use yiwang_proto::ids::{
    AppId, CaseId, ContractId, FieldName, Matter, MemberId, Officer, Operation, Purpose, RecordType,
    RequestId,
};

/// Whether a kind of id takes a text, and as what.
type Parse = fn(&str) -> Option<String>;

macro_rules! kinds {
    ($($name:ident: $valid:literal),* $(,)?) => {
        [$((
            stringify!($name),
            $valid,
            (|text| $name::parse(text).ok().map(|id| id.as_str().to_owned())) as Parse,
        )),*]
    };
}

/// What an attacker puts in the place of, before or behind a character.
const STRANGE: [&str; 22] = [
    "\u{200b}", "\u{feff}", "\u{00a0}", "\u{0430}", "\u{ff10}", "\u{0301}", "\u{212a}", "\u{017f}", "\0",
    "\n", " ", "%20", "/", "\\", "..", "A", "É", "ⅰ", "٠", "-", "_", ".",
];

fn below(entropy: &SeededEntropy, most: usize) -> usize {
    usize::try_from(u64::from_le_bytes(random(entropy)) % most as u64).unwrap()
}

fn mutated(valid: &str, entropy: &SeededEntropy) -> String {
    let mut letters: Vec<String> = valid.chars().map(String::from).collect();
    for _ in 0..=below(entropy, 3) {
        let at = below(entropy, letters.len());
        match below(entropy, 7) {
            0 => letters[at] = STRANGE[below(entropy, STRANGE.len())].to_owned(),
            1 => letters.insert(at, STRANGE[below(entropy, STRANGE.len())].to_owned()),
            2 => letters[at] = letters[at].to_uppercase(),
            3 if letters.len() > 1 => drop(letters.remove(at)),
            4 => letters.push(STRANGE[below(entropy, STRANGE.len())].to_owned()),
            5 => letters.insert(0, "0".to_owned()),
            _ => letters[at] = char::from(b' ' + u8::try_from(below(entropy, 95)).unwrap()).to_string(),
        }
    }
    letters.concat()
}

#[test]
fn t26_every_accepted_id_is_its_own_canonical_form() {
    let kinds = kinds![
        MemberId: "civil-affairs", AppId: "assistance-desk", ContractId: "police-street-person",
        Purpose: "social-assistance.eligibility", Matter: "social-assistance", Operation: "person.by_id",
        FieldName: "birth_date", RecordType: "BenefitStatus", Officer: "o-aaaaaaaaaaaaaaaa",
        RequestId: "0190a5c3-0000-7000-8000-000000000001", CaseId: "0190a5c3-0000-7000-8000-000000000001",
    ];
    let entropy = SeededEntropy::new(26);
    let each = rounds(100_000, 1_000_000) / u32::try_from(kinds.len()).unwrap() + 1;
    let (mut tried, mut accepted) = (0_u32, 0_u32);
    for (name, valid, parse) in kinds {
        assert_eq!(parse(valid).as_deref(), Some(valid), "{name}");
        for _ in 0..each {
            let text = mutated(valid, &entropy);
            tried += 1;
            let Some(kept) = parse(&text) else { continue };
            accepted += 1;
            assert_eq!(kept, text, "{name}: changed silently");
            assert!(
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
                "{name}: {text:?}"
            );
            let lower = text.to_lowercase();
            assert!(name == "RecordType" || lower == text, "{name}: two spellings of one id, {text:?}");
        }
    }
    println!("{tried} texts, {accepted} accepted, each its own canonical form");
    assert!(tried >= 100_000 && accepted > 1000 && accepted < tried / 2, "{accepted} of {tried}");
}
