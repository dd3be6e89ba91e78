//! Puts contract, request and context into Cedar's words. Everything is built from Rust values; nothing
//! goes through JSON.

use crate::bundle;
use crate::catalogue::{Catalogue, SubjectKind};
use crate::decide::PolicyError;
use crate::input::{Context, Counts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cedar_policy::{
    Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as Judged, RestrictedExpression as Expr,
    Schema,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use yiwang_proto::Digest;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::request::Request;

/// Names of the schema, parsed once: Cedar's parser costs more than a whole decision.
#[derive(Debug)]
pub(crate) struct Facts {
    app: EntityTypeName,
    contract: EntityTypeName,
    exchange: EntityUid,
    grant: EntityUid,
}

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
    method: &'a str,
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
            self.method,
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

fn text(value: &str) -> Expr {
    Expr::new_string(value.to_owned())
}

fn texts<'a, T: AsRef<str> + 'a>(values: impl IntoIterator<Item = &'a T>) -> Expr {
    Expr::new_set(values.into_iter().map(|value| text(value.as_ref())))
}

fn bytes(value: &[u8; 32]) -> Expr {
    Expr::new_string(STANDARD_NO_PAD.encode(value))
}

fn long(value: impl Into<i64>) -> Expr {
    Expr::new_long(value.into())
}

fn truth(value: bool) -> Expr {
    Expr::new_bool(value)
}

fn pair(key: &str, value: Expr) -> (String, Expr) {
    (key.to_owned(), value)
}

/// The word for a method, in contracts and rules.
pub(crate) fn method_text(method: Method) -> &'static str {
    match method {
        Method::Query => SERVED,
        Method::Batch => "batch",
        Method::Count => "count",
    }
}

/// The one method that is served.
const SERVED: &str = "query";

fn role_text(role: Role) -> &'static str {
    match role {
        Role::App => "app",
        Role::Adapter => "adapter",
        Role::Officer => "officer",
        Role::Sealing => "sealing",
        Role::Standing => "standing",
    }
}

impl Facts {
    pub fn new() -> Result<Self, PolicyError> {
        let fault = |error: cedar_policy::ParseErrors| PolicyError::Text {
            file: bundle::SCHEMA.0.to_owned(),
            fault: error.to_string(),
        };
        Ok(Self {
            app: EntityTypeName::from_str("App").map_err(fault)?,
            contract: EntityTypeName::from_str("Contract").map_err(fault)?,
            exchange: EntityUid::from_str(r#"Action::"exchange""#).map_err(fault)?,
            grant: EntityUid::from_str(r#"Action::"grant""#).map_err(fault)?,
        })
    }

    fn app(&self, member: &MemberId, app: &AppId) -> EntityUid {
        let id = EntityId::new(format!("{member}/{app}"));
        EntityUid::from_type_name_and_id(self.app.clone(), id)
    }

    /// The contract's entity and the store that holds it alone.
    pub fn contract(
        &self,
        contract: &Contract,
        catalogue: &Catalogue,
    ) -> Result<(EntityUid, Entities), String> {
        let said = &contract.text;
        let of_class = |least: u8| {
            let is = |name: &&_| {
                // A field that the catalogue lost counts as sealed.
                catalogue.field(&said.record, name).map_or(4, |field| field.class) >= least
            };
            texts(said.fields.iter().filter(is))
        };
        let apps = said.apps.iter().map(|app| Expr::new_entity_uid(self.app(&said.consumer.member, app)));
        let about_person =
            catalogue.record(&said.record).is_none_or(|record| record.subject == SubjectKind::Person);
        let attributes = HashMap::from([
            pair("id", text(said.id.as_str())),
            pair("digest", bytes(&contract.digest)),
            pair("provider", text(said.provider.member.as_str())),
            pair("consumer", text(said.consumer.member.as_str())),
            pair("consumer_root", bytes(said.consumer.root.as_bytes())),
            pair("apps", Expr::new_set(apps)),
            pair("valid_from", long(contract.valid_from_ms)),
            pair("valid_until", long(contract.valid_until_ms)),
            pair("purpose", text(said.purpose.as_str())),
            pair("matters", texts(&said.matters)),
            pair("method", text(method_text(said.method))),
            pair("record", text(said.record.as_str())),
            pair("operations", texts(&said.operations)),
            pair("fields", texts(&said.fields)),
            pair("personal_fields", of_class(2)),
            pair("sensitive_fields", of_class(3)),
            pair("approved_fields", of_class(4)),
            pair("sealed_fields", of_class(if said.sealed { 0 } else { 3 })),
            pair("about_person", truth(about_person)),
            pair("break_glass", truth(said.break_glass)),
            pair("per_app_per_minute", long(said.limits.per_app_per_minute)),
            pair("per_officer_per_day", long(said.limits.per_officer_per_day)),
            pair("terms", Expr::new_set(said.apps.iter().map(|app| text(&granted_terms(contract, app))))),
        ]);
        let uid = EntityUid::from_type_name_and_id(self.contract.clone(), EntityId::new(said.id.as_str()));
        let entity = Entity::new(uid.clone(), attributes, HashSet::new()).map_err(|e| e.to_string())?;
        let entities = Entities::from_entities([entity], None).map_err(|e| e.to_string())?;
        Ok((uid, entities))
    }

    /// The request for the action `grant`. With a schema it is checked against it, which serving does
    /// without; tests hold every input against the schema.
    pub fn grant(
        &self,
        request: &Request,
        resource: &EntityUid,
        context: &Context<'_>,
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        let facts =
            moment(request, context).into_iter().chain([pair("terms", text(&asked_terms(request, context)))]);
        self.judged(&self.grant, request, resource, facts, schema)
    }

    /// The request for the action `exchange`.
    pub fn exchange(
        &self,
        request: &Request,
        resource: &EntityUid,
        context: &Context<'_>,
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        let signer = context.delegation;
        let facts = moment(request, context).into_iter().chain([
            pair("contract", text(request.contract.as_str())),
            pair("contract_digest", bytes(&request.contract_digest)),
            pair("consumer", text(request.consumer.as_str())),
            pair("provider", text(request.provider.as_str())),
            pair("purpose", text(request.purpose.as_str())),
            pair("record", text(request.record.as_str())),
            pair("signer", Expr::new_entity_uid(self.app(&signer.member, &signer.name))),
            pair("signer_root", bytes(signer.root.as_bytes())),
            pair("signer_role", text(role_text(signer.role))),
            pair("signer_named", truth(signer.digest == request.delegation_digest)),
            pair("case_member", text(context.case.map_or("", |case| case.member.as_str()))),
        ]);
        self.judged(&self.exchange, request, resource, facts, schema)
    }

    fn judged(
        &self,
        action: &EntityUid,
        request: &Request,
        resource: &EntityUid,
        facts: impl Iterator<Item = (String, Expr)>,
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        let facts = cedar_policy::Context::from_pairs(facts).map_err(|error| error.to_string())?;
        let principal = self.app(&request.consumer, &request.app);
        Judged::new(principal, action.clone(), resource.clone(), facts, schema).map_err(|e| e.to_string())
    }
}

/// What both actions know.
fn moment(request: &Request, context: &Context<'_>) -> [(String, Expr); 17] {
    let subject = match context.body {
        None => "unseen",
        Some(body) if body.subject.is_empty() => "none",
        Some(_) => "named",
    };
    let case = context.case;
    // Only the verifier has none, and it judges no rates.
    let counts = context.counts.unwrap_or(Counts { app_this_minute: 0, officer_today: 0 });
    [
        pair("live", truth(context.site.is_live())),
        pair("now", long(context.now_ms)),
        pair("operation", text(request.operation.as_str())),
        pair("fields", texts(&request.fields)),
        pair("tags", long(u32::try_from(request.subject_tags.len()).unwrap_or(u32::MAX))),
        pair("subject", text(subject)),
        pair("issued_at", long(request.issued_at_ms)),
        pair("expires_at", long(request.expires_at_ms)),
        pair("sealed", truth(context.sealed)),
        pair("officer", text(context.officer.proof().as_str())),
        pair("signer_from", long(context.delegation.valid_from_ms)),
        pair("signer_until", long(context.delegation.valid_until_ms)),
        pair("case_matter", text(case.map_or("", |case| case.matter.as_str()))),
        pair("case_open", truth(case.is_some_and(|case| case.open))),
        pair("case_lists_all_tags", truth(case.is_some_and(|case| case.lists_all_tags))),
        pair("app_this_minute", long(counts.app_this_minute)),
        pair("officer_today", long(counts.officer_today)),
    ]
}

/// The terms that the contract grants to one of its apps.
fn granted_terms(contract: &Contract, app: &AppId) -> String {
    let said = &contract.text;
    Terms {
        contract: said.id.as_str(),
        digest: &contract.digest,
        provider: said.provider.member.as_str(),
        consumer: said.consumer.member.as_str(),
        app: app.as_str(),
        purpose: said.purpose.as_str(),
        record: said.record.as_str(),
        method: method_text(said.method),
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

/// The terms that the request claims, by a method that is served.
fn asked_terms(request: &Request, context: &Context<'_>) -> String {
    let signer = context.delegation;
    Terms {
        contract: request.contract.as_str(),
        digest: &request.contract_digest,
        provider: request.provider.as_str(),
        consumer: request.consumer.as_str(),
        app: request.app.as_str(),
        purpose: request.purpose.as_str(),
        record: request.record.as_str(),
        method: SERVED,
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
