//! What the authority signs, and what it refuses to.

use std::os::unix::fs::PermissionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SanType,
};
use rustls::pki_types::CertificateDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use yiwang_hub::tls::authority::{Authority, AuthorityError, MEMBER_LIFETIME_MS};
use yiwang_hub::tls::identity::{Identity, IdentityError};
use yiwang_proto::sha256;

use crate::support::{NOW_MS, authority, domain, key, member, request};

#[test]
fn names_and_powers_in_a_request_are_ignored() {
    let (authority, _dir) = authority();
    let key = key();
    let mut params = CertificateParams::new(vec!["hub.city.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://city.example/hub".try_into().unwrap()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    let request = params.serialize_request(&key).unwrap();
    let police = member("police");
    let chain = authority.issue(request.der(), &police, NOW_MS, MEMBER_LIFETIME_MS).unwrap();

    assert_eq!(chain.len(), 2);
    assert_eq!(sha256(&chain[1]), *authority.ca_digest());
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let ours = GeneralName::URI("spiffe://city.example/member/police");
    assert_eq!(names.value.general_names, [ours]);
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(leaf.validity().not_after.timestamp() * 1000, NOW_MS + MEMBER_LIFETIME_MS);
    assert_eq!(leaf.subject().to_string(), "CN=member/police");
    assert!(
        leaf.verify_signature(Some(X509Certificate::from_der(&chain[1]).unwrap().1.public_key())).is_ok()
    );
    let (identity, valid) = Identity::of_certificate(&chain[0], &domain()).unwrap();
    assert_eq!((identity, valid.end), (police, NOW_MS + MEMBER_LIFETIME_MS));
    let again = authority.issue(request.der(), &member("police"), NOW_MS + 1000, 1000).unwrap();
    assert_ne!(X509Certificate::from_der(&again[0]).unwrap().1.raw_serial(), leaf.raw_serial());
}

#[test]
fn only_a_well_signed_request_of_a_p256_key_is_served() {
    let (authority, _dir) = authority();
    let refused = |request: &[u8]| {
        let result = authority.issue(request, &member("police"), NOW_MS, 1000);
        matches!(result, Err(AuthorityError::Request(_)))
    };
    let good = request(&key());
    assert!(!refused(&good));
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        assert!(refused(&request(&KeyPair::generate_for(algorithm).unwrap())));
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(refused(&longer));
    assert!(refused(&[]));
    assert!(refused(&vec![0x30; 9000]));
    // A parser may read past a bent tag outside the signed part; then it is still the same key's request.
    let issued = |request: &[u8]| authority.issue(request, &member("police"), NOW_MS, 1000).ok();
    let key_of = |chain: &[CertificateDer<'_>]| {
        X509Certificate::from_der(&chain[0]).unwrap().1.public_key().raw.to_vec()
    };
    let ours = key_of(&issued(&good).unwrap());
    let parsed = X509CertificationRequest::from_der(&good).unwrap().1;
    let signed = parsed.certification_request_info.raw;
    let begin = good.windows(signed.len()).position(|window| window == signed).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bent = good.clone();
            bent[at] ^= 1 << bit;
            if let Some(chain) = issued(&bent) {
                assert_eq!(key_of(&chain), ours, "byte {at}");
                assert!(!(begin..begin + signed.len()).contains(&at), "byte {at} is signed");
            }
        }
    }
}

#[test]
fn the_hubs_own_names_are_names_or_addresses_without_wildcard() {
    let (authority, _dir) = authority();
    for bad in ["*.city.example", "*", "", "a b", "hub.city.example:443", "http://hub", "ａ.example"] {
        let result = authority.issue_server(&[bad.to_owned()], NOW_MS, 1000);
        assert!(matches!(result, Err(AuthorityError::Name(_))), "{bad:?}");
    }
    let names = ["hub.city.example".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
    let server = authority.issue_server(&names, NOW_MS, 60_000).unwrap();
    let (identity, _) = Identity::of_certificate(&server.chain[0], &domain()).unwrap();
    assert_eq!(identity, Identity::Hub);
    assert_eq!(
        Identity::of_certificate(&server.chain[1], &domain()),
        Err(IdentityError::Usage),
        "the authority itself is nobody's identity"
    );
}

#[test]
fn times_outside_the_authoritys_life_are_refused_or_cut() {
    let (authority, _dir) = authority();
    let request = request(&key());
    for (now_ms, lifetime_ms) in
        [(NOW_MS, 0), (NOW_MS, -1), (i64::MAX, i64::MAX), (i64::MIN, 1000), (0, 1000), (-5, 1000)]
    {
        let result = authority.issue(&request, &member("police"), now_ms, lifetime_ms);
        assert!(matches!(result, Err(AuthorityError::Lifetime)), "{now_ms} {lifetime_ms}");
    }
    let chain = authority.issue(&request, &member("police"), NOW_MS, i64::MAX).unwrap();
    let (_, valid) = Identity::of_certificate(&chain[0], &domain()).unwrap();
    let (_, ca) = X509Certificate::from_der(&chain[1]).unwrap();
    assert_eq!(valid.end, ca.validity().not_after.timestamp() * 1000);
}

#[test]
fn an_authority_is_made_once_kept_private_and_opened_again() {
    let (made, dir) = authority();
    let dir = dir.path().join("authority");
    let opened = Authority::load(&dir).unwrap();
    assert_eq!(opened.ca_digest(), made.ca_digest());
    assert_eq!(opened.trust_domain(), &domain());
    let chain = opened.issue(&request(&key()), &member("police"), NOW_MS, 1000).unwrap();
    assert_eq!(&chain[1], made.ca_certificate_der());
    assert!(matches!(Authority::create(&dir, &domain(), NOW_MS), Err(AuthorityError::Exists(_))));

    let key_file = dir.join("ca.key");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key_file), mode(&dir)), (0o600, 0o700));
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(Authority::load(&dir), Err(AuthorityError::Exposed(_))));
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&key_file, key().serialize_pem()).unwrap();
    assert!(matches!(Authority::load(&dir), Err(AuthorityError::Unusable { .. })));
}
