//! Hubs that are not the token's, or that answer with something else than was asked for.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use yiwang_client::folder::FolderError;
use yiwang_proto::ambient::ManualClock;

use crate::enrolment::{Hub, Lie, new_folder};
use crate::support::{NOW_MS, authority, member};

#[tokio::test]
async fn what_a_lying_hub_issues_is_not_kept() {
    for lie in [Lie::OtherIdentity, Lie::OtherKey, Lie::OtherAuthority, Lie::NoAuthority, Lie::OtherLedger] {
        let hub = Hub::start(lie).await;
        let dir = tempfile::tempdir().unwrap();
        let mut folder = new_folder(dir.path(), "police");
        let result = folder.enrol(&hub.token(&member("police")), hub.clock()).await;
        assert!(matches!(result, Err(FolderError::Issued(_) | FolderError::Checkpoint(_))), "{result:?}");
        assert!(folder.enrolled().is_err());
        assert!(!dir.path().join("tls/key.pem").exists() && !dir.path().join("checkpoint").exists());
    }
}

#[tokio::test]
async fn a_hub_with_another_authority_gets_no_token() {
    let hub = Hub::start(Lie::None).await;
    let (real, _dir) = authority();
    let dir = tempfile::tempdir().unwrap();
    let mut folder = new_folder(dir.path(), "police");
    let token = hub.token_with(&member("police"), |facts| facts.ca = *real.ca_digest());
    let result = folder.enrol(&token, hub.clock()).await;
    assert!(matches!(result, Err(FolderError::Connect(_))), "{result:?}");
    assert!(folder.enrolled().is_err() && !dir.path().join("tls/key.pem").exists());
    let refusals = &hub.strangers.counters.handshake_refused_by_client;
    let seen = async {
        while refusals.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the hub counts the refusal");
}

/// A server with a certificate of its own making that also shows the real authority's, which is public.
async fn impostor(real: CertificateDer<'static>, name: &str) -> std::net::SocketAddr {
    let (mine, _dir) = authority();
    let server = mine.issue_server(&[name.to_owned()], NOW_MS, 3_600_000).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server.key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.chain[0].clone(), server.chain[1].clone(), real], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            assert!(acceptor.accept(stream).await.is_err(), "nobody believes it");
        }
    });
    address
}

#[tokio::test]
async fn showing_the_real_authority_beside_a_false_certificate_does_not_help() {
    let (real, _dir) = authority();
    let address = impostor(real.ca_certificate_der().clone(), "127.0.0.1").await;
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let config = yiwang_client::tls::enrolment_config(*real.ca_digest(), clock).unwrap();
    let error = yiwang_client::tls::connect(&address.to_string(), None, config).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn the_hubs_certificate_must_carry_the_name_that_was_called() {
    let hub = Hub::start(Lie::None).await;
    let digest = *hub.members.authority.ca_digest();
    let at = hub.strangers.address.to_string();
    for (name, good) in [("hub.city.example", true), ("127.0.0.1", true), ("other.example", false)] {
        let config = yiwang_client::tls::enrolment_config(digest, hub.clock()).unwrap();
        let result = yiwang_client::tls::connect(&at, Some(name), config).await;
        assert_eq!(result.is_ok(), good, "{name}");
    }
    let config = yiwang_client::tls::enrolment_config(digest, hub.clock()).unwrap();
    hub.clock().advance_ms(8 * crate::support::DAY_MS);
    assert!(yiwang_client::tls::connect(&at, None, config).await.is_ok(), "renewed by itself");
}
