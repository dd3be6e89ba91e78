use yiwang_proto::note::{
    CosignerKey, KeyError, KeyKind, MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, NoteSignature, SignedNote,
    SignerKey, VerifierKey, sign_note,
};

use crate::support::{ORIGIN, signer};

const TEXT: &str = "first line\n\nlast line\n";

fn note() -> SignedNote {
    SignedNote::parse(sign_note(TEXT, &signer()).unwrap().as_bytes()).unwrap()
}

/// The example that the Go package documents.
#[test]
fn published_example() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key = VerifierKey::parse(key).unwrap();
    let note = SignedNote::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    assert_eq!(note.text(), text);
    assert!(note.verify(std::slice::from_ref(&key)).unwrap().by(&key));
    assert_eq!(note.to_string(), format!("{text}\n{line}"));
}

#[test]
fn text_may_hold_empty_lines() {
    let note = note();
    assert_eq!(note.text(), TEXT);
    assert!(note.verify(&[signer().verifier().clone()]).unwrap().by(signer().verifier()));
}

#[test]
fn only_known_keys_count() {
    let other = SignerKey::from_seed("other.example", &[8; 32]).unwrap();
    let same_name = SignerKey::from_seed(ORIGIN, &[9; 32]).unwrap();
    let post_quantum = VerifierKey::parse("other.example+00000001+BgAA").unwrap();
    assert_eq!(post_quantum.kind(), KeyKind::Other(6));
    assert_eq!(note().verify(&[]), Err(NoteError::Unsigned));
    assert_eq!(note().verify(&[same_name.verifier().clone()]), Err(NoteError::Unsigned));

    let mut both = note();
    both.add(NoteSignature::parse("— other.example AAAAAQUF").unwrap()).unwrap();
    both.add(other_line(&other)).unwrap();
    let known =
        [signer().verifier().clone(), post_quantum, other.verifier().clone(), other.verifier().clone()];
    let verified = both.verify(&known).unwrap();
    assert_eq!(verified.distinct_keys(), 2);
    assert_eq!(verified.keys().count(), 2);
    assert_eq!(verified.time(other.verifier()), None);
}

fn other_line(key: &SignerKey) -> NoteSignature {
    let signed = sign_note(TEXT, key).unwrap();
    SignedNote::parse(signed.as_bytes()).unwrap().signatures()[0].clone()
}

#[test]
fn a_bad_line_of_a_known_key_refuses_the_note() {
    let other = SignerKey::from_seed("other.example", &[8; 32]).unwrap();
    let foreign = sign_note("another text\n", &other).unwrap();
    let mut note = note();
    note.add(SignedNote::parse(foreign.as_bytes()).unwrap().signatures()[0].clone()).unwrap();
    assert_eq!(note.verify(&[signer().verifier().clone()]).unwrap().distinct_keys(), 1);
    assert_eq!(
        note.verify(&[signer().verifier().clone(), other.verifier().clone()]),
        Err(NoteError::BadSignature("other.example".into()))
    );
}

#[test]
fn lines_are_not_counted_twice() {
    let text = note().to_string();
    let line = text.lines().last().unwrap();
    let twice = SignedNote::parse(format!("{text}{line}\n").as_bytes()).unwrap();
    assert_eq!(twice.verify(&[signer().verifier().clone()]).unwrap().distinct_keys(), 1);
    // A second, bad line of a known key is not forgiven because the first one was good.
    let bad = format!("{text}{}\n", other_line_with_our_id(line));
    let bad = SignedNote::parse(bad.as_bytes()).unwrap();
    assert!(matches!(bad.verify(&[signer().verifier().clone()]), Err(NoteError::BadSignature(_))));
}

fn other_line_with_our_id(line: &str) -> String {
    let at = line.len() - 20;
    let swapped = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{swapped}{}", &line[..at], &line[at + 1..])
}

#[test]
fn one_key_under_two_names_is_one_key() {
    let alias = SignerKey::from_seed("alias.example", &[7; 32]).unwrap();
    let mut note = note();
    note.add(other_line(&alias)).unwrap();
    let verified = note.verify(&[signer().verifier().clone(), alias.verifier().clone()]).unwrap();
    assert_eq!((verified.keys().count(), verified.distinct_keys()), (2, 1));
}

#[test]
fn cosignatures_state_their_time() {
    let witness = CosignerKey::from_seed("witness.example/w1", &[3; 32]).unwrap();
    let mut note = note();
    note.add(witness.cosign(note.text(), 1_679_315_147)).unwrap();
    let known = [signer().verifier().clone(), witness.verifier().clone()];
    let parsed = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(parsed, note);
    assert_eq!(parsed.verify(&known).unwrap().time(witness.verifier()), Some(1_679_315_147));
    // A later cosignature of the same key takes the place of the earlier one.
    note.add(witness.cosign(note.text(), u64::MAX)).unwrap();
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.verify(&known).unwrap().time(witness.verifier()), Some(i64::MAX as u64));
    // The time is under the signature.
    let mut line = witness.cosign(note.text(), 5).to_string();
    let earlier = witness.cosign(note.text(), 4).to_string();
    let time_ends = line.find("AAAAA").unwrap() + 11;
    line.replace_range(..time_ends, &earlier[..time_ends]);
    note.add(NoteSignature::parse(&line).unwrap()).unwrap();
    assert_eq!(note.verify(&known), Err(NoteError::BadSignature("witness.example/w1".into())));
}

/// The line that `tlog-cosignature` prints as its example has this shape and length.
#[test]
fn cosignature_lines_have_the_published_shape() {
    let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
    let published = NoteSignature::parse(line).unwrap();
    assert_eq!(published.to_string(), line);
    assert_eq!(published.bytes()[..8], 1_679_315_147_u64.to_be_bytes());
    let ours = CosignerKey::from_seed("witness.example.com/w1", &[3; 32]).unwrap().cosign(TEXT, 1);
    assert_eq!(ours.bytes().len(), published.bytes().len());
}

#[test]
fn malformed_notes() {
    let good = note().to_string();
    let line = good.lines().last().unwrap();
    let cases: [(String, NoteError); 12] = [
        (String::new(), NoteError::NoSignatures),
        ("text\n".into(), NoteError::NoSignatures),
        ("text\n\n".into(), NoteError::NoSignatures),
        ("text\n\n\n".into(), NoteError::NoSignatures),
        (good.trim_end().into(), NoteError::NoSignatures),
        (good.replace("first", "fir\tst"), NoteError::ControlByte(9)),
        (good.replace("\n\n— ", "\n\n- "), NoteError::SignatureLine(1)),
        (format!("{good}— {ORIGIN}\n"), NoteError::SignatureLine(2)),
        (format!("{good}— a+b AAAAAAAA\n"), NoteError::SignatureLine(2)),
        (format!("{good}— {ORIGIN} AAAAAA==\n"), NoteError::SignatureLine(2)),
        (format!("{good}{line} \n"), NoteError::SignatureLine(2)),
        (format!("{good}{}", format!("{line}\n").repeat(MAX_SIGNATURES)), NoteError::TooManySignatures),
    ];
    for (text, error) in cases {
        assert_eq!(SignedNote::parse(text.as_bytes()), Err(error), "{text:?}");
    }
    assert_eq!(SignedNote::parse(b"text\n\n\xff\n"), Err(NoteError::NotUtf8));
    let long = vec![b'a'; MAX_NOTE_BYTES + 1];
    assert_eq!(SignedNote::parse(&long), Err(NoteError::TooLong(MAX_NOTE_BYTES + 1)));
    assert_eq!(sign_note("no line feed", &signer()), Err(NoteError::UnfinishedText));
    assert_eq!(sign_note("", &signer()), Err(NoteError::UnfinishedText));
    assert_eq!(sign_note("bell\u{7}\n", &signer()), Err(NoteError::ControlByte(7)));
}

#[test]
fn keys_are_strict() {
    let vkey = signer().verifier().to_string();
    assert_eq!(&vkey.parse::<VerifierKey>().unwrap(), signer().verifier());
    let (name, rest) = vkey.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let low_order = VerifierKey::ed25519(ORIGIN, &[0; 32]);
    assert_eq!(low_order, Err(KeyError::PublicKey));
    for (text, error) in [
        (format!("other{vkey}"), KeyError::Id),
        (format!("{name}+00000000+{key}"), KeyError::Id),
        (format!("{name}+{}+{key}", id.to_uppercase() + "0"), KeyError::Format),
        (format!("{name}++{}+{key}", &id[1..]), KeyError::Format),
        (format!("{name}+{id}"), KeyError::Format),
        (format!("{name}+{id}+{key}="), KeyError::Format),
        (format!("{name}+{id}+"), KeyError::Format),
        (format!("a b+{id}+{key}"), KeyError::Name),
        (format!("+{id}+{key}"), KeyError::Name),
        (format!("{name}+{id}+AQAA"), KeyError::PublicKey),
        (format!("{name}+{id}+{}", "A".repeat(5000)), KeyError::Format),
    ] {
        assert_eq!(VerifierKey::parse(&text), Err(error), "{text}");
    }
    assert_eq!(SignerKey::from_seed("a+b", &[1; 32]).unwrap_err(), KeyError::Name);
    assert_eq!(CosignerKey::from_seed("", &[1; 32]).unwrap_err(), KeyError::Name);
}

#[test]
fn private_keys_are_not_printed() {
    let seed = [0xab; 32];
    let shown = format!(
        "{:?} {:?}",
        SignerKey::from_seed("a", &seed).unwrap(),
        CosignerKey::from_seed("b", &seed).unwrap()
    );
    assert!(!shown.contains("171") && !shown.contains("abab") && !shown.contains("q6ur"), "{shown}");
}

#[test]
fn keys_read_from_configuration() {
    let text = serde_json::to_string(signer().verifier()).unwrap();
    assert_eq!(&serde_json::from_str::<VerifierKey>(&text).unwrap(), signer().verifier());
    assert!(serde_json::from_str::<VerifierKey>("\"x\"").is_err());
}
