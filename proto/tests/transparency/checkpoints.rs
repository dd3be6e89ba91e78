use yiwang_proto::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier};
use yiwang_proto::merkle::{EMPTY_ROOT, hash_to_base64, leaf_hash};
use yiwang_proto::note::{CosignerKey, NoteError, SignedNote, SignerKey, sign_note};

use crate::support::{ORIGIN, signer};

fn head(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, leaf_hash(&size.to_be_bytes())).unwrap()
}

#[test]
fn signs_and_opens() {
    let key = signer();
    for checkpoint in [head(1), head(u64::MAX), Checkpoint::new(ORIGIN, 0, EMPTY_ROOT).unwrap()] {
        let note = checkpoint.sign(&key).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), key.verifier(), ORIGIN), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
}

#[test]
fn malformed_texts() {
    let root = hash_to_base64(&head(7).root);
    let empty = hash_to_base64(&EMPTY_ROOT);
    for (text, error) in [
        (String::new(), CheckpointError::Lines),
        (format!("{ORIGIN}\n7\n"), CheckpointError::Lines),
        (format!("{ORIGIN}\n7\n{root}"), CheckpointError::Lines),
        (format!("\n7\n{root}\n"), CheckpointError::Origin),
        (format!("a b\n7\n{root}\n"), CheckpointError::Origin),
        (format!("a+b\n7\n{root}\n"), CheckpointError::Origin),
        (format!("{}\n7\n{root}\n", "a".repeat(256)), CheckpointError::Origin),
        (format!("{ORIGIN}\n07\n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n+7\n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n-7\n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n\n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n7 \n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n18446744073709551616\n{root}\n"), CheckpointError::Size),
        (format!("{ORIGIN}\n7\n{}\n", root.trim_end_matches('=')), CheckpointError::Root),
        (format!("{ORIGIN}\n7\nAAAA\n"), CheckpointError::Root),
        (format!("{ORIGIN}\n0\n{root}\n"), CheckpointError::EmptyTree),
        (format!("{ORIGIN}\n0\n{empty}\n\n"), CheckpointError::Extension),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
    }
    let hand_made = Checkpoint { origin: "two\nlines".into(), size: 1, root: EMPTY_ROOT };
    assert_eq!(hand_made.sign(&signer()), Err(CheckpointError::Origin));
}

#[test]
fn extension_lines_are_tolerated_and_signed() {
    let key = signer();
    let text = format!("{}extension of another log\n", head(7).text());
    let note = sign_note(&text, &key).unwrap();
    assert_eq!(Checkpoint::open(note.as_bytes(), key.verifier(), ORIGIN), Ok(head(7)));
    let dropped = note.replace("extension of another log\n", "");
    assert!(Checkpoint::open(dropped.as_bytes(), key.verifier(), ORIGIN).is_err());
}

#[test]
fn another_key_or_origin_is_refused() {
    let key = signer();
    let stranger = SignerKey::from_seed(ORIGIN, &[9; 32]).unwrap();
    let note = head(7).sign(&key).unwrap();
    let unsigned = CheckpointError::Note(NoteError::Unsigned);
    assert_eq!(Checkpoint::open(note.as_bytes(), stranger.verifier(), ORIGIN), Err(unsigned));
    let other = CheckpointError::OtherOrigin { expected: "log.example/other".into() };
    assert_eq!(Checkpoint::open(note.as_bytes(), key.verifier(), "log.example/other"), Err(other));
}

#[test]
fn cosigners_never_stand_in_for_the_log() {
    let (key, witness) = (signer(), CosignerKey::from_seed("witness.example", &[3; 32]).unwrap());
    let cosigners = [witness.verifier().clone()];
    let stranger = SignerKey::from_seed("stranger.example", &[9; 32]).unwrap();
    let mut note = SignedNote::parse(head(7).sign(&stranger).unwrap().as_bytes()).unwrap();
    note.add(witness.cosign(note.text(), 10)).unwrap();
    let opened = Checkpoint::open_cosigned(note.to_string().as_bytes(), key.verifier(), ORIGIN, &cosigners);
    assert_eq!(opened, Err(CheckpointError::Note(NoteError::Unsigned)));

    let mut note = SignedNote::parse(head(7).sign(&key).unwrap().as_bytes()).unwrap();
    note.add(witness.cosign(note.text(), 10)).unwrap();
    let note = note.to_string();
    let (opened, verified) =
        Checkpoint::open_cosigned(note.as_bytes(), key.verifier(), ORIGIN, &cosigners).unwrap();
    assert_eq!((opened, verified.time(witness.verifier())), (head(7), Some(10)));
}

#[test]
fn every_changed_byte_is_refused() {
    let key = signer();
    let verifier = CheckpointVerifier::new(key.verifier().clone(), ORIGIN, 4);
    let note = head(70).sign(&key).unwrap().into_bytes();
    verifier.open(&note).unwrap();
    for at in 0..note.len() {
        for change in [0x01, 0x02, 0x20, 0x80] {
            let mut changed = note.clone();
            changed[at] ^= change;
            assert!(verifier.open(&changed).is_err(), "byte {at} ^ {change:#x}");
        }
        assert!(verifier.open(&note[..at]).is_err());
        let mut longer = note.clone();
        longer.insert(at, b'A');
        assert!(verifier.open(&longer).is_err(), "insert at {at}");
    }
}

#[test]
fn the_verifier_forgets_the_oldest_and_stays_right() {
    let key = signer();
    let verifier = CheckpointVerifier::new(key.verifier().clone(), ORIGIN, 2);
    let notes: Vec<_> = (1..=5).map(|size| head(size).sign(&key).unwrap()).collect();
    for _ in 0..3 {
        for (size, note) in (1..).zip(&notes) {
            assert_eq!(verifier.open(note.as_bytes()).unwrap(), head(size));
        }
    }
    let forgetful = CheckpointVerifier::new(key.verifier().clone(), ORIGIN, 0);
    assert_eq!(forgetful.open(notes[0].as_bytes()).unwrap(), head(1));
    assert_eq!((forgetful.origin(), forgetful.key()), (ORIGIN, key.verifier()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (verifier, notes) = (&verifier, &notes);
            scope.spawn(move || {
                for round in 0..20 {
                    let at = (round * (thread + 1)) % notes.len();
                    assert_eq!(verifier.open(notes[at].as_bytes()).unwrap().size, at as u64 + 1);
                }
            });
        }
    });
}
