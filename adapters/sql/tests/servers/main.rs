//! PostgreSQL and MariaDB as sources, against real servers that the tests start: the compliance suite, what
//! the servers' own logs show, injection, rights, faults.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod checks;
mod faults;
mod filters;
mod injection;
mod keys;
mod lab;
mod minimal;
mod moments;
mod probes;
mod settings;
mod types;
mod values;

use lab::{Kind, Lab, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{AnswerError, Ask, Mapped, MappedSource};
use yiwang_adapter_sdk::mapping::{Mapping, render};
use yiwang_adapter_sdk::source::{Environment, FetchQuery, Source};
use yiwang_adapter_sql::{open_mariadb, open_postgres};
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, Scalar};
use yiwang_proto::ids::{FieldName, Operation};

/// The suite's table in a database of one test's own, and the mapping of it.
pub struct People<'l> {
    pub lab: &'l Lab,
    pub name: &'static str,
    pub settings: Arc<Settings>,
    pub text: String,
}

impl<'l> People<'l> {
    pub fn new(lab: &'l Lab, name: &'static str) -> Self {
        lab.people(name);
        Self::over(lab, name)
    }

    /// The same over a database that is there.
    pub fn over(lab: &'l Lab, name: &'static str) -> Self {
        let settings = Settings::with(&lab.url(name, &format!("pw-{name}"), name), lab.ca());
        let text = compliance::mapping(
            &source_section(lab.kind),
            &format!("sql = '''{}'''", select(lab.kind, "ID", ":id")),
            &format!("sql = '''{} -- by area'''", select(lab.kind, "AREA", ":area")),
        );
        Self { lab, name, settings, text }
    }

    pub fn parse(&self, text: &str) -> Arc<Mapping> {
        parse(text)
    }

    pub fn open_text(&self, text: &str) -> (Arc<Mapping>, Arc<dyn Source>) {
        let mapping = parse(text);
        let environment: Arc<dyn Environment> = Arc::clone(&self.settings) as _;
        let source = match self.lab.kind {
            Kind::Postgres => open_postgres(&mapping, &environment),
            Kind::Mariadb => open_mariadb(&mapping, &environment),
        };
        (mapping, source.unwrap_or_else(|error| panic!("{error}")))
    }

    pub fn open(&self) -> (Arc<Mapping>, Arc<dyn Source>) {
        self.open_text(&self.text)
    }

    pub fn mapped(&self) -> MappedSource {
        let (mapping, source) = self.open();
        MappedSource::new(mapping, source)
    }
}

pub fn parse(text: &str) -> Arc<Mapping> {
    Arc::new(Mapping::parse(text, Path::new("person.toml")).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
    }))
}

pub fn source_section(kind: Kind) -> String {
    let name = match kind {
        Kind::Postgres => "postgres",
        Kind::Mariadb => "mariadb",
    };
    format!(
        "[source.{name}]\nurl = {{ env = \"URL\" }}\n\
         tls = {{ mode = \"verify-full\", ca = {{ env = \"CA\" }} }}\n\
         pool = {{ max = 4, acquire = \"2s\" }}\ntime_zone = \"Asia/Shanghai\""
    )
}

pub fn quoted(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Postgres => format!("\"{name}\""),
        Kind::Mariadb => format!("`{name}`"),
    }
}

pub fn select(kind: Kind, column: &str, value: &str) -> String {
    let columns = compliance::COLUMNS.map(|column| quoted(kind, column)).join(", ");
    format!("select {columns} from {} where {} = {value}", quoted(kind, "PERSON"), quoted(kind, column))
}

pub fn field(name: &str) -> FieldName {
    FieldName::parse(name).unwrap()
}

pub fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

/// One answer of the suite's mapping.
pub async fn ask(
    mapped: &MappedSource,
    operation: &str,
    subject: &str,
    area: Option<&str>,
    fields: &[&str],
    rows: &[RowClause],
) -> Result<Mapped, AnswerError> {
    let fields: Vec<FieldName> = fields.iter().map(|name| field(name)).collect();
    let arguments: Arguments = area.map(|area| (field("area"), text(area))).into_iter().collect();
    mapped
        .answer(Ask {
            highest_class: (2, Code::SealingRequired),
            operation: &Operation::parse(operation).unwrap(),
            fields: &fields,
            rows,
            subject,
            arguments: &arguments,
            limit: 100,
            now_ms: compliance::NOW_MS,
            deadline_ms: compliance::NOW_MS + 20_000,
        })
        .await
}

pub async fn name_of(mapped: &MappedSource, id: &str) -> Result<Mapped, AnswerError> {
    ask(mapped, "person.by_id", id, None, &["name"], &[]).await
}

/// A query straight to a source.
pub fn query(mapping: &Mapping, id: &str, columns: &[&str]) -> FetchQuery {
    let operation = mapping.operation(&Operation::parse("person.by_id").unwrap()).unwrap();
    FetchQuery {
        operation: Arc::clone(operation),
        columns: columns.iter().map(|column| Arc::from(*column)).collect(),
        params: vec![(Arc::from("id"), Some(text(id)))],
        filter: None,
        page: None,
        limit: 2,
        timeout: Duration::from_secs(10),
    }
}

/// The servers that are installed, one after the other.
fn servers() -> impl Iterator<Item = &'static Lab> {
    [Kind::Postgres, Kind::Mariadb]
        .into_iter()
        .filter_map(Lab::shared)
        .inspect(|lab| println!("{:?}", lab.kind))
}

async fn complies(lab: &Lab) {
    let people = People::new(lab, "complies");
    let outcomes = compliance::run(|| people.open()).await;
    assert!(outcomes.len() >= 14);
    assert_eq!(compliance::failures(&outcomes), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_complies() {
    for lab in servers() {
        complies(lab).await;
    }
}

async fn counts(lab: &Lab) {
    let people = People::new(lab, "counts");
    let columns = ["SEX", "STATE"].map(|name| quoted(lab.kind, name)).join(", ");
    let statement = format!("sql = '''select {columns} from {} -- all'''", quoted(lab.kind, "PERSON"));
    let text = compliance::count_mapping(&source_section(lab.kind), &statement);
    let (mapping, source) = people.open_text(&text);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(compliance::counts(mapping, source, folder.path()).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_counts() {
    for lab in servers() {
        counts(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_granted_columns_and_filtered_rows_are_asked_for() {
    for lab in servers() {
        minimal::log(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_hostile_parameters_and_identifiers_leave_no_trace() {
    for lab in servers() {
        injection::hostile(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_nothing_of_a_statement_that_writes_stays() {
    for lab in servers() {
        injection::writes(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_a_mapping_reads_no_setting_that_it_does_not_name() {
    for lab in servers() {
        settings::named(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_a_role_that_can_write_is_refused() {
    for lab in servers() {
        checks::writers(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_rights_are_proved_also_where_a_probe_fails_or_is_slow() {
    for lab in servers() {
        probes::rights(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_a_probe_reads_its_first_row_and_no_table() {
    for lab in servers() {
        probes::first_row(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_finds_scans_missing_columns_and_odd_types() {
    for lab in servers() {
        checks::finds(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_check_says_of_types_is_what_becomes_of_values() {
    for lab in servers() {
        types::compared(lab).await;
    }
}

async fn ordered(lab: &Lab) {
    let people = People::new(lab, "ordered");
    let of = |order: &str| people.text.replace("limit = 100", &format!("order = {order}\nlimit = 3"));
    // Which rows a limit leaves out is the order's word as well.
    for (order, wanted) in [
        ("[\"SEX desc\", \"ID desc\"]", ["many 19", "many 17", "many 15"]),
        ("[\"SEX\", \"ID asc\"]", ["many 0", "many 2", "many 4"]),
    ] {
        let (mapping, source) = people.open_text(&of(order));
        let mapped = MappedSource::new(mapping, source);
        let answer = ask(&mapped, "person.by_area", "", Some("980199"), &["name"], &[]).await.unwrap();
        let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
        let names: Vec<&str> =
            records.iter().map(|record| record.pointer("/fields/name").unwrap().as_str().unwrap()).collect();
        assert_eq!((names.as_slice(), answer.truncated), (&wanted[..], true), "{order}");
    }
    for (order, code) in [("[\"ID desc\"]", None), ("[\"NOBODY\"]", Some("A-SQL-003"))] {
        let (mapping, source) = people.open_text(&of(order));
        let findings = source.check(mapping.operations().to_vec()).await;
        let told = findings.iter().find(|finding| finding.message.contains("NOBODY"));
        assert_eq!(told.map(|finding| finding.code), code, "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_the_order_that_the_mapping_says() {
    for lab in servers() {
        ordered(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_server_folds_is_no_key_of_a_batch() {
    for lab in servers() {
        keys::unfit(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_pages_comes_in_the_order_of_its_key_and_goes_on_after_it() {
    for lab in servers() {
        keys::searched(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_ends_before_the_rows_whose_text_does_not_fit() {
    for lab in servers() {
        keys::full_page(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_filter_lets_out_what_its_evaluator_lets_out() {
    for lab in servers() {
        filters::same(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_is_compared_as_the_moment_that_it_is() {
    for lab in servers() {
        moments::compared(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_come_as_they_are() {
    for lab in servers() {
        values::read(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_changed_is_read_again() {
    for lab in servers() {
        faults::password(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_changes_under_load_is_told_and_comes_back() {
    for lab in servers() {
        faults::altered(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_statement_is_stopped_at_the_server() {
    for lab in servers() {
        faults::slow(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_rows_that_are_too_large_are_refused_and_it_serves_on() {
    for lab in servers() {
        faults::huge(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_busy_and_serves_on() {
    for lab in servers() {
        faults::full(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_refused() {
    for lab in servers() {
        faults::certificate(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_speaks_tls_1_2_only_is_served() {
    for lab in servers() {
        faults::older(lab).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_is_used_again() {
    for lab in servers() {
        faults::restarted(lab).await;
    }
}
