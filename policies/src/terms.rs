//! The terms: one text for all that the rules marked `@terms` compare.

use crate::facts::role_text;
use crate::input::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::request::Request;

/// What the rules marked `@terms` compare. INVARIANT: two of these make the same text exactly when all
/// their parts are equal; no part can hold the separator, by the grammars of ids and of base64.
struct Terms<'a> {
    contract: &'a str,
    digest: &'a Digest,
    provider: &'a str,
    consumer: &'a str,
    app: &'a str,
    purpose: &'a str,
    record: &'a str,
    break_glass: bool,
    signer_root: &'a [u8; 32],
    signer_role: &'a str,
    signer_member: &'a str,
    signer_name: &'a str,
    signer_named: bool,
    case_member: &'a str,
}

impl Terms<'_> {
    fn text(&self) -> String {
        let mut text = String::with_capacity(384);
        for part in [
            self.contract,
            self.provider,
            self.consumer,
            self.app,
            self.purpose,
            self.record,
            if self.break_glass { "break-glass" } else { "" },
            self.signer_role,
            self.signer_member,
            self.signer_name,
            if self.signer_named { "named" } else { "" },
            self.case_member,
        ] {
            text.push_str(part);
            text.push('|');
        }
        STANDARD_NO_PAD.encode_string(self.digest, &mut text);
        text.push('|');
        STANDARD_NO_PAD.encode_string(self.signer_root, &mut text);
        text
    }
}

/// The terms that the contract grants to one of its apps.
pub(crate) fn granted_terms(contract: &Contract, app: &AppId) -> String {
    let said = &contract.text;
    Terms {
        contract: said.id.as_str(),
        digest: &contract.digest,
        provider: said.provider.member.as_str(),
        consumer: said.consumer.member.as_str(),
        app: app.as_str(),
        purpose: said.purpose.as_str(),
        record: said.record.as_str(),
        break_glass: said.break_glass,
        signer_root: said.consumer.root.as_bytes(),
        signer_role: role_text(Role::App),
        signer_member: said.consumer.member.as_str(),
        signer_name: app.as_str(),
        signer_named: true,
        case_member: said.consumer.member.as_str(),
    }
    .text()
}

/// The terms that the request claims.
pub(crate) fn asked_terms(request: &Request, context: &Context<'_>) -> String {
    let signer = context.delegation;
    Terms {
        contract: request.contract.as_str(),
        digest: &request.contract_digest,
        provider: request.provider.as_str(),
        consumer: request.consumer.as_str(),
        app: request.app.as_str(),
        purpose: request.purpose.as_str(),
        record: request.record.as_str(),
        break_glass: false,
        signer_root: signer.root.as_bytes(),
        signer_role: role_text(signer.role),
        signer_member: signer.member.as_str(),
        signer_name: signer.name.as_str(),
        signer_named: signer.digest == request.delegation_digest,
        case_member: context.case.map_or("", |case| case.member.as_str()),
    }
    .text()
}
