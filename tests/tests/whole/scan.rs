//! Searches every byte of a folder for many values at once, in the forms in which a program may keep text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use flate2::read::{GzDecoder, ZlibDecoder};
use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Write as _};
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

    /// As [`Needles::found_in`], and within everything that is compressed there.
    pub fn found_deep(&self, bytes: &[u8], found: &mut BTreeSet<usize>) {
        self.found_in(bytes, found);
        let mut layer = inflated(bytes);
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for content in layer {
                self.found_in(&content, found);
                next.extend(inflated(&content));
            }
            layer = next;
        }
    }

    /// Numbers of the values that the files of some folders hold.
    pub fn found_below(&self, folders: &[PathBuf]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for file in folders.iter().flat_map(|folder| files(folder)) {
            self.found_deep(&std::fs::read(file).unwrap(), &mut found);
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

/// What is decompressed of one file in all: a bomb ends the search of that file, it does not end the machine.
const INFLATED_MAX: u64 = 256 << 20;
/// Decompressed data may be compressed again, but not for ever.
const DEPTH_MAX: usize = 3;
/// Shorter results hold none of the values that are looked for, not even in their shortest form.
const INFLATED_MIN: usize = VALUE_MIN;

/// Everything that a gzip or zlib stream beginning anywhere in some bytes holds, as far as it is sound.
pub fn inflated(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut left = INFLATED_MAX;
    let mut contents = Vec::new();
    for at in 0..bytes.len().saturating_sub(2) {
        let rest = &bytes[at..];
        let mut content = Vec::new();
        // What was read before an error or the end is kept: a stream that was cut still holds what it holds.
        if begins_gzip(rest) {
            let _ = GzDecoder::new(rest).take(left).read_to_end(&mut content);
        } else if begins_zlib(rest) {
            let _ = ZlibDecoder::new(rest).take(left).read_to_end(&mut content);
        }
        left -= content.len() as u64;
        if content.len() >= INFLATED_MIN {
            contents.push(content);
        }
    }
    contents
}

fn begins_gzip(rest: &[u8]) -> bool {
    rest.starts_with(&[0x1f, 0x8b, 8]) && rest.get(3).is_some_and(|flags| flags & 0xe0 == 0)
}

/// Method and window of any zlib stream, its check bits, and no preset dictionary.
fn begins_zlib(rest: &[u8]) -> bool {
    rest[0] & 0x0f == 8
        && rest[0] >> 4 <= 7
        && u16::from_be_bytes([rest[0], rest[1]]).is_multiple_of(31)
        && rest[1] & 0x20 == 0
}

#[test]
fn values_within_gzip_and_zlib_are_found_wherever_the_stream_begins() {
    let values = ["Lerchenweg 17 b".to_owned(), "云雾巷东里十二号".to_owned()];
    let needles = Needles::hidden(&values);
    let text = format!("{{\"address\":\"{}\",\"other\":\"{}\"}}", values[0], STANDARD.encode(&values[1]));
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |content: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    // Often enough that no encoder leaves it as it is.
    let text = text.repeat(20);
    let plain = text.as_bytes();
    for member in [gzip(plain), zlib(plain), gzip(&zlib(plain)), zlib(&gzip(&gzip(plain)))] {
        let file = [[0x1f, 0x8b, 8, 0, 7].repeat(3).as_slice(), &member, b"\x78\x9c.."].concat();
        let mut found = BTreeSet::new();
        needles.found_in(&file, &mut found);
        assert!(found.is_empty(), "the compressed bytes themselves show nothing");
        needles.found_deep(&file, &mut found);
        assert_eq!(found, BTreeSet::from([0, 1]));
    }
    let bomb = gzip(&vec![0; 1 << 20]);
    assert_eq!(inflated(&bomb.repeat(3)).len(), 3, "each member on its own");
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
}
