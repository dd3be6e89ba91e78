use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{Hash, ProofError, inclusion_proof};
use yiwang_proto::note::{CosignerKey, SignedNote, VerifierKey};
use yiwang_proto::tlog_proof::{MAX_EXTRA_BYTES, MAX_PROOF_BYTES, TlogProof, TlogProofError};

use crate::support::{ORIGIN, leaves, signer, stored};

/// A proof for leaf 5 of 11, and that leaf's hash.
fn proof() -> (TlogProof, Hash) {
    let all = leaves(11);
    let (tree, store) = stored(&all);
    let checkpoint = Checkpoint::new(ORIGIN, 11, tree.root()).unwrap().sign(&signer()).unwrap();
    let hashes = inclusion_proof(&store, 5, 11).unwrap();
    (TlogProof::new(5, hashes, &checkpoint).unwrap(), all[5])
}

#[test]
fn written_parsed_verified() {
    let (proof, leaf) = proof();
    let with_extra = proof.clone().with_extra(b"where the entry is").unwrap();
    for proof in [proof, with_extra] {
        let file = proof.to_string();
        let parsed = TlogProof::parse(file.as_bytes()).unwrap();
        assert_eq!(parsed, proof);
        let checkpoint = parsed.verify(&leaf, signer().verifier(), ORIGIN).unwrap();
        assert_eq!((checkpoint.size, parsed.index(), parsed.hashes().len()), (11, 5, 4));
        assert!(file.ends_with(parsed.checkpoint()));
        let other = leaves(1)[0];
        assert_eq!(
            parsed.verify(&other, signer().verifier(), ORIGIN),
            Err(TlogProofError::Inclusion(ProofError::RootMismatch))
        );
    }
}

#[test]
fn the_file_has_the_published_lines() {
    let (proof, _) = proof();
    let file = proof.with_extra(b"abc").unwrap().to_string();
    let lines: Vec<_> = file.lines().collect();
    assert_eq!(lines[..3], ["c2sp.org/tlog-proof@v1", "extra YWJj", "index 5"]);
    assert_eq!((lines[3].len(), lines[6].len(), lines[7], lines[8], lines[9]), (44, 44, "", ORIGIN, "11"));
}

#[test]
fn every_changed_byte_is_refused() {
    let (proof, leaf) = proof();
    let file = proof.to_string().into_bytes();
    let key = signer().verifier().clone();
    let accepted = |bytes: &[u8]| TlogProof::parse(bytes).and_then(|p| p.verify(&leaf, &key, ORIGIN)).is_ok();
    assert!(accepted(&file));
    for at in 0..file.len() {
        for change in [0x01, 0x04, 0x20, 0x80] {
            let mut changed = file.clone();
            changed[at] ^= change;
            assert!(!accepted(&changed), "byte {at} ^ {change:#x}");
        }
        assert!(!accepted(&file[..at]));
    }
}

#[test]
fn malformed_files() {
    let good = proof().0.to_string();
    let hash_line = good.lines().nth(2).unwrap();
    for (text, error) in [
        (String::new(), TlogProofError::NoCheckpoint),
        (good.replace("@v1", "@v2"), TlogProofError::Header),
        (good.replace("index 5", "index 05"), TlogProofError::Index),
        (good.replace("index 5\n", ""), TlogProofError::Index),
        (good.replace("index 5", "extra "), TlogProofError::Extra),
        (good.replace("index 5", "extra YWJj\nextra YWJj\nindex 5"), TlogProofError::Index),
        (good.replace("index 5", "extra YWJ\nindex 5"), TlogProofError::Extra),
        (good.replace(hash_line, "AAAA"), TlogProofError::HashLine(1)),
        (good.replace(hash_line, &[hash_line; 65].join("\n")), TlogProofError::HashLine(65)),
    ] {
        assert_eq!(TlogProof::parse(text.as_bytes()), Err(error), "{text}");
    }
    let long = vec![b'a'; MAX_PROOF_BYTES + 1];
    assert_eq!(TlogProof::parse(&long), Err(TlogProofError::TooLong(MAX_PROOF_BYTES + 1)));
    assert_eq!(TlogProof::parse(b"\xff\n\n"), Err(TlogProofError::NotUtf8));
    assert!(matches!(TlogProof::new(0, Vec::new(), "no note"), Err(TlogProofError::Checkpoint(_))));
}

#[test]
fn the_longest_extra_fits() {
    let (proof, leaf) = proof();
    assert_eq!(proof.clone().with_extra(&vec![1; MAX_EXTRA_BYTES + 1]), Err(TlogProofError::Extra));
    let file = proof.with_extra(&vec![1; MAX_EXTRA_BYTES]).unwrap().to_string();
    TlogProof::parse(file.as_bytes()).unwrap().verify(&leaf, signer().verifier(), ORIGIN).unwrap();
}

#[test]
fn witnesses_are_counted_by_key() {
    let (proof, leaf) = proof();
    let witness = |name: &str, seed: u8| CosignerKey::from_seed(name, &[seed; 32]).unwrap();
    let (first, alias) = (witness("w1.example", 1), witness("alias.example", 1));
    // Seed 7 is the log's own key: the log is no witness of itself.
    let (log_itself, absent) = (witness("log-as-witness.example", 7), witness("w3.example", 3));
    let mut note = SignedNote::parse(proof.checkpoint().as_bytes()).unwrap();
    for cosigner in [&first, &alias, &log_itself] {
        note.add(cosigner.cosign(note.text(), 1000)).unwrap();
    }
    let proof = TlogProof::new(5, proof.hashes().to_vec(), &note.to_string()).unwrap();
    let known: Vec<VerifierKey> =
        [&first, &alias, &log_itself, &absent].into_iter().map(|key| key.verifier().clone()).collect();
    let key = signer().verifier().clone();
    let (checkpoint, verified) = proof.verify_witnessed(&leaf, &key, ORIGIN, &known, 1).unwrap();
    assert_eq!((checkpoint.size, verified.time(first.verifier())), (11, Some(1000)));
    assert_eq!(
        proof.verify_witnessed(&leaf, &key, ORIGIN, &known, 2),
        Err(TlogProofError::Quorum { found: 1, required: 2 })
    );
}
