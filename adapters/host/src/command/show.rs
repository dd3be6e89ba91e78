//! `show`: what a file says once defaults are filled in. References to secrets are shown, secrets never.

use super::{CONFIG, OK, Output, refuse_as, refuse_config, refuse_mapping};
use crate::config::{Config, FORMAT};
use crate::sources::read_mapping;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use yiwang_adapter_sdk::mapping::{
    Access, AuthDef, CodeTable, FieldDef, Mapping, OperationDef, PoolDef, ServiceDef, SourceDef, TlsDef,
    without_constants,
};
use yiwang_adapter_sdk::source::Setting;
use yiwang_policies::Catalogue;
use yiwang_proto::{hex, sha256};

pub(super) fn show(file: &Path, output: Output, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let text = match read_mapping(file) {
        Ok(text) => text,
        Err(error) => return refuse_as(output, out, |out| writeln!(out, "{error}").map(|()| CONFIG)),
    };
    let is_config = text.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "format" && value.trim().trim_start_matches('"').starts_with(FORMAT)
        })
    });
    let shown = if is_config {
        match Config::parse(file, &text) {
            Ok(config) => configuration(&config),
            Err(error) => return refuse_as(output, out, |out| refuse_config(&error, out)),
        }
    } else {
        match Mapping::parse(&text, file) {
            Ok(mapping) => mapping_of(&mapping),
            Err(faults) => return refuse_as(output, out, |out| refuse_mapping(&faults, &text, out)),
        }
    };
    let shown = shown.map_err(std::io::Error::other)?;
    match output {
        Output::Text => out.write_all(shown.as_bytes())?,
        Output::Json => {
            let table: toml::Table = shown.parse().map_err(std::io::Error::other)?;
            writeln!(out, "{}", json!(table))?;
        }
    }
    Ok(OK)
}

fn configuration(config: &Config) -> Result<String, toml::ser::Error> {
    let mut shown = json!({
        "format": FORMAT,
        "member_folder": config.member_folder.display().to_string(),
    });
    let Some(map) = shown.as_object_mut() else { return Ok(String::new()) };
    if let Some(part) = &config.adapter {
        let paths: Vec<String> = part.mappings.iter().map(|path| path.display().to_string()).collect();
        map.insert("adapter".to_owned(), json!(part.name));
        map.insert("mappings".to_owned(), json!(paths));
        map.insert("journal".to_owned(), json!(part.journal.display().to_string()));
        map.insert("segment_bytes".to_owned(), json!(part.segment_bytes));
        if let Some(only) = &part.only_contracts {
            let only: Vec<String> = only.iter().map(|digest| hex(digest)).collect();
            map.insert("only_contracts".to_owned(), json!(only));
        }
    }
    if config.otlp.is_some() {
        // A collector's URL may carry a password.
        map.insert("otlp".to_owned(), json!("…"));
    }
    if let Some(part) = &config.gateway {
        let apps: Vec<Value> =
            part.apps.iter().map(|app| json!({ "name": app.name, "token_sha256": "…" })).collect();
        map.insert("gateway".to_owned(), json!({ "listen": part.listen.to_string(), "app": apps }));
    }
    if let Some(address) = config.health {
        map.insert("health".to_owned(), json!({ "listen": address.to_string() }));
    }
    toml::to_string(&shown)
}

#[derive(Serialize)]
struct ShownMapping {
    mapping: String,
    record: String,
    owner: String,
    /// What auditors see in answers.
    sha256: String,
    source: Value,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    codes: BTreeMap<String, BTreeMap<String, String>>,
    operation: Vec<ShownOperation>,
}

#[derive(Serialize)]
struct ShownOperation {
    name: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    limit: u32,
    timeout_ms: u64,
    access: String,
    /// Where constants are masked: by it two statements that differ in one are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_sha256: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    order: Vec<String>,
    /// Of what comes in pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Of a search: a batch has all there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<u32>,
    params: Vec<String>,
    fields: BTreeMap<String, String>,
}

fn codes(table: &CodeTable) -> BTreeMap<String, String> {
    let mut shown = table.words.clone();
    shown.insert("unknown".to_owned(), format!("{:?}", table.unknown).to_lowercase());
    shown
}

/// What a mapping says, as TOML.
fn mapping_of(mapping: &Mapping) -> Result<String, toml::ser::Error> {
    written(mapping, false)
}

/// The same for a door: without the values that stand in statements.
pub(crate) fn masked_mapping_of(mapping: &Mapping) -> Result<String, toml::ser::Error> {
    written(mapping, true)
}

fn written(mapping: &Mapping, masked: bool) -> Result<String, toml::ser::Error> {
    let catalogue = Catalogue::builtin().ok();
    toml::to_string(&ShownMapping {
        mapping: mapping.name().to_owned(),
        record: mapping.record().to_string(),
        owner: mapping.owner().to_string(),
        sha256: hex(&mapping.digest()),
        source: source(mapping.source()),
        codes: mapping.codes().iter().map(|(name, table)| (name.clone(), codes(table))).collect(),
        operation: mapping
            .operations()
            .iter()
            .map(|operation| shown_operation(mapping, operation, catalogue.as_ref(), masked))
            .collect(),
    })
}

fn source(def: &SourceDef) -> Value {
    let common = def.common();
    let mut shown = json!({
        "kind": def.kind(),
        "time_zone": common.zone.iana_name().unwrap_or("fixed"),
        "health_every_ms": u64::try_from(common.health.every.as_millis()).unwrap_or(u64::MAX),
        "unhealthy_after": common.health.unhealthy_after,
    });
    let Some(map) = shown.as_object_mut() else { return shown };
    match def {
        SourceDef::Sqlite(sqlite) => {
            map.insert("path".to_owned(), setting(&sqlite.path));
        }
        SourceDef::Postgres(server) | SourceDef::Mariadb(server) => {
            map.insert("url".to_owned(), setting(&server.url));
            let tls = match &server.tls {
                TlsDef::VerifyFull { ca } => json!({ "mode": "verify-full", "ca": setting(ca) }),
                TlsDef::Off => json!({ "mode": "off" }),
            };
            map.insert("tls".to_owned(), tls);
            let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let PoolDef { max, idle, acquire } = server.pool;
            let pool = json!({ "max": max, "idle_ms": ms(idle), "acquire_ms": ms(acquire) });
            map.insert("pool".to_owned(), pool);
        }
        SourceDef::Csv(csv) => {
            map.insert("folder".to_owned(), setting(&csv.folder));
            map.insert("files".to_owned(), json!(csv.files));
            map.insert("columns".to_owned(), json!(csv.columns.len()));
        }
        SourceDef::Http(http) => service(&http.service, map),
        SourceDef::Fhir(fhir) => service(&fhir.service, map),
    }
    shown
}

fn service(def: &ServiceDef, map: &mut serde_json::Map<String, Value>) {
    map.insert("url".to_owned(), setting(&def.url));
    let auth = match &def.auth {
        AuthDef::None => json!("none"),
        AuthDef::Header { name, value } => {
            json!({ "kind": "header", "name": name, "value": setting(value) })
        }
        AuthDef::ClientCredentials { client, secret } => json!({
            "kind": "client-credentials",
            "token_url": setting(&client.token_url),
            "client_id": client.client_id,
            "client_secret": setting(secret),
            "scopes": client.scopes,
        }),
        AuthDef::SmartBackend { client, key, .. } => json!({
            "kind": "smart-backend",
            "token_url": setting(&client.token_url),
            "client_id": client.client_id,
            "key": setting(key),
            "scopes": client.scopes,
        }),
    };
    map.insert("auth".to_owned(), auth);
    map.insert("tls".to_owned(), json!(if def.tls.plain { "off" } else { "verify-full" }));
    if let Some(proxy) = &def.proxy {
        map.insert("proxy".to_owned(), setting(proxy));
    }
    map.insert("pool_max".to_owned(), json!(def.pool_max));
    map.insert("attempts".to_owned(), json!(def.retry.attempts));
    map.insert("max_bytes".to_owned(), json!(def.max_bytes));
}

/// A reference as it stands; the plain value of a path, which is no secret.
fn setting(setting: &Setting) -> Value {
    match setting {
        Setting::Plain(value) => json!(value),
        Setting::Env(name) => json!({ "env": name }),
        Setting::File(path) => json!({ "file": path.display().to_string() }),
    }
}

fn shown_operation(
    mapping: &Mapping,
    operation: &OperationDef,
    catalogue: Option<&Catalogue>,
    masked: bool,
) -> ShownOperation {
    let class = |field: &FieldDef| {
        let known = catalogue.and_then(|known| known.field(mapping.record(), &field.name));
        field.class.or(known.map(|known| known.class))
    };
    let field = |field: &FieldDef| {
        let columns: Vec<String> = field.columns().map(|column| column.to_string()).collect();
        let class = class(field).map_or_else(|| "?".to_owned(), |class| class.to_string());
        let required = if field.required { ", required" } else { "" };
        let steps: Vec<String> = field.steps.iter().map(|step| format!("{step:?}").to_lowercase()).collect();
        let steps = if steps.is_empty() { String::new() } else { format!(", {}", steps.join(" ")) };
        format!("{} from {}, class {class}{steps}{required}", field.kind.as_str(), columns.join(" "))
    };
    let all = operation.fields.iter().chain(operation.as_of.as_ref());
    let page = operation.page.as_ref();
    ShownOperation {
        name: operation.name.to_string(),
        kind: format!("{:?}", operation.kind).to_lowercase(),
        subject: operation.subject.as_ref().map(ToString::to_string),
        limit: operation.limit,
        timeout_ms: u64::try_from(operation.timeout.as_millis()).unwrap_or(u64::MAX),
        access_sha256: match &operation.access {
            Access::Sql(statement) if masked => Some(hex(&sha256(statement.trim().as_bytes()))),
            _ => None,
        },
        access: match &operation.access {
            // MariaDB reads what stands between double quotes as a text.
            Access::Sql(statement) if masked => {
                let double = matches!(mapping.source(), SourceDef::Mariadb(_));
                without_constants(statement.trim(), double)
            }
            Access::Sql(statement) => statement.trim().to_owned(),
            Access::Where(conditions) => {
                let columns: Vec<&str> = conditions.iter().map(|one| one.column.as_ref()).collect();
                format!("rows by {}", columns.join(", "))
            }
            Access::Call(call) => {
                format!("{} {}", format!("{:?}", call.method).to_uppercase(), call.shown_path())
            }
            Access::Search(search) => {
                let names: Vec<&str> = search.search.iter().map(|(name, _)| name.as_str()).collect();
                format!("POST {}/_search by {}", search.resource, names.join(", "))
            }
        },
        // Of pages it follows from their key.
        order: operation.order.iter().filter(|_| page.is_none()).map(ToString::to_string).collect(),
        key: page.map(|page| page.key.to_string()),
        pages: page.map(|page| page.most).filter(|most| *most < u32::MAX),
        params: operation.params.iter().map(|param| param.name.to_string()).collect(),
        fields: all.map(|one| (one.name.to_string(), field(one))).collect(),
    }
}
