//! What people look at before they sign: whether a record type can stand, and what a version changes.

use super::{Output, read, read_signed, stands};
use crate::fail::{Failure, Outcome};
use serde_json::json;
use std::path::Path;
use yiwang_policies::{Catalogue, RecordTypeText, RecordTypeVersion};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::hex;
use yiwang_proto::plural::counted;

pub fn check(path: &Path, previous: Option<&Path>, output: Output, builtin: &Catalogue) -> Outcome {
    let (text, signed) = read(path)?;
    let mut faults = text.faults(builtin);
    let before = previous.map(read_signed).transpose()?;
    if let Some(before) = &before {
        faults.extend(text.breaks(before, |_| false));
    }
    let signing = signing(&text, signed.as_ref());
    if output == Output::Json {
        let (signed, digest, unsigned) = match signing {
            Ok(digest) => (true, Some(digest), None),
            Err(why) => (false, None, Some(why)),
        };
        println!(
            "{}",
            json!({
                "ok": faults.is_empty(),
                "record": text.record.as_str(),
                "version": text.version,
                "previous": before.map(|before| before.text.version),
                "fields": text.fields.len(),
                "faults": faults,
                "signed": signed,
                "unsigned": unsigned,
                "digest": digest,
            })
        );
        return stands(&faults);
    }
    if before.is_none() && text.version > 1 {
        println!("without `--previous` it is not held against version {}", text.version - 1);
    }
    stands(&faults)?;
    let fields = counted(text.fields.len(), "field");
    println!("`{}` version {}: {fields}; it can stand", text.record, text.version);
    match signing {
        Ok(digest) => println!("signed by all its providers; digest {digest}"),
        Err(why) => println!("{why}"),
    }
    Ok(())
}

/// The digest, if all providers signed; or what is lacking.
fn signing(text: &RecordTypeText, signed: Option<&SignedDocument>) -> Result<String, String> {
    let Some(signed) = signed else {
        let providers = counted(text.providers.len(), "provider");
        return Err(format!("a draft, for {providers} to sign with `yiwang catalogue sign`"));
    };
    RecordTypeVersion::open(signed).map(|version| hex(&version.digest)).map_err(|error| error.to_string())
}

pub fn diff(old: &Path, new: &Path, output: Output, builtin: &Catalogue) -> Outcome {
    let (before, signed) = read(old)?;
    let (after, _) = read(new)?;
    // Before a word of them is shown: what is not seen, or turns the line around, would hide what changes.
    let faults = [before.faults(builtin), after.faults(builtin)];
    if output == Output::Json && faults.iter().any(|faults| !faults.is_empty()) {
        println!("{}", json!({ "ok": false, "faults": faults.concat() }));
    }
    faults.iter().try_for_each(|faults| stands(faults))?;
    let changes = after.changes(&before);
    let follows = follows(&after, signed.as_ref());
    match output {
        Output::Json => {
            let faults = follows.as_ref().ok();
            println!(
                "{}",
                json!({
                    "ok": faults.is_some_and(Vec::is_empty),
                    "record": before.record.as_str(),
                    "from": before.version,
                    "to": after.version,
                    "changes": changes,
                    "may_follow": faults.map(Vec::is_empty),
                    "faults": faults.map(Vec::as_slice).unwrap_or_default(),
                })
            );
        }
        Output::Text => {
            println!("`{}` version {} to version {}", before.record, before.version, after.version);
            for line in &changes {
                println!("  {line}");
            }
            if changes.is_empty() {
                println!("  no change");
            }
        }
    }
    let faults = follows?;
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("the new version may not follow:\n  - {}", faults.join("\n  - "))))
}

/// What a version may not do to the one before it; an error where that cannot be told.
fn follows(after: &RecordTypeText, before: Option<&SignedDocument>) -> Result<Vec<String>, Failure> {
    let Some(signed) = before else {
        return Err(Failure::usage(
            "the version before is a draft: whether the new one may follow is seen with its envelope",
        ));
    };
    let before = RecordTypeVersion::open(signed).map_err(Failure::usage)?;
    Ok(after.breaks(&before, |_| false))
}
