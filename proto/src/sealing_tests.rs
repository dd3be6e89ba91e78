use super::*;
use crate::ambient::SeededEntropy;
use crate::ids::AppId;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn recipient(seed: u8) -> Recipient {
    Recipient { key: key(seed).public(), delegation: [seed; 32] }
}

fn sealed(body: &[u8]) -> Bytes {
    seal(Direction::Request, &recipient(1), &[7; 32], body, &SeededEntropy::new(1)).unwrap()
}

fn open(body: &Bytes) -> Result<Bytes, SealError> {
    Opener::new(key(1), [1; 32]).open(Direction::Request, &[7; 32], body)
}

/// RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base, sequence number 0.
#[test]
fn the_published_vector_opens() {
    let secret = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let encapsulated = bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let ciphertext =
        bytes("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
    let plain = open_raw(&secret, &encapsulated, &info, b"Count-0", &ciphertext).unwrap();
    assert_eq!(plain, b"Beauty is truth, truth beauty");
    assert_eq!(
        open_raw(&secret, &encapsulated, &info, b"Count-1", &ciphertext),
        Err(SealError::Closed),
        "other associated data"
    );
}

/// The private scalar and the public point of one delegated key belong together on the other curve, too.
#[test]
fn both_halves_of_a_delegated_key_meet_on_x25519() {
    for seed in 0..32 {
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&key(seed).to_x25519()).unwrap();
        let public = X25519HkdfSha256::sk_to_pk(&secret);
        assert_eq!(public.to_bytes().as_slice(), key(seed).public().to_x25519());
    }
}

#[test]
fn t30_a_sealed_body_shows_one_of_seven_sizes() {
    let mut sizes = std::collections::BTreeMap::new();
    for length in (0..5000).chain([16_379, 16_380, 16_381, 70_000, 300_000, 1_048_573, 4_000_000]) {
        *sizes.entry(sealed(&vec![b'x'; length]).len()).or_insert(0) += 1;
    }
    assert_eq!(sizes.len(), SEALED_SIZES.len());
    assert!(sizes.keys().all(|size| *size <= BODY_MAX));
    // The largest mutual information between a length and what is seen of it: log2 of the classes.
    assert!((sizes.len() as f64).log2() < 2.81);
    let most = SEALED_SIZES[6] - LENGTH;
    assert_eq!(open(&sealed(&vec![1; most])).unwrap().len(), most);
    let over = seal(Direction::Request, &recipient(1), &[7; 32], &vec![1; most + 1], &SeededEntropy::new(1));
    assert_eq!(over, Err(SealError::TooLarge));
}

#[test]
fn t12_every_flipped_bit_of_a_sealed_body_is_refused() {
    let good = sealed(b"a body");
    assert_eq!(open(&good).unwrap().as_ref(), b"a body");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << bit;
            assert!(open(&Bytes::from(bad)).is_err(), "byte {at}, bit {bit}");
        }
    }
    for cut in 0..good.len() {
        assert!(open(&good.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = [good.as_ref(), &[0]].concat();
    assert!(open(&Bytes::from(longer)).is_err());
}

#[test]
fn t12_another_key_statement_or_direction_opens_nothing() {
    let body = sealed(b"a body");
    let other = Opener::new(key(2), [2; 32]);
    assert_eq!(other.open(Direction::Request, &[7; 32], &body), Err(SealError::OtherKey));
    // A hub that writes the other delegation's digest into the body gains nothing.
    let claimed = Opener::new(key(2), [1; 32]);
    assert_eq!(claimed.open(Direction::Request, &[7; 32], &body), Err(SealError::Closed));
    let right = Opener::new(key(1), [1; 32]);
    assert_eq!(right.open(Direction::Request, &[8; 32], &body), Err(SealError::Closed));
    assert_eq!(right.open(Direction::Answer, &[7; 32], &body), Err(SealError::Closed));
    assert!(right.open(Direction::Request, &[7; 32], &body).is_ok());
}

#[test]
fn two_sealings_of_one_body_have_nothing_in_common() {
    let entropy = SeededEntropy::new(3);
    let one = seal(Direction::Answer, &recipient(1), &[7; 32], b"same", &entropy).unwrap();
    let two = seal(Direction::Answer, &recipient(1), &[7; 32], b"same", &entropy).unwrap();
    let (one, two) = (Sealed::parse(&one).unwrap(), Sealed::parse(&two).unwrap());
    assert_ne!(one.encapsulated, two.encapsulated);
    assert_ne!(one.ciphertext[..64], two.ciphertext[..64]);
}

#[test]
fn only_the_members_sealing_key_under_the_right_root_is_sealed_to() {
    let (root, other) = (key(1), key(2));
    let police = MemberId::parse("police").unwrap();
    let main = AppId::parse("main").unwrap();
    let made = |root: &SecretKey, role| {
        let document = Delegation::sign(root, &police, role, &main, key(9).public(), 1, 0, 1000);
        Delegation::open(&document).unwrap()
    };
    let good = made(&root, Role::Sealing);
    let check = |delegation: &Delegation, name, now| {
        check_recipient(delegation, &police, name, &root.public(), now).map_err(|error| error.0)
    };
    assert_eq!(check(&good, Some("main"), 0), Ok(()));
    assert_eq!(check(&good, None, 999), Ok(()));
    assert_eq!(check(&good, Some("desk"), 0), Err("of another app or adapter"));
    assert_eq!(check(&good, None, 1000), Err("not in force now"));
    assert_eq!(check(&made(&other, Role::Sealing), None, 0), Err("not under the root in the contract"));
    for role in [Role::App, Role::Adapter, Role::Officer] {
        assert_eq!(check(&made(&root, role), None, 0), Err("its role is not `sealing`"));
    }
    let elsewhere = MemberId::parse("health").unwrap();
    let error = check_recipient(&good, &elsewhere, None, &root.public(), 0).unwrap_err();
    assert_eq!(error.0, "of another member");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_again(body in proptest::collection::vec(any::<u8>(), 0..6000), seed: u64) {
        let entropy = SeededEntropy::new(seed);
        let sealed = seal(Direction::Answer, &recipient(5), &[3; 32], &body, &entropy).unwrap();
        let beside = |size: &usize| (80..96).contains(&sealed.len().saturating_sub(*size));
        prop_assert!(SEALED_SIZES.iter().any(beside), "{}", sealed.len());
        let opened = Opener::new(key(5), [5; 32]).open(Direction::Answer, &[3; 32], &sealed).unwrap();
        prop_assert_eq!(opened.as_ref(), body.as_slice());
    }

    #[test]
    fn what_anybody_sends_is_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(open(&Bytes::from(body)).is_err());
    }

    #[test]
    fn padding_comes_off_as_it_went_on_and_in_no_other_form(body in proptest::collection::vec(any::<u8>(), 0..2000), at in 0usize..4096, bit in 0u8..8) {
        let padded = pad(&body).unwrap();
        let plain = unpad(padded.to_vec()).unwrap();
        prop_assert_eq!(plain.as_ref(), body.as_slice());
        let mut bent = padded.to_vec();
        let at = at % bent.len();
        bent[at] ^= 1 << bit;
        // Either refused, or another body: the digest in the statement tells.
        prop_assert!(unpad(bent).ok().is_none_or(|other| other.as_ref() != body.as_slice()));
    }
}
