use serde::Serialize;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $next:literal;)*) => {
        /// Which rule a finding breaks. The texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }

            /// What the auditor does next when it is broken.
            pub fn next_step(self) -> &'static str {
                match self { $(Rule::$name => $next,)* }
            }
        }
    };
}

rules! {
    /// Segment files: checksums, order, zeros.
    Storage = "storage", "keep this folder as it is, get another copy of the segments from the operator or a backup, verify that";
    /// An entry is canonical and of a known kind.
    Entry = "entry", "ask the operator which program wrote it; members compare their receipts of that index";
    /// Ledger time never decreases, except by an entry that accepts a clock and names both times.
    Time = "time", "compare the times of this entry and the one before with the receipts of their parties";
    /// Entry 0 names origin and key.
    Origin = "origin", "compare origin and key with those that members pinned when they enrolled";
    /// The signed head.
    Checkpoint = "checkpoint", "ask the operator for the newest checkpoint, and members for theirs; compare";
    /// The cosignatures that the auditor's policy demands.
    Witness = "witness", "ask the operator for a checkpoint that enough witnesses have cosigned, and the witnesses for the heads that they recorded";
    /// The entries give the signed root.
    Root = "root", "history differs from what the ledger's key signed: collect checkpoints of members and witnesses";
    /// The ledger continues the older checkpoint.
    Older = "older-checkpoint", "history was cut or forked since the older checkpoint: keep both, inform the members";
    /// Hash tiles.
    Tile = "tile", "tiles can be made again from the entries (`yiwang hub rebuild`); if entries and root are clean, nothing is lost";
    /// Member cards.
    Member = "member", "ask the member, over another channel, which root it has";
    /// Delegations.
    Delegation = "delegation", "ask the member whether its root signed this delegation";
    /// Contracts.
    Contract = "contract", "ask both members for the contract that their heads signed";
    /// Record types that members added.
    RecordType = "record-type", "ask the members that it lists which version they signed";
    /// Case statements.
    Case = "case", "ask the case's member for its own record of the case";
    /// Policy entries.
    Policy = "policy", "ask the operator for the rules of that digest";
    /// Revocations.
    Revocation = "revocation", "ask the member whether it revoked something";
    /// Standings: signature, key, order, time.
    Standing = "standing", "ask the member which standings it issued; its counterparts keep the highest number";
    /// Requests: form, signature, delegation, time.
    Request = "request", "ask the consumer whether its app sent this request; its journal knows";
    /// A request id used twice.
    Replay = "replay", "ask the consumer which of the two requests it sent";
    /// Answers: signature, delegation, what they answer.
    Answer = "answer", "ask the provider for its adapter's journal of this request";
    /// Officers' tickets, second signatures, and what an entry says of them.
    Officer = "officer", "ask the member whether this officer signed: the pseudonym and the ticket's id tell which";
    /// An entry points at another entry that is not the right one.
    Reference = "reference", "look at both entries with `show`; entries were moved, dropped or made up";
    /// The chain of each party's entries.
    Chain = "chain", "an entry of this party is missing or was moved: the party's receipts tell which";
    /// The decision, made again.
    Decision = "decision", "compare the entry with its contract and case: data was released, or refused, against the rules";
    /// Other values of an exchange entry.
    Exchange = "exchange", "look at the entry with `show`";
    /// Folded denials: their count, root and statements.
    Folded = "folded", "ask the operator for the hub's journal of folded denials (`folded/`) as it is; consumers know what they were refused";
    /// Form of an evidence bundle.
    Evidence = "evidence", "ask for the bundle again; compare it with the party's receipt";
    /// An inclusion proof.
    Proof = "proof", "ask for proof and entry again; compare with the party's receipt";
    /// A root that the auditor pinned.
    Pin = "pin", "compare the pinned root with the member, over another channel";
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_every_rule_says_what_to_do() {
        let names: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(Rule::ALL.iter().all(|rule| rule.next_step().len() > 10));
    }
}
