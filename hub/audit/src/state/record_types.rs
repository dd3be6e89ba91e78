//! Record types that members added: each version follows the one before it, and all who provide it signed.

use super::{At, Scope, State};
use crate::rules::Rule;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use yiwang_policies::{RecordDef, RecordTypeVersion};
use yiwang_proto::Digest;
use yiwang_proto::contract::ContractText;
use yiwang_proto::ids::{FieldName, MemberId, RecordType};

/// All versions, and the newest of each name.
#[derive(Debug, Default)]
pub(super) struct RecordTypes {
    versions: HashMap<Digest, Arc<RecordTypeVersion>>,
    newest: HashMap<RecordType, Digest>,
    /// Members that the operator dismissed: they need not sign what they once provided.
    pub(super) dismissed: HashSet<MemberId>,
}

impl RecordTypes {
    fn newest(&self, record: &RecordType) -> Option<&Arc<RecordTypeVersion>> {
        self.newest.get(record).and_then(|digest| self.versions.get(digest))
    }
}

impl State<'_> {
    pub(super) fn record_type(&mut self, at: At, version: &Arc<RecordTypeVersion>) {
        let text = &version.text;
        // A bundle has the cards of the exchange's parties only, and pins are of roots that may be newer.
        if self.scope == Scope::Whole {
            for provider in &text.providers {
                match self.members.get(&provider.member) {
                    Some(member) if member.root == provider.root => {}
                    Some(_) => {
                        let what =
                            format!("names another root for `{}` than the member's card", provider.member);
                        self.finding(at, Rule::RecordType, what);
                    }
                    None => self.no_card(at, Rule::RecordType, &provider.member),
                }
            }
            let before = self.record_types.newest(&text.record).cloned();
            let gone = |member: &MemberId| self.record_types.dismissed.contains(member);
            let mut faults = match &before {
                Some(before) => text.breaks(before, gone),
                None if text.version == 1 => Vec::new(),
                None => {
                    vec![format!(
                        "is version {} of `{}`, and there is none before",
                        text.version, text.record
                    )]
                }
            };
            // Under other rules than ours it may well stand.
            if self.policy_is_ours() == Some(true) {
                faults.extend(text.faults(self.decider.catalogue()));
            }
            for fault in faults {
                self.finding(at, Rule::RecordType, fault);
            }
        }
        self.record_types.versions.insert(version.digest, Arc::clone(version));
        self.record_types.newest.insert(text.record.clone(), version.digest);
    }

    /// The version that a contract pins, and that it was the newest when the contract was entered.
    pub(super) fn pinned(&mut self, at: At, contract: &ContractText) -> Option<Arc<RecordTypeVersion>> {
        let pinned = contract.pinned_record_type();
        let newest = self.record_types.newest(&contract.record).map(|version| version.digest);
        if self.scope == Scope::Whole && pinned != newest {
            let what = format!("does not pin the newest version of `{}`", contract.record);
            self.finding(at, Rule::Contract, what);
        }
        self.record_types.versions.get(&pinned?).cloned()
    }

    /// Whether a record type comes with the program or was added so far, and has these fields.
    pub(super) fn knows_fields(&self, record: &RecordType, fields: &[FieldName]) -> bool {
        let known = |def: &RecordDef| fields.iter().all(|field| def.field(field).is_some());
        self.decider.catalogue().record(record).is_some_and(known)
            || self.record_types.newest(record).is_some_and(|version| known(&version.def))
    }
}
