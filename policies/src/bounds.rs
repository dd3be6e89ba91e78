//! What a rule marked `@moment` may say. A window of moments is judged by its strictest ones (`window.rs`), which holds
//! only while every such rule compares time and counts with bounds: so a rule of another shape is refused when the
//! rules are loaded, and not noticed by whom it let through.
//!
//! In a permit's words each is `small < large` or `small <= large`. Counts and the time of issue may stand on the small
//! side only, the expiry on the large one, the time of judging on either; what is no part of the moment stands anywhere.

use serde_json::Value;

/// Attributes of a moment that must not be too large: a smaller one never takes a permit away.
const SMALL: [&str; 3] = ["app_this_minute", "officer_today", "issued_at"];
/// Those that must not be too small.
const LARGE: [&str; 1] = ["expires_at"];
/// The time of judging: one bound of it on each side leaves one stretch.
const EITHER: &str = "now";

/// What may be added to or compared with, a hundred days in milliseconds: far from where a sum would fail for one moment
/// and hold for another.
const MOST: i64 = 8_640_000_000;

/// Holds a condition of a permit (`when`, or `unless` of a forbid) or of a forbid (`when`) against what a window needs.
///
/// # Errors
/// What does not fit, in words.
pub(crate) fn hold(condition: &Value, forbids: bool) -> Result<(), String> {
    let kind = condition.get("kind").and_then(Value::as_str);
    let body = condition.get("body").ok_or("a condition has no body")?;
    let negated = match kind {
        Some("when") => forbids,
        Some("unless") => !forbids,
        _ => return Err("a condition is neither `when` nor `unless`".to_owned()),
    };
    let mut parts = Vec::new();
    conjuncts(body, &mut parts);
    let compared = parts.iter().filter(|part| comparison(part).is_some()).count();
    if negated && compared > 1 {
        return Err(
            "forbids where several bounds are passed together: what is left is no single stretch".to_owned()
        );
    }
    for part in parts {
        match comparison(part) {
            Some((less, greater)) if negated => sides(greater, less)?,
            Some((less, greater)) => sides(less, greater)?,
            None => flag(part)?,
        }
    }
    Ok(())
}

fn conjuncts<'v>(body: &'v Value, parts: &mut Vec<&'v Value>) {
    match pair(body, "&&") {
        Some((left, right)) => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        None => parts.push(body),
    }
}

fn pair<'v>(value: &'v Value, operator: &str) -> Option<(&'v Value, &'v Value)> {
    let both = value.get(operator)?;
    Some((both.get("left")?, both.get("right")?))
}

/// The side that the comparison wants small, and the other.
fn comparison(value: &Value) -> Option<(&Value, &Value)> {
    let ascending = pair(value, "<").or_else(|| pair(value, "<="));
    ascending.or_else(|| pair(value, ">").or_else(|| pair(value, ">=")).map(|(left, right)| (right, left)))
}

fn sides(small: &Value, large: &Value) -> Result<(), String> {
    side(small, &LARGE, "small")?;
    side(large, &SMALL, "large")
}

/// A side is an attribute or a number, or one of these and a number more.
fn side(value: &Value, never: &[&str], which: &str) -> Result<(), String> {
    let (base, number) = pair(value, "+").unwrap_or((value, &Value::Null));
    let is_number =
        |value: &Value| value.get("Value").and_then(Value::as_i64).is_some_and(|n| n.abs() <= MOST);
    if !(number.is_null() || is_number(number)) {
        return Err(format!("adds what is no number: {number}"));
    }
    match attribute(base) {
        Some(name) if never.contains(&name) => Err(format!("`{name}` stands on the {which} side of a bound")),
        Some(_) => Ok(()),
        None if is_number(base) => Ok(()),
        None => Err(format!("compares what is neither an attribute nor a number: {base}")),
    }
}

/// Whether something holds that is no part of the moment.
fn flag(value: &Value) -> Result<(), String> {
    match attribute(value) {
        Some(name) if name == EITHER || SMALL.contains(&name) || LARGE.contains(&name) => {
            Err(format!("`{name}` is not compared with a bound"))
        }
        Some(_) => Ok(()),
        None => Err(format!("is neither a bound nor an attribute: {value}")),
    }
}

/// The name of an attribute of context or resource itself.
fn attribute(value: &Value) -> Option<&str> {
    let dot = value.get(".")?;
    let of = dot.get("left")?.get("Var")?.as_str()?;
    matches!(of, "context" | "resource").then_some(())?;
    dot.get("attr")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::conditions;
    use cedar_policy::Policy;

    fn held(rule: &str) -> Result<(), String> {
        let forbids = rule.starts_with("forbid");
        let policy = Policy::parse(None, rule.replace("()", "(principal, action, resource)")).unwrap();
        hold(&conditions(&policy.to_json().unwrap()).unwrap()[0], forbids)
    }

    #[test]
    fn bounds_of_time_and_counts_are_what_a_window_can_stand_for() {
        for rule in [
            "forbid () when { context.app_this_minute > resource.per_app_per_minute };",
            "forbid () when { context.live && context.now >= context.expires_at };",
            "forbid () when { context.live && context.issued_at > context.now + 30000 };",
            "forbid () unless { context.signer_from <= context.now && context.now < context.signer_until };",
            "permit () when { context.now < resource.valid_until };",
            "forbid () when { context.now < 5 };",
        ] {
            assert_eq!(held(rule), Ok(()), "{rule}");
        }
    }

    #[test]
    fn all_that_a_window_rounds_is_known_here() {
        use crate::asked::Moment;
        use crate::window::Window;
        let moment = Moment {
            now_ms: 1_000_001,
            issued_at_ms: 1_000_002,
            expires_at_ms: 1_000_003,
            app_this_minute: 1_001,
            officer_today: 1_003,
            live: true,
            signer_from_ms: 1,
            signer_until_ms: 2_000_000,
        };
        let window = Window::around(&moment).unwrap();
        for edge in [*window.first(), window.last()] {
            // Beside those of the lists above nothing of a moment is another in its window.
            let Moment { now_ms, issued_at_ms, expires_at_ms, app_this_minute, officer_today, .. } = moment;
            let same = Moment { now_ms, issued_at_ms, expires_at_ms, app_this_minute, officer_today, ..edge };
            assert_eq!(same, moment);
            assert!(edge.app_this_minute >= app_this_minute && edge.officer_today >= officer_today);
            assert!(edge.issued_at_ms >= issued_at_ms && edge.expires_at_ms <= expires_at_ms);
        }
    }

    #[test]
    fn a_rule_of_another_shape_is_refused() {
        for rule in [
            // A smaller count, an earlier issue or a later expiry would take the permit away.
            "forbid () when { context.app_this_minute < resource.per_app_per_minute };",
            "forbid () unless { context.officer_today >= 3 };",
            "forbid () when { context.issued_at + 1000 < context.now };",
            "forbid () when { context.now < context.expires_at };",
            "permit () when { context.now >= context.expires_at };",
            // Permitted before and after, and not between.
            "forbid () when { context.now >= resource.valid_from && context.now < resource.valid_until };",
            "forbid () unless { context.now < resource.valid_from || context.now >= resource.valid_until };",
            "forbid () when { context.now == resource.valid_from };",
            "forbid () unless { context.now != resource.valid_from };",
            "forbid () when { !(context.now < resource.valid_from) };",
            // What is not a bound at all.
            "forbid () when { context.now * 2 > resource.valid_until };",
            "forbid () when { context.now + context.now > resource.valid_until };",
            "forbid () when { context.now - 1 > resource.valid_until };",
            "forbid () when { if context.live then true else context.now > 5 };",
            "forbid () when { context.live && [1, 2].contains(context.now) };",
            "forbid () unless { context.now };",
            // Fails for a later expiry and not for an earlier one.
            "forbid () unless { context.now < context.expires_at + 9223372000000000000 };",
        ] {
            assert!(held(rule).is_err(), "{rule}");
        }
    }
}
