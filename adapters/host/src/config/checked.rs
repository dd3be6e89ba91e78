//! What `adapter.toml` must say.

use super::walk::{Faults, Node, Table, text};
use super::{AdapterPart, AppPart, Config, FORMAT, GatewayPart};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use yiwang_adapter_sdk::mapping::MappingFault;
use yiwang_proto::Digest;
use yiwang_proto::ids::{AppId, IdError};

/// Mappings of one adapter: a department with more systems than this runs more adapters.
const MAPPINGS_MAX: usize = 128;
/// Apps of one gateway; each keeps a client and its own head.
const APPS_MAX: usize = 128;
/// Segments of the adapter's journal: as many answers as a quiet department gives in months.
const SEGMENT_DEFAULT: u64 = 64 << 20;
const SEGMENT_UNIT: u64 = 4096;
const SEGMENT_MIN: u64 = 3 << 20;
const SEGMENT_MAX: u64 = 1 << 30;

/// How the format of a mapping begins, which is easily named instead of the file that lists it.
const OF_MAPPING: &str = "adapter/";

const KEYS: [&str; 12] = [
    "format",
    "member_folder",
    "adapter",
    "mappings",
    "record_types",
    "journal",
    "segment_bytes",
    "only_contracts",
    "witness",
    "gateway",
    "health",
    "otlp",
];

pub(super) fn parse(file: &Path, text: &str) -> Result<Config, Vec<MappingFault>> {
    let mut faults = Faults::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors.iter().take(20) {
            // The library's words speak of the syntax, not of values.
            faults.add(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), None);
        }
        return Err(faults.finish());
    }
    let root = Table::root(document.get_ref());
    // Everything in it would be a fault, and none of them the one that was made.
    if let Some(node) = root.get("format")
        && matches!(node.get_ref(), DeValue::String(format) if format.starts_with(OF_MAPPING))
    {
        let help = "`yiwang adapter check FILE` checks it; an adapter.toml lists it under `mappings`";
        faults.add(node.span(), "this is a mapping and no adapter.toml", Some(help));
        return Err(faults.finish());
    }
    root.only(&KEYS, &mut faults);
    match build(&root, file, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults.finish()),
    }
}

fn build(root: &Table<'_, '_>, file: &Path, faults: &mut Faults<'_>) -> Option<Config> {
    let base = file.parent().unwrap_or(Path::new(""));
    if let Some((format, span)) = root.need_text("format", faults)
        && format != FORMAT
    {
        faults.add(span, "`format` is not known", Some(&format!("this program reads `{FORMAT}`")));
    }
    let member_folder =
        root.need("member_folder", faults).and_then(|node| path(node, "member_folder", base, faults));
    let adapter = adapter(root, base, faults);
    let gateway = root
        .get("gateway")
        .and_then(|node| Table::of(node, "[gateway]", faults))
        .and_then(|table| gateway(&table, faults));
    let taken = gateway.as_ref().map(|part| part.listen);
    let health = root
        .get("health")
        .and_then(|node| Table::of(node, "[health]", faults))
        .and_then(|table| health(&table, taken, faults));
    let otlp = root.text("otlp", faults).and_then(|(url, span)| {
        let fits = url.starts_with("http://") || url.starts_with("https://");
        if !fits {
            faults.add(span, "`otlp` is not a URL", Some("write it like \"http://127.0.0.1:4317\""));
        }
        fits.then(|| url.to_owned())
    });
    if root.get("adapter").is_none() && root.get("gateway").is_none() {
        let help = "name the adapter's key with `adapter`, or open a [gateway], or both";
        faults.add(0..0, "neither `adapter` nor [gateway]: there is nothing to run", Some(help));
    }
    Some(Config { file: file.to_owned(), member_folder: member_folder?, adapter, gateway, health, otlp })
}

fn adapter(root: &Table<'_, '_>, base: &Path, faults: &mut Faults<'_>) -> Option<AdapterPart> {
    if root.get("adapter").is_none() {
        for key in ["mappings", "record_types", "journal", "segment_bytes", "only_contracts", "witness"] {
            if root.get(key).is_some() {
                let help = "name the adapter's key with `adapter`, or leave this out";
                faults.add(root.key_span(key), format!("`{key}` without `adapter`"), Some(help));
            }
        }
        return None;
    }
    let name = root.text("adapter", faults).and_then(|given| app_id(given, "adapter", faults));
    let journal = root.need("journal", faults).and_then(|node| path(node, "journal", base, faults));
    let mappings = mappings(root, base, faults);
    let record_types = record_types(root, base, faults);
    let segment_bytes = match root.get("segment_bytes") {
        None => Some(SEGMENT_DEFAULT),
        Some(node) => segment_bytes(node, faults),
    };
    let only_contracts = root.list("only_contracts", faults).map(|nodes| {
        let pinned = nodes.iter().filter_map(|node| {
            text(node, "only_contracts", faults).and_then(|given| digest(given, "only_contracts", faults))
        });
        pinned.collect::<BTreeSet<Digest>>()
    });
    Some(AdapterPart {
        name: name?,
        mappings: mappings?,
        record_types,
        journal: journal?,
        segment_bytes: segment_bytes?,
        only_contracts,
        witness: root.boolean("witness", faults).unwrap_or(false),
    })
}

fn mappings(root: &Table<'_, '_>, base: &Path, faults: &mut Faults<'_>) -> Option<Vec<PathBuf>> {
    let node = root.need("mappings", faults)?;
    let nodes = root.list("mappings", faults)?;
    if !(1..=MAPPINGS_MAX).contains(&nodes.len()) {
        faults.add(node.span(), format!("`mappings` lists 1 to {MAPPINGS_MAX} files"), None);
    }
    let mut paths = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(path) = path(node, "mappings", base, faults) else { continue };
        if paths.contains(&path) {
            faults.add(node.span(), "this file is listed already", None);
        }
        paths.push(path);
    }
    Some(paths)
}

fn record_types(root: &Table<'_, '_>, base: &Path, faults: &mut Faults<'_>) -> Vec<PathBuf> {
    let nodes = root.list("record_types", faults).unwrap_or_default();
    if nodes.len() > MAPPINGS_MAX {
        faults.add(
            root.key_span("record_types"),
            format!("`record_types` lists at most {MAPPINGS_MAX} files"),
            None,
        );
    }
    nodes.iter().filter_map(|node| path(node, "record_types", base, faults)).collect()
}

fn gateway(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<GatewayPart> {
    table.only(&["listen", "allow_network", "app"], faults);
    let listen = listen(table, faults);
    let node = table.need("app", faults)?;
    let nodes = table.list("app", faults)?;
    if !(1..=APPS_MAX).contains(&nodes.len()) {
        faults.add(node.span(), format!("[gateway] has 1 to {APPS_MAX} apps"), None);
    }
    let mut apps: Vec<AppPart> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(table) = Table::of(node, "[[gateway.app]]", faults) else { continue };
        let Some(app) = app(&table, faults) else { continue };
        if apps.iter().any(|known| known.name == app.name) {
            faults.add(node.span(), "an app of this name is there already", None);
        }
        if apps.iter().any(|known| known.token_sha256 == app.token_sha256) {
            faults.add(node.span(), "two apps have the same token", Some("give each app a token of its own"));
        }
        apps.push(app);
    }
    Some(GatewayPart { listen: listen?, apps })
}

fn health(table: &Table<'_, '_>, taken: Option<SocketAddr>, faults: &mut Faults<'_>) -> Option<SocketAddr> {
    table.only(&["listen", "allow_network"], faults);
    let address = listen(table, faults)?;
    if taken.is_some_and(|taken| meet(taken, address)) {
        let span = table.get("listen").map_or(0..0, toml::Spanned::span);
        let help = "give [health] a port of its own, like \"127.0.0.1:8481\"";
        faults.add(span, "`listen` is the gateway's address too", Some(help));
    }
    Some(address)
}

/// Whether one of two addresses takes the other away. Port 0 is any that is free.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |one: SocketAddr| one.ip().is_unspecified();
    let same = a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (any(a) || any(b)));
    a.port() == b.port() && a.port() != 0 && same
}

fn app(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<AppPart> {
    table.only(&["name", "token_sha256"], faults);
    let name = table.need_text("name", faults).and_then(|given| app_id(given, "name", faults));
    let token =
        table.need_text("token_sha256", faults).and_then(|given| digest(given, "token_sha256", faults));
    Some(AppPart { name: name?, token_sha256: token? })
}

/// An address to listen on; beyond this machine only if that was said twice, since the doors speak plain HTTP.
fn listen(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<SocketAddr> {
    let (given, span) = table.need_text("listen", faults)?;
    let Ok(address) = given.parse::<SocketAddr>() else {
        faults.add(span, "`listen` is not an address and port", Some("write it like \"127.0.0.1:8480\""));
        return None;
    };
    let allowed = table.boolean("allow_network", faults).unwrap_or(false);
    if !address.ip().is_loopback() && !allowed {
        let message =
            "`listen` is reachable from the network, and tokens and records travel there in the open";
        let help = "listen on 127.0.0.1 behind a proxy with TLS, or write `allow_network = true` if this \
                    network is trusted as a whole";
        faults.add(span, message, Some(help));
        return None;
    }
    Some(address)
}

fn app_id((given, span): (&str, Range<usize>), key: &str, faults: &mut Faults<'_>) -> Option<AppId> {
    AppId::parse(given).map_err(|error| not_well_formed(&error, span, key, faults)).ok()
}

fn not_well_formed(error: &IdError, span: Range<usize>, key: &str, faults: &mut Faults<'_>) {
    let error = error.to_string();
    // The part after "`…` is not " is the rule; the value itself is not repeated.
    let rule = error.rsplit_once("` is not ").map_or("", |(_, rule)| rule);
    faults.add(span, format!("`{key}` is not well-formed"), Some(&format!("write {rule}")));
}

fn path(node: &Node<'_>, key: &str, base: &Path, faults: &mut Faults<'_>) -> Option<PathBuf> {
    let (given, span) = text(node, key, faults)?;
    if given.is_empty() || given.len() > 4096 || given.contains('\0') {
        faults.add(span, format!("`{key}` is not a path"), None);
        return None;
    }
    Some(base.join(given))
}

fn digest((given, span): (&str, Range<usize>), key: &str, faults: &mut Faults<'_>) -> Option<Digest> {
    let parsed = from_hex(given);
    if parsed.is_none() {
        let help = "write the 64 hexadecimal digits of a SHA-256, as `printf %s … | sha256sum | cut -c1-64` prints them";
        faults.add(span, format!("`{key}` is not a SHA-256"), Some(help));
    }
    parsed
}

fn from_hex(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = Digest::default();
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn segment_bytes(node: &Node<'_>, faults: &mut Faults<'_>) -> Option<u64> {
    let value = match node.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    let value = value.filter(|n| n.is_multiple_of(SEGMENT_UNIT) && (SEGMENT_MIN..=SEGMENT_MAX).contains(n));
    if value.is_none() {
        let help = "write a multiple of 4096 from 3145728 (3 MiB) to 1073741824 (1 GiB)";
        faults.add(node.span(), "`segment_bytes` is not a size of journal segments", Some(help));
    }
    value
}
