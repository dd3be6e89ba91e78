//! Loads the rules twice: as they stand, each with its id, and joined into two.
//!
//! Cedar pays for each policy and each node of it. So two joined rules answer "is it granted" at once, and
//! the rules themselves are asked only when it is not, for the reasons. The joined rules are made from the
//! same files: the permit `granted-now` with the negation of every `forbid` marked `@moment`, and the permit
//! `granted-at-once` with that of every other, except of those marked `@terms`, which its own condition
//! stands for. They fail closed: where a condition errs, they do not permit. The schema gives the two
//! nothing in common to read, so a rule under the wrong mark does not pass the validator. The differential
//! test holds both forms against a third one without Cedar.

use crate::bounds;
use crate::decide::PolicyError;
use crate::rules::{AT_ONCE, GRANTED, IN_RUST, MOMENT, NOW, TABLE, TERMS};
use cedar_policy::{Effect, Policy, PolicyId, PolicySet};
use std::collections::BTreeSet;
use std::str::FromStr as _;

/// The rules in both forms.
#[derive(Debug)]
pub(crate) struct RuleSet {
    /// One policy per rule, under its id.
    pub each: PolicySet,
    /// The joined permit of what does not hang on the moment.
    pub grant: PolicySet,
    /// The joined permit of time and counts.
    pub now: PolicySet,
}

/// A permit, and what is joined to it.
#[derive(Default)]
struct Joining {
    permit: serde_json::Value,
    forbids: Vec<serde_json::Value>,
}

impl RuleSet {
    /// Parses the files, each `(path, text)`, and holds their ids against the table.
    pub fn load(files: &[(&str, &str)]) -> Result<Self, PolicyError> {
        let mut each = PolicySet::new();
        let (mut grant, mut now) = (Joining::default(), Joining::default());
        let mut missing: BTreeSet<&str> = TABLE.iter().map(|rule| rule.id).collect();
        missing.extend([GRANTED, AT_ONCE, NOW]);
        for rust in IN_RUST {
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
                let part = match id {
                    GRANTED | AT_ONCE | NOW => Effect::Permit,
                    _ => Effect::Forbid,
                };
                if policy.effect() != part {
                    return Err(fault(format!("`{id}` has the wrong effect")));
                }
                let json = || policy.to_json().map_err(|error| fault(error.to_string()));
                if [AT_ONCE, NOW].contains(&id) {
                    let rule = json()?;
                    if id == NOW {
                        bounded(id, &rule, false).map_err(fault)?;
                        now.permit = rule;
                    } else {
                        grant.permit = rule;
                    }
                    continue;
                }
                for (mark, ids) in [("terms", &TERMS[..]), ("moment", &MOMENT[..])] {
                    if policy.annotation(mark).is_some() != ids.contains(&id) {
                        return Err(fault(format!(
                            "`{id}` is marked @{mark} and not in the table of these, or the reverse"
                        )));
                    }
                }
                if MOMENT.contains(&id) {
                    let rule = json()?;
                    bounded(id, &rule, true).map_err(fault)?;
                    now.forbids.push(rule);
                } else if part == Effect::Forbid && !TERMS.contains(&id) {
                    grant.forbids.push(json()?);
                }
                each.add(policy.new_id(PolicyId::new(id))).map_err(|error| fault(error.to_string()))?;
            }
        }
        match missing.into_iter().next() {
            None => Ok(Self {
                each,
                grant: join(grant).map_err(joined_fault)?,
                now: join(now).map_err(joined_fault)?,
            }),
            Some(id) => Err(PolicyError::Rule(id.to_owned())),
        }
    }
}

/// Whether a rule of the moment says what a window of moments can stand for.
fn bounded(id: &str, rule: &serde_json::Value, forbids: bool) -> Result<(), String> {
    for condition in conditions(rule)? {
        bounds::hold(&condition, forbids).map_err(|fault| format!("`{id}` is marked @moment and {fault}"))?;
    }
    Ok(())
}

fn joined_fault(fault: String) -> PolicyError {
    PolicyError::Text { file: "base (joined)".to_owned(), fault }
}

/// Joins Cedar's JSON forms. All rules are about every principal and resource, and have one condition
/// each: the negation of several would not be the negation of each.
fn join(Joining { mut permit, forbids }: Joining) -> Result<PolicySet, String> {
    let mut conditions = conditions(&permit)?;
    for forbid in forbids {
        for part in ["principal", "resource"] {
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

pub(crate) fn conditions(rule: &serde_json::Value) -> Result<Vec<serde_json::Value>, String> {
    let all = rule.get("conditions").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    if all.len() == 1 { Ok(all) } else { Err(format!("a rule needs exactly one condition: {rule}")) }
}
