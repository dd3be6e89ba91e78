//! Loads the rules twice: as they stand, each with its id, and joined into one.
//!
//! Cedar pays for each policy, not for each condition. So the joined rule, the one `permit` whose
//! conditions are its own and the negation of every `forbid`'s, answers "is it granted" at once; the rules
//! themselves are asked only when it is not, for the reasons. Both come from the same files, and the joined
//! one fails closed: where a condition errs, it does not permit.

use crate::decide::PolicyError;
use crate::rules::{GRANTED, ROW_ARGUMENTS, ROW_FILTER, TABLE};
use cedar_policy::{Effect, Policy, PolicyId, PolicySet};
use std::collections::BTreeSet;
use std::str::FromStr as _;

/// The rules in both forms.
#[derive(Debug)]
pub(crate) struct RuleSet {
    /// One policy per rule, under its id.
    pub each: PolicySet,
    /// The one joined permit.
    pub joined: PolicySet,
}

impl RuleSet {
    /// Parses the files, each `(path, text)`, and holds their ids against the table.
    pub fn load(files: &[(&str, &str)]) -> Result<Self, PolicyError> {
        let mut each = PolicySet::new();
        let mut parts = Vec::new();
        let mut missing: BTreeSet<&str> = TABLE.iter().map(|rule| rule.id).collect();
        missing.insert(GRANTED);
        for rust in [ROW_ARGUMENTS, ROW_FILTER] {
            missing.remove(rust);
        }
        for (file, source) in files {
            let fault = |fault: String| PolicyError::Text { file: (*file).to_owned(), fault };
            let set = PolicySet::from_str(source).map_err(|error| fault(error.to_string()))?;
            for policy in set.policies() {
                let id = policy.annotation("id").ok_or_else(|| fault("a rule has no @id".to_owned()))?;
                if !missing.remove(id) {
                    return Err(PolicyError::Rule(id.to_owned()));
                }
                let wanted = if id == GRANTED { Effect::Permit } else { Effect::Forbid };
                if policy.effect() != wanted {
                    return Err(fault(format!("`{id}` has the wrong effect")));
                }
                parts.push((id == GRANTED, policy.to_json().map_err(|error| fault(error.to_string()))?));
                each.add(policy.new_id(PolicyId::new(id))).map_err(|error| fault(error.to_string()))?;
            }
        }
        match missing.into_iter().next() {
            None => Ok(Self { each, joined: join(parts).map_err(joined_fault)? }),
            Some(id) => Err(PolicyError::Rule(id.to_owned())),
        }
    }
}

fn joined_fault(fault: String) -> PolicyError {
    PolicyError::Text { file: "base (joined)".to_owned(), fault }
}

/// Joins Cedar's JSON forms. All rules must have the permit's scope, and one condition each: the negation
/// of several would not be the negation of each.
fn join(parts: Vec<(bool, serde_json::Value)>) -> Result<PolicySet, String> {
    let (permits, forbids): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(permits, _)| *permits);
    let [(_, mut permit)] = <[_; 1]>::try_from(permits).map_err(|_| "there is no one permit".to_owned())?;
    let mut conditions = conditions(&permit)?;
    for (_, forbid) in forbids {
        for part in ["principal", "action", "resource"] {
            if forbid.get(part) != permit.get(part) {
                return Err(format!("the rules do not all have the same scope: {forbid}"));
            }
        }
        for mut condition in self::conditions(&forbid)? {
            let kind = match condition.get("kind").and_then(serde_json::Value::as_str) {
                Some("when") => "unless",
                Some("unless") => "when",
                _ => return Err("a condition is neither `when` nor `unless`".to_owned()),
            };
            if let Some(object) = condition.as_object_mut() {
                object.insert("kind".to_owned(), kind.into());
            }
            conditions.push(condition);
        }
    }
    if let Some(object) = permit.as_object_mut() {
        object.insert("conditions".to_owned(), conditions.into());
    }
    let policy = Policy::from_json(Some(PolicyId::new("joined")), permit).map_err(|e| e.to_string())?;
    PolicySet::from_policies([policy]).map_err(|error| error.to_string())
}

fn conditions(rule: &serde_json::Value) -> Result<Vec<serde_json::Value>, String> {
    let all = rule.get("conditions").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    if all.len() == 1 { Ok(all) } else { Err(format!("a rule needs exactly one condition: {rule}")) }
}
