//! The decision. Cedar judges over the embedded rules; the contract is the resource entity, built once,
//! so the cost does not grow with the number of contracts.
//!
//! INVARIANT: any error in Cedar's diagnostics is a denial. Cedar skips a rule that errs, and an erring
//! `forbid` would forbid nothing.

use crate::asked::{Moment, granted, key};
use crate::bundle;
use crate::catalogue::{Catalogue, CatalogueError, RecordDef};
use crate::count::argument_fault;
use crate::decision::{Denial, Permit};
use crate::facts::{Facts, Resource};
use crate::fields::{Fault, check_contract, record_of};
use crate::input::Context;
use crate::lint::{Lint, LintError};
use crate::memory::Memory;
use crate::officer;
use crate::record_type::RecordTypeVersion;
use crate::rows::RowFault;
use crate::rules::{BATCH_SIGNATURE, ROW_ARGUMENTS, ROW_FILTER, Rule, find};
use crate::ruleset::RuleSet;
use crate::terms::asked_terms;
use crate::window::{Known, Window, Windows};
use cedar_policy::{Authorizer, Decision, PolicySet, Response, Schema, ValidationMode, Validator};
use std::sync::Arc;
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::FieldName;
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
    facts: Facts,
    digest: Digest,
}

/// A contract ready for decisions: checked against the catalogue. Of its Cedar entities the small one is
/// kept, which every decision needs. The large one is built where a kind of request is met for the first
/// time, or denied: kept, it would be most of what ten thousand contracts hold in memory.
#[derive(Debug, Clone)]
pub struct Prepared {
    contract: Arc<Contract>,
    record: Option<Arc<RecordDef>>,
    limits: Resource,
    memory: Memory,
    windows: Windows,
}

impl Prepared {
    /// The contract.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    #[cfg(test)]
    pub(crate) fn limits(&self) -> &Resource {
        &self.limits
    }

    /// The record type that the contract is about, as it was when the contract was checked.
    pub fn record(&self) -> Option<&RecordDef> {
        self.record.as_deref()
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
        for set in [&rules.each, &rules.grant, &rules.now] {
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
            facts: Facts::new()?,
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

    /// Checks a contract against the catalogue and builds its entity; for a record that members added, with the version
    /// that it pins. Errors: everything that cannot stand, at once.
    pub fn prepare(
        &self,
        contract: Arc<Contract>,
        added: Option<&RecordTypeVersion>,
    ) -> Result<Prepared, Vec<Fault>> {
        let faults = check_contract(&contract.text, &self.catalogue, added);
        if !faults.is_empty() {
            return Err(faults);
        }
        let record = record_of(&contract.text, &self.catalogue, added).ok();
        self.prepare_unchecked(contract, record).map_err(|fault| {
            vec![Fault::new("contract", fault, "tell the operator; the rules could not take the contract")]
        })
    }

    pub(crate) fn prepare_unchecked(
        &self,
        contract: Arc<Contract>,
        record: Option<Arc<RecordDef>>,
    ) -> Result<Prepared, String> {
        // What cannot be built is known before the contract is used.
        self.facts.contract(&contract, record.as_deref())?;
        let limits = self.facts.limits(&contract)?;
        Ok(Prepared { contract, record, limits, memory: Memory::default(), windows: Windows::default() })
    }

    /// Judges one request under one contract. Errors: a denial that names every rule that denies, the
    /// strongest first; anything that cannot be judged is a denial too.
    pub fn decide(
        &self,
        request: &Request,
        contract: &Prepared,
        context: &Context<'_>,
    ) -> Result<Permit, Denial> {
        if !context.is_complete() {
            return Err(Denial::policy_error("rule complete: body or counts were not given to the decision"));
        }
        let unjudged = |_| Denial::policy_error("rule input: the request could not be put before the rules");
        let row_fault =
            context.body.and_then(|body| argument_fault(&contract.contract.text, &body.arguments));
        let officer = officer::judge(request, &contract.contract, context);
        let together = request.in_batch && !contract.contract.text.batch_signatures;
        let mut built = None;
        if row_fault.is_none()
            && officer.is_none()
            && !together
            && self.holds(request, contract, context, &mut built).map_err(unjudged)?
        {
            return Ok(Permit::new(Arc::clone(&contract.contract), request, context));
        }
        let resource = match built {
            Some(resource) => resource,
            None => self.facts.contract(&contract.contract, contract.record()).map_err(unjudged)?,
        };
        let judged = self.facts.exchange(request, &resource.uid, context, None).map_err(unjudged)?;
        let response = self.authorizer.is_authorized(&judged, &self.rules.each, &resource.entities);
        if erred(&response) {
            return Err(Denial::policy_error("rule evaluation: a rule could not be evaluated"));
        }
        let mut rules = Vec::new();
        if response.decision() == Decision::Deny {
            for id in response.diagnostics().reason() {
                let (rank, rule) = find(id.as_ref())
                    .ok_or_else(|| Denial::policy_error("rule table: a rule without a code denied"))?;
                let clause = explain(rule, request, contract, context);
                rules.push((rank, rule, clause));
            }
        }
        if let Some(fault) = row_fault {
            let id = match fault {
                RowFault::Argument { .. } | RowFault::Untaken => ROW_ARGUMENTS,
                RowFault::Outside { .. } => ROW_FILTER,
            };
            rules.extend(find(id).map(|(rank, rule)| (rank, rule, fault.to_string())));
        }
        if together {
            rules.extend(find(BATCH_SIGNATURE).map(|(rank, rule)| (rank, rule, rule.clause.to_owned())));
        }
        if let Some((id, clause)) = officer {
            rules.extend(find(id).map(|(rank, rule)| (rank, rule, format!("{}: {clause}", rule.clause))));
        }
        // Nothing forbids and nothing permits: the rule that permits did not hold.
        Err(Denial::of(rules).unwrap_or_else(|| Denial::policy_error("rule granted: nothing permits")))
    }

    /// Whether the joined rules permit: those of the moment, the others once for each kind of request.
    /// Where they were asked and deny, hands out the entity that was built for them.
    fn holds(
        &self,
        request: &Request,
        contract: &Prepared,
        context: &Context<'_>,
        built: &mut Option<Resource>,
    ) -> Result<bool, String> {
        let Prepared { contract, record, limits, memory, windows } = contract;
        if !self.holds_now(&Moment::of(request, context), limits, windows)? {
            return Ok(false);
        }
        let terms = asked_terms(request, context);
        let facts = granted(request, context, &terms);
        let key = key(&facts);
        if memory.has(&key) {
            return Ok(true);
        }
        let resource = self.facts.contract(contract, record.as_deref())?;
        let grant = self.facts.grant(request, &resource.uid, &facts, None)?;
        let holds = self.permits(&grant, &self.rules.grant, &resource);
        if holds {
            memory.keep(key);
        } else {
            *built = Some(resource);
        }
        Ok(holds)
    }

    /// Whether the rules of the moment permit: they are asked about the moment itself, or were about a window around it.
    pub(crate) fn holds_now(
        &self,
        moment: &Moment,
        limits: &Resource,
        windows: &Windows,
    ) -> Result<bool, String> {
        let asked = |moment: &Moment| {
            let now = self.facts.now(moment, &limits.uid, None)?;
            Ok::<_, String>(self.permits(&now, &self.rules.now, limits))
        };
        let Some(window) = Window::around(moment) else { return asked(moment) };
        match windows.known(&window) {
            Known::Permitted => return Ok(true),
            Known::Once => {
                let permitted = asked(window.first())? && asked(&window.last())?;
                windows.judged(&window, permitted);
                if permitted {
                    return Ok(true);
                }
            }
            Known::New | Known::Mixed => {}
        }
        asked(moment)
    }

    fn permits(&self, judged: &cedar_policy::Request, rules: &PolicySet, resource: &Resource) -> bool {
        let response = self.authorizer.is_authorized(judged, rules, &resource.entities);
        response.decision() == Decision::Allow && !erred(&response)
    }
}

fn erred(response: &Response) -> bool {
    response.diagnostics().errors().next().is_some()
}

/// The clause text of a rule that denied; with the names of fields where the rule is about them.
fn explain(rule: &Rule, request: &Request, prepared: &Prepared, context: &Context<'_>) -> String {
    let (delegation, contract, record) = (context.delegation, &prepared.contract, prepared.record());
    let detail = match rule.id {
        "fields" => Some(names(record, request, |field| !contract.text.fields.contains(field))),
        "break-glass" => Some("emergency access is not served".to_owned()),
        "sealing" | "approvals" | "officer-signature" => {
            let class = |name: &FieldName| {
                record.and_then(|record| record.field(name)).map_or(4, |field| field.class)
            };
            let least = match rule.id {
                "approvals" => 4,
                "sealing" if contract.text.sealed => 0,
                _ => 3,
            };
            Some(names(record, request, |field| class(field) >= least))
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

/// The request's fields that a rule is about. A clause goes into the ledger, so a name that is in no catalogue,
/// which may be anything that the asking app wrote, is not repeated.
fn names(record: Option<&RecordDef>, request: &Request, about: impl Fn(&FieldName) -> bool) -> String {
    let (known, unknown): (Vec<&FieldName>, Vec<&FieldName>) = request
        .fields
        .iter()
        .filter(|field| about(field))
        .partition(|field| record.is_some_and(|record| record.field(field).is_some()));
    let mut names: Vec<&str> = known.into_iter().map(FieldName::as_str).collect();
    if !unknown.is_empty() {
        names.push("(names of no catalogue)");
    }
    names.join(" ")
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
