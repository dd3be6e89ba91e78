//! Traces over the real OTLP protocol: app, gateway, hub and adapter are one trace, each span under the right
//! parent, and no value that was carried is anywhere in what a collector gets.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "shared with the other tests of the host")]
#[path = "host/http.rs"]
mod http;
#[expect(dead_code, reason = "shared with the other tests of the host")]
#[path = "host/town.rs"]
mod town;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::server::TcpIncoming;
use town::{TOKEN, adapter_config, gateway_config, write_config};
use yiwang_tests::contracts::draft;
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        (collector, url)
    }

    /// Spans of a trace with the name of their service.
    fn spans(&self, trace: &str) -> Vec<(String, Span)> {
        let requests = self.0.lock().unwrap();
        let mut spans = Vec::new();
        for of_resource in requests.iter().flat_map(|request| &request.resource_spans) {
            let attributes = text(&of_resource.resource);
            let service = ["yiwang-hub", "yiwang-adapter"]
                .into_iter()
                .find(|name| attributes.contains(name))
                .unwrap_or_else(|| panic!("a stranger's spans: {of_resource:?}"));
            let found = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            let found = found.filter(|span| hex_of(&span.trace_id) == trace);
            spans.extend(found.map(|span| (service.to_owned(), span.clone())));
        }
        spans
    }

    /// Everything that came, as text.
    fn everything(&self) -> String {
        text(&*self.0.lock().unwrap())
    }
}

fn text(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A host as a process of its own, with the collector in its configuration.
async fn host(member: &Member, config: &str, otlp: &str) -> (Child, Vec<SocketAddr>) {
    let path = write_config(
        member,
        &config.replacen("member_folder", &format!("otlp = \"{otlp}\"\nmember_folder"), 1),
    );
    let mut program = Command::new(env!("CARGO_BIN_EXE_yiwang-adapter"))
        .args(["run", "--config"])
        .arg(&path)
        .envs(&member.settings.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut addresses = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if line == "ready" {
            return (program, addresses);
        }
        addresses.push(line.split("http://").nth(1).unwrap_or_else(|| panic!("{line}")).parse().unwrap());
    }
}

async fn until_ready(health: SocketAddr) {
    for _ in 0..600 {
        if http::get(health, "/ready").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not ready after 30 s");
}

async fn end(mut program: Child) {
    let id = program.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert_eq!(program.wait().await.unwrap().code(), Some(0));
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_gateway_hub_and_adapter_are_one_trace_without_a_value() {
    let (collector, otlp) = Collector::start().await;
    // The hub runs in this process, and so do its spans.
    let telemetry = yiwang_telemetry::start("yiwang-hub", Some(&otlp)).unwrap();
    let carried = one_query(&otlp).await;
    tokio::task::spawn_blocking(|| telemetry.finish()).await.unwrap();
    let spans = collector.spans(TRACE);
    let one = |service: &str, name: &str, parent: &str| {
        let found: Vec<&Span> = spans
            .iter()
            .filter(|(of, span)| of == service && span.name == name && hex_of(&span.parent_span_id) == parent)
            .map(|(_, span)| span)
            .collect();
        assert_eq!(found.len(), 1, "{service} {name} under {parent}: {spans:#?}");
        hex_of(&found[0].span_id)
    };
    let gateways: Vec<&Span> =
        spans.iter().filter(|(_, span)| span.name == "gateway").map(|(_, span)| span).collect();
    assert_eq!(gateways.len(), 2, "the case and the query: {spans:#?}");
    assert!(gateways.iter().all(|span| hex_of(&span.parent_span_id) == CALLER), "{gateways:#?}");
    let exchange = spans.iter().find(|(of, span)| of == "yiwang-hub" && span.name == "exchange").unwrap();
    let asked = hex_of(&exchange.1.parent_span_id);
    assert!(gateways.iter().any(|span| hex_of(&span.span_id) == asked), "{spans:#?}");
    let exchange = one("yiwang-hub", "exchange", &asked);
    for stage in ["accept", "authenticate", "decide", "verify", "record"] {
        one("yiwang-hub", stage, &exchange);
    }
    let forward = one("yiwang-hub", "forward", &exchange);
    one("yiwang-adapter", "exchange", &forward);

    let everything = collector.everything();
    assert!(everything.contains("street-office"), "members are named");
    for value in carried {
        assert!(!everything.contains(&value), "`{value}` was sent to the collector");
    }
}

/// A case and a query of a traced app, through hosts that are processes of their own; yields what was carried.
async fn one_query(otlp: &str) -> Vec<String> {
    let mut world = World::new(81).await;
    let city = world.city();
    let mother = city.household().mother;
    let police = world.department(&city, "police", &["person"]).await;
    let street = world.member("street-office").await;
    let contract = draft(&police, &street, "police-street-person", world.clock.now_ms());
    world.agree(&contract.limit("deadline_ms", 1500), &police, &street).await;
    for app in ["assistance-desk", "other-desk"] {
        street.app(&world, app).await;
    }
    let (police_host, _) = host(&police, &adapter_config(&police), otlp).await;
    let (office, addresses) = host(&street, &gateway_config(), otlp).await;
    let [gateway, health] = addresses.try_into().unwrap();
    world.until_linked(police.id()).await;
    until_ready(health).await;
    let token = format!("authorization: Bearer {TOKEN}");
    let parent = format!("traceparent: 00-{TRACE}-{CALLER}-01");
    let headers = [token.as_str(), parent.as_str(), "content-type: application/json"];
    let post =
        async |path: &str, body: &Value| http::send(gateway, "POST", path, &headers, &body.to_string()).await;
    let opening = json!({ "matter": "social-assistance", "subjects": [mother.id] });
    let case = post("/v1/cases", &opening).await.json()["case"].as_str().unwrap().to_owned();
    let query = json!({ "subject": mother.id, "purpose": "social-assistance.eligibility", "case": case });
    let answer = post("/v1/records/query", &query).await;
    assert_eq!(answer.header("x-trace-id"), Some(TRACE), "{answer:?}");
    assert_eq!(answer.json()["records"]["Person"]["name"]["value"], mother.name, "{answer:?}");
    // Stopping sends what is pending.
    end(office).await;
    end(police_host).await;
    world.stop_hub().await;
    vec![mother.id, mother.name, mother.birth_date, case]
}
