//! One table: which rule yields which code, in the order in which the first of several becomes the
//! answer. The order is that of the questions a careful clerk asks: can I judge at all, which contract,
//! who asks, is it in force, for what, in which case, about whom, which rows, how often.

use yiwang_proto::codes::Code;

/// A rule's line in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// `@id` of the Cedar rule; the last ones are judged in Rust.
    pub id: &'static str,
    /// What a denial by it is called.
    pub code: Code,
    /// The clause that the denial names.
    pub clause: &'static str,
}

const fn rule(id: &'static str, code: Code, clause: &'static str) -> Rule {
    Rule { id, code, clause }
}

/// The id of the rule that permits.
pub(crate) const GRANTED: &str = "granted";
/// The id of the rule that permits at once, when all that are not about the moment are joined to it.
pub(crate) const AT_ONCE: &str = "granted-at-once";
/// The id of the rule that permits now, when all that are about the moment are joined to it.
pub(crate) const NOW: &str = "granted-now";

/// The rules about time and counts: those marked `@moment`.
pub(crate) const MOMENT: [&str; 7] = [
    "not-yet-valid",
    "expired",
    "delegation-validity",
    "statement-expired",
    "statement-ahead",
    "rate-app",
    "rate-officer",
];

/// The rules that the terms stand for (`facts::Terms` holds what they compare): those marked `@terms`.
pub(crate) const TERMS: [&str; 9] = [
    "contract",
    "contract-digest",
    "consumer",
    "app",
    "delegation",
    "purpose",
    "record",
    "break-glass",
    CASE,
];

/// The rule that asks for a case of the consumer.
pub(crate) const CASE: &str = "case";
/// Rules that say something about the case: silent where it is none of the consumer's.
pub(crate) const HIDDEN_BY_CASE: [&str; 3] = ["case-closed", "matter", "case-tags"];

/// Rule of the officer's key; judged in Rust, so that requests without a proof do not pay for it.
pub(crate) const OFFICER: &str = "officer";
/// Rule of a ticket's terms; judged in Rust.
pub(crate) const TICKET: &str = "ticket";
/// Rule of a ticket's uses; judged in Rust.
pub(crate) const TICKET_USES: &str = "ticket-uses";
/// Rule of a signature over many statements, which both members must have agreed on; judged in Rust, like the
/// officer's.
pub(crate) const BATCH_SIGNATURE: &str = "batch-signature";
/// The rules that are judged in Rust.
pub(crate) const IN_RUST: [&str; 6] =
    [BATCH_SIGNATURE, OFFICER, TICKET, TICKET_USES, ROW_ARGUMENTS, ROW_FILTER];

/// Rule of arguments that do not fit a row clause; judged in Rust.
pub(crate) const ROW_ARGUMENTS: &str = "row-arguments";
/// Rule of arguments outside the row filter; judged in Rust.
pub(crate) const ROW_FILTER: &str = "row-filter";

/// All rules that deny, the strongest first.
pub(crate) const TABLE: &[Rule] = &[
    rule("contract", Code::NoContract, "id, provider.member"),
    rule("consumer", Code::ConsumerMismatch, "consumer.member"),
    rule("app", Code::ConsumerMismatch, "apps"),
    rule("contract-digest", Code::ContractInvalid, "digest of the signed text"),
    rule("not-yet-valid", Code::ContractNotYetValid, "valid_from"),
    rule("expired", Code::ContractExpired, "valid_until"),
    rule("delegation", Code::DelegationInvalid, "consumer.root"),
    rule("delegation-validity", Code::DelegationInvalid, "delegation: validity"),
    rule(BATCH_SIGNATURE, Code::SignatureInvalid, "batch_signatures"),
    rule(OFFICER, Code::OfficerInvalid, "officer"),
    rule(TICKET, Code::TicketInvalid, "ticket"),
    rule(TICKET_USES, Code::TicketUsedUp, "ticket: uses"),
    rule("statement-expired", Code::StatementExpired, "statement: expires_at"),
    rule("statement-ahead", Code::ClockSkew, "statement: issued_at is over 30 s ahead"),
    rule("purpose", Code::PurposeMismatch, "purpose"),
    rule("record", Code::OperationNotGranted, "record"),
    rule("operation", Code::OperationNotGranted, "operations"),
    rule("break-glass", Code::OperationNotGranted, "break_glass"),
    rule("fields", Code::FieldNotGranted, "fields"),
    rule(CASE, Code::NoCase, "rule case: no case of the consumer"),
    rule("case-closed", Code::CaseClosed, "rule case-closed"),
    rule("matter", Code::MatterMismatch, "matters"),
    rule("subject-tag", Code::SubjectNotInCase, "rule subject-tag: the statement names no subject"),
    rule("case-tags", Code::SubjectNotInCase, "rule case-tags: the case does not list every subject"),
    rule("subject-named", Code::ArgumentInvalid, "rule subject-named: the body names no subject"),
    rule("no-subject", Code::ArgumentInvalid, "rule no-subject: a count or batch names no subject"),
    rule("approvals", Code::ApprovalsRequired, "class"),
    rule("sealing", Code::SealingRequired, "class"),
    rule("officer-signature", Code::OfficerSignatureRequired, "class"),
    rule(ROW_ARGUMENTS, Code::ArgumentInvalid, "rows"),
    rule(ROW_FILTER, Code::RowOutsideFilter, "rows"),
    rule("rate-app", Code::RateExceeded, "limits.per_app_per_minute"),
    rule("rate-officer", Code::RateExceeded, "limits.per_officer_per_day"),
];

/// The rank and line of a rule.
pub(crate) fn find(id: &str) -> Option<(usize, &'static Rule)> {
    TABLE.iter().enumerate().find(|(_, rule)| rule.id == id)
}
