//! Signatures over many statements: every one verifies alone, and nothing else does.

use super::*;
use crate::merkle::{Frontier, leaf_hash, verify_inclusion};
use crate::sha256;
use bytes::Bytes;
use payload_type::{ANSWER, ANSWER_IN_BATCH, REQUEST, REQUEST_IN_BATCH};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn payloads(many: usize) -> Vec<Vec<u8>> {
    (0..many).map(|number| format!("statement {number}").into_bytes()).collect()
}

fn again(signed: &SignedStatement) -> SignedStatement {
    SignedStatement::parse(signed.bytes().clone()).unwrap()
}

#[test]
fn each_of_a_batch_verifies_alone_under_its_key_and_kind() {
    let roots = Roots::default();
    for many in 1..=2 * BATCH_MAX + 1 {
        let signed = sign_many(REQUEST, payloads(many), &key(1));
        assert_eq!(signed.len(), many);
        for (one, payload) in signed.iter().zip(payloads(many)) {
            let one = again(one);
            assert_eq!(one.unverified_payload().as_ref(), payload);
            let good = key(1).public();
            assert_eq!(one.verify(REQUEST, &good).map(|bytes| bytes.to_vec()), Ok(payload));
            assert!(one.verify_knowing(&roots, 0, REQUEST, &good).is_ok());
            assert!(one.verify_knowing(&roots, 0, REQUEST, &key(2).public()).is_err());
            assert!(one.verify(REQUEST, &key(2).public()).is_err());
            assert!(one.verify(ANSWER, &good).is_err());
            assert!(one.verify_at(1, REQUEST, &good).is_err());
        }
    }
}

#[test]
fn one_alone_is_signed_as_ever_and_of_more_none_is() {
    let one = sign_many(REQUEST, payloads(1), &key(1));
    assert_eq!(one[0].bytes(), SignedStatement::sign(REQUEST, payloads(1)[0].clone(), &key(1)).bytes());
    assert!(!one[0].is_in_batch());
    let two = sign_many(ANSWER, payloads(2), &key(1));
    assert!(two.iter().all(|signed| signed.is_in_batch() && signed.payload_type() == ANSWER_IN_BATCH));
    let none = sign_many(payload_type::CASE, payloads(3), &key(1));
    assert!(none.iter().all(|signed| signed.payload_type() == payload_type::CASE && !signed.is_in_batch()));
}

#[test]
fn the_tree_is_that_of_rfc_6962() {
    for many in 2..=BATCH_MAX {
        let leaves: Vec<Hash> = (0..many).map(|number| leaf_hash(&[u8::try_from(number).unwrap()])).collect();
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let levels = levels(leaves.clone());
        assert_eq!(levels.last().unwrap()[..], [frontier.root()]);
        for (index, leaf) in leaves.iter().enumerate() {
            let path: Vec<Hash> = path(&levels, index).collect();
            assert_eq!(Some(path.len()), path_length(index, many));
            verify_inclusion(index as u64, many as u64, leaf, &path, &frontier.root()).unwrap();
        }
        assert_eq!(path_length(many, many), None);
    }
}

#[test]
fn no_byte_can_change_and_none_is_free() {
    let good = key(1).public();
    for signed in sign_many(ANSWER, payloads(5), &key(1)) {
        for at in 0..signed.bytes().len() {
            for bit in 0..8 {
                let mut bytes = signed.bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let parsed = SignedStatement::parse(Bytes::from(bytes));
                assert!(!parsed.is_ok_and(|one| one.verify(ANSWER, &good).is_ok()), "byte {at}, bit {bit}");
            }
        }
        let with = |change: &dyn Fn(&mut Vec<crate::pb::Signature>)| {
            use prost::Message as _;
            let mut envelope = signed.envelope().clone();
            change(&mut envelope.signatures);
            SignedStatement::parse(Bytes::from(envelope.encode_to_vec()))
        };
        let longer = |more: usize| {
            with(&move |all| all[0].sig = [all[0].sig.as_ref(), &vec![0; more]].concat().into())
        };
        assert!(longer(0).is_ok());
        assert!(longer(1).is_err() && longer(32).is_err(), "a proof of another length");
        assert!(with(&|all| all[0].sig = all[0].sig.slice(..64)).is_err(), "a root's signature alone");
        assert!(with(&|all| all.extend(all.clone())).is_err(), "two signatures");
        assert!(
            with(&|all| all[0].keyid = "13800138000".to_owned())
                .is_ok_and(|one| one.verify(ANSWER, &good).is_err())
        );
    }
}

#[test]
fn a_root_vouches_for_its_own_leaves_only() {
    let good = key(1).public();
    let (ours, others) = (sign_many(REQUEST, payloads(4), &key(1)), sign_many(ANSWER, payloads(4), &key(1)));
    for (request, answer) in ours.iter().zip(&others) {
        // The same payload with the proof of the other kind, or under the type of the other.
        let swapped = |kind: &'static str, of: &SignedStatement| {
            let sig = of.envelope().signatures[0].sig.clone();
            SignedStatement::with_signature(kind, request.unverified_payload().to_vec(), sig, &key(1))
        };
        assert!(swapped(REQUEST_IN_BATCH, request).verify(REQUEST, &good).is_ok());
        assert!(swapped(REQUEST_IN_BATCH, answer).verify(REQUEST, &good).is_err());
        assert!(swapped(ANSWER_IN_BATCH, request).verify(ANSWER, &good).is_err());
    }
    // An inner node is no leaf, and a root is no statement.
    let root = SignedStatement::sign(ROOT_TYPE, vec![0; 40], &key(1));
    assert!(again(&root).verify(REQUEST, &good).is_err());
    let single = SignedStatement::sign(REQUEST_IN_BATCH, b"payload".to_vec(), &key(1));
    assert!(SignedStatement::parse(single.bytes().clone()).is_err());
}

#[test]
fn roots_remember_what_was_good_only_and_not_without_end() {
    let roots = Roots::default();
    let (good, other) = (key(1).public(), key(2).public());
    let root = |number: usize| sha256(&number.to_be_bytes());
    let sign = |number: usize| key(1).sign(&root_message(2, &root(number)));
    let signature = sign(0);
    let bad = || {
        assert!(!roots.verify(&other, (2, &root(0)), &signature));
        assert!(!roots.verify(&good, (2, &root(1)), &signature));
        assert!(!roots.verify(&good, (3, &root(0)), &signature));
        assert!(!roots.verify(&good, (2, &root(0)), &sign(1)));
    };
    bad();
    assert_eq!(roots.0.lock().unwrap().good.len(), 0);
    for number in 0..ROOTS_MAX + 10 {
        assert!(roots.verify(&good, (2, &root(number)), &sign(number)));
        if number == 0 {
            // What is known says nothing for what differs in one part.
            bad();
        }
    }
    assert!(roots.verify(&good, (2, &root(ROOTS_MAX)), &sign(ROOTS_MAX)));
    let known = roots.0.lock().unwrap();
    assert_eq!((known.good.len(), known.order.len()), (ROOTS_MAX, ROOTS_MAX));
}
