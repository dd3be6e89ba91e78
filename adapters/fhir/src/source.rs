//! The server as a source.

use crate::bundle::page;
use crate::capability::Capability;
use crate::{live, outcome, search};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderName, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use yiwang_adapter_http::client::{Asked, Call, Client, Deadline};
use yiwang_adapter_http::{carries, push_row};
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::mapping::{Access, FhirDef, Mapping, Method, OperationDef, SearchDef, SourceDef};
use yiwang_adapter_sdk::source::{
    BoxFuture, Environment, FetchQuery, Fetched, Probe, Source, SourceError, Usage,
};
use yiwang_adapter_sdk::value::{Rows, parse_instant};
use yiwang_proto::ambient::{Clock, Entropy, SystemClock, SystemEntropy};

/// How long a probe may take: a declaration of a megabyte over a slow line comes in time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of one question: at most a thousand rows are wanted, and servers' pages hold ten or more.
const PAGES_MAX: usize = 100;
/// How long the server's word of itself counts, where the probe asks for something else: an upgrade of the server may
/// take a search parameter away, and one that it does not know may find everybody.
const KNOWN_FOR: Duration = Duration::from_secs(600);
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/fhir+json";
const METADATA: &str = "/metadata";
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// A server that knows this refuses a search parameter that it does not know.
const STRICT: HeaderValue = HeaderValue::from_static("handling=strict");

/// A FHIR R4 server as a source.
pub struct FhirSource {
    client: Client,
    def: FhirDef,
    /// What the server declared when it was last asked; nothing is searched before.
    known: Mutex<Option<Known>>,
    clock: Arc<dyn Clock>,
}

/// What a server declared, and when (monotonic).
struct Known {
    what: Arc<Capability>,
    at_us: u64,
}

impl FhirSource {
    /// Prepares searches on the server that a mapping names; nothing is sent yet. Errors: another kind of
    /// source, a setting that is missing or not sound.
    pub fn open(mapping: &Mapping, environment: &Arc<dyn Environment>) -> Result<Self, SourceError> {
        Self::with(mapping, environment, Arc::new(SystemClock::default()), Arc::new(SystemEntropy))
    }

    /// As [`FhirSource::open`], with a clock and randomness of the caller's.
    pub fn with(
        mapping: &Mapping,
        environment: &Arc<dyn Environment>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SourceError> {
        let SourceDef::Fhir(def) = mapping.source() else {
            return Err(SourceError::Setting("the mapping's source is not fhir".to_owned()));
        };
        let client = Client::new(&def.service, mapping.base(), environment, Arc::clone(&clock), entropy)?;
        Ok(Self { client, def: def.clone(), known: Mutex::new(None), clock })
    }

    /// What the server declares that it can be searched for: types, each with its search parameters.
    ///
    /// # Errors
    /// A server that cannot be asked, or does not speak R4.
    pub async fn searchable(&self) -> Result<BTreeMap<String, BTreeSet<String>>, SourceError> {
        let known = self.declared(self.client.deadline(PROBE_TIMEOUT)).await?;
        match known.unfit() {
            Some(what) => Err(SourceError::Drift(what)),
            None => Ok(known.searchable()),
        }
    }

    /// Asks the server what it is.
    async fn declared(&self, deadline: Deadline) -> Result<Arc<Capability>, SourceError> {
        let asked = self.get(self.client.base().target(METADATA));
        let reply = self.client.send(&asked, deadline).await?;
        let said = reply.into_json().map_err(|error| match error {
            SourceError::Query(said) => SourceError::Query(format!(
                "{said} for `{METADATA}`: the address must be the base of the FHIR server, under which that is"
            )),
            other => other,
        })?;
        let what = Arc::new(Capability::parse(&said)?);
        let known = Known { what: Arc::clone(&what), at_us: self.clock.monotonic_us() };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(what)
    }

    async fn known(&self, deadline: Deadline) -> Result<Arc<Capability>, SourceError> {
        match self.kept() {
            Some(known) => Ok(known),
            None => self.declared(deadline).await,
        }
    }

    /// What the server declared, while it counts.
    fn kept(&self) -> Option<Arc<Capability>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let age =
            |known: &Known| Duration::from_micros(self.clock.monotonic_us().saturating_sub(known.at_us));
        known.as_ref().filter(|known| age(known) < KNOWN_FOR).map(|known| Arc::clone(&known.what))
    }

    async fn rows(&self, query: &FetchQuery) -> Result<Rows, SourceError> {
        let Access::Search(def) = &query.operation.access else {
            return Err(SourceError::Query("the operation is of another mapping".to_owned()));
        };
        let deadline = self.client.deadline(query.timeout);
        let form = search::form(def, query)?;
        let known = self.known(deadline).await?;
        if let Some(what) = known.unfit().or_else(|| known.lacks(def)) {
            return Err(SourceError::Drift(what));
        }
        let mut call = self.search(&def.resource, &form);
        let (mut rows, mut asked) = (Rows::new(query.columns.len()), Asked::default());
        for _ in 0..PAGES_MAX {
            asked.add(&call)?;
            let bundle = self.answer(&call, deadline).await?;
            let page = page(&bundle, &def.resource)?;
            for resource in page.found {
                if !push_row(&mut rows, resource, query)? {
                    return Ok(rows);
                }
            }
            match page.next {
                Some(link) => call = self.next(link, def, query)?,
                None => return Ok(rows),
            }
        }
        // A matter of what was asked, and none of the mapping.
        Err(SourceError::Query(format!("the server gives over {PAGES_MAX} pages for one question")))
    }

    async fn answer(&self, call: &Call, deadline: Deadline) -> Result<Value, SourceError> {
        let reply = self.client.send(call, deadline).await?;
        match (reply.status, reply.json) {
            (StatusCode::OK, Some(bundle)) => Ok(bundle),
            (status, json) => {
                let refused = outcome::refusal(status, json.as_ref());
                if matches!(refused, SourceError::Drift(_)) {
                    // It does not know what it had declared: it is asked again what it knows.
                    *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Err(refused)
            }
        }
    }

    /// The next page: this server's own, and without an argument in its address. A link that repeats the
    /// search, by its names or by a value, is sent as the search was, in the body; only one that tells
    /// nothing of it is asked for as it stands.
    fn next(&self, link: &str, def: &SearchDef, query: &FetchQuery) -> Result<Call, SourceError> {
        let target = self.client.base().within(link)?;
        let (path, pairs) = target.split_once('?').unwrap_or((&target, ""));
        let mut form: Vec<(String, String)> = form_urlencoded::parse(pairs.as_bytes())
            .filter(|(name, _)| name != "_elements")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let repeats = form.iter().any(|(name, _)| search::names(def, name));
        if !repeats && !query.params.iter().any(|(_, value)| carries(&target, value.as_ref())) {
            return Ok(self.get(target));
        }
        let (path, base) = (path.trim_end_matches('/'), self.client.base());
        let own = base.target(&format!("/{}", def.resource));
        if path != base.path() && path != own && path != format!("{own}/_search") {
            let what = "the address of the next page carries an argument, and is no search";
            return Err(SourceError::Drift(what.to_owned()));
        }
        form.push(("_elements".to_owned(), search::elements(query)));
        Ok(self.search(&def.resource, &form))
    }

    fn search(&self, resource: &str, form: &[(String, String)]) -> Call {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        Call {
            method: Method::Post,
            target: self.client.base().target(&format!("/{resource}/_search")),
            content: Some((FORM, Bytes::from(body.finish()))),
            accept: JSON,
            headers: vec![(PREFER, STRICT)],
            // A search changes nothing, also where it is a POST.
            idempotent: true,
        }
    }

    fn get(&self, target: String) -> Call {
        Call {
            method: Method::Get,
            target,
            content: None,
            accept: JSON,
            headers: Vec::new(),
            idempotent: true,
        }
    }

    async fn probed(&self) -> Result<Probe, SourceError> {
        let deadline = self.client.deadline(PROBE_TIMEOUT);
        match self.def.common.health.probe.as_deref() {
            Some(path) if path != METADATA => {
                self.client.ping(&self.get(self.client.base().target(path)), deadline).await?;
            }
            _ => {
                if let Some(what) = self.declared(deadline).await?.unfit() {
                    return Err(SourceError::Drift(what));
                }
            }
        }
        let Some(resource) = self.def.common.freshness.as_ref().and_then(|known| known.probe.as_ref()) else {
            return Ok(Probe::default());
        };
        let form = [("_sort", "-_lastUpdated"), ("_count", "1"), ("_elements", "meta")];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let bundle = self.answer(&self.search(resource, &form), deadline).await?;
        let page = page(&bundle, resource)?;
        let newest = page.found.first().and_then(|resource| resource.pointer("/meta/lastUpdated"));
        let Some(newest) = newest else { return Ok(Probe::default()) };
        match parse_instant(newest.as_str().unwrap_or_default(), None, &self.def.common.zone) {
            Some(at) => Ok(Probe { newest_ms: Some(at.as_millisecond()) }),
            None => Err(SourceError::Drift("freshness probe: its value is not a time".to_owned())),
        }
    }
}

impl Source for FhirSource {
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
            let mut findings = live::settings(self.client.is_tls());
            match self.declared(self.client.deadline(PROBE_TIMEOUT)).await {
                Ok(known) => live::declared(&known, &operations, &mut findings),
                Err(error) => findings.push(live::failed(&error)),
            }
            findings
        })
    }
}
