//! Next pages of searches. A contract is asked with up to three requests, for what travels in the open, what an officer
//! signs and what needs approvals; each has pages of its own. What an app is given to ask for a next page with says of
//! which of them it is, before the provider's own token.

use crate::batch::RESUME;
use crate::error::ClientError;
use crate::record::RecordQuery;
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeSet;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{ContractId, FieldName};
use yiwang_proto::{Digest, pb, sha256};

/// Requests of one contract, by the classes of their fields: up to 2, 3, 4.
pub(crate) const GROUPS: usize = 3;
/// A letter for each.
const LETTERS: [char; GROUPS] = ['o', 's', 'a'];

/// The request that a field of that class is asked with.
pub(crate) const fn group_of(class: u8) -> usize {
    match class {
        0..=2 => 0,
        3 => 1,
        _ => 2,
    }
}

/// What an app names for the next page of such a request.
pub(crate) fn named(group: usize, token: &str) -> String {
    LETTERS.get(group).map(|letter| format!("{letter}{token}")).unwrap_or_default()
}

/// Which request that is of, and the provider's token.
pub fn read(named: &str) -> Option<(usize, &str)> {
    let (group, letter) = LETTERS.iter().enumerate().find(|(_, letter)| named.starts_with(**letter))?;
    let token = named.get(letter.len_utf8()..)?;
    Some((group, token)).filter(|_| !token.is_empty())
}

/// What a request's plain body begins after; empty for a first page.
pub(crate) fn begins_after(body: &Bytes) -> String {
    let Ok(raw) = pb::RequestBody::decode(body.clone()) else { return String::new() };
    // Most are asked with no arguments at all.
    if raw.arguments.as_ref() == b"{}" {
        return String::new();
    }
    let arguments: Arguments = serde_json::from_slice(&raw.arguments).unwrap_or_default();
    match FieldName::parse(RESUME).ok().and_then(|name| arguments.get(&name).cloned()) {
        Some(Scalar::Text(token)) => token,
        _ => String::new(),
    }
}

/// Whether a page begins where the one ended that gave `token`, which is empty for the first, and goes on from there.
pub(crate) fn follows_on(follows: Option<Digest>, resume: &str, token: &str) -> bool {
    let wanted = Some(token).filter(|token| !token.is_empty()).map(|token| sha256(token.as_bytes()));
    follows == wanted && (token.is_empty() || resume != token)
}

/// No contract whose next page is wanted is passed over while others answer: its rows would seem to have ended.
pub(crate) fn all_asked(query: &RecordQuery, asked: &BTreeSet<&ContractId>) -> Result<(), ClientError> {
    let missed = query.resume.keys().find(|contract| !asked.contains(contract));
    match missed {
        // Where nobody is asked the reasons are told for all.
        Some(contract) if !asked.is_empty() => Err(ClientError::Resume { contract: contract.clone() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::SeededEntropy;
    use yiwang_proto::body::RequestBody;

    #[test]
    fn a_token_says_of_which_request_it_is() {
        for group in 0..GROUPS {
            let given = named(group, "aToken");
            assert_eq!(read(&given), Some((group, "aToken")));
        }
        for other in ["", "o", "x", "xToken", "号Token"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!([0, 1, 2, 3, 4].map(group_of), [0, 0, 0, 1, 2]);
    }

    #[test]
    fn what_a_page_begins_after_is_read_in_its_own_request() {
        let body = |arguments: Arguments| {
            RequestBody { subject: String::new(), arguments }.encode(&SeededEntropy::new(1)).0
        };
        let resume = FieldName::parse(RESUME).unwrap();
        assert_eq!(begins_after(&body(Arguments::new())), "");
        let other = [(FieldName::parse("area").unwrap(), Scalar::Text("x".to_owned()))];
        assert_eq!(begins_after(&body(other.into())), "");
        assert_eq!(begins_after(&body([(resume.clone(), Scalar::Integer(1))].into())), "");
        assert_eq!(begins_after(&body([(resume, Scalar::Text("token".to_owned()))].into())), "token");
        assert_eq!(begins_after(&Bytes::from_static(b"\xff")), "");
    }

    #[test]
    fn a_page_that_begins_elsewhere_or_goes_round_does_not_follow() {
        let digest = Some(sha256(b"token"));
        assert!(follows_on(None, "", "") && follows_on(None, "next", ""));
        assert!(follows_on(digest, "", "token") && follows_on(digest, "next", "token"));
        assert!(!follows_on(digest, "token", "token"), "the same page again and again");
        assert!(!follows_on(None, "next", "token") && !follows_on(digest, "next", ""));
        assert!(!follows_on(Some([7; 32]), "next", "token"));
    }
}
