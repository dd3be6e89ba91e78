//! The decision. Cedar judges over the embedded rules; the contract is the resource entity, built once,
//! so the cost does not grow with the number of contracts.
//!
//! INVARIANT: any error in Cedar's diagnostics is a denial. Cedar skips a rule that errs, and an erring
//! `forbid` would forbid nothing.

use crate::bundle;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::decision::{Denial, OfficerProof, Permit};
use crate::fields::{Fault, check_contract};
use crate::input::{Context, Counts};
use crate::lint::{Lint, LintError};
use crate::rows::{RowFault, check_arguments};
use crate::rules::{ROW_ARGUMENTS, ROW_FILTER, Rule, find};
use crate::ruleset::RuleSet;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cedar_policy::{
    Authorizer, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Response,
    RestrictedExpression as Expr, Schema, ValidationMode, Validator,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::Arc;
use yiwang_proto::Digest;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::request::Request;

/// Why the rules or data of a bundle are refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A Cedar text or name does not parse.
    #[error("`{file}`: {fault}")]
    Text {
        /// Path in the bundle.
        file: String,
        /// What Cedar says.
        fault: String,
    },
    /// The rules do not fit the schema under strict validation.
    #[error("rules do not fit the schema: {0}")]
    Validation(String),
    /// The rules and the table of codes do not name the same ids.
    #[error("rule `{0}` is missing, stands twice, or has no line in the table of codes")]
    Rule(String),
    /// A catalogue file cannot stand.
    #[error("catalogue: {0}")]
    Catalogue(#[from] CatalogueError),
    /// The lint's file cannot stand.
    #[error("lint: {0}")]
    Lint(#[from] LintError),
}

/// The compiled rules with schema and catalogue. One for the life of a process; shared by reference.
#[derive(Debug)]
pub struct Decider {
    authorizer: Authorizer,
    rules: RuleSet,
    schema: Schema,
    catalogue: Catalogue,
    names: Names,
    digest: Digest,
}

/// A contract ready for decisions: checked against the catalogue, its Cedar entity built.
#[derive(Debug, Clone)]
pub struct Prepared {
    contract: Arc<Contract>,
    entities: Entities,
    resource: EntityUid,
}

impl Prepared {
    /// The contract.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }
}

/// Parsed once: Cedar's parser costs more than a whole decision.
#[derive(Debug)]
struct Names {
    app: EntityTypeName,
    contract: EntityTypeName,
    exchange: EntityUid,
}

impl Names {
    fn new() -> Result<Self, PolicyError> {
        let fault = |error: cedar_policy::ParseErrors| PolicyError::Text {
            file: bundle::SCHEMA.0.to_owned(),
            fault: error.to_string(),
        };
        Ok(Self {
            app: EntityTypeName::from_str("App").map_err(fault)?,
            contract: EntityTypeName::from_str("Contract").map_err(fault)?,
            exchange: EntityUid::from_str(r#"Action::"exchange""#).map_err(fault)?,
        })
    }

    fn app(&self, member: &MemberId, app: &AppId) -> EntityUid {
        let id = EntityId::new(format!("{member}/{app}"));
        EntityUid::from_type_name_and_id(self.app.clone(), id)
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

fn pair(key: &str, value: Expr) -> (String, Expr) {
    (key.to_owned(), value)
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Query => "query",
        Method::Batch => "batch",
        Method::Count => "count",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::App => "app",
        Role::Adapter => "adapter",
        Role::Officer => "officer",
        Role::Sealing => "sealing",
    }
}

impl Decider {
    /// The decider over the embedded bundle.
    pub fn builtin() -> Result<Self, PolicyError> {
        Lint::builtin()?;
        Self::load(bundle::SCHEMA, bundle::RULES, Catalogue::builtin()?, bundle::digest())
    }

    /// Parses the rules, validates them against the schema, and holds their ids against the table.
    pub(crate) fn load(
        schema: (&str, &str),
        rules: &[(&str, &str)],
        catalogue: Catalogue,
        digest: Digest,
    ) -> Result<Self, PolicyError> {
        let (parsed, warnings) = Schema::from_cedarschema_str(schema.1)
            .map_err(|error| PolicyError::Text { file: schema.0.to_owned(), fault: error.to_string() })?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(PolicyError::Text { file: schema.0.to_owned(), fault: warning.to_string() });
        }
        let rules = RuleSet::load(rules)?;
        let validator = Validator::new(parsed.clone());
        for set in [&rules.each, &rules.joined] {
            let result = validator.validate(set, ValidationMode::Strict);
            if !result.validation_passed_without_warnings() {
                return Err(PolicyError::Validation(result.to_string()));
            }
        }
        Ok(Self {
            authorizer: Authorizer::new(),
            rules,
            schema: parsed,
            catalogue,
            names: Names::new()?,
            digest,
        })
    }

    /// SHA-256 over rules, schema, catalogue and lint; ledger entries name it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The version that people speak of; what counts is the digest.
    pub fn version(&self) -> &'static str {
        bundle::VERSION
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The schema, for the console and for tests of the inputs.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Checks a contract against the catalogue and builds its entity. Errors: everything that cannot
    /// stand, at once.
    pub fn prepare(&self, contract: Arc<Contract>) -> Result<Prepared, Vec<Fault>> {
        let faults = check_contract(&contract.text, &self.catalogue);
        if !faults.is_empty() {
            return Err(faults);
        }
        self.prepare_unchecked(contract).map_err(|fault| {
            vec![Fault::new("contract", fault, "tell the operator; the rules could not take the contract")]
        })
    }

    pub(crate) fn prepare_unchecked(&self, contract: Arc<Contract>) -> Result<Prepared, String> {
        let said = &contract.text;
        let of_class = |least: u8| {
            let is = |name: &&_| {
                // A field that the catalogue lost counts as sealed.
                self.catalogue.field(&said.record, name).map_or(4, |field| field.class) >= least
            };
            texts(said.fields.iter().filter(is))
        };
        let apps =
            said.apps.iter().map(|app| Expr::new_entity_uid(self.names.app(&said.consumer.member, app)));
        let about_person = self
            .catalogue
            .record(&said.record)
            .is_none_or(|record| record.subject == crate::catalogue::SubjectKind::Person);
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
            pair("method", text(method(said.method))),
            pair("record", text(said.record.as_str())),
            pair("operations", texts(&said.operations)),
            pair("fields", texts(&said.fields)),
            pair("personal_fields", of_class(2)),
            pair("sensitive_fields", of_class(3)),
            pair("about_person", Expr::new_bool(about_person)),
            pair("break_glass", Expr::new_bool(said.break_glass)),
            pair("per_app_per_minute", long(said.limits.per_app_per_minute)),
            pair("per_officer_per_day", long(said.limits.per_officer_per_day)),
        ]);
        let id = EntityId::new(said.id.as_str());
        let resource = EntityUid::from_type_name_and_id(self.names.contract.clone(), id);
        let entity = Entity::new(resource.clone(), attributes, HashSet::new()).map_err(|e| e.to_string())?;
        let entities = Entities::from_entities([entity], None).map_err(|e| e.to_string())?;
        Ok(Prepared { contract, entities, resource })
    }

    /// Judges one request under one contract. Errors: a denial that names every rule that denies, the
    /// strongest first; anything that cannot be judged is a denial too.
    pub fn decide(
        &self,
        request: &Request,
        contract: &Prepared,
        context: &Context<'_>,
    ) -> Result<Permit, Denial> {
        let judged = self
            .cedar_request(request, contract, context, None)
            .map_err(|_| Denial::policy_error("rule input: the request could not be put before the rules"))?;
        let ask = |rules| self.authorizer.is_authorized(&judged, rules, &contract.entities);
        let row_fault = context
            .body
            .and_then(|body| check_arguments(&contract.contract.text.rows, &body.arguments).err());
        let granted = ask(&self.rules.joined);
        let erred = |response: &Response| response.diagnostics().errors().next().is_some();
        if granted.decision() == Decision::Allow && !erred(&granted) && row_fault.is_none() {
            return Ok(Permit::new(Arc::clone(&contract.contract), request, OfficerProof::Asserted));
        }
        let response = ask(&self.rules.each);
        if erred(&response) {
            return Err(Denial::policy_error("rule evaluation: a rule could not be evaluated"));
        }
        let mut rules = Vec::new();
        if response.decision() == Decision::Deny {
            for id in response.diagnostics().reason() {
                let (rank, rule) = find(id.as_ref())
                    .ok_or_else(|| Denial::policy_error("rule table: a rule without a code denied"))?;
                let clause = explain(rule, request, &contract.contract, context, &self.catalogue);
                rules.push((rank, rule, clause));
            }
        }
        if let Some(fault) = row_fault {
            let id = match fault {
                RowFault::Argument { .. } => ROW_ARGUMENTS,
                RowFault::Outside { .. } => ROW_FILTER,
            };
            rules.extend(find(id).map(|(rank, rule)| (rank, rule, fault.to_string())));
        }
        // Nothing forbids and nothing permits: the rule that permits did not hold.
        Err(Denial::of(rules).unwrap_or_else(|| Denial::policy_error("rule granted: nothing permits")))
    }

    /// The request as Cedar sees it; with a schema it is checked against it, which serving does without.
    pub(crate) fn cedar_request(
        &self,
        request: &Request,
        contract: &Prepared,
        context: &Context<'_>,
        schema: Option<&Schema>,
    ) -> Result<cedar_policy::Request, String> {
        let signer = context.delegation;
        let subject = match context.body {
            None => "unseen",
            Some(body) if body.subject.is_empty() => "none",
            Some(_) => "named",
        };
        let case = context.case;
        let counts = context.counts.unwrap_or(Counts { app_this_minute: 0, officer_today: 0 });
        let facts = [
            pair("site", text(context.site.as_str())),
            pair("now", long(context.now_ms)),
            pair("contract", text(request.contract.as_str())),
            pair("contract_digest", bytes(&request.contract_digest)),
            pair("consumer", text(request.consumer.as_str())),
            pair("provider", text(request.provider.as_str())),
            pair("purpose", text(request.purpose.as_str())),
            pair("record", text(request.record.as_str())),
            pair("operation", text(request.operation.as_str())),
            pair("fields", texts(&request.fields)),
            pair("tags", long(u32::try_from(request.subject_tags.len()).unwrap_or(u32::MAX))),
            pair("subject", text(subject)),
            pair("issued_at", long(request.issued_at_ms)),
            pair("expires_at", long(request.expires_at_ms)),
            pair("sealed", Expr::new_bool(context.sealed)),
            pair("signer", Expr::new_entity_uid(self.names.app(&signer.member, &signer.name))),
            pair("signer_root", bytes(signer.root.as_bytes())),
            pair("signer_role", text(role(signer.role))),
            pair("signer_named", Expr::new_bool(signer.digest == request.delegation_digest)),
            pair("signer_from", long(signer.valid_from_ms)),
            pair("signer_until", long(signer.valid_until_ms)),
            pair("case_member", text(case.map_or("", |case| case.member.as_str()))),
            pair("case_matter", text(case.map_or("", |case| case.matter.as_str()))),
            pair("case_open", Expr::new_bool(case.is_some_and(|case| case.open))),
            pair("case_lists_all_tags", Expr::new_bool(case.is_some_and(|case| case.lists_all_tags))),
            pair("app_this_minute", long(counts.app_this_minute)),
            pair("officer_today", long(counts.officer_today)),
        ];
        let facts = cedar_policy::Context::from_pairs(facts).map_err(|error| error.to_string())?;
        cedar_policy::Request::new(
            self.names.app(&request.consumer, &request.app),
            self.names.exchange.clone(),
            contract.resource.clone(),
            facts,
            schema,
        )
        .map_err(|error| error.to_string())
    }
}

/// The clause text of a rule that denied; with the names of fields where the rule is about them.
fn explain(
    rule: &Rule,
    request: &Request,
    contract: &Contract,
    context: &Context<'_>,
    catalogue: &Catalogue,
) -> String {
    let delegation = context.delegation;
    let detail = match rule.id {
        "fields" => {
            let missing = request.fields.iter().filter(|field| !contract.text.fields.contains(field));
            Some(missing.map(|field| field.as_str()).collect::<Vec<_>>().join(" "))
        }
        "method" => Some(format!("{} is not served", method(contract.text.method))),
        "break-glass" => Some("emergency access is not served".to_owned()),
        "sealing" | "approvals" => {
            let class = |name| catalogue.field(&contract.text.record, name).map_or(4, |field| field.class);
            let sensitive = request.fields.iter().filter(|name| class(name) >= 3);
            Some(sensitive.map(|field| field.as_str()).collect::<Vec<_>>().join(" "))
        }
        "delegation" if delegation.root == contract.text.consumer.root => Some(
            if delegation.digest != request.delegation_digest {
                "the statement names another delegation"
            } else if delegation.role != Role::App {
                "the delegation is not for an app"
            } else {
                "the delegation is for another member or app"
            }
            .to_owned(),
        ),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{}: {detail}", rule.clause),
        None => rule.clause.to_owned(),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
