//! Enrolment: a key made here, a certificate and the ledger's head from the hub that the token pins.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use yiwang_proto::ambient::Clock;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::{pb, sha256};
use yiwang_rpc::enrolment_service_client::EnrolmentServiceClient;

use super::files::{self, PRIVATE, PUBLIC};
use super::{Enrolled, FolderError};
use crate::tls::{self, check_issued};
use crate::token::EnrolToken;

/// The hub writes a ledger entry before it answers; a minute is far more than that takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Two certificates and a checkpoint.
const ANSWER_MAX: usize = 64 * 1024;

/// Enrols and writes `tls/*` and `checkpoint`; the caller then writes its configuration file.
pub async fn enrol(
    dir: &Path,
    token: &EnrolToken,
    card: &Bytes,
    clock: Arc<dyn Clock>,
) -> Result<Enrolled, FolderError> {
    if clock.now_ms() >= token.expires_ms {
        return Err(FolderError::Expired);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request = pb::EnrolRequest {
        token: token.secret.clone(),
        certificate_request: certificate_request(&key)?,
        card: card.clone(),
    };
    let config = tls::enrolment_config(token.ca, Arc::clone(&clock))?;
    let channel = tls::connect(&token.enrol, None, config).await?;
    let mut client = EnrolmentServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX);
    let answer = match tokio::time::timeout(CALL_TIMEOUT, client.enrol(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(FolderError::Refused(status.message().to_owned())),
        Err(_elapsed) => return Err(FolderError::Refused("no answer within a minute".to_owned())),
    };

    let chain = chain_of(answer.certificate_chain);
    let uri = token.who.uri(&token.trust_domain);
    let pinned = |der: &[u8]| sha256(der) == token.ca;
    check_issued(&chain, pinned, &uri, &public_key_info(&key), clock.now_ms())?;
    Checkpoint::open(&answer.checkpoint, &token.verifier_key, &token.origin)?;
    let enrolled = Enrolled::new(
        dir,
        token.hub.clone(),
        token.origin.clone(),
        token.verifier_key.clone(),
        token.trust_domain.clone(),
        token.who.clone(),
    );
    let enrolled = enrolled.map_err(|what| FolderError::Content { path: dir.to_owned(), what })?;
    keep(dir, &key, &chain, &answer.checkpoint, &enrolled)?;
    Ok(enrolled)
}

fn keep(
    dir: &Path,
    key: &KeyPair,
    chain: &[CertificateDer<'static>],
    checkpoint: &[u8],
    enrolled: &Enrolled,
) -> Result<(), FolderError> {
    let tls = dir.join("tls");
    files::create_dir(&tls)?;
    // A kept head of this ledger must not be larger; one of another ledger is replaced with the enrolment.
    match enrolled.checkpoint() {
        Ok(Some((kept, _))) => {
            let shown = enrolled.keep_checkpoint(checkpoint)?;
            let fresh = Checkpoint::open(checkpoint, enrolled.verifier_key(), enrolled.origin())?;
            if shown.size > fresh.size {
                return Err(FolderError::Fork { kept: kept.size, shown: fresh.size });
            }
        }
        Ok(None) | Err(FolderError::Checkpoint(_)) => {
            files::replace(&dir.join("checkpoint"), checkpoint, PUBLIC)?;
        }
        Err(error) => return Err(error),
    }
    let pem = zeroize::Zeroizing::new(key.serialize_pem());
    files::replace(&tls.join("key.pem"), pem.as_bytes(), PRIVATE)?;
    files::replace(&tls.join("chain.pem"), pem_of(chain).as_bytes(), PUBLIC)?;
    let authority = chain.get(1..).unwrap_or_default();
    files::replace(&tls.join("ca.pem"), pem_of(authority).as_bytes(), PUBLIC)
}

/// A request that says nothing but "this is my key": the hub ignores names in it.
pub fn certificate_request(key: &KeyPair) -> Result<Bytes, FolderError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(Bytes::copy_from_slice(params.serialize_request(key)?.der()))
}

pub fn load_key(path: &Path) -> Result<KeyPair, FolderError> {
    let pem = files::read_secret(path)?;
    Ok(KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256)?)
}

pub fn public_key_info(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

pub fn chain_of(der: Vec<Bytes>) -> Vec<CertificateDer<'static>> {
    der.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect()
}

/// PEM, lines of 64 characters.
pub fn pem_of(chain: &[CertificateDer<'static>]) -> String {
    let mut text = String::new();
    for certificate in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = yiwang_proto::document::base64_of(certificate);
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = tail;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
