//! SMART backend services: the server's side verifies assertions with a library of its own.

use crate::double::{Double, Settings, by_id, open_with, python, settings, suite, suite_mapping};
use base64_url::encode;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use yiwang_adapter_sdk::fetch::MappedSource;

/// The one encoding that a JWK needs.
mod base64_url {
    pub fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for piece in bytes.chunks(3) {
            let whole =
                piece.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
            for at in 0..=piece.len() {
                text.push(char::from(ALPHABET[(whole >> (18 - 6 * at)) as usize & 63]));
            }
        }
        text
    }
}

/// Makes a key with the server's own library: `key.jwk`, `key.pem`, `public.pem`.
fn key(folder: &Path, kind: &str) {
    let script = r#"
import json, pathlib, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, rsa
kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
key = ec.generate_private_key(ec.SECP384R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
n = key.private_numbers()
if kind == "EC":
    parts = {"d": n.private_value, "x": n.public_numbers.x, "y": n.public_numbers.y}
    parts = {name: value.to_bytes(48).hex() for name, value in parts.items()}
else:
    parts = {"n": n.public_numbers.n, "e": n.public_numbers.e, "d": n.d, "p": n.p, "q": n.q, "dp": n.dmp1, "dq": n.dmq1, "qi": n.iqmp}
    parts = {name: value.to_bytes((value.bit_length() + 7) // 8).hex() for name, value in parts.items()}
print(json.dumps(parts))
pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
(folder / "key.pem").write_bytes(pem)
public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
(folder / "public.pem").write_bytes(public)
"#;
    let python = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python).args(["-c", script, kind]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let parts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut jwk = json!({ "kty": kind, "kid": "adapter-1", "use": "sig" });
    if kind == "EC" {
        jwk["crv"] = json!("P-384");
    }
    for (name, hex) in parts.as_object().unwrap() {
        let hex = hex.as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        jwk[name] = json!(encode(&bytes));
    }
    std::fs::write(folder.join("key.jwk"), jwk.to_string()).unwrap();
}

fn auth(key: &str) -> String {
    format!(
        "auth = {{ kind = \"smart-backend\", token_url = {{ env = \"TOKENS\" }}, client_id = \"hub-adapter\", key = {{ file = \"{key}\" }}, kid = \"adapter-1\", scopes = [\"system/Condition.rs\"] }}"
    )
}

fn open(server: &Double, folder: &Path, auth: &str) -> MappedSource {
    let Settings(mut vars) = settings(&server.url());
    vars.insert("TOKENS".to_owned(), format!("http://127.0.0.1:{}/token", server.port));
    open_with(&suite_mapping(auth), folder, &Settings(vars))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_changed_in_its_file_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    if python().is_none() {
        return;
    }
    key(folder.path(), "EC");
    let public = format!("key={}", folder.path().join("public.pem").display());
    let mut server = Double::start(folder.path(), &[&public]).unwrap();
    let mapped = open(&server, folder.path(), &auth("key.jwk"));
    assert_eq!(by_id(&mapped, "P1").await.unwrap().len(), 1);
    key(folder.path(), "RSA");
    server.kill();
    server.restart();
    assert_eq!(by_id(&mapped, "P1").await.unwrap().len(), 1);
    let tokens = server.lines().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2, "the old key is refused, the new one is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assertions_in_es384_and_rs384_are_what_the_server_verifies() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    if python().is_none() {
        return;
    }
    for kind in ["EC", "RSA"] {
        key(folder.path(), kind);
        let public = format!("key={}", folder.path().join("public.pem").display());
        let server = Double::start(folder.path(), &[&public]).unwrap();
        for file in ["key.jwk", "key.pem"] {
            let mapped = open(&server, folder.path(), &auth(file));
            server.control(&json!({ "clear": true }));
            assert_eq!(by_id(&mapped, "P1").await.unwrap().len(), 1, "{kind} {file}");
            assert_eq!(by_id(&mapped, "P1").await.unwrap().len(), 1);
            let lines = server.lines();
            assert_eq!(lines.iter().filter(|line| line.contains("/token")).count(), 1, "{lines:?}");
            // The server forgets its tokens: one new one, once.
            server.control(&json!({ "clear": true, "forget": true }));
            assert_eq!(by_id(&mapped, "P1").await.unwrap().len(), 1);
            let search = "POST /fhir/Device/_search HTTP/1.1";
            assert_eq!(server.lines(), [search, "POST /token HTTP/1.1", search]);
        }
        // A key that the server does not know.
        key(folder.path(), kind);
        let mapped = open(&server, folder.path(), &auth("key.jwk"));
        let error = by_id(&mapped, "P1").await.unwrap_err();
        assert!(error.detail.contains("no access token: it says invalid_client"), "{error}");
        // Without a token nothing is answered, and what the refusal says is not passed on.
        let error = by_id(&open(&server, folder.path(), ""), "P1").await.unwrap_err();
        assert!(error.detail.contains("refuses the adapter's credentials (status 401)"), "{error}");
    }
}
