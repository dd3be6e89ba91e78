//! One exchange from the app's side: sign, send, verify everything that came back.

use crate::client::{Client, MESSAGE_MAX, call, traceparent};
use crate::error::ClientError;
use crate::sealed::Manner;
use bytes::Bytes;
use yiwang_proto::Digest;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::{AnswerBody, Arguments, RequestBody};
use yiwang_proto::clause::is_clause;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, FieldName, MemberId, Officer, Operation, RequestId};
use yiwang_proto::limits::STATEMENT_LIFETIME_MS;
use yiwang_proto::pb;
use yiwang_proto::receipt::VerifiedReceipt;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;

/// What is asked under one contract.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The operation.
    pub operation: Operation,
    /// The fields.
    pub fields: Vec<FieldName>,
    /// The case.
    pub case: CaseId,
    /// The acting officer's pseudonym.
    pub officer: Option<Officer>,
    /// The subject's canonical identifier; empty where there is none.
    pub subject: String,
    /// Further arguments.
    pub arguments: Arguments,
    /// The request that this one repeats.
    pub retry_of: Option<RequestId>,
}

/// A signed request, ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// The statement's values.
    pub request: Request,
    /// SHA-256 of the signed payload.
    pub digest: Digest,
    /// Envelope and body, exact bytes.
    pub message: pb::ExchangeRequest,
}

/// How an exchange ended, verified.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The provider answered.
    Answered {
        /// The statement.
        answer: Box<Answer>,
        /// JSON array of records.
        records: Bytes,
    },
    /// Hub or provider refused.
    Denied {
        /// The service code.
        code: String,
        /// The clause.
        clause: String,
    },
    /// No answer.
    Failed {
        /// The service code.
        code: String,
    },
}

/// A verified exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchanged {
    /// What the request for a batch's next page names; empty where there is none.
    pub resume: String,
    /// The token, by SHA-256, of the page that a batch's page begins after.
    pub follows: Option<Digest>,
    /// The receipt of its entry.
    pub receipt: VerifiedReceipt,
    /// How it ended.
    pub ending: Ending,
}

impl Client {
    /// Signs a request under a contract that was verified.
    pub fn sign(&self, contract: &Contract, ask: &Ask) -> SignedRequest {
        self.prepare(contract, ask, Manner::default())
    }

    /// As [`Client::prepare`]. Where the contract allows it, whoever prepares at the same time signs together, which
    /// costs one signature for up to 64 requests; what an officer must sign is signed alone.
    pub async fn prepare_together(&self, contract: &Contract, ask: &Ask, manner: Manner) -> SignedRequest {
        let (request, body) = self.unsigned(contract, ask, manner);
        if !contract.text.batch_signatures || matches!(manner.officer_by, OfficerBy::Signature(_)) {
            return self.seal(request, body);
        }
        let signed = self.together.sign(request.payload()).await;
        let message = pb::ExchangeRequest { request: signed.bytes().clone(), body };
        SignedRequest { request, digest: signed.digest(), message }
    }

    /// Signs a request in a manner. The body is plain; [`Client::seal_body`] seals it where it must be.
    pub fn prepare(&self, contract: &Contract, ask: &Ask, manner: Manner) -> SignedRequest {
        let (request, body) = self.unsigned(contract, ask, manner);
        self.seal(request, body)
    }

    fn unsigned(&self, contract: &Contract, ask: &Ask, manner: Manner) -> (Request, Bytes) {
        let now = self.clock.now_ms();
        let identity = &self.identity;
        let body = RequestBody { subject: ask.subject.clone(), arguments: ask.arguments.clone() };
        let (body, body_digest) = body.encode(self.entropy.as_ref());
        let mut fields = ask.fields.clone();
        fields.sort();
        fields.dedup();
        let subjects = if ask.subject.is_empty() { None } else { Some(ask.subject.as_str()) };
        let request = Request {
            id: RequestId::new(now, self.entropy.as_ref()),
            consumer: identity.member.clone(),
            app: identity.app.clone(),
            provider: contract.text.provider.member.clone(),
            contract: contract.text.id.clone(),
            contract_digest: contract.digest,
            purpose: contract.text.purpose.clone(),
            case: ask.case.clone(),
            record: contract.text.record.clone(),
            operation: ask.operation.clone(),
            fields,
            subject_tags: subjects.map(|subject| identity.tags.tag(subject, &ask.case)).into_iter().collect(),
            issued_at_ms: now,
            expires_at_ms: now.saturating_add(STATEMENT_LIFETIME_MS),
            body_digest,
            head: self.head(),
            retry_of: ask.retry_of.clone(),
            officer: ask.officer.clone(),
            delegation_digest: self.delegation_digest,
            officer_by: manner.officer_by,
            sealing: self.own_sealing(manner),
            in_batch: false,
        };
        (request, body)
    }

    /// Signs a statement as it stands. For tools that need to control every value.
    pub fn seal(&self, request: Request, body: Bytes) -> SignedRequest {
        let signed = request.sign(&self.identity.key);
        let digest = signed.digest();
        let message = pb::ExchangeRequest { request: signed.bytes().clone(), body };
        SignedRequest { request, digest, message }
    }

    /// Sends one request and verifies the answer.
    pub async fn exchange(
        &self,
        contract: &Contract,
        signed: &SignedRequest,
    ) -> Result<Exchanged, ClientError> {
        self.know_record_type(contract).await?;
        self.keep_request(signed)?;
        let answered = self.send(&signed.message).await;
        let response = answered.inspect_err(|error| {
            error.code().into_iter().for_each(|code| self.heed(code, &signed.request.provider));
        })?;
        self.keep_response(signed, &response)?;
        self.verify(contract, signed, response).await
    }

    async fn send(&self, message: &pb::ExchangeRequest) -> Result<pb::ExchangeResponse, ClientError> {
        if let Some(streams) = &self.streams
            && let Some(response) = streams.exchange(self, message, &traceparent()).await?
        {
            return Ok(response);
        }
        let mut service =
            ExchangeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        Ok(service.exchange(call(message.clone())).await?.into_inner())
    }

    /// Verifies a response: the receipt, that its entry holds this request, and the provider's signature.
    pub async fn verify(
        &self,
        contract: &Contract,
        signed: &SignedRequest,
        response: pb::ExchangeResponse,
    ) -> Result<Exchanged, ClientError> {
        let receipt = self.verify_receipt(response.receipt)?;
        self.meet_if_crowded().await?;
        let Some(Kind::Exchange(entry)) = &receipt.entry.kind else {
            return Err(ClientError::unverified("the entry is no exchange"));
        };
        let holds_it = entry.request == signed.message.request
            || (entry.request.is_empty() && entry.request_digest.as_ref() == signed.digest);
        if !holds_it {
            return Err(ClientError::unverified("the entry records another request"));
        }
        let (code, clause) = (entry.code.clone(), entry.clause.clone());
        if !is_clause(&clause) {
            return Err(ClientError::unverified(
                "the entry's clause is none: it breaks the grammar of clauses",
            ));
        }
        Code::parse(&code).into_iter().for_each(|code| self.heed(code, &signed.request.provider));
        let ending = match entry.outcome() {
            pb::Outcome::Answered => {
                let (answer, body) = self.open_answer(contract, signed, entry, &response.body).await?;
                let AnswerBody { records, resume, follows } = body;
                let ending = Ending::Answered { answer: Box::new(answer), records };
                return Ok(Exchanged { receipt, ending, resume, follows });
            }
            pb::Outcome::Denied | pb::Outcome::Withheld => Ending::Denied { code, clause },
            pb::Outcome::Failed => Ending::Failed { code },
            pb::Outcome::Unspecified => return Err(ClientError::unverified("the entry has no outcome")),
        };
        Ok(Exchanged { receipt, ending, resume: String::new(), follows: None })
    }

    /// What a refusal means for the next request, with a receipt or without.
    pub(crate) fn heed(&self, code: Code, provider: &MemberId) {
        if code == Code::SealingKeyUnknown {
            self.forget_provider_key(provider);
        }
    }

    async fn open_answer(
        &self,
        contract: &Contract,
        signed: &SignedRequest,
        entry: &pb::ExchangeEntry,
        body: &Bytes,
    ) -> Result<(Answer, AnswerBody), ClientError> {
        let envelope = SignedStatement::parse(entry.answer.clone()).map_err(ClientError::unverified)?;
        let claimed = Answer::parse(envelope.unverified_payload()).map_err(ClientError::unverified)?;
        let provider = &contract.text.provider;
        let delegation =
            self.adapter_key(&claimed.delegation_digest, &provider.member, &provider.root).await?;
        if !contract.text.allows(&envelope) {
            return Err(ClientError::unverified("the answer is signed together with others"));
        }
        Answer::verify_knowing(&envelope, &delegation.key, &self.roots).map_err(ClientError::unverified)?;
        let answer = claimed;
        if let Some(what) = answer.mismatch(&signed.request, &signed.digest) {
            return Err(ClientError::unverified(format!("the answer {what}")));
        }
        if !delegation.valid_at(answer.answered_at_ms) {
            return Err(ClientError::unverified("the adapter's delegation did not hold when it answered"));
        }
        self.check_head(&answer.head).await?;
        self.stands_by(contract, &delegation).await?;
        match (&answer.verdict, answer.body_digest) {
            (Verdict::Answered, Some(digest)) => {
                let body = self.plain_answer(contract, &answer, &envelope, body)?;
                let body = AnswerBody::open(&body, &digest).map_err(ClientError::unverified)?;
                Ok((answer, body))
            }
            _ => Err(ClientError::unverified("the entry says answered, the provider does not")),
        }
    }
}
