//! The policy bundle: every rule and data file, embedded, under its path in this crate.

use yiwang_proto::Digest;

macro_rules! files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../", $path)))),*] };
}

/// The version that people speak of; what counts is [`digest`].
pub const VERSION: &str = "5";

/// The Cedar schema.
pub const SCHEMA: (&str, &str) = ("schema/yiwang.cedarschema", include_str!("../schema/yiwang.cedarschema"));

/// The Cedar rules, one file per decision.
pub const RULES: &[(&str, &str)] = files![
    "base/granted.cedar",
    "base/contract.cedar",
    "base/consumer.cedar",
    "base/validity.cedar",
    "base/delegation.cedar",
    "base/statement.cedar",
    "base/purpose.cedar",
    "base/operation.cedar",
    "base/fields.cedar",
    "base/case.cedar",
    "base/subject.cedar",
    "base/class.cedar",
    "base/rates.cedar",
];

/// Record types of the catalogue.
pub const RECORDS: &[(&str, &str)] = files![
    "catalogue/people.toml",
    "catalogue/places.toml",
    "catalogue/welfare.toml",
    "catalogue/health.toml",
    "catalogue/events.toml",
    "catalogue/network.toml",
];

/// The closed list of purposes.
pub const PURPOSES: (&str, &str) = ("catalogue/purposes.toml", include_str!("../catalogue/purposes.toml"));

/// The closed list of matters.
pub const MATTERS: (&str, &str) = ("catalogue/matters.toml", include_str!("../catalogue/matters.toml"));

/// Names that are not built.
pub const LINT: (&str, &str) = ("lint/names.toml", include_str!("../lint/names.toml"));

/// SHA-256 over version, paths and texts, each with its length before it so that no text can pass for
/// two.
pub fn digest() -> Digest {
    digest_of(RULES.iter().chain(RECORDS).chain([&SCHEMA, &PURPOSES, &MATTERS, &LINT]).copied())
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Digest {
    let mut all = Vec::new();
    let mut add = |text: &str| {
        all.extend_from_slice(&(text.len() as u64).to_be_bytes());
        all.extend_from_slice(text.as_bytes());
    };
    add("yiwang-policy-bundle");
    add(VERSION);
    for (path, text) in files {
        add(path);
        add(text);
    }
    yiwang_proto::sha256(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folders_is_in_the_bundle() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let all: Vec<&str> = RULES
            .iter()
            .chain(RECORDS)
            .chain([&SCHEMA, &PURPOSES, &MATTERS, &LINT])
            .map(|(path, _)| *path)
            .collect();
        let mut seen = 0;
        for (folder, ending) in
            [("base", "cedar"), ("schema", "cedarschema"), ("catalogue", "toml"), ("lint", "toml")]
        {
            for file in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                if name.ends_with(ending) {
                    assert!(all.contains(&format!("{folder}/{name}").as_str()), "{folder}/{name}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, all.len());
    }

    #[test]
    fn the_digest_hangs_on_every_byte_and_every_border() {
        assert_eq!(digest(), digest());
        let of = |files: &[(&'static str, &'static str)]| digest_of(files.iter().copied());
        let one = of(&[("a", "bc")]);
        assert_ne!(one, of(&[("ab", "c")]));
        assert_ne!(one, of(&[("a", "bd")]));
        assert_ne!(one, of(&[("a", "b"), ("c", "")]));
        assert_ne!(one, of(&[]));
    }
}
