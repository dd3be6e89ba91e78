//! The API as a source: makes the calls that the mapping describes.

use crate::client::{Asked, Call, Client};
use crate::live;
use crate::openapi::Document;
use crate::request;
use crate::rows::push_row;
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::mapping::{Access, CallDef, HttpDef, Mapping, Method, OperationDef, SourceDef};
use yiwang_adapter_sdk::source::{
    BoxFuture, Environment, FetchQuery, Fetched, Probe, Source, SourceError, Usage,
};
use yiwang_adapter_sdk::value::{Rows, parse_instant};
use yiwang_proto::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use yiwang_proto::contract::Scalar;

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of one question: at most a thousand rows are wanted, and an API whose pages are smaller than ten is
/// asked for larger ones.
const PAGES_MAX: usize = 100;

/// A JSON API as a source.
pub struct HttpSource {
    client: Client,
    def: HttpDef,
    document: Option<Document>,
}

impl HttpSource {
    /// Prepares calls of the API that a mapping names; nothing is sent yet. Errors: another kind of source, a
    /// setting that is missing or not sound, an OpenAPI document that cannot be read.
    pub fn open(mapping: &Mapping, environment: &Arc<dyn Environment>) -> Result<Self, SourceError> {
        Self::with(mapping, environment, Arc::new(SystemClock::default()), Arc::new(SystemEntropy))
    }

    /// As [`HttpSource::open`], with a clock and randomness of the caller's.
    pub fn with(
        mapping: &Mapping,
        environment: &Arc<dyn Environment>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SourceError> {
        let SourceDef::Http(def) = mapping.source() else {
            return Err(SourceError::Setting("the mapping's source is not http".to_owned()));
        };
        let client = Client::new(&def.service, mapping.base(), environment, clock, entropy)?;
        let document = match &def.openapi {
            Some(file) => Some(Document::read(&mapping.base().join(file))?),
            None => None,
        };
        Ok(Self { client, def: def.clone(), document })
    }

    async fn rows(&self, query: &FetchQuery) -> Result<Rows, SourceError> {
        let Access::Call(def) = &query.operation.access else {
            return Err(SourceError::Query("the operation is of another mapping".to_owned()));
        };
        let deadline = self.client.deadline(query.timeout);
        let mut call = request::call(def, &query.params, self.client.base())?;
        let (mut rows, mut asked) = (Rows::new(query.columns.len()), Asked::default());
        for _ in 0..PAGES_MAX {
            asked.add(&call)?;
            let reply = self.client.send(&call, deadline).await?;
            if reply.status == StatusCode::NOT_FOUND && def.absent_404 {
                return Ok(rows);
            }
            let answer = reply.into_json()?;
            if !take(&mut rows, &answer, def, query)? {
                return Ok(rows);
            }
            match self.next(&answer, def, query)? {
                Some(target) => call = Call { method: Method::Get, target, content: None, ..call },
                None => return Ok(rows),
            }
        }
        // A matter of what was asked, and none of the mapping.
        Err(SourceError::Query(format!("it gives over {PAGES_MAX} pages for one question")))
    }

    fn next(&self, answer: &Value, def: &CallDef, query: &FetchQuery) -> Result<Option<String>, SourceError> {
        let link = match def.next.as_deref().and_then(|pointer| answer.pointer(pointer)) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(link)) if link.is_empty() => return Ok(None),
            Some(Value::String(link)) => link,
            Some(_) => return Err(SourceError::Drift("the address of the next page is no text".to_owned())),
        };
        let target = self.client.base().within(link)?;
        let in_body = |name: &str| !def.in_address().any(|known| known.as_str() == name);
        if query.params.iter().any(|(name, value)| in_body(name) && carries(&target, value.as_ref())) {
            let what = "the address of the next page carries an argument that was sent in the body";
            return Err(SourceError::Drift(what.to_owned()));
        }
        Ok(Some(target))
    }

    /// Where no path is named that could be asked for: a connection can be made, and what asks for tokens is tried.
    async fn reach(&self) -> Result<(), SourceError> {
        self.client.reach(PROBE_TIMEOUT).await?;
        self.client.authorise(PROBE_TIMEOUT).await
    }

    async fn probed(&self) -> Result<Probe, SourceError> {
        match &self.def.common.health.probe {
            Some(path) => {
                self.client.ping(&get(&self.client, path), self.client.deadline(PROBE_TIMEOUT)).await?
            }
            None => self.reach().await?,
        }
        let Some(probe) = self.def.common.freshness.as_ref().and_then(|known| known.probe.as_ref()) else {
            return Ok(Probe::default());
        };
        let (path, pointer) = probe.split_once('#').unwrap_or((probe, ""));
        let reply = self.client.send(&get(&self.client, path), self.client.deadline(PROBE_TIMEOUT)).await?;
        let answer = reply.into_json()?;
        let text = match answer.pointer(pointer) {
            None | Some(Value::Null) => return Ok(Probe::default()),
            Some(value) => value.as_str().unwrap_or_default(),
        };
        match parse_instant(text, None, &self.def.common.zone) {
            Some(at) => Ok(Probe { newest_ms: Some(at.as_millisecond()) }),
            None => Err(SourceError::Drift("freshness probe: its value is not a time".to_owned())),
        }
    }
}

fn get(client: &Client, path: &str) -> Call {
    Call {
        method: Method::Get,
        target: client.base().target(path),
        content: None,
        accept: "application/json",
        headers: Vec::new(),
        idempotent: true,
    }
}

/// Takes the rows of a page. True if there is room for more.
fn take(rows: &mut Rows, answer: &Value, def: &CallDef, query: &FetchQuery) -> Result<bool, SourceError> {
    match answer.pointer(&def.rows) {
        Some(Value::Array(list)) => {
            for document in list {
                if !document.is_object() {
                    return Err(SourceError::Drift("its list holds what is no row".to_owned()));
                }
                if !push_row(rows, document, query)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(document @ Value::Object(_)) => push_row(rows, document, query),
        Some(Value::Null) => Ok(true),
        Some(_) => Err(SourceError::Drift(format!("there are no rows at `{}` of its answer", def.rows))),
        None => Err(SourceError::Drift(format!("its answer has nothing at `{}`", def.rows))),
    }
}

/// Whether an address holds an argument's value, in whatever case, and also where FHIR's marks in it are
/// escaped. Short ones could stand there by chance.
pub fn carries(target: &str, value: Option<&Scalar>) -> bool {
    const TELLING: usize = 4;
    let bare = |text: &str| text.replace('\\', "").to_lowercase();
    let Some(value) = value.map(request::text).filter(|value| value.chars().count() >= TELLING) else {
        return false;
    };
    let value = bare(&value);
    let decoded = |text: &str| bare(&percent_encoding::percent_decode_str(text).decode_utf8_lossy());
    // A plus is a blank in some parts of an address, and itself in others.
    let holds = |text: &str| decoded(text).contains(&value);
    !value.is_empty() && (holds(target) || holds(&target.replace('+', " ")))
}

impl Source for HttpSource {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            if query.page.is_some() {
                return Err(SourceError::Query("this source has no order to page in".to_owned()));
            }
            let timeout = query.timeout;
            let rows = tokio::time::timeout(timeout, self.rows(&query)).await;
            Ok(Fetched { rows: rows.unwrap_or(Err(SourceError::Timeout(timeout)))? })
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(self.probed())
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.client.usage())
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let mut findings = live::settings(&self.def, &self.client);
            for operation in &operations {
                live::operation(operation, self.document.as_ref(), &mut findings);
            }
            if let Err(error) = self.reach().await {
                findings.push(live::failed(&error));
            }
            findings
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t19_an_argument_in_an_address_is_known_however_it_is_written() {
        let carries = |target: &str, value: &str| carries(target, Some(&Scalar::Text(value.to_owned())));
        for (target, value) in [
            ("/x?id=urn%3Aa%7Cb", "urn:a|b"),
            ("/x?id=urn%3Aa%5C%7Cb", "urn:a|b"),
            ("/x?id=abCD", "ABcd"),
            ("/x?id=%E5%BC%A0+%E4%B8%89%E4%B8%89", "张 三三"),
            ("/x?id=a%2Bbc", "a+bc"),
            ("/x/a\\bcd", "a\\bcd"),
        ] {
            assert!(carries(target, value), "{target} {value}");
        }
        for (target, value) in [("/x?id=abc", "abcd"), ("/x?page=7", "7"), ("/x?a=1", "\\\\\\\\")] {
            assert!(!carries(target, value), "{target} {value}");
        }
    }
}
