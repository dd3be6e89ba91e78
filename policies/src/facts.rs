//! Puts contract, request and context into Cedar's words. Everything is built from Rust values; nothing
//! goes through JSON.

use crate::asked::{Fact, Moment, claimed, lasting};
use crate::bundle;
use crate::catalogue::{RecordDef, SubjectKind};
use crate::decide::PolicyError;
use crate::input::Context;
use crate::terms::granted_terms;
use cedar_policy::{
    Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as Judged, RestrictedExpression as Expr,
    Schema,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::request::Request;

/// Names of the schema, parsed once: Cedar's parser costs more than a whole decision.
#[derive(Debug)]
pub(crate) struct Facts {
    app: EntityTypeName,
    contract: EntityTypeName,
    limits: EntityTypeName,
    exchange: EntityUid,
    grant: EntityUid,
    now: EntityUid,
    /// Whoever asks: no rule of the moment reads the principal.
    anyone: EntityUid,
}

/// A resource and the store that holds it alone.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub uid: EntityUid,
    pub entities: Entities,
}

impl Resource {
    fn new(uid: EntityUid, attributes: HashMap<String, Expr>) -> Result<Self, String> {
        let entity = Entity::new(uid.clone(), attributes, HashSet::new()).map_err(|e| e.to_string())?;
        Ok(Self { uid, entities: Entities::from_entities([entity], None).map_err(|e| e.to_string())? })
    }
}

fn text(value: &str) -> Expr {
    Fact::Text(value).expression()
}

fn texts<'a, T: AsRef<str> + 'a>(values: impl IntoIterator<Item = &'a T>) -> Expr {
    Expr::new_set(values.into_iter().map(|value| text(value.as_ref())))
}

fn bytes(value: &[u8; 32]) -> Expr {
    Fact::Bytes(value).expression()
}

fn long(value: impl Into<i64>) -> Expr {
    Expr::new_long(value.into())
}

fn pair(key: &str, value: Expr) -> (String, Expr) {
    (key.to_owned(), value)
}

/// The word for a method, in contracts and rules.
fn method_text(method: Method) -> &'static str {
    match method {
        Method::Query => "query",
        Method::Batch => "batch",
        Method::Count => "count",
    }
}

pub(crate) fn role_text(role: Role) -> &'static str {
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
        let name = |text: &str| EntityTypeName::from_str(text).map_err(fault);
        let entity = |text: &str| EntityUid::from_str(text).map_err(fault);
        Ok(Self {
            app: name("App")?,
            contract: name("Contract")?,
            limits: name("Limits")?,
            exchange: entity(r#"Action::"exchange""#)?,
            grant: entity(r#"Action::"grant""#)?,
            now: entity(r#"Action::"now""#)?,
            anyone: entity(r#"App::"any""#)?,
        })
    }

    fn app(&self, member: &MemberId, app: &AppId) -> EntityUid {
        let id = EntityId::new(format!("{member}/{app}"));
        EntityUid::from_type_name_and_id(self.app.clone(), id)
    }

    /// The contract as a resource; without its record everything counts as sealed and about a person.
    pub fn contract(&self, contract: &Contract, record: Option<&RecordDef>) -> Result<Resource, String> {
        let said = &contract.text;
        let of_class = |least: u8| {
            let is = |name: &&_| {
                // A field that the catalogue lost counts as sealed.
                record.and_then(|record| record.field(name)).map_or(4, |field| field.class) >= least
            };
            texts(said.fields.iter().filter(is))
        };
        let apps = said.apps.iter().map(|app| Expr::new_entity_uid(self.app(&said.consumer.member, app)));
        let about_person = record.is_none_or(|record| record.subject == SubjectKind::Person);
        let mut attributes = HashMap::from([
            pair("id", text(said.id.as_str())),
            pair("digest", bytes(&contract.digest)),
            pair("provider", text(said.provider.member.as_str())),
            pair("consumer", text(said.consumer.member.as_str())),
            pair("consumer_root", bytes(said.consumer.root.as_bytes())),
            pair("apps", Expr::new_set(apps)),
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
            pair("about_person", Expr::new_bool(about_person)),
            pair("break_glass", Expr::new_bool(said.break_glass)),
            pair("terms", Expr::new_set(said.apps.iter().map(|app| text(&granted_terms(contract, app))))),
        ]);
        attributes.extend(limits(contract));
        let id = EntityId::new(said.id.as_str());
        Resource::new(EntityUid::from_type_name_and_id(self.contract.clone(), id), attributes)
    }

    /// What the contract says about time and counts, as a resource.
    pub fn limits(&self, contract: &Contract) -> Result<Resource, String> {
        let id = EntityId::new(contract.text.id.as_str());
        Resource::new(EntityUid::from_type_name_and_id(self.limits.clone(), id), limits(contract).into())
    }

    /// The request for the action `grant`. With a schema it is checked against it, which serving does
    /// without; tests hold every input against the schema.
    pub fn grant(
        &self,
        request: &Request,
        resource: &EntityUid,
        facts: &[(&'static str, Fact<'_>)],
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        let principal = self.app(&request.consumer, &request.app);
        judged(principal, &self.grant, resource, expressions(facts), schema)
    }

    /// The request for the action `now`.
    pub fn now(
        &self,
        moment: &Moment,
        resource: &EntityUid,
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        judged(self.anyone.clone(), &self.now, resource, expressions(&moment.facts()), schema)
    }

    /// The request for the action `exchange`.
    pub fn exchange(
        &self,
        request: &Request,
        resource: &EntityUid,
        context: &Context<'_>,
        schema: Option<&Schema>,
    ) -> Result<Judged, String> {
        let lasting = lasting(request, context);
        let moment = Moment::of(request, context).facts();
        let claimed = claimed(request, context);
        let facts = expressions(&lasting)
            .chain(expressions(&moment))
            .chain(expressions(&claimed))
            .chain([pair("signer", Expr::new_entity_uid(self.signer(context.delegation)))]);
        judged(self.app(&request.consumer, &request.app), &self.exchange, resource, facts, schema)
    }

    fn signer(&self, delegation: &Delegation) -> EntityUid {
        self.app(&delegation.member, &delegation.name)
    }
}

fn limits(contract: &Contract) -> [(String, Expr); 4] {
    let most = &contract.text.limits;
    [
        pair("valid_from", long(contract.valid_from_ms)),
        pair("valid_until", long(contract.valid_until_ms)),
        pair("per_app_per_minute", long(most.per_app_per_minute)),
        pair("per_officer_per_day", long(most.per_officer_per_day)),
    ]
}

fn expressions<'a>(facts: &'a [(&'static str, Fact<'a>)]) -> impl Iterator<Item = (String, Expr)> + 'a {
    facts.iter().map(|(name, fact)| pair(name, fact.expression()))
}

fn judged(
    principal: EntityUid,
    action: &EntityUid,
    resource: &EntityUid,
    facts: impl IntoIterator<Item = (String, Expr)>,
    schema: Option<&Schema>,
) -> Result<Judged, String> {
    let facts = cedar_policy::Context::from_pairs(facts).map_err(|error| error.to_string())?;
    Judged::new(principal, action.clone(), resource.clone(), facts, schema).map_err(|e| e.to_string())
}
