//! What a request and its moment say, as facts that are both Cedar's input and the key under which a grant
//! is remembered: one list for the two, so that no fact can be judged that the key does not hold.

use crate::facts::role_text;
use crate::input::{Context, Counts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cedar_policy::RestrictedExpression as Expr;
use yiwang_proto::Digest;
use yiwang_proto::ids::FieldName;
use yiwang_proto::request::Request;

/// A value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fact<'a> {
    Text(&'a str),
    Fields(&'a [FieldName]),
    /// As base64.
    Bytes(&'a [u8; 32]),
    Long(i64),
    Truth(bool),
}

impl Fact<'_> {
    pub fn expression(&self) -> Expr {
        match *self {
            Self::Text(text) => Expr::new_string(text.to_owned()),
            Self::Fields(names) => {
                Expr::new_set(names.iter().map(|name| Expr::new_string(name.as_str().to_owned())))
            }
            Self::Bytes(bytes) => Expr::new_string(STANDARD_NO_PAD.encode(bytes)),
            Self::Long(value) => Expr::new_long(value),
            Self::Truth(value) => Expr::new_bool(value),
        }
    }

    /// Appends kind, length and value, so that no two facts make the same bytes.
    fn write(&self, key: &mut Vec<u8>) {
        let mut sized = |kind: u8, bytes: &[u8]| {
            key.push(kind);
            key.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            key.extend_from_slice(bytes);
        };
        match *self {
            Self::Text(text) => sized(1, text.as_bytes()),
            Self::Bytes(bytes) => sized(2, bytes),
            Self::Long(value) => sized(3, &value.to_be_bytes()),
            Self::Truth(value) => sized(4, &[u8::from(value)]),
            Self::Fields(names) => {
                sized(5, &(names.len() as u64).to_be_bytes());
                for name in names {
                    Fact::Text(name.as_str()).write(key);
                }
            }
        }
    }
}

/// SHA-256 over facts in the order of their list. A collision would be a grant that nobody judged, so the
/// hash is one that nobody can steer.
pub(crate) fn key(facts: &[(&'static str, Fact<'_>)]) -> Digest {
    let mut key = Vec::with_capacity(1024);
    for (_, fact) in facts {
        fact.write(&mut key);
    }
    yiwang_proto::sha256(&key)
}

/// What does not hang on time or counts.
pub(crate) fn lasting<'a>(request: &'a Request, context: &'a Context<'_>) -> [(&'static str, Fact<'a>); 9] {
    let subject = match context.body {
        None => "unseen",
        Some(body) if body.subject.is_empty() => "none",
        Some(_) => "named",
    };
    let case = context.case;
    [
        ("operation", Fact::Text(request.operation.as_str())),
        ("fields", Fact::Fields(&request.fields)),
        ("tags", Fact::Long(u32::try_from(request.subject_tags.len()).unwrap_or(u32::MAX).into())),
        ("subject", Fact::Text(subject)),
        ("sealed", Fact::Truth(context.sealed)),
        ("officer", Fact::Text(context.officer.proof().as_str())),
        ("case_matter", Fact::Text(case.map_or("", |case| case.matter.as_str()))),
        ("case_open", Fact::Truth(case.is_some_and(|case| case.open))),
        ("case_lists_all_tags", Fact::Truth(case.is_some_and(|case| case.lists_all_tags))),
    ]
}

/// The input of the action `grant`: what lasts, and the terms.
pub(crate) fn granted<'a>(
    request: &'a Request,
    context: &'a Context<'_>,
    terms: &'a str,
) -> [(&'static str, Fact<'a>); 10] {
    let [a, b, c, d, e, f, g, h, i] = lasting(request, context);
    [("terms", Fact::Text(terms)), a, b, c, d, e, f, g, h, i]
}

/// Time and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub live: bool,
    pub now_ms: i64,
    pub issued_at_ms: i64,
    pub expires_at_ms: i64,
    pub signer_from_ms: i64,
    pub signer_until_ms: i64,
    pub app_this_minute: u32,
    pub officer_today: u32,
}

impl Moment {
    pub fn of(request: &Request, context: &Context<'_>) -> Self {
        // Only the verifier has none, and it judges no rates.
        let counts = context.counts.unwrap_or(Counts { app_this_minute: 0, officer_today: 0 });
        Self {
            live: context.site.is_live(),
            now_ms: context.now_ms,
            issued_at_ms: request.issued_at_ms,
            expires_at_ms: request.expires_at_ms,
            signer_from_ms: context.delegation.valid_from_ms,
            signer_until_ms: context.delegation.valid_until_ms,
            app_this_minute: counts.app_this_minute,
            officer_today: counts.officer_today,
        }
    }

    pub fn facts(&self) -> [(&'static str, Fact<'static>); 8] {
        [
            ("live", Fact::Truth(self.live)),
            ("now", Fact::Long(self.now_ms)),
            ("issued_at", Fact::Long(self.issued_at_ms)),
            ("expires_at", Fact::Long(self.expires_at_ms)),
            ("signer_from", Fact::Long(self.signer_from_ms)),
            ("signer_until", Fact::Long(self.signer_until_ms)),
            ("app_this_minute", Fact::Long(self.app_this_minute.into())),
            ("officer_today", Fact::Long(self.officer_today.into())),
        ]
    }
}

/// What the terms stand for, one by one, but for the signer.
pub(crate) fn claimed<'a>(request: &'a Request, context: &'a Context<'_>) -> [(&'static str, Fact<'a>); 10] {
    let signer = context.delegation;
    [
        ("contract", Fact::Text(request.contract.as_str())),
        ("contract_digest", Fact::Bytes(&request.contract_digest)),
        ("consumer", Fact::Text(request.consumer.as_str())),
        ("provider", Fact::Text(request.provider.as_str())),
        ("purpose", Fact::Text(request.purpose.as_str())),
        ("record", Fact::Text(request.record.as_str())),
        ("signer_root", Fact::Bytes(signer.root.as_bytes())),
        ("signer_role", Fact::Text(role_text(signer.role))),
        ("signer_named", Fact::Truth(signer.digest == request.delegation_digest)),
        ("case_member", Fact::Text(context.case.map_or("", |case| case.member.as_str()))),
    ]
}
