//! The tables `[source.http]` and `[source.fhir]`.

use super::def::{FreshnessDef, HealthDef, SourceCommon, SourceDef};
use super::fault::Faults;
use super::read::{Node, Table, kind, one_of, text};
use super::service::{AuthDef, ClientDef, FhirDef, HttpDef, RetryDef, ServiceDef, TlsDef, is_pointer};
use super::source::{setting, zone_of};
use crate::source::Setting;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

const KEYS: [&str; 11] = [
    "url",
    "auth",
    "tls",
    "proxy",
    "pool",
    "retry",
    "max_bytes",
    "time_zone",
    "health",
    "freshness",
    "read_only",
];
/// Bytes of one answer, unless the mapping says otherwise: twice what one answer of ours can carry.
const MAX_BYTES: i64 = 8 << 20;
/// What a mapping can raise it to: all of it is in memory at once, for each call under way.
const MAX_BYTES_LIMIT: i64 = 64 << 20;
/// Statuses that are worth another call, unless the mapping says otherwise.
const RETRIED: [u16; 4] = [429, 502, 503, 504];

pub(crate) fn http(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<SourceDef> {
    let mut keys = KEYS.to_vec();
    keys.push("openapi");
    table.only(&keys, faults);
    let openapi = table.text("openapi", faults).map(PathBuf::from);
    let zone = zone_of(table, faults);
    let health = health(table, None, Duration::from_secs(15), address_probe, faults);
    let freshness = freshness(table, value_probe, "write \"/path#/pointer/to/the/time\"", faults);
    let common = SourceCommon { zone, health, freshness, span: table.span.clone() };
    Some(SourceDef::Http(HttpDef { service: service(table, faults), openapi, common }))
}

pub(crate) fn fhir(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<SourceDef> {
    table.only(&KEYS, faults);
    // Moments in FHIR carry their offset, so that a zone only says how they are written.
    let zone = if table.get("time_zone").is_some() { zone_of(table, faults) } else { TimeZone::UTC };
    let health = health(table, Some("/metadata"), Duration::from_secs(60), address_probe, faults);
    let freshness = freshness(table, is_resource, "name the type whose newest resource counts", faults);
    let common = SourceCommon { zone, health, freshness, span: table.span.clone() };
    Some(SourceDef::Fhir(FhirDef { service: service(table, faults), common }))
}

/// Whether a text can be a type of resource.
pub(crate) fn is_resource(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Whether a text is a path that goes into an address as it stands.
pub(crate) fn is_path(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b);
    text.starts_with('/')
        && text.len() <= 512
        && text.bytes().all(plain)
        && !text.contains("//")
        && !text.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn address_probe(text: &str) -> bool {
    is_path(text)
}

fn value_probe(text: &str) -> bool {
    text.split_once('#').is_some_and(|(path, pointer)| is_path(path) && is_pointer(pointer))
}

fn service(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> ServiceDef {
    if table.boolean("read_only", faults) == Some(false) {
        let help = Some("write read_only = true, or leave it out".to_owned());
        faults.add(table.key_span("read_only"), "a source is always read only", help);
    }
    let url = table.need("url", faults).and_then(|node| reference(node, "url", faults));
    let proxy = table.get("proxy").and_then(|node| reference(node, "proxy", faults));
    let pool = table.get("pool").and_then(|node| Table::of(node, "pool", faults));
    let (mut pool_max, mut acquire) = (4, Duration::from_secs(2));
    if let Some(pool) = pool {
        pool.only(&["max", "acquire"], faults);
        pool_max = pool.integer("max", 1..65, faults).and_then(|max| usize::try_from(max).ok()).unwrap_or(4);
        acquire = pool.duration("acquire", faults).unwrap_or(acquire);
    }
    let max_bytes = table.integer("max_bytes", 1024..MAX_BYTES_LIMIT + 1, faults).unwrap_or(MAX_BYTES);
    ServiceDef {
        auth: auth(table, faults),
        tls: tls(table, faults),
        retry: retry(table, faults),
        // A service without address is a fault already, so that this one is never called; operations are
        // read on as those of this kind.
        url: url.unwrap_or(Setting::Plain(String::new())),
        proxy,
        pool_max,
        acquire,
        max_bytes: usize::try_from(max_bytes).unwrap_or(1024),
    }
}

/// `{ env = "…" }` or `{ file = "…" }`, nothing that stands in the mapping itself.
fn reference(node: &Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Setting> {
    if !matches!(node.get_ref(), DeValue::Table(_)) {
        let help = "write { env = \"NAME\" } or { file = \"path\" }";
        let message = format!("`{key}` is {}, not a reference", kind(node.get_ref()));
        faults.add(node.span(), message, Some(help.to_owned()));
        return None;
    }
    setting(node, key, faults)
}

/// A name or address that is no secret and may stand in the mapping; a password in it may not.
fn address(node: &Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Setting> {
    match node.get_ref() {
        DeValue::String(plain) => {
            let scheme = plain.starts_with("https://") || plain.starts_with("http://");
            if !scheme || plain.contains(['@', '#', '?']) {
                let help = "write \"https://host/path\", without user, query or fragment".to_owned();
                faults.add(node.span(), format!("`{key}` is not an address"), Some(help));
                return None;
            }
            Some(Setting::Plain(plain.to_string()))
        }
        _ => setting(node, key, faults),
    }
}

fn auth(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> AuthDef {
    read_auth(table, faults).unwrap_or(AuthDef::None)
}

fn read_auth(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<AuthDef> {
    let auth = Table::of(table.get("auth")?, "auth", faults)?;
    let kinds = [("header", 0), ("client-credentials", 1), ("smart-backend", 2)];
    match auth.need("kind", faults).and_then(|node| one_of(node, "kind", &kinds, faults))? {
        0 => {
            auth.only(&["kind", "name", "value"], faults);
            let name = auth.need_text("name", faults);
            let token = |name: &str| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            };
            if name.is_some_and(|name| !token(name) || name.len() > 64) {
                faults.add(auth.key_span("name"), "`name` is not the name of a header", None);
            }
            let value = auth.need("value", faults).and_then(|node| reference(node, "value", faults));
            Some(AuthDef::Header { name: name?.to_owned(), value: value? })
        }
        1 => {
            auth.only(&["kind", "token_url", "client_id", "client_secret", "scopes"], faults);
            let client = client(&auth, faults);
            let secret =
                auth.need("client_secret", faults).and_then(|node| reference(node, "client_secret", faults));
            Some(AuthDef::ClientCredentials { client: client?, secret: secret? })
        }
        _ => {
            auth.only(&["kind", "token_url", "client_id", "key", "kid", "scopes"], faults);
            let client = client(&auth, faults);
            let key = auth.need("key", faults).and_then(|node| reference(node, "key", faults));
            let kid = auth.text("kid", faults).map(str::to_owned);
            Some(AuthDef::SmartBackend { client: client?, key: key?, kid })
        }
    }
}

fn client(auth: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<ClientDef> {
    let token_url = auth.need("token_url", faults).and_then(|node| address(node, "token_url", faults));
    let client_id = auth.need_text("client_id", faults);
    let scopes = auth.list("scopes", faults).unwrap_or_default();
    let scopes: Vec<String> =
        scopes.iter().filter_map(|node| text(node, "scopes", faults)).map(str::to_owned).collect();
    let sound = |scope: &String| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic());
    if scopes.len() > 32 || !scopes.iter().all(sound) {
        faults.add(auth.key_span("scopes"), "`scopes` is not a list of at most 32 words", None);
    }
    Some(ClientDef { token_url: token_url?, client_id: client_id?.to_owned(), scopes })
}

fn tls(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> TlsDef {
    let Some(tls) = table.get("tls").and_then(|node| Table::of(node, "tls", faults)) else {
        return TlsDef::default();
    };
    tls.only(&["mode", "ca", "cert", "key"], faults);
    let modes = [("verify-full", false), ("off", true)];
    let plain = tls.get("mode").and_then(|node| one_of(node, "mode", &modes, faults)).unwrap_or(false);
    let mut file = |key: &str| {
        let node = tls.get(key)?;
        let inner = Table::of(node, format!("`{key}`"), faults)?;
        inner.only(&["file"], faults);
        inner.need_text("file", faults).filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    if tls.get("cert").is_some() != tls.get("key").is_some() {
        faults.add(tls.span.clone(), "tls has only one of `cert` and `key`", None);
    }
    if plain && (ca.is_some() || cert.is_some()) {
        let help = Some("leave out `mode`, or everything else".to_owned());
        faults.add(tls.key_span("mode"), "tls is off, but has files", help);
    }
    TlsDef { ca, identity: cert.zip(key), plain }
}

fn retry(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> RetryDef {
    let fallback = RetryDef { attempts: 3, first: Duration::from_millis(200), only: RETRIED.to_vec() };
    let Some(retry) = table.get("retry").and_then(|node| Table::of(node, "retry", faults)) else {
        return fallback;
    };
    retry.only(&["attempts", "first", "only"], faults);
    let known = [("429", 429), ("500", 500), ("502", 502), ("503", 503), ("504", 504)];
    let only = retry.list("only", faults).map_or(fallback.only, |list| {
        list.iter().filter_map(|node| one_of(node, "only", &known, faults)).collect()
    });
    RetryDef {
        attempts: retry
            .integer("attempts", 1..6, faults)
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(fallback.attempts),
        first: retry.duration("first", faults).unwrap_or(fallback.first),
        only,
    }
}

fn health(
    table: &Table<'_, '_>,
    fallback: Option<&str>,
    every: Duration,
    sound: fn(&str) -> bool,
    faults: &mut Faults<'_>,
) -> HealthDef {
    let fallback = fallback.map(str::to_owned);
    let Some(inner) = table.get("health").and_then(|node| Table::of(node, "health", faults)) else {
        return HealthDef { probe: fallback, every, unhealthy_after: 3 };
    };
    inner.only(&["probe", "every", "unhealthy_after"], faults);
    let probe = inner.text("probe", faults);
    if probe.is_some_and(|probe| !sound(probe)) {
        let help = Some("write a path beneath the base address, like \"/health\"".to_owned());
        faults.add(inner.key_span("probe"), "`probe` is not a path", help);
    }
    HealthDef {
        probe: probe.map(str::to_owned).or(fallback),
        every: inner.duration("every", faults).unwrap_or(every),
        unhealthy_after: inner
            .integer("unhealthy_after", 1..101, faults)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(3),
    }
}

fn freshness(
    table: &Table<'_, '_>,
    sound: fn(&str) -> bool,
    help: &str,
    faults: &mut Faults<'_>,
) -> Option<FreshnessDef> {
    let inner = table.get("freshness").and_then(|node| Table::of(node, "freshness", faults))?;
    inner.only(&["probe", "warn", "fail"], faults);
    let probe = inner.need_text("probe", faults);
    if probe.is_some_and(|probe| !sound(probe)) {
        let message = "`probe` does not say where the newest time stands";
        faults.add(inner.key_span("probe"), message, Some(help.to_owned()));
    }
    inner.need("warn", faults);
    inner.need("fail", faults);
    let (warn, fail) = (inner.duration("warn", faults)?, inner.duration("fail", faults)?);
    if warn > fail {
        faults.add(inner.key_span("warn"), "freshness.warn is longer than freshness.fail", None);
    }
    Some(FreshnessDef { probe: Some(probe?.to_owned()), warn, fail })
}
