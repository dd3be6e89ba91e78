//! Whatever comes from outside: an answer or an error, never a panic, and one spelling per value.

use proptest::prelude::*;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{
    Hash, verify_consistency, verify_growth, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
use yiwang_proto::note::{NoteSignature, SignedNote, VerifierKey};
use yiwang_proto::tile::{TilePath, decode_bundle, encode_bundle};
use yiwang_proto::tlog_proof::TlogProof;

use crate::support::{ORIGIN, leaves, signer, stored};

/// Sizes near the edges of the number type and of powers of two.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..20,
        (0_u32..64, 0_u64..3).prop_map(|(bit, off)| (1_u64 << bit).wrapping_sub(off)),
        (0_u64..3).prop_map(|off| u64::MAX - off),
    ]
}

fn proofs() -> impl Strategy<Value = Vec<Hash>> {
    prop::collection::vec(any::<Hash>(), 0..70)
}

/// Text that is near the formats: their own pieces, shuffled, with noise between.
fn near_formats() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("— ".to_owned()),
        Just(format!("{ORIGIN}\n")),
        Just("tile/entries/x001/002.p/3".to_owned()),
        Just("c2sp.org/tlog-proof@v1\nindex 0\n".to_owned()),
        Just("extra YWJj\n".to_owned()),
        Just(signer().verifier().to_string()),
        Just(format!("{}=\n", "A".repeat(43))),
        "[0-9]{1,21}\n",
        "[A-Za-z0-9+/]{0,12}={0,2}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn parse_everything(bytes: &[u8]) {
    if let Ok(note) = SignedNote::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let _ = note.verify(&[signer().verifier().clone()]);
    }
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes);
        assert!(proof.verify(&[0; 32], signer().verifier(), ORIGIN).is_err());
    }
    assert!(Checkpoint::open(bytes, signer().verifier(), ORIGIN).is_err());
    let text = String::from_utf8_lossy(bytes);
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        assert!(text.starts_with(&checkpoint.text()));
    }
    if let Ok(path) = TilePath::parse(&text) {
        assert_eq!(path.to_string(), text);
    }
    if let Ok(key) = VerifierKey::parse(&text) {
        assert_eq!(key.to_string(), text);
    }
    if let Some(line) = NoteSignature::parse(&text) {
        assert_eq!(line.to_string(), text);
    }
    for width in [0, 1, 3, 256, u16::MAX] {
        if let Ok(entries) = decode_bundle(bytes, width) {
            assert_eq!(encode_bundle(entries).unwrap(), bytes);
        }
    }
}

/// Each good text, cut and changed everywhere, goes through every parser.
#[test]
fn damaged_texts() {
    let all = leaves(3);
    let (tree, _) = stored(&all);
    let note = Checkpoint::new(ORIGIN, 3, tree.root()).unwrap().sign(&signer()).unwrap();
    let proof = TlogProof::new(1, all.clone(), &note).unwrap().with_extra(b"x").unwrap().to_string();
    let vkey = signer().verifier().to_string();
    for text in [note, proof, vkey, "tile/0/x001/002.p/3".to_owned()] {
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = damaged[at].wrapping_add(1);
            parse_everything(&damaged);
            parse_everything(&damaged[..at]);
        }
    }
}

proptest! {
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_everything(&bytes);
    }

    #[test]
    fn pieces(bytes in near_formats()) {
        parse_everything(&bytes);
    }

    /// Made-up proofs never lead to a given root.
    #[test]
    fn proofs_from_nowhere(a in sizes(), b in sizes(), c in sizes(), proof in proofs(), from: Hash, to: Hash) {
        prop_assume!(from != to);
        prop_assert!(verify_inclusion(a, b, &from, &proof, &to).is_err());
        prop_assert!(verify_consistency(a, b, &from, &to, &proof).is_err());
        prop_assert!(verify_growth(a, b, &from, &to, &proof).is_err());
        prop_assert!(verify_subtree_inclusion(a, (b, c), &from, &proof, &to).is_err());
        prop_assert!(verify_subtree_consistency((a, b), c, &from, &to, &proof).is_err());
    }
}
