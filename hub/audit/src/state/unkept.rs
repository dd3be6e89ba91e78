//! Denials of requests that the hub did not keep: nobody's signature tells what was asked, so that only what every hub says
//! of such a request may stand there.

use super::exchanges::Ending;
use super::{At, State};
use crate::rules::Rule;
use yiwang_proto::codes::Code;
use yiwang_proto::pb::{self, Outcome};

/// Codes that no hub gives before it forwards a request, or that leave no entry. All others may come before the statement
/// counts as known, since its signature, a second one or a name in it may be at fault at each of those steps.
const NEVER: &[Code] = &[
    Code::TooLarge,
    Code::CatalogueInvalid,
    Code::TagMismatch,
    Code::QuotaExceeded,
    Code::ProviderUnavailable,
    Code::ProviderBusy,
    Code::DeadlineExceeded,
    Code::SourceError,
    Code::AnswerInvalid,
    Code::LedgerFull,
    Code::LedgerNotAppending,
    Code::NotWitnessed,
    Code::ReceiptsOwed,
    Code::Overloaded,
    Code::AnswersWaiting,
    Code::Throttled,
    Code::NotFound,
];

/// What the denial of a request that is not kept says more than it can.
pub(crate) fn fault(raw: &pb::ExchangeEntry, code: Code) -> Option<String> {
    let entries = [
        raw.contract_index,
        raw.app_delegation_index,
        raw.adapter_delegation_index,
        raw.case_index,
        raw.ticket_index,
        raw.officer_delegation_index,
        raw.sealing_delegation_index,
        raw.previous_of_consumer,
        raw.previous_of_provider,
        raw.late_of,
    ];
    let standings = !raw.standing_digests.is_empty() || !raw.standing_indexes.is_empty();
    if NEVER.contains(&code) {
        Some(format!("was denied as `{code}`, which no hub says of a request that it does not keep"))
    } else if standings || entries.iter().any(|index| *index != 0) {
        Some("names other entries, for a request that it does not keep".to_owned())
    } else if raw.clause.contains(':') {
        Some("its clause names parts of a request that it does not keep".to_owned())
    } else if raw.replay_of != 0 && code != Code::Replayed {
        Some("names a first use, and is not denied as a replay".to_owned())
    } else {
        None
    }
}

impl State<'_> {
    pub(super) fn no_request(&mut self, at: At, raw: &pb::ExchangeEntry, ending: Option<Ending>) {
        let proof = raw.officer_proof();
        if !matches!(proof, pb::OfficerProof::Unspecified | pb::OfficerProof::Asserted) || raw.sealed {
            self.finding(
                at,
                Rule::Officer,
                "claims a proof or sealed bodies of a request that it does not keep",
            );
        }
        if raw.request_digest.len() != 32 || !raw.answer.is_empty() {
            self.finding(
                at,
                Rule::Exchange,
                "keeps neither a request nor its digest, or an answer without request",
            );
        }
        if ending.is_some_and(|ending| ending.outcome != Outcome::Denied) {
            self.finding(at, Rule::Exchange, "its request is not kept, yet it was not denied");
        } else if let Some(what) = ending.and_then(|ending| ending.code).and_then(|code| fault(raw, code)) {
            self.finding(at, Rule::Exchange, what);
        }
        if raw.replay_of > at.index {
            self.finding(at, Rule::Replay, "names a first use that is no earlier entry");
        }
        self.not_decided("the request is not kept");
    }
}
