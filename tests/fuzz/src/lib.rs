//! Every parser of bytes that a stranger can send. None may panic, hang or take memory without bound; and what a
//! parser accepts must be what it would write itself, wherever there is one right form.

mod around;
mod page;
mod record_type;
mod signed;

pub use around::{assemble, folded, policy, token, witness};
pub use page::page;
pub use record_type::record_type;
pub use signed::{revocation, sealed, standing, ticket};

use bytes::Bytes;
use prost::Message as _;
use std::path::Path;
use std::sync::OnceLock;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX};
use yiwang_proto::note::VerifierKey;
use yiwang_proto::{
    answer, body, case, contract, delegation, document, entry, envelope, pb, receipt, request,
};

/// The seeds' ledger.
pub const ORIGIN: &str = "log.city.example/yiwang";

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn ledger() -> &'static VerifierKey {
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    KEY.get_or_init(|| match VerifierKey::parse(include_str!("../ledger.vkey")) {
        Ok(key) => key,
        Err(error) => unreachable!("a fixed key: {error}"),
    })
}

pub fn envelope(data: &[u8]) {
    if let Ok(signed) = envelope::SignedStatement::parse(Bytes::copy_from_slice(data)) {
        assert_eq!(signed.bytes(), data);
        let _ = signed.verify(envelope::payload_type::REQUEST, &key().public());
    }
}

/// A statement that is accepted is canonical: signed again it has the same payload.
fn canonical(data: &[u8], again: envelope::SignedStatement) {
    assert_eq!(again.unverified_payload(), data);
}

pub fn request(data: &[u8]) {
    if let Ok(request) = request::Request::parse(&Bytes::copy_from_slice(data)) {
        canonical(data, request.sign(&key()));
    }
}

pub fn answer(data: &[u8]) {
    if let Ok(answer) = answer::Answer::parse(&Bytes::copy_from_slice(data)) {
        canonical(data, answer.sign(&key()));
    }
}

pub fn case(data: &[u8]) {
    if let Ok(statement) = case::CaseStatement::parse(&Bytes::copy_from_slice(data)) {
        canonical(data, statement.sign(&key()));
    }
}

pub fn body(data: &[u8]) {
    let (bytes, digest) = (Bytes::copy_from_slice(data), yiwang_proto::sha256(data));
    let _ = body::RequestBody::open(&bytes, &digest);
    let _ = body::AnswerBody::open(&bytes, &digest);
}

pub fn contract(data: &[u8]) {
    if let Ok(text) = contract::ContractText::parse(data) {
        let _ = text.faults();
        let again = contract::ContractText::parse(&text.to_json());
        assert!(again.is_ok_and(|again| again.to_json() == text.to_json()));
    }
    if data.len() <= CONTRACT_MAX {
        let _ = contract::Contract::open_bytes(Bytes::copy_from_slice(data));
    }
}

pub fn delegation(data: &[u8]) {
    if let Ok(signed) = document::SignedDocument::parse(Bytes::copy_from_slice(data), DOCUMENT_MAX) {
        let _ = delegation::Delegation::open(&signed);
        let _ = yiwang_proto::member::MemberCard::open(&signed);
    }
}

pub fn entry(data: &[u8]) {
    if let Ok(entry) = entry::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(entry::encode(&entry).ok().as_deref(), Some(data), "an entry has one form");
    }
}

pub fn note(data: &[u8]) {
    if let Ok(note) = yiwang_proto::note::SignedNote::parse(data) {
        let _ = note.verify(std::slice::from_ref(ledger()));
        if let Ok(checkpoint) = yiwang_proto::checkpoint::Checkpoint::parse(note.text()) {
            assert!(note.text().starts_with(&checkpoint.text()));
        }
    }
    let _ = yiwang_proto::checkpoint::Checkpoint::open(data, ledger(), ORIGIN);
    let _ = std::str::from_utf8(data).map(VerifierKey::parse);
}

pub fn tlog_proof(data: &[u8]) {
    if let Ok(proof) = yiwang_proto::tlog_proof::TlogProof::parse(data) {
        let again = proof.to_string();
        assert_eq!(again.as_bytes(), data, "a proof has one form");
    }
    let _ = std::str::from_utf8(data).map(yiwang_proto::tile::TilePath::parse);
}

pub fn evidence(data: &[u8]) {
    let options =
        yiwang_audit::Options { key: Some(ledger().clone()), threads: 1, ..yiwang_audit::Options::default() };
    let _ = yiwang_audit::verify_evidence(data, &options);
}

pub fn receipt(data: &[u8]) {
    if let Ok(message) = pb::Receipt::decode(data) {
        let _ = receipt::verify(&message, |note| {
            yiwang_proto::checkpoint::Checkpoint::open(note, ledger(), ORIGIN)
        });
    }
}

pub fn frames(data: &[u8]) {
    let _ = pb::AdapterFrame::decode(data);
    let _ = pb::HubFrame::decode(data);
    let _ = pb::ExchangeRequest::decode(data);
    let _ = pb::ExchangeResponse::decode(data);
}

pub fn rows(data: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Input {
        rows: Vec<contract::RowClause>,
        arguments: body::Arguments,
        record: serde_json::Map<String, serde_json::Value>,
    }
    let Ok(input) = serde_json::from_slice::<Input>(data) else { return };
    if input.rows.iter().any(|clause| clause.check().is_err()) {
        return;
    }
    let _ = yiwang_policies::check_arguments(&input.rows, &input.arguments);
    if let Ok(filter) = yiwang_policies::RowFilter::compile(&input.rows, &input.arguments) {
        let _ = filter.matches_json(&input.record);
        let column = |name: &yiwang_proto::ids::FieldName| Some(name.as_str().to_owned());
        if let Ok((sql, values)) = filter.to_sql(yiwang_policies::rows::Dialect::Sqlite, column) {
            assert_eq!(sql.matches('?').count(), values.len(), "every value is bound");
        }
    }
}

pub fn mapping(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(faults) = yiwang_adapter_sdk::mapping::Mapping::parse(text, Path::new("mapping.toml"))
    {
        assert!(!faults.is_empty(), "a refusal says why");
        for fault in faults {
            let _ = yiwang_adapter_sdk::mapping::render(&fault, text);
        }
    }
}

const CSV_MAPPING: &str = include_str!("../csv.toml");

struct Folder(String);

impl yiwang_adapter_sdk::source::Environment for Folder {
    fn var(&self, _name: &str) -> Option<String> {
        Some(self.0.clone())
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// One file of a folder, as the source reads it.
pub fn csv(data: &[u8]) {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("yiwang-fuzz-{}", std::process::id()));
        assert!(std::fs::create_dir_all(&path).is_ok(), "a folder for one file");
        path
    });
    assert!(std::fs::write(folder.join("a.csv"), data).is_ok());
    let mapping = yiwang_adapter_sdk::mapping::Mapping::parse(CSV_MAPPING, Path::new("csv.toml"));
    let Ok(mapping) = mapping else { unreachable!("the fixed mapping holds") };
    let _ = yiwang_adapter_csv::CsvSource::open(&mapping, &Folder(folder.display().to_string()))
        .map(|source| source.quarantine().1);
}
