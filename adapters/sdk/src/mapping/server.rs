//! The `[source.postgres]` and `[source.mariadb]` tables: they say the same things.

use super::def::{PoolDef, ServerDef, TlsDef};
use super::fault::Faults;
use super::read::{Node, Table, kind, one_of};
use super::source::{common, read_only, reference};
use crate::source::Setting;
use std::time::Duration;
use toml::de::DeValue;

/// A department's database serves others too, and a look-up is short: eight carry thousands a second.
const CONNECTIONS: u32 = 8;
/// More would only make the database wait for its own disk.
const CONNECTIONS_MAX: i64 = 64;

pub(super) fn read(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<ServerDef> {
    table.only(&["url", "tls", "pool", "read_only", "time_zone", "health", "freshness"], faults);
    let url = table.need("url", faults).and_then(|node| secret(node, "url", faults));
    let tls = match table.get("tls") {
        Some(node) => tls(node, faults),
        None => {
            let help = "write tls = { mode = \"verify-full\", ca = { file = \"ca.pem\" } }; \
                        or { mode = \"off\" } for a server on this machine";
            faults.add(table.span.clone(), format!("{} lacks `tls`", table.what), Some(help.to_owned()));
            None
        }
    };
    let pool = pool(table, faults);
    read_only(table, faults);
    let common = common(table, true, faults);
    Some(ServerDef { url: url?, tls: tls?, pool, common })
}

/// A value that stands outside of the mapping.
fn secret(node: &Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Setting> {
    match node.get_ref() {
        DeValue::Table(_) => reference(node, key, faults),
        other => {
            let help = "write { env = \"NAME\" } or { file = \"path\" }: it does not stand in a mapping";
            let message = format!("`{key}` is {}, not a reference", kind(other));
            faults.add(node.span(), message, Some(help.to_owned()));
            None
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    VerifyFull,
    Off,
}

fn tls(node: &Node<'_>, faults: &mut Faults<'_>) -> Option<TlsDef> {
    let table = Table::of(node, "`tls`", faults)?;
    table.only(&["mode", "ca"], faults);
    let choices = [("verify-full", Mode::VerifyFull), ("off", Mode::Off)];
    let mode = one_of(table.need("mode", faults)?, "mode", &choices, faults)?;
    match mode {
        Mode::VerifyFull => {
            let ca = table.need("ca", faults).and_then(|node| secret(node, "ca", faults))?;
            Some(TlsDef::VerifyFull { ca })
        }
        Mode::Off => {
            if table.get("ca").is_some() {
                faults.add(table.key_span("ca"), "without TLS there is no `ca`", None);
            }
            Some(TlsDef::Off)
        }
    }
}

fn pool(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> PoolDef {
    let fallback = PoolDef {
        max: CONNECTIONS,
        idle: Duration::from_secs(300),
        // Half of what most operations have.
        acquire: Duration::from_secs(2),
    };
    let Some(inner) = table.get("pool").and_then(|node| Table::of(node, "`pool`", faults)) else {
        return fallback;
    };
    inner.only(&["max", "idle", "acquire"], faults);
    let acquire = inner.duration("acquire", faults).unwrap_or(fallback.acquire);
    if acquire > Duration::from_secs(30) {
        let help = "an exchange has 30 s at most, the way there and back included";
        faults.add(inner.key_span("acquire"), "`acquire` is over 30s", Some(help.to_owned()));
    }
    PoolDef {
        max: inner
            .integer("max", 1..CONNECTIONS_MAX + 1, faults)
            .and_then(|max| u32::try_from(max).ok())
            .unwrap_or(fallback.max),
        idle: inner.duration("idle", faults).unwrap_or(fallback.idle),
        acquire,
    }
}
