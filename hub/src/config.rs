//! `hub.toml`: raw → checked. Unknown keys are refused; every default has its reason.

use crate::denials::DenialLimits;
use crate::quotas::QuotaLimits;
use crate::tls::accept::AcceptLimits;
use crate::tls::authority::is_server_name;
use crate::tls::identity::TrustDomain;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_policies::place::{position, without_values};
use yiwang_proto::ids::Purpose;
use yiwang_proto::witness::{POLICY_MAX, WitnessPolicy};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}; `yiwang hub init` makes one")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text is not as it must be.
    #[error("{path}:{line}:{column}: {message}; {help}")]
    Text {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong: names keys, never values.
        message: String,
        /// What to do next.
        help: String,
    },
    /// No hub can be made with it.
    #[error("{message}; {help}; nothing was made")]
    New {
        /// What is wrong.
        message: String,
        /// What to do next.
        help: String,
    },
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// `hub/1`.
    pub format: String,
    /// Name of the ledger, a schema-less URL, e.g. `log.city.example/yiwang`.
    pub origin: String,
    /// Trust domain of the SPIFFE identities.
    pub trust_domain: String,
    /// Where members connect.
    pub listen: SocketAddr,
    /// Where members enrol, without a client certificate.
    pub enrol_listen: SocketAddr,
    /// Where `/live`, `/ready` and `/stages` are served, in plain HTTP: loopback by default.
    pub health_listen: SocketAddr,
    /// DNS names or IP addresses by which members call the hub.
    pub names: Vec<String>,
    /// Port that members are told, where it differs from `listen` (0 = the same).
    #[serde(default)]
    pub public_port: u16,
    /// Bytes per ledger segment; 64 MiB by default: few files, quick to check at start.
    #[serde(default = "segment_bytes")]
    pub segment_bytes: u64,
    /// A tlog-policy file, relative to this one: checkpoints are published only with its cosignatures. None by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_policy: Option<PathBuf>,
    /// Seconds after which exchanges are refused while too few witnesses cosign; 300 by default: long enough
    /// to restart some witnesses, short enough that little is accepted that nobody else has seen.
    #[serde(default = "stop_intake_after_s")]
    pub stop_intake_after_s: u32,
    /// OTLP collector for traces, e.g. `http://127.0.0.1:4317`; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// What is turned away under load.
    #[serde(default)]
    pub overload: Overload,
    /// What one member may keep open; see [`QuotaLimits`].
    #[serde(default)]
    pub quotas: QuotaLimits,
    /// What is kept of denials that are no entries of their own; see [`DenialLimits`].
    #[serde(default)]
    pub denials: DenialLimits,
}

/// Shares of members, so that a flood of one harms nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// Exchanges per second of one member for one purpose; 1,000 by default: a department of ten thousand
    /// officers of whom each asks every ten seconds, and a quarter of what one node carries.
    pub per_second: u32,
    /// Exchanges above the rate that may come at once; 2,000 by default: the first seconds of a working day.
    pub burst: u32,
    /// Purposes that pass while others are turned away; saving life by default.
    pub emergency: Vec<Purpose>,
    /// Connections of one address; 256 by default. A district whose members all come through one translated
    /// address needs as many as their adapters, gateways and tools hold together.
    pub connections_per_address: usize,
}

impl Default for Overload {
    fn default() -> Self {
        let emergency = Purpose::parse("emergency.life-safety").into_iter().collect();
        let connections_per_address = AcceptLimits::default().per_address;
        Self { per_second: 1_000, burst: 2_000, emergency, connections_per_address }
    }
}

/// Highest rate: above it a bucket counts less than its own cost.
const RATE_MAX: u32 = 1_000_000;

fn stop_intake_after_s() -> u32 {
    300
}

fn segment_bytes() -> u64 {
    64 << 20
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the file: everything the hub keeps lies below it.
    pub dir: PathBuf,
    /// The file's values.
    pub raw: RawConfig,
    /// Trust domain.
    pub trust_domain: TrustDomain,
    /// Which witnesses must have cosigned what is published.
    pub witnesses: Option<Arc<WitnessPolicy>>,
}

impl Config {
    /// Reads and checks `hub.toml` of a folder.
    pub fn read(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("hub.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::parse(dir, &path, &text)
    }

    fn parse(dir: &Path, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let fault = |offset: usize, message: String, help: &str| {
            let (line, column) = position(text, offset);
            ConfigError::Text { path: path.to_owned(), line, column, message, help: help.to_owned() }
        };
        let at = |key: &str| of_key(text, key);
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let (message, help) = without_values(error.message());
            fault(error.span().map_or(0, |span| span.start), message, &help)
        })?;
        for (holds, key, message, help) in raw.bounds() {
            if !holds {
                return Err(fault(at(key), message, help));
            }
        }
        if let Some(message) = raw.denials.fault() {
            return Err(fault(at("[denials]"), message, "write a number within these bounds"));
        }
        let trust_domain = TrustDomain::parse(&raw.trust_domain).map_err(|_| {
            let help = "write lower-case letters, digits, dots and hyphens, like \"city.example\"";
            fault(at("trust_domain"), "`trust_domain` is not a trust domain".to_owned(), help)
        })?;
        let witnesses = match &raw.witness_policy {
            None => None,
            Some(path) => {
                let help = "name a tlog-policy file that can be read and holds, or leave the key out";
                let policy =
                    read_policy(&dir.join(path)).map_err(|what| fault(at("witness_policy"), what, help))?;
                Some(Arc::new(policy))
            }
        };
        Ok(Self { dir: dir.to_owned(), raw, trust_domain, witnesses })
    }
}

impl RawConfig {
    /// The text of a new hub's file. Checked before authority and key are made: they are made once, and members pin them
    /// together with names and origin.
    ///
    /// # Errors
    /// [`ConfigError`], where no hub could run with it or its origin is none that a new one should have.
    pub fn text_of_new(&self, dir: &Path) -> Result<String, ConfigError> {
        // Not asked of a hub that is there: its origin stands in every entry and cannot be changed any more.
        if self.origin.contains("://") {
            let message = "the origin is a URL with a scheme".to_owned();
            let help = "write it without, like \"log.city.example/yiwang\"".to_owned();
            return Err(ConfigError::New { message, help });
        }
        let text = toml::to_string(self).map_err(|error| ConfigError::New {
            message: format!("the configuration cannot be written: {error}"),
            help: "mend the value".to_owned(),
        })?;
        match Config::parse(dir, &dir.join("hub.toml"), &text) {
            Ok(_) => Ok(text),
            // There is no file yet whose line could be told.
            Err(ConfigError::Text { message, help, .. }) => Err(ConfigError::New { message, help }),
            Err(error) => Err(error),
        }
    }

    /// What the types do not say: whether it holds, where it stands, what is wrong and what to write.
    fn bounds(&self) -> [(bool, &'static str, String, &'static str); 8] {
        let rates = 1..=RATE_MAX;
        let rate = || format!("`per_second` and `burst` are 1 to {RATE_MAX}");
        let number = "write a whole number within these bounds";
        let otlp = self.otlp.as_deref();
        [
            (
                self.format == "hub/1",
                "format",
                "`format` is not known".to_owned(),
                "this program reads format = \"hub/1\"",
            ),
            (
                yiwang_proto::note::is_key_name(&self.origin) && self.origin.len() <= 128,
                "origin",
                "`origin` is not a schema-less URL without spaces or `+`".to_owned(),
                "write it like \"log.city.example/yiwang\"",
            ),
            (
                rates.contains(&self.overload.per_second) && rates.contains(&self.overload.burst),
                "[overload]",
                rate(),
                number,
            ),
            (
                self.overload.connections_per_address > 0,
                "[overload]",
                "`connections_per_address` is at least 1: nobody could connect".to_owned(),
                "write a whole number from 1 on",
            ),
            (
                rates.contains(&self.quotas.per_second) && rates.contains(&self.quotas.burst),
                "[quotas]",
                rate(),
                number,
            ),
            (
                !self.names.is_empty(),
                "names",
                "`names` lists at least one name or address".to_owned(),
                "write the names by which members call the hub, like names = [\"hub.city.example\"]",
            ),
            (
                self.names.iter().all(|name| is_server_name(name)),
                "names",
                "`names` lists what is neither a DNS name without wildcard nor an IP address".to_owned(),
                "write names without scheme and port, like names = [\"hub.city.example\"]",
            ),
            (
                otlp.is_none_or(|url| url.starts_with("http://") || url.starts_with("https://")),
                "otlp",
                "`otlp` is not a URL".to_owned(),
                "write it like \"http://127.0.0.1:4317\"",
            ),
        ]
    }
}

/// Byte offset of the line that begins with a key or table; 0 where there is none.
fn of_key(text: &str, key: &str) -> usize {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let shown = line.trim_start();
        if shown.starts_with(key) {
            return offset + line.len() - shown.len();
        }
        offset += line.len();
    }
    0
}

fn read_policy(path: &Path) -> Result<WitnessPolicy, String> {
    let named = |what: String| format!("`{}`: {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
    if size > POLICY_MAX as u64 {
        return Err(named(format!("the file is longer than {POLICY_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    WitnessPolicy::parse(&bytes)
        .map_err(|faults| named(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(overload: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "format = \"hub/1\"\norigin = \"log.city.example/yiwang\"\ntrust_domain = \"city.example\"\n\
             listen = \"127.0.0.1:0\"\nenrol_listen = \"127.0.0.1:0\"\nhealth_listen = \"127.0.0.1:0\"\n\
             names = [\"localhost\"]\n{overload}"
        );
        Config::parse(Path::new("hub"), Path::new("hub/hub.toml"), &text)
    }

    #[test]
    fn what_is_kept_of_denials_has_a_limit() {
        assert_eq!(parse("").unwrap().raw.denials, DenialLimits::default());
        assert_eq!(parse("[denials]\nkept_mib = 7\n").unwrap().raw.denials.kept_mib, 7);
        assert_eq!(parse("[denials]\nleave_free_mib = 9\n").unwrap().raw.denials.leave_free_mib, 9);
        for bad in ["kept_mib = 0", "kept_mib = 5000000", "leave_free_mib = 0", "kept = 5"] {
            let refused = parse(&format!("[denials]\n{bad}\n")).unwrap_err();
            assert!(matches!(refused, ConfigError::Text { line: 8 | 9, .. }), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_hub_is_made_only_where_it_could_run() {
        let good = parse("").unwrap().raw;
        let text = good.text_of_new(Path::new("hub")).unwrap();
        assert_eq!(
            Config::parse(Path::new("hub"), Path::new("hub.toml"), &text).unwrap().raw.names,
            good.names
        );
        for name in ["999.1.1.1", "http://hub.city.example", "hub.city.example:7443", "*.city.example", ""] {
            let raw = RawConfig { names: vec!["localhost".to_owned(), name.to_owned()], ..good.clone() };
            let refused = raw.text_of_new(Path::new("hub")).unwrap_err().to_string();
            assert!(
                refused.contains("`names` lists what is neither") && refused.ends_with("nothing was made")
            );
        }
        let raw = RawConfig { origin: "https://log.city.example/yiwang".to_owned(), ..good };
        let refused = raw.text_of_new(Path::new("hub")).unwrap_err().to_string();
        assert!(refused.contains("with a scheme"), "{refused}");
        // One that is there goes on.
        let text = toml::to_string(&raw).unwrap();
        assert!(Config::parse(Path::new("hub"), Path::new("hub.toml"), &text).is_ok());
    }

    #[test]
    fn a_name_that_no_certificate_could_have_is_told_with_its_line() {
        let text =
            toml::to_string(&parse("").unwrap().raw).unwrap().replace("localhost", "hub.city.example:7443");
        let refused = Config::parse(Path::new("hub"), Path::new("hub.toml"), &text).unwrap_err();
        assert!(
            matches!(&refused, ConfigError::Text { help, .. } if help.contains("without scheme and port"))
        );
    }

    #[test]
    fn shares_have_defaults_and_limits() {
        let default = parse("").unwrap().raw.overload;
        assert_eq!(default, Overload::default());
        assert_eq!(default.emergency, [Purpose::parse("emergency.life-safety").unwrap()]);
        assert_eq!(parse("[overload]\nper_second = 5\n").unwrap().raw.overload.burst, default.burst);
        for bad in ["per_second = 0", "burst = 2000000", "per_minute = 5", "emergency = [\"No purpose\"]"] {
            let refused = parse(&format!("[overload]\n{bad}\n")).unwrap_err();
            assert!(matches!(refused, ConfigError::Text { line: 8 | 9, .. }), "{bad}: {refused}");
        }
    }
}
