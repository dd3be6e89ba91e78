//! The closed set of service codes: what a refusal or failure is called everywhere (gRPC, REST, ledger,
//! console). Adding one means a line here and in the one file of the hub that maps codes to transport.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $help:literal;)*) => {
        /// Why an exchange was refused or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable text, as it stands in entries and errors.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// What the caller can do next.
            pub fn help(self) -> &'static str {
                match self { $(Code::$name => $help,)* }
            }

            /// Finds a code by its text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Bytes that are no well-formed message.
    Malformed = "malformed", "build the message with the published schema and canonical encoding";
    /// Over a limit.
    TooLarge = "too_large", "ask for less, or use a batch contract";
    /// The connection's certificate belongs to somebody else.
    WrongMember = "wrong_member", "connect with the certificate of the member that signs";
    /// The signature is not good.
    SignatureInvalid = "signature_invalid", "sign the exact bytes with the delegated key, and add no signature that nobody verifies";
    /// No delegation for the key.
    KeyUnknown = "key_unknown", "publish a delegation of the key, signed by the member's root";
    /// A delegation that is expired, of another root or for another role.
    DelegationInvalid = "delegation_invalid", "have the member's root sign a new delegation; where the root is new, enrol first";
    /// The statement's time is over, or too far ahead.
    StatementExpired = "statement_expired", "check this machine's clock and sign a new request";
    /// The request id was seen before.
    Replayed = "replayed", "a request is taken once: sign a new one with an id of its own, which may name the old one in `retry_of`";
    /// A key, officer, root or contract that its member revoked.
    Revoked = "revoked", "its member revoked it; use what is still in force, or ask the member";
    /// No word of the member, young enough, on what is still in force.
    StandingStale = "standing_stale", "the clause says whose adapter host must run and reach the hub (a gateway is enough); it renews the standing by itself";
    /// No such contract for this caller.
    NoContract = "no_contract", "ask the provider for a contract, or name one that is in force";
    /// The contract's time is over.
    ContractExpired = "contract_expired", "renew the contract";
    /// The contract's time has not begun.
    ContractNotYetValid = "contract_not_yet_valid", "wait until the contract's first day";
    /// The contract's signatures or text do not hold.
    ContractInvalid = "contract_invalid", "compare the contract with the copy that both members signed";
    /// A record type does not hold: text, signers, roots, or it does not follow the version before.
    CatalogueInvalid = "catalogue_invalid", "run `yiwang catalogue check` with the version before; all providers must be members";
    /// Another purpose than the contract's.
    PurposeMismatch = "purpose_mismatch", "name the purpose of the contract, or use another contract";
    /// Another consumer or app than the contract's.
    ConsumerMismatch = "consumer_mismatch", "use an app that the contract names";
    /// No open case, or none of this member.
    NoCase = "no_case", "open a case first";
    /// The case is closed.
    CaseClosed = "case_closed", "open a new case";
    /// The case's matter does not fit the contract.
    MatterMismatch = "matter_mismatch", "use a contract for this matter";
    /// The case does not list the subject.
    SubjectNotInCase = "subject_not_in_case", "add the subject to the case, with a reason";
    /// One tag was used for two subjects.
    TagMismatch = "tag_mismatch", "compute the tag from the subject that is asked for";
    /// A field that the contract does not grant.
    FieldNotGranted = "field_not_granted", "ask only for fields of the contract";
    /// An operation or record that the contract does not grant.
    OperationNotGranted = "operation_not_granted", "use an operation of the contract";
    /// Arguments that lie outside the contract's rows.
    RowOutsideFilter = "row_outside_filter", "ask only for rows of the contract";
    /// Arguments that do not fit the operation.
    ArgumentInvalid = "argument_invalid", "see the operation's parameters";
    /// Over a ceiling of the contract.
    RateExceeded = "rate_exceeded", "wait, or agree on a higher ceiling";
    /// A member keeps open, or adds, more than its hub allows.
    QuotaExceeded = "quota_exceeded", "close cases that are done, wait, or ask the hub's operator for a higher quota";
    /// The class needs sealed bodies.
    SealingRequired = "sealing_required", "give the app a key for sealing: `yiwang member delegate --role sealing --name APP --publish`; its gateway is started again";
    /// The class needs approvals.
    ApprovalsRequired = "approvals_required", "class 4 needs two approvals of two organisations";
    /// The body is sealed for a key that is not the recipient's, or no key for sealing is there.
    SealingKeyUnknown = "sealing_key_unknown", "app and adapter each need a published key for sealing: `yiwang member delegate --role sealing --name NAME --publish` where it is missing, then start that host again";
    /// The class needs the officer's own signature.
    OfficerSignatureRequired = "officer_signature_required", "class 3: prepare the request, have the officer sign it, send it";
    /// The officer's key or signature does not hold.
    OfficerInvalid = "officer_invalid", "have the member's root delegate the officer's key, and sign the exact bytes with it";
    /// The ticket is not there, over, or for another app, case or officer.
    TicketInvalid = "ticket_invalid", "have the officer sign a ticket for this app and case, and publish it";
    /// The ticket's uses are used up.
    TicketUsedUp = "ticket_used_up", "have the officer sign a new ticket";
    /// A rule could not be evaluated; an error is a denial.
    PolicyError = "policy_error", "tell the operator; the decision could not be made";
    /// The provider's adapter is not connected.
    ProviderUnavailable = "provider_unavailable", "try again later; other providers are not affected";
    /// The provider's queue is full.
    ProviderBusy = "provider_busy", "try again later, slower";
    /// No answer in time.
    DeadlineExceeded = "deadline_exceeded", "try again later; the source is slow";
    /// The provider's source failed.
    SourceError = "source_error", "the provider's staff must look at their source";
    /// The provider's answer does not hold.
    AnswerInvalid = "answer_invalid", "the provider's adapter broke its contract; its answer was not released";
    /// The ledger cannot take entries.
    LedgerFull = "ledger_full", "the operator must free disk space; it goes on by itself";
    /// The ledger waits for heads of its members.
    LedgerNotAppending = "ledger_not_appending", "the hub waits until a majority of its members has shown its head";
    /// A statement names a head that is not on the ledger's one history.
    HeadContradicts = "head_contradicts", "two histories of the ledger exist: keep both heads as evidence and tell the members";
    /// Too few witnesses cosign, for too long.
    NotWitnessed = "not_witnessed", "the operator must find out why too few witnesses cosign; it goes on by itself";
    /// The provider's answers are not proved to be in the ledger.
    ReceiptsOwed = "receipts_owed", "the hub owes the provider proofs of what was answered; it goes on when they come";
    /// Too many requests at once.
    Overloaded = "overloaded", "try again later, slower";
    /// Too much waits for readers that do not take it: this member's, or all.
    AnswersWaiting = "answers_waiting", "take the answers that were asked for, then try again; ask for less at once";
    /// More than this member's share for this purpose.
    Throttled = "throttled", "ask slower: other members have their share too";
    /// Not there, or no right to know.
    NotFound = "not_found", "check the id; what you may not see does not show";
    /// A clock is off by more than the tolerance.
    ClockSkew = "clock_skew", "set the clocks";
    /// The hub's own fault.
    Internal = "internal", "tell the operator";
}

impl Code {
    /// Whether a refusal of the hub with it comes before the request's id counts as used.
    pub fn is_before_use(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::TooLarge
                | Self::WrongMember
                | Self::SignatureInvalid
                | Self::KeyUnknown
                | Self::DelegationInvalid
                | Self::Revoked
                | Self::StatementExpired
                | Self::ClockSkew
                | Self::Overloaded
                | Self::AnswersWaiting
                | Self::LedgerFull
                | Self::LedgerNotAppending
                | Self::Internal
        )
    }

    /// Whether it says that somebody may not, rather than that something did not work. Without a receipt such a code
    /// means a denial of which there were many in one minute.
    pub fn is_denial(self) -> bool {
        match self {
            Self::WrongMember
            | Self::SignatureInvalid
            | Self::KeyUnknown
            | Self::DelegationInvalid
            | Self::StatementExpired
            | Self::Replayed
            | Self::Revoked
            | Self::StandingStale
            | Self::NoContract
            | Self::ContractExpired
            | Self::ContractNotYetValid
            | Self::ContractInvalid
            | Self::CatalogueInvalid
            | Self::PurposeMismatch
            | Self::ConsumerMismatch
            | Self::NoCase
            | Self::CaseClosed
            | Self::MatterMismatch
            | Self::SubjectNotInCase
            | Self::TagMismatch
            | Self::FieldNotGranted
            | Self::OperationNotGranted
            | Self::RowOutsideFilter
            | Self::ArgumentInvalid
            | Self::RateExceeded
            | Self::SealingRequired
            | Self::ApprovalsRequired
            | Self::OfficerSignatureRequired
            | Self::OfficerInvalid
            | Self::TicketInvalid
            | Self::TicketUsedUp
            | Self::HeadContradicts
            | Self::PolicyError => true,
            Self::Malformed
            | Self::TooLarge
            | Self::QuotaExceeded
            | Self::SealingKeyUnknown
            | Self::ProviderUnavailable
            | Self::ProviderBusy
            | Self::DeadlineExceeded
            | Self::SourceError
            | Self::AnswerInvalid
            | Self::LedgerFull
            | Self::LedgerNotAppending
            | Self::NotWitnessed
            | Self::ReceiptsOwed
            | Self::Overloaded
            | Self::AnswersWaiting
            | Self::Throttled
            | Self::NotFound
            | Self::ClockSkew
            | Self::Internal => false,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_text_and_no_two_are_the_same() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(!code.help().is_empty());
        }
        let texts: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
