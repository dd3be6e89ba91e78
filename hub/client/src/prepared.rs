//! Prepare → sign → send: requests that need an officer's signature are prepared here, signed by the officer
//! with a tool of their own, and sent here. Nothing is kept in between.

use crate::client::Client;
use crate::error::ClientError;
use crate::exchange::SignedRequest;
use crate::paging::all_asked;
use crate::record::{Planned, RecordQuery, UnifiedRecord};
use crate::sealed::Manner;
use std::collections::BTreeSet;
use yiwang_proto::Digest;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::pb;
use yiwang_proto::prepared::{Checked, Prepared};
use yiwang_proto::request::{APP_SIGNS, OfficerBy};

impl Client {
    /// Prepares all requests of a query for the signature of the officer whose delegation has this digest.
    /// They can be sent until the statements end, a minute later. What must be sealed will be, when it is
    /// sent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn prepare_record(
        &self,
        query: &RecordQuery,
        officer_delegation: Digest,
    ) -> Result<Prepared, ClientError> {
        if query.officer.is_none() {
            return Err(ClientError::Ask("name the officer who will sign".to_owned()));
        }
        // All of them sealed: only so may a field leave whose class a provider's mapping raises.
        let manner = Manner { officer_by: OfficerBy::Signature(officer_delegation), sealed: self.can_seal() };
        let planned = self.plan_of(query).await?;
        let (mut signed, mut asked) = (Vec::new(), BTreeSet::new());
        for plan in &planned {
            for (ask, _) in self.asks(&plan.contract, query) {
                asked.insert(&plan.contract.text.id);
                let one = self.prepare(&plan.contract, &ask, manner);
                let statement = yiwang_proto::envelope::SignedStatement::parse(one.message.request.clone())
                    .map_err(|error| ClientError::Ask(error.to_string()))?;
                signed.push((statement, one.message.body));
            }
        }
        all_asked(query, &asked)?;
        Ok(Prepared::new(signed.iter().map(|(statement, body)| (statement, body))))
    }

    /// Sends prepared requests and merges the answers. Each must carry this app's own signature: what
    /// somebody else wrote is not sent in its name.
    ///
    /// # Errors
    /// [`ClientError::Ask`] for a document that is none of this app's or that no officer signed, which would be refused, and
    /// its requests used up; otherwise as for a query.
    pub async fn send_prepared(&self, prepared: &Prepared) -> Result<UnifiedRecord, ClientError> {
        let checked = prepared.check().map_err(|error| ClientError::Ask(error.to_string()))?;
        let Some(first) = checked.first() else {
            return Err(ClientError::Ask("nothing was prepared".to_owned()));
        };
        if checked.iter().any(Checked::lacks_officer) {
            return Err(ClientError::Ask(
                "no officer signed it: `yiwang officer sign` does; nothing was sent".to_owned(),
            ));
        }
        let planned = self.plan(&first.request.purpose, &[]).await?;
        let mut asks = Vec::with_capacity(checked.len());
        for one in &checked {
            self.check_own(one)?;
            let contract = |plan: &&Planned| plan.contract.digest == one.request.contract_digest;
            let plan = planned.iter().find(contract).ok_or_else(|| {
                ClientError::Ask(format!("contract `{}` is not in force any more", one.request.contract))
            })?;
            let signed = SignedRequest {
                request: one.request.clone(),
                digest: one.signed.digest(),
                message: pb::ExchangeRequest { request: one.signed.bytes().clone(), body: one.body.clone() },
            };
            asks.push((plan, signed));
        }
        self.exchange_all(asks, None).await
    }

    fn check_own(&self, one: &Checked) -> Result<(), ClientError> {
        let identity = &self.identity;
        let own = one.request.consumer == identity.member
            && one.request.app == identity.app
            && one.signed.verify_at(APP_SIGNS, payload_type::REQUEST, &identity.key.public()).is_ok();
        if own { Ok(()) } else { Err(ClientError::Ask("a request was not prepared by this app".to_owned())) }
    }
}
