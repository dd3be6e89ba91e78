//! Signatures are judged as `verify_strict` judges them, by less work: the two are held together where they
//! could differ, which is around the points of low order.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use proptest::prelude::*;
use yiwang_proto::keys::{PublicKey, SecretKey};

fn strict(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let key = VerifyingKey::from_bytes(key.as_bytes()).unwrap();
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

fn lenient(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key.as_bytes())
        .unwrap()
        .verify(message, &Signature::from_bytes(signature))
        .is_ok()
}

fn challenge(r: &[u8; 32], key: &PublicKey, message: &[u8]) -> Scalar {
    use sha2::Digest as _;
    let hash = sha2::Sha512::new().chain_update(r).chain_update(key.as_bytes()).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn signature(r: &[u8; 32], s: Scalar) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r);
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

/// A key with a part of low order, of which the holder knows the scalar.
fn mixed(scalar: Scalar, torsion: EdwardsPoint) -> PublicKey {
    PublicKey::from_bytes((ED25519_BASEPOINT_TABLE * &scalar + torsion).compress().as_bytes()).unwrap()
}

#[test]
fn a_commitment_of_low_order_is_refused_even_where_the_equation_holds() {
    let mut held = [0; 8];
    for (n, torsion) in EIGHT_TORSION.iter().enumerate() {
        for message in 0u32..64 {
            let (scalar, message) = (Scalar::from(77u64 + u64::from(message)), message.to_be_bytes());
            let key = mixed(scalar, EIGHT_TORSION[n]);
            for (m, r) in EIGHT_TORSION.iter().enumerate() {
                let r = r.compress().0;
                // sB - kA is -kT: of low order, and now and then the very R.
                let s = challenge(&r, &key, &message) * scalar;
                let signature = signature(&r, s);
                held[m] += u32::from(lenient(&key, &message, &signature));
                assert!(!key.verify(&message, &signature), "{n} {m} {torsion:?}");
                assert!(!strict(&key, &message, &signature));
            }
        }
    }
    assert!(
        held.iter().all(|held| *held > 0),
        "each of the eight was tried where the equation holds: {held:?}"
    );
}

#[test]
fn a_key_that_is_seen_often_is_judged_the_same() {
    for (n, torsion) in EIGHT_TORSION.iter().enumerate() {
        let scalar = Scalar::from(77u64 + n as u64);
        let key = mixed(scalar, *torsion);
        let nonce = Scalar::from(5u64);
        let r = (ED25519_BASEPOINT_TABLE * &nonce).compress().0;
        let signed = |message: u32| {
            let message = message.to_be_bytes();
            (message, signature(&r, nonce + challenge(&r, &key, &message) * scalar))
        };
        // Where the key's part of low order falls out of the equation, its holder can sign.
        let (message, good) =
            (0..1_000).map(signed).find(|(message, one)| strict(&key, message, one)).unwrap();
        for _ in 0..400 {
            assert!(key.verify(&message, &good));
        }
        let mut held = 0;
        for (message, one) in (0..200).map(signed) {
            let good = strict(&key, &message, &one);
            assert_eq!(key.verify(&message, &one), good, "{n}");
            held += u32::from(good);
        }
        assert!(held > 0);
        for r in EIGHT_TORSION.map(|point| point.compress().0) {
            for message in 0u32..64 {
                let message = message.to_be_bytes();
                let signature = signature(&r, challenge(&r, &key, &message) * scalar);
                assert!(!key.verify(&message, &signature), "{n}");
            }
        }
    }
}

#[test]
fn keys_of_low_order_are_no_keys() {
    for point in EIGHT_TORSION {
        assert!(PublicKey::from_bytes(point.compress().as_bytes()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_verify_strict(
        seed in any::<[u8; 32]>(),
        nonce in any::<[u8; 32]>(),
        message in proptest::collection::vec(any::<u8>(), 0..200),
        torsions in (0usize..8, 0usize..8),
        change in proptest::option::of((0usize..64, 1u8..)),
        shift in any::<bool>(),
    ) {
        // A key and a commitment that may have parts of low order, a proof that may be changed or not reduced.
        let scalar = Scalar::from_bytes_mod_order(seed);
        let nonce = Scalar::from_bytes_mod_order(nonce);
        prop_assume!(scalar != Scalar::ZERO);
        let key = mixed(scalar, EIGHT_TORSION[torsions.0]);
        let r = (ED25519_BASEPOINT_TABLE * &nonce + EIGHT_TORSION[torsions.1]).compress().0;
        let mut signature = signature(&r, nonce + challenge(&r, &key, &message) * scalar);
        if let Some((at, by)) = change {
            signature[at] ^= by;
        }
        if shift {
            // s + L, where it fits: the same equation by another text.
            let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
            let mut carry = 0u16;
            for (byte, add) in signature[32..].iter_mut().zip(order) {
                carry += u16::from(*byte) + u16::from(add);
                *byte = carry as u8;
                carry >>= 8;
            }
        }
        prop_assert_eq!(key.verify(&message, &signature), strict(&key, &message, &signature));
    }

    #[test]
    fn what_we_sign_is_good_and_nothing_beside_it(
        seed in any::<[u8; 32]>(),
        message in proptest::collection::vec(any::<u8>(), 1..200),
        at in 0usize..64,
        by in 1u8..,
    ) {
        let key = SecretKey::from_seed(&seed);
        let mut signature = key.sign(&message);
        prop_assert!(key.public().verify(&message, &signature));
        signature[at] ^= by;
        prop_assert!(!key.public().verify(&message, &signature));
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
