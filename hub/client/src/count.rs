//! Counts: how many, by which values, of nobody in particular. One question for every contract for counts that the
//! plan names; each provider's table is its own and is never added to another's.

use crate::client::Client;
use crate::error::ClientError;
use crate::exchange::{Ask, Ending};
use crate::sealed::Manner;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use yiwang_proto::answer::Answer;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Method;
use yiwang_proto::ids::{CaseId, FieldName, Officer, Purpose, RecordType};
use yiwang_proto::request::OfficerBy;

/// What is counted.
#[derive(Debug, Clone)]
pub struct CountQuery {
    /// The record.
    pub record: RecordType,
    /// By which fields; all that a contract grants where none is named.
    pub by: Vec<FieldName>,
    /// Why.
    pub purpose: Purpose,
    /// In which case.
    pub case: CaseId,
    /// Who acts.
    pub officer: Option<Officer>,
    /// How the officer is proved: asserted, or by a published ticket.
    pub officer_by: OfficerBy,
}

/// One cell. A cell that is not there was suppressed: it is small, or would give a small one away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Values by field; null where the source has none.
    pub fields: BTreeMap<FieldName, Value>,
    /// How many rows.
    pub count: u64,
    /// When the table was made, RFC 3339.
    pub as_of: String,
}

/// What one provider counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counted {
    /// The provider.
    pub member: String,
    /// The contract.
    pub contract: String,
    /// `answered`, or the service code.
    pub state: String,
    /// The clause that decided, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clause: String,
    /// The ledger entry.
    pub receipt: Option<u64>,
    /// The cells that may be shown.
    pub cells: Vec<Cell>,
    /// Whether there were more than the contract lets out.
    pub truncated: bool,
}

impl Client {
    /// Asks every provider under whose contract this app may count. Empty where there is none.
    ///
    /// # Errors
    /// [`ClientError`]: the plan cannot be had or trusted, or an answer does not verify. A provider that refuses or
    /// does not answer is a state, not an error.
    pub async fn count(&self, query: &CountQuery) -> Result<Vec<Counted>, ClientError> {
        let planned = self.plan(&query.purpose, std::slice::from_ref(&query.record)).await?;
        let mut all = Vec::new();
        for plan in planned.iter().filter(|plan| plan.contract.text.method == Method::Count) {
            let text = &plan.contract.text;
            let Some(operation) = text.operations.first() else { continue };
            let fields = if query.by.is_empty() { text.fields.clone() } else { query.by.clone() };
            let ask = Ask {
                operation: operation.clone(),
                fields,
                case: query.case.clone(),
                officer: query.officer.clone(),
                subject: String::new(),
                arguments: Arguments::new(),
                retry_of: None,
            };
            let manner = Manner { officer_by: query.officer_by, sealed: text.sealed && self.can_seal() };
            let signed = self.prepare_together(&plan.contract, &ask, manner).await;
            let mut counted = Counted {
                member: text.provider.member.as_str().to_owned(),
                contract: text.id.as_str().to_owned(),
                state: String::new(),
                clause: String::new(),
                receipt: None,
                cells: Vec::new(),
                truncated: false,
            };
            let sent = match self.seal_body(&plan.contract, signed).await {
                Ok(sealed) => self.exchange(&plan.contract, &sealed).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(exchanged) => {
                    counted.receipt = Some(exchanged.receipt.index);
                    counted.end(exchanged.ending)?;
                }
                Err(ClientError::Hub { code }) => code.as_str().clone_into(&mut counted.state),
                Err(error) => return Err(error),
            }
            all.push(counted);
        }
        Ok(all)
    }
}

impl Counted {
    fn end(&mut self, ending: Ending) -> Result<(), ClientError> {
        match ending {
            Ending::Answered { answer, records } => {
                "answered".clone_into(&mut self.state);
                self.truncated = answer.truncated;
                self.cells = open_cells(&records, &answer)?;
            }
            Ending::Denied { code, clause } => {
                self.state = code;
                self.clause = clause;
            }
            Ending::Failed { code } => self.state = code,
        }
        Ok(())
    }
}

/// The cells of an answer, which must hold what its statement says and nothing else.
///
/// # Errors
/// [`ClientError::Unverified`].
pub fn open_cells(records: &[u8], answer: &Answer) -> Result<Vec<Cell>, ClientError> {
    let cells: Vec<Cell> = serde_json::from_slice(records)
        .map_err(|_| ClientError::unverified("the records are not a JSON array of counts"))?;
    if u32::try_from(cells.len()).ok() != Some(answer.rows) {
        return Err(ClientError::unverified(
            "the body holds another number of cells than its statement says",
        ));
    }
    let named = |cell: &Cell| cell.fields.keys().eq(answer.fields.iter());
    if !cells.iter().all(named) {
        return Err(ClientError::unverified("a cell is not of the fields that its statement names"));
    }
    Ok(cells)
}
