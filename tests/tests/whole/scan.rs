//! Searches every byte of a folder for many values at once, in the forms in which a program may keep text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Shorter values would be found by chance.
pub const VALUE_MIN: usize = 10;
const KEY: usize = 8;

/// Values, each in its forms.
pub struct Needles {
    forms: Vec<(Vec<u8>, usize)>,
    by_key: HashMap<[u8; KEY], Vec<usize>>,
    begins: Vec<bool>,
}

impl Needles {
    /// The values as they are.
    pub fn plain(values: &[String]) -> Self {
        Self::new(values, |value| vec![value.as_bytes().to_vec()])
    }

    /// The values as they are, in UTF-16 of both byte orders, and in base64 wherever they begin in a group.
    pub fn hidden(values: &[String]) -> Self {
        Self::new(values, forms)
    }

    fn new(values: &[String], forms_of: impl Fn(&str) -> Vec<Vec<u8>>) -> Self {
        let mut needles = Self { forms: Vec::new(), by_key: HashMap::new(), begins: vec![false; 1 << 16] };
        for (number, value) in values.iter().enumerate() {
            assert!(value.len() >= VALUE_MIN, "`{value}` is short");
            for form in forms_of(value) {
                let key = form[..KEY].try_into().unwrap();
                needles.by_key.entry(key).or_default().push(needles.forms.len());
                needles.begins[usize::from(u16::from_le_bytes([form[0], form[1]]))] = true;
                needles.forms.push((form, number));
            }
        }
        needles
    }

    /// Numbers of the values that some bytes hold.
    pub fn found_in(&self, bytes: &[u8], found: &mut BTreeSet<usize>) {
        for (at, window) in bytes.windows(KEY).enumerate() {
            if !self.begins[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            let candidates = self.by_key.get(window).into_iter().flatten();
            for (form, number) in candidates.map(|form| &self.forms[*form]) {
                if bytes[at..].starts_with(form) {
                    found.insert(*number);
                }
            }
        }
    }

    /// Numbers of the values that the files of some folders hold.
    pub fn found_below(&self, folders: &[PathBuf]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for file in folders.iter().flat_map(|folder| files(folder)) {
            self.found_in(&std::fs::read(file).unwrap(), &mut found);
        }
        found
    }
}

fn forms(value: &str) -> Vec<Vec<u8>> {
    let utf16: Vec<u16> = value.encode_utf16().collect();
    let mut forms = vec![
        value.as_bytes().to_vec(),
        utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
    ];
    for shift in 0..3 {
        let shifted = [&vec![0; shift], value.as_bytes()].concat();
        // Only the characters that no neighbour's bits reach.
        let (first, end) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
        for encoded in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
            forms.push(encoded.as_bytes()[first..end].to_vec());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Whether a gzip member begins anywhere in some bytes. The whole fixed header is looked at: three bytes of
/// it stand in any large heap of hashes by chance.
pub fn holds_gzip(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|header| {
        header.starts_with(&[0x1f, 0x8b, 8])
            && header[3] & 0xe0 == 0
            && matches!(header[8], 0 | 2 | 4)
            && matches!(header[9], 0..=13 | 255)
    })
}

#[test]
fn each_form_of_a_value_is_found_and_others_are_not() {
    let values =
        ["Lerchenweg 17 b".to_owned(), "云雾巷东里十二号".to_owned(), "980101199001010017".to_owned()];
    let needles = Needles::hidden(&values);
    for (number, value) in values.iter().enumerate() {
        let mut kept: Vec<Vec<u8>> = vec![
            value.as_bytes().to_vec(),
            value.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            value.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ];
        for before in ["", "x", "xy", "xyz"] {
            let text = format!("{before}{value}\"}}");
            kept.extend([STANDARD.encode(&text).into_bytes(), URL_SAFE.encode(&text).into_bytes()]);
        }
        for form in kept {
            let mut found = BTreeSet::new();
            needles.found_in(&[b"\x00\xff..".as_slice(), &form, b"\x01"].concat(), &mut found);
            assert_eq!(found, BTreeSet::from([number]), "{value}: {form:?}");
            let mut cut = BTreeSet::new();
            needles.found_in(&form[..form.len() / 2], &mut cut);
            assert!(cut.is_empty(), "half of {value}");
        }
    }
    assert!(holds_gzip(b"..\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03.."));
    assert!(!holds_gzip(b"..\x1f\x8b\x08\xe0\x00\x00\x00\x00\x00\x03.."));
}
