//! Who gets in and as whom.

use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::tls::authority::MEMBER_LIFETIME_MS;
use yiwang_hub::tls::identity::Identity;

use crate::support::{DAY_MS, NOW_MS, World, ask, authority, key, member, private, request, service};

async fn world() -> World {
    World::members(AcceptLimits::default()).await
}

#[tokio::test]
async fn the_certificate_alone_says_who_asks() {
    let world = world().await;
    let ends_ms = NOW_MS + MEMBER_LIFETIME_MS;
    for identity in [member("police"), member("health"), Identity::from_who("auditor:court").unwrap()] {
        let mut stream = world.connect(world.config_of(&identity, MEMBER_LIFETIME_MS)).await.unwrap();
        let expected = format!("{identity} until {ends_ms}");
        assert_eq!(ask(&mut stream, "/who").await.unwrap(), expected);
        assert_eq!(ask(&mut stream, "/who").await.unwrap(), expected, "on every request");
    }
    assert_eq!(world.trouble().await, []);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let world = world().await;
    let (other, _dir) = authority();
    let key = key();
    let chain = other.issue(&request(&key), &member("police"), NOW_MS, MEMBER_LIFETIME_MS).unwrap();
    let mixed = vec![chain[0].clone(), world.authority.ca_certificate_der().clone()];
    for chain in [chain, mixed] {
        assert_eq!(world.try_enter(world.config(chain, private(&key))).await, None);
    }
    assert_eq!(world.trouble().await, [("handshake_bad_certificate", 2)]);
}

#[tokio::test]
async fn no_certificate_no_entry_but_at_the_door_for_strangers() {
    let world = world().await;
    let enrolled = world.config_of(&member("police"), MEMBER_LIFETIME_MS);
    let mut bare = (*yiwang_client::tls::enrolment_config(*world.authority.ca_digest(), world.clock.clone())
        .unwrap())
    .clone();
    bare.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(world.try_enter(bare.clone()).await, None);
    assert_eq!(world.trouble().await, [("handshake_no_certificate", 1)]);

    let (authority, dir) = (world.authority.clone(), tempfile::tempdir().unwrap());
    let limits = AcceptLimits::for_strangers();
    let strangers = World::start(authority, dir, world.clock.clone(), limits, false, service()).await;
    for config in [bare, enrolled] {
        assert_eq!(strangers.try_enter(config).await.unwrap(), "somebody at 127.0.0.1");
    }
    assert_eq!(strangers.trouble().await, []);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let world = world().await;
    let config = world.config_of(&member("police"), MEMBER_LIFETIME_MS);
    assert!(world.try_enter(config.clone()).await.is_some());
    world.clock.advance_ms(7 * DAY_MS - 1000);
    assert!(
        world.try_enter(config.clone()).await.is_some(),
        "the hub's own certificate is renewed meanwhile"
    );
    world.clock.advance_ms(2000);
    assert_eq!(world.try_enter(config.clone()).await, None);
    assert_eq!(world.trouble().await, [("handshake_expired", 1)]);
}

/// A certificate that the authority's key signed, of a shape that the authority never issues.
fn odd(world: &World, shape: impl FnOnce(&mut CertificateParams)) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let ca_key = std::fs::read_to_string(world.dir.path().join("authority/ca.key")).unwrap();
    let ca_key = KeyPair::from_pem(&ca_key).unwrap();
    let issuer = Issuer::from_ca_cert_der(world.authority.ca_certificate_der(), ca_key).unwrap();
    let key = key();
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    shape(&mut params);
    (vec![params.signed_by(&key, &issuer).unwrap().der().clone()], key)
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[tokio::test]
async fn a_signed_certificate_that_names_nobody_here_is_refused() {
    let world = world().await;
    let police = "spiffe://city.example/member/police";
    let (chain, key) = odd(&world, |params| params.subject_alt_names = vec![uri(police)]);
    assert!(world.try_enter(world.config(chain, private(&key))).await.is_some(), "the shape as such is good");

    let names: [Vec<SanType>; 6] = [
        vec![],
        vec![SanType::DnsName("police".try_into().unwrap())],
        vec![uri(police), uri("spiffe://city.example/member/health")],
        vec![uri(police), uri(police)],
        vec![uri("spiffe://other.example/member/police")],
        vec![uri("spiffe://city.example/member/police/admin")],
    ];
    for names in names {
        let (chain, key) = odd(&world, |params| params.subject_alt_names = names);
        assert_eq!(world.try_enter(world.config(chain, private(&key))).await, None);
    }
    let (chain, key) = odd(&world, |params| {
        params.subject_alt_names = vec![uri(police)];
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    });
    assert_eq!(world.try_enter(world.config(chain, private(&key))).await, None);
    assert_eq!(world.trouble().await, [("handshake_no_identity", 7)]);
}

#[tokio::test]
async fn a_signed_certificate_for_another_use_is_refused() {
    let world = world().await;
    let police = || vec![uri("spiffe://city.example/member/police")];
    let shapes: [fn(&mut CertificateParams); 2] = [
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
    ];
    for shape in shapes {
        let (chain, key) = odd(&world, |params| {
            params.subject_alt_names = police();
            shape(params);
        });
        assert_eq!(world.try_enter(world.config(chain, private(&key))).await, None);
    }
    assert_eq!(world.trouble().await, [("handshake_bad_certificate", 2)]);
}

#[tokio::test]
async fn another_members_key_does_not_fit_a_copied_certificate() {
    let world = world().await;
    let (mine, theirs) = (key(), key());
    let chain =
        world.authority.issue(&request(&theirs), &member("health"), NOW_MS, MEMBER_LIFETIME_MS).unwrap();
    let authority = world.authority.ca_certificate_der().clone();
    let clock = world.clock.clone();
    let refused = yiwang_client::tls::client_config(authority, chain.clone(), private(&mine), clock);
    assert!(refused.is_err(), "our own client notices");
    // A client that does not: the resolver serves the certificate with a key that is not its own.
    let provider = rustls::crypto::ring::default_provider();
    let signer = provider.key_provider.load_private_key(private(&mine)).unwrap();
    let mut config = world.config_of(&member("police"), MEMBER_LIFETIME_MS);
    let forged = rustls::sign::CertifiedKey::new(chain, signer);
    config.client_auth_cert_resolver = std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(forged));
    assert_eq!(world.try_enter(config).await, None);
    assert_eq!(world.trouble().await, [("handshake_bad_certificate", 1)]);
}

#[tokio::test]
async fn no_common_application_protocol_no_connection() {
    let world = world().await;
    let mut config = world.config_of(&member("police"), MEMBER_LIFETIME_MS);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    assert!(world.connect(config).await.is_err());
    assert_eq!(world.trouble().await, [("handshake_incompatible", 1)]);
}

#[tokio::test]
async fn what_is_not_tls_is_counted_and_closed() {
    use tokio::io::AsyncWriteExt as _;
    let world = world().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0xff; 64]] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        crate::support::closed(&mut stream).await;
    }
    assert_eq!(world.trouble().await, [("handshake_protocol", 3)]);
}

/// Runs a client of another TLS library against the door; yields whether it got through the handshake.
fn foreign(world: &World, version: &str) -> Option<bool> {
    let openssl = Command::new("openssl")
        .args(["s_client", "-connect", &world.address.to_string(), &format!("-tls1_{version}")])
        .args(["-alpn", "h2", "-brief"])
        .stdin(Stdio::null())
        .output();
    if let Ok(output) = openssl {
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        return Some(text.contains("CONNECTION ESTABLISHED") && text.contains(&format!("TLSv1.{version}")));
    }
    let script = format!(
        "import socket, ssl\n\
         c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n\
         c.check_hostname = False\n\
         c.verify_mode = ssl.CERT_NONE\n\
         c.minimum_version = c.maximum_version = ssl.TLSVersion.TLSv1_{version}\n\
         c.set_alpn_protocols(['h2'])\n\
         print(c.wrap_socket(socket.create_connection(('127.0.0.1', {port}))).version())\n",
        port = world.address.port()
    );
    let python = Command::new("python3").args(["-c", &script]).output().ok()?;
    Some(String::from_utf8_lossy(&python.stdout).trim() == format!("TLSv1.{version}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_refused_and_1_3_is_spoken() {
    // The door for strangers, because the question is the version and not the certificate.
    let (authority, dir) = authority();
    let clock = std::sync::Arc::new(yiwang_proto::ambient::ManualClock::new(NOW_MS));
    let world = World::start(authority, dir, clock, AcceptLimits::for_strangers(), false, service()).await;
    let (Some(old), Some(new)) = (foreign(&world, "2"), foreign(&world, "3")) else {
        println!("SKIPPED: neither openssl nor python3 is installed, no other TLS library to try");
        return;
    };
    assert!(new, "TLS 1.3 of another library gets through");
    assert!(!old, "TLS 1.2 does not");
    world.end().await;
    assert_eq!(world.counters.handshake_incompatible.get(), 1);
}
