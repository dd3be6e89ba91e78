use super::*;
use crate::keys::SecretKey;
use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use ed25519_dalek::Verifier as _;
use proptest::prelude::*;

fn key(number: u64) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_seed(&seed)
}

#[test]
fn multiples_are_made_once_a_key_is_seen_often() {
    let prepared = Prepared::default();
    let (often, seldom) = (key(1).public(), key(2).public());
    for _ in 1..PAYS {
        prepared.note_good(&often);
    }
    prepared.note_good(&seldom);
    assert!(prepared.table(&often).is_none());
    prepared.note_good(&often);
    assert!(prepared.table(&often).is_some());
    assert!(prepared.table(&seldom).is_none());
    assert_eq!(prepared.counts.lock().unwrap().len(), 1, "what has its table is counted no more");
}

#[test]
fn what_is_kept_and_counted_has_an_end() {
    let prepared = Prepared::default();
    let often = |number| (0..PAYS).for_each(|_| prepared.note_good(&key(number).public()));
    (0..KEPT as u64).for_each(often);
    let more = KEPT as u64;
    let in_use = || (0..more).all(|number| prepared.table(&key(number).public()).is_some());
    assert!(in_use());
    often(more);
    assert!(prepared.table(&key(more).public()).is_none(), "all that are kept were used a moment ago");
    // The first is in use all the time, and the others are not.
    for _ in 0..=LONG {
        assert!(prepared.table(&key(0).public()).is_some());
    }
    often(more);
    assert!(prepared.table(&key(more).public()).is_some());
    assert!(prepared.table(&key(0).public()).is_some());
    assert!(prepared.table(&key(1).public()).is_none(), "the one that was not used for longest made room");
    assert_eq!(prepared.tables.read().unwrap().len(), KEPT);
    assert!(prepared.counts.lock().unwrap().is_empty());
    for number in 0..2 * COUNTED as u64 {
        prepared.note_good(&key(10_000 + number).public());
        assert!(prepared.counts.lock().unwrap().len() <= COUNTED);
    }
}

#[test]
fn keys_that_come_once_keep_none_from_its_table() {
    let prepared = Prepared::default();
    let often = key(1).public();
    for number in 0..4 * u64::from(PAYS) {
        prepared.note_good(&often);
        (0..20).for_each(|n| prepared.note_good(&key(1_000 + 20 * number + n).public()));
    }
    assert!(prepared.table(&often).is_some());
}

#[test]
fn a_key_that_is_seen_often_is_checked_by_its_table() {
    let (secret, message) = (key(5_000), b"message");
    let (public, signature) = (secret.public(), secret.sign(b"message"));
    // Others of this process may halve the counts.
    let checks =
        (0..10_000).find(|_| !public.verify(message, &signature) || PREPARED.table(&public).is_some());
    assert!(checks.is_some_and(|checks| checks + 1 >= PAYS as usize), "{checks:?}");
    assert!(PREPARED.table(&public).is_some());
    assert!(public.verify(message, &signature));
    assert!(!public.verify(b"another", &signature));
}

#[test]
fn a_table_says_what_the_key_says() {
    for number in 0..8 {
        let (secret, message) = (key(number), number.to_be_bytes());
        let public = secret.public();
        let table = Table::of(&public, 0);
        let good = secret.sign(&message);
        assert!(table.check(&public, &message, &good));
        assert!(!table.check(&public, b"another", &good));
        assert!(!table.check(&public, &message, &key(number + 1).sign(&message)));
        for bit in 0..512 {
            let mut bent = good;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(!table.check(&public, &message, &bent), "bit {bit}");
        }
        // s + L: the same equation by another text.
        let (r, s) = good.split_first_chunk::<32>().unwrap();
        let mut carry = 0u16;
        let more: Vec<u8> = s
            .iter()
            .zip(ORDER)
            .map(|(byte, add)| {
                carry = u16::from(*byte) + u16::from(add) + (carry >> 8);
                carry.to_le_bytes()[0]
            })
            .collect();
        let same = Scalar::from_bytes_mod_order(more.clone().try_into().unwrap());
        assert_eq!(same.as_bytes().as_slice(), s);
        let shifted: [u8; 64] = [r.as_slice(), &more].concat().try_into().unwrap();
        assert!(!table.check(&public, &message, &shifted));
    }
}

/// The order of the base point, RFC 8032 section 5.1: 2^252 + 27742317777372353535851937790883648493.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn a_part_of_low_order_counts() {
    let (scalar, nonce) = (Scalar::from(77u64), Scalar::from(5u64));
    let r = (ED25519_BASEPOINT_TABLE * &nonce).compress().0;
    for torsion in EIGHT_TORSION {
        let key = (ED25519_BASEPOINT_TABLE * &scalar + torsion).compress();
        let key = PublicKey::from_bytes(key.as_bytes()).unwrap();
        let table = Table::of(&key, 0);
        let mut good = 0;
        for message in 0u32..200 {
            let message = message.to_be_bytes();
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice((nonce + challenge(&r, &key, &message) * scalar).as_bytes());
            let library = key.0.verify(&message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok();
            assert_eq!(table.check(&key, &message, &signature), library);
            good += u32::from(library);
        }
        // All of them where there is no such part, and of the others those whose multiple of it is nothing.
        assert!(if torsion == EIGHT_TORSION[0] { good == 200 } else { (5..195).contains(&good) }, "{good}");
    }
}

fn challenge(r: &[u8; 32], key: &PublicKey, message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key.as_bytes()).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_table_says_what_the_library_says(
        seed in any::<[u8; 32]>(),
        nonce in any::<[u8; 32]>(),
        message in proptest::collection::vec(any::<u8>(), 0..200),
        torsions in (0usize..8, 0usize..8),
        change in proptest::option::of((0usize..64, 1u8..)),
    ) {
        // Keys and commitments that may have parts of low order, which a multiple of the reduced scalar must keep.
        let (scalar, nonce) = (Scalar::from_bytes_mod_order(seed), Scalar::from_bytes_mod_order(nonce));
        prop_assume!(scalar != Scalar::ZERO);
        let key = ED25519_BASEPOINT_TABLE * &scalar + EIGHT_TORSION[torsions.0];
        let key = PublicKey::from_bytes(key.compress().as_bytes()).unwrap();
        let r = (ED25519_BASEPOINT_TABLE * &nonce + EIGHT_TORSION[torsions.1]).compress().0;
        let s = nonce + challenge(&r, &key, &message) * scalar;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        if let Some((at, by)) = change {
            signature[at] ^= by;
        }
        let library = key.0.verify(&message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok();
        prop_assert_eq!(Table::of(&key, 0).check(&key, &message, &signature), library);
    }
}

#[test]
fn tables_of_keys_that_are_gone_make_room_although_nobody_has_one() {
    let prepared = Prepared::default();
    for number in 0..KEPT as u64 {
        (0..PAYS).for_each(|_| prepared.note_good(&key(number).public()));
    }
    let new = key(9_000).public();
    let checks = (0..2 * LONG).take_while(|_| prepared.tables.read().unwrap().get(new.as_bytes()).is_none());
    checks.for_each(|_| prepared.note_good(&new));
    assert!(prepared.table(&new).is_some());
    assert_eq!(prepared.tables.read().unwrap().len(), KEPT);
}
