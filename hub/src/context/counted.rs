//! Uses of tickets that a start reads back. A ticket stands before its uses, and the newest entry comes first: what was
//! asked by one waits here until its ticket was read.

use crate::exchange::officer::is_for;
use crate::views::TicketView;
use std::collections::HashMap;
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{AppId, CaseId, MemberId, Officer};
use yiwang_proto::request::Request;
use yiwang_proto::{Digest, pb};

/// Refusals of the hub's own that come after a request's id is looked at, and before it is counted.
const BEFORE_THE_COUNT: &[Code] = &[
    Code::Replayed,
    Code::HeadContradicts,
    Code::NoContract,
    Code::SealingKeyUnknown,
    Code::OfficerInvalid,
    Code::TicketInvalid,
    Code::StandingStale,
    Code::CaseClosed,
];

/// The code of a denial of the hub's own. An adapter's carries its answer, and was counted whatever its code says.
fn own_denial(exchange: &pb::ExchangeEntry) -> Option<Code> {
    let own = exchange.outcome() == pb::Outcome::Denied && exchange.answer.is_empty();
    Code::parse(&exchange.code).filter(|_| own)
}

/// Whether an entry is the use of its request's id: neither a replay, nor a late entry, whose first one stands before it, nor
/// a refusal that came before, or while the first use was under way.
pub fn used_its_id(exchange: &pb::ExchangeEntry) -> bool {
    exchange.replay_of == 0
        && exchange.late_of == 0
        && own_denial(exchange).is_none_or(|code| !code.is_before_use() && code != Code::Replayed)
}

/// Whether a request was counted when it came, by how it ended.
pub fn was_counted(exchange: &pb::ExchangeEntry) -> bool {
    own_denial(exchange).is_none_or(|code| !code.is_before_use() && !BEFORE_THE_COUNT.contains(&code))
}

/// Ticket, member, app, case, officer: by which ticket was asked, and what a ticket is compared with.
type Asked = (Digest, MemberId, AppId, CaseId, Option<Officer>);

/// Uses whose tickets are not read yet. INVARIANT: of a bounded number of askers; nothing else of a request is kept, whatever
/// a flood left.
pub struct Uses {
    by: HashMap<Asked, (u32, i64)>,
    most: usize,
    lost: bool,
}

impl Uses {
    /// None yet, and room for those of so many askers.
    pub fn new(most: usize) -> Self {
        Self { by: HashMap::new(), most, lost: false }
    }

    /// One use.
    pub fn add(&mut self, ticket: &Digest, request: &Request, time_ms: i64) {
        let Request { consumer, app, case, officer, .. } = request;
        let asked = (*ticket, consumer.clone(), app.clone(), case.clone(), officer.clone());
        if self.by.len() >= self.most && !self.by.contains_key(&asked) {
            self.lost = true;
            return;
        }
        let (uses, last_ms) = self.by.entry(asked).or_insert((0, time_ms));
        *uses = uses.saturating_add(1);
        *last_ms = time_ms.max(*last_ms);
    }

    /// Whether there were more than are kept. Who invents tickets can leave as many; they are then to be read again, with
    /// the tickets at hand.
    pub fn are_incomplete(&self) -> bool {
        self.lost
    }

    /// What counts: ticket, uses, time of the last. `ticket` yields one that was read.
    pub fn counted(
        self,
        ticket: impl Fn(&Digest) -> Option<Arc<TicketView>>,
    ) -> impl Iterator<Item = (Digest, u32, i64)> {
        self.by.into_iter().filter_map(move |((digest, member, app, case, officer), (uses, last_ms))| {
            let is_for = is_for(&ticket(&digest)?.ticket, (&member, &app, &case, officer.as_ref()));
            is_for.then_some((digest, uses, last_ms))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use yiwang_proto::ids::{ContractId, FieldName, Operation, Purpose, RecordType, RequestId};
    use yiwang_proto::request::Head;
    use yiwang_proto::request::OfficerBy;
    use yiwang_proto::ticket::Ticket;

    const CASE: &str = "0190a5c3-0000-7000-8000-000000000002";

    fn request(app: &str) -> Request {
        Request {
            id: RequestId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap(),
            consumer: MemberId::parse("street-office").unwrap(),
            app: AppId::parse(app).unwrap(),
            provider: MemberId::parse("police").unwrap(),
            contract: ContractId::parse("police-street-person").unwrap(),
            contract_digest: [3; 32],
            purpose: Purpose::parse("social-assistance.assess").unwrap(),
            case: CaseId::parse(CASE).unwrap(),
            record: RecordType::parse("Person").unwrap(),
            operation: Operation::parse("person.by_id").unwrap(),
            fields: vec![FieldName::parse("name").unwrap()],
            subject_tags: Vec::new(),
            issued_at_ms: 0,
            expires_at_ms: 10_000,
            body_digest: [0; 32],
            head: Head::default(),
            retry_of: None,
            officer: Some(Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap()),
            delegation_digest: [7; 32],
            officer_by: OfficerBy::Ticket([1; 32]),
            sealing: None,
            in_batch: false,
        }
    }

    /// A ticket of that officer for the app `desk`.
    fn view(digest: &Digest) -> Option<Arc<TicketView>> {
        let request = request("desk");
        let ticket = Ticket {
            id: request.id,
            member: request.consumer,
            officer: request.officer.unwrap(),
            app: request.app,
            case: request.case,
            uses: 9,
            issued_at_ms: 0,
            expires_at_ms: 10_000,
            delegation_digest: [5; 32],
            digest: *digest,
        };
        (digest[0] == 1).then(|| Arc::new(TicketView { ticket, document: Bytes::new(), index: 1 }))
    }

    #[test]
    fn uses_count_for_the_ticket_that_they_fit_once_it_is_read() {
        let mut uses = Uses::new(3);
        for (app, time_ms) in [("desk", 30), ("other-desk", 25), ("desk", 20)] {
            uses.add(&[1; 32], &request(app), time_ms);
        }
        uses.add(&[2; 32], &request("desk"), 10);
        assert!(!uses.are_incomplete());
        assert_eq!(
            uses.counted(view).collect::<Vec<_>>(),
            [([1; 32], 2, 30)],
            "not another app's, no unknown ticket's"
        );
    }

    #[test]
    fn a_refusal_counts_by_whose_it_is() {
        let ended = |outcome: pb::Outcome, code: Code, answer: &'static [u8]| pb::ExchangeEntry {
            outcome: outcome.into(),
            code: code.as_str().to_owned(),
            answer: Bytes::from_static(answer),
            ..pb::ExchangeEntry::default()
        };
        let both = |exchange: &pb::ExchangeEntry| (used_its_id(exchange), was_counted(exchange));
        for code in [Code::ClockSkew, Code::StatementExpired, Code::Revoked] {
            assert_eq!(both(&ended(pb::Outcome::Denied, code, b"")), (false, false), "{code}");
            assert_eq!(
                both(&ended(pb::Outcome::Denied, code, b"answer")),
                (true, true),
                "an adapter's {code}"
            );
            assert_eq!(both(&ended(pb::Outcome::Failed, code, b"")), (true, true), "{code} later");
        }
        for code in [Code::NoContract, Code::StandingStale, Code::CaseClosed, Code::TicketInvalid] {
            assert_eq!(both(&ended(pb::Outcome::Denied, code, b"")), (true, false), "{code}");
            assert_eq!(
                both(&ended(pb::Outcome::Denied, code, b"answer")),
                (true, true),
                "an adapter's {code}"
            );
        }
        assert_eq!(both(&ended(pb::Outcome::Denied, Code::RateExceeded, b"")), (true, true));
        assert_eq!(
            both(&ended(pb::Outcome::Denied, Code::Replayed, b"")),
            (false, false),
            "while it is under way"
        );
        assert_eq!(both(&ended(pb::Outcome::Denied, Code::Replayed, b"answer")), (true, true));
        let late =
            pb::ExchangeEntry { late_of: 3, ..ended(pb::Outcome::Withheld, Code::DeadlineExceeded, b"a") };
        assert!(!used_its_id(&late));
    }

    #[test]
    fn a_flood_of_invented_tickets_is_told_and_not_kept() {
        let mut uses = Uses::new(3);
        for number in 0..10 {
            uses.add(&[number; 32], &request("desk"), 10);
        }
        assert_eq!((uses.are_incomplete(), uses.by.len()), (true, 3));
    }
}
