//! Contracts between members of the test world.

use crate::member::Member;
use serde_json::{Value, json};
use yiwang_proto::contract::FORMAT;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::time::format_rfc3339;

/// A draft that a test may bend before it is signed.
pub struct Draft(pub Value);

/// A sound contract for looking up one person's record.
pub fn draft(provider: &Member, consumer: &Member, id: &str, now_ms: i64) -> Draft {
    let day = 24 * 3600 * 1000;
    Draft(json!({
        "format": FORMAT, "id": id, "version": 1,
        "provider": {"member": provider.id().as_str(), "root": provider.folder.root_public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": consumer.id().as_str(), "root": consumer.folder.root_public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "check who lives in a household that applies for assistance",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
        "method": "query", "record": "Person", "operations": ["person.by_id"],
        "fields": ["birth_date", "name"], "rows": [],
        "apps": ["assistance-desk"],
        "valid_from": format_rfc3339(now_ms - day), "valid_until": format_rfc3339(now_ms + 30 * day),
        "limits": {"rows": 20, "per_app_per_minute": 100_000, "per_officer_per_day": 1_000_000, "deadline_ms": 5000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 2, "notice": "immediate"
    }))
}

impl Draft {
    /// Sets a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.0.as_object_mut().unwrap().insert(key.to_owned(), value);
        self
    }

    /// Sets a limit.
    #[must_use]
    pub fn limit(mut self, key: &str, value: u32) -> Self {
        self.0
            .pointer_mut("/limits")
            .and_then(Value::as_object_mut)
            .unwrap()
            .insert(key.to_owned(), value.into());
        self
    }

    /// Names record, operation and fields.
    #[must_use]
    pub fn record(self, record: &str, operation: &str, fields: &[&str], class: u8) -> Self {
        let contract = self
            .with("record", record.into())
            .with("operations", json!([operation]))
            .with("fields", json!(fields))
            .with("class", class.into());
        if class >= 3 { contract.with("assessment", "IA-2026-001".into()) } else { contract }
    }

    /// Signs it under both roots.
    pub fn sign(&self, provider: &Member, consumer: &Member) -> SignedDocument {
        let roots = [provider.folder.root_key().unwrap(), consumer.folder.root_key().unwrap()];
        let text = self.0.to_string();
        SignedDocument::sign(payload_type::CONTRACT, text.as_bytes(), &roots.each_ref())
    }
}
