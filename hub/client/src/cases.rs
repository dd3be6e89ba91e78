//! Opening, adding to and closing cases.

mod once;

pub use once::Opened;

use crate::client::{Client, call};
use crate::error::ClientError;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{CaseId, Matter, RequestId};
use yiwang_proto::limits::STATEMENT_LIFETIME_MS;
use yiwang_proto::pb;
use yiwang_proto::receipt::VerifiedReceipt;
use yiwang_rpc::case_service_client::CaseServiceClient;

impl Client {
    /// Opens a case about these subjects. Their identifiers stay here; the register gets their tags.
    pub async fn open_case(
        &self,
        matter: &Matter,
        subjects: &[String],
    ) -> Result<(CaseId, VerifiedReceipt), ClientError> {
        let case = CaseId::new(self.clock.now_ms(), self.entropy.as_ref());
        let receipt = self.act_on_case(&case, Act::Open { matter: matter.clone() }, subjects).await?;
        Ok((case, receipt))
    }

    /// Adds subjects to a case, or closes it.
    pub async fn act_on_case(
        &self,
        case: &CaseId,
        act: Act,
        subjects: &[String],
    ) -> Result<VerifiedReceipt, ClientError> {
        let signed = self.sign_case(case, act, subjects);
        let mut cases = CaseServiceClient::new(self.channel.clone());
        let request = pb::SubmitRequest { statement: signed.bytes().clone() };
        let verified = self.verify_receipt(cases.submit(call(request)).await?.into_inner().receipt)?;
        match &verified.entry.kind {
            Some(Kind::CaseStatement(entry)) if entry.statement == *signed.bytes() => Ok(verified),
            _ => Err(ClientError::unverified("the entry does not hold the case statement")),
        }
    }

    fn sign_case(
        &self,
        case: &CaseId,
        act: Act,
        subjects: &[String],
    ) -> yiwang_proto::envelope::SignedStatement {
        let now = self.clock.now_ms();
        let identity = &self.identity;
        let statement = CaseStatement {
            id: RequestId::new(now, self.entropy.as_ref()),
            case: case.clone(),
            member: identity.member.clone(),
            app: identity.app.clone(),
            act,
            subject_tags: subjects.iter().map(|subject| identity.tags.tag(subject, case)).collect(),
            issued_at_ms: now,
            expires_at_ms: now.saturating_add(STATEMENT_LIFETIME_MS),
            delegation_digest: self.delegation_digest,
            head: self.head(),
        };
        statement.sign(&identity.key)
    }

    /// What the register knows of a case of this member.
    pub async fn show_case(&self, case: &CaseId) -> Result<pb::ShowResponse, ClientError> {
        let mut cases = CaseServiceClient::new(self.channel.clone());
        let shown =
            cases.show(call(pb::ShowRequest { case_id: case.as_str().to_owned() })).await?.into_inner();
        for receipt in &shown.receipts {
            self.verify_receipt(Some(receipt.clone()))?;
        }
        Ok(shown)
    }
}
