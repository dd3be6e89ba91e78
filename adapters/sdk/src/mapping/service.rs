//! What a mapping says of a service that speaks JSON over HTTP: `[source.http]`, `[source.fhir]` and how
//! their operations ask.

use super::def::SourceCommon;
use crate::source::Setting;
use std::path::PathBuf;
use std::time::Duration;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;

/// `[source.http]`.
#[derive(Debug, Clone)]
pub struct HttpDef {
    /// Where and how it is reached.
    pub service: ServiceDef,
    /// An OpenAPI 3 document in JSON that `check` holds operations and fields against.
    pub openapi: Option<PathBuf>,
    /// What all sources have.
    pub common: SourceCommon,
}

/// `[source.fhir]`.
#[derive(Debug, Clone)]
pub struct FhirDef {
    /// Where and how it is reached.
    pub service: ServiceDef,
    /// What all sources have.
    pub common: SourceCommon,
}

/// Where a service is and how it is reached.
#[derive(Debug, Clone)]
pub struct ServiceDef {
    /// Base address: `https://host[:port][/path]`.
    pub url: Setting,
    /// How the adapter shows who it is.
    pub auth: AuthDef,
    /// Whom the adapter trusts.
    pub tls: TlsDef,
    /// An HTTP proxy, `http://[user:password@]host:port`; what the process's environment says is not asked.
    pub proxy: Option<Setting>,
    /// Calls at once at most.
    pub pool_max: usize,
    /// How long a call waits for its turn.
    pub acquire: Duration,
    /// When a call is made again.
    pub retry: RetryDef,
    /// Bytes of one answer at most.
    pub max_bytes: usize,
}

/// How the adapter shows who it is.
#[derive(Debug, Clone)]
pub enum AuthDef {
    /// Not at all.
    None,
    /// A fixed header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Setting,
    },
    /// OAuth2 client credentials (RFC 6749, section 4.4) with a secret in the `Authorization` header.
    ClientCredentials {
        /// Where tokens are asked for, and as whom.
        client: ClientDef,
        /// The client's secret.
        secret: Setting,
    },
    /// SMART backend services: client credentials with a signed assertion (RFC 7523), ES384 or RS384.
    SmartBackend {
        /// Where tokens are asked for, and as whom.
        client: ClientDef,
        /// The private key, a JWK or PEM.
        key: Setting,
        /// The key's name at the service, where the key itself does not carry it.
        kid: Option<String>,
    },
}

/// A client of an authorisation server.
#[derive(Debug, Clone)]
pub struct ClientDef {
    /// The token endpoint.
    pub token_url: Setting,
    /// The client's name there.
    pub client_id: String,
    /// What it asks for.
    pub scopes: Vec<String>,
}

/// Whom the adapter trusts on the way to a service.
#[derive(Debug, Clone, Default)]
pub struct TlsDef {
    /// A file with authorities in PEM; without one, the authorities that the machine's system trusts.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key in PEM, for services that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Without TLS: only said by a department whose service has none.
    pub plain: bool,
}

/// When a call is made again. Only calls that change nothing are.
#[derive(Debug, Clone)]
pub struct RetryDef {
    /// Calls in all.
    pub attempts: u32,
    /// Before the second; doubled before each further one.
    pub first: Duration,
    /// Statuses that are worth another call.
    pub only: Vec<u16>,
}

/// Methods that an operation can use: neither is meant to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads with what is asked in the body.
    Post,
}

/// Where a parameter stands in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParamPlace {
    /// In the body, which no access log keeps.
    #[default]
    Body,
    /// In the path of the address.
    Path,
    /// In the query of the address.
    Query,
}

/// How an operation of an HTTP source asks.
#[derive(Debug, Clone)]
pub struct CallDef {
    /// The method.
    pub method: Method,
    /// Segments of the path beneath the base address.
    pub path: Vec<Piece>,
    /// The query of the address.
    pub query: Vec<(String, Piece)>,
    /// The JSON body.
    pub body: Option<Template>,
    /// JSON pointer to the list of rows in the answer, or to the one row; empty for the whole answer.
    pub rows: String,
    /// JSON pointer to the address of the next page.
    pub next: Option<String>,
    /// Whether the status 404 means that there is no such row.
    pub absent_404: bool,
    /// Whether a call can be made again.
    pub idempotent: bool,
}

/// A constant or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// As it stands.
    Constant(Scalar),
    /// The value of a parameter.
    Param(FieldName),
}

/// JSON with parameters in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// A value.
    Piece(Piece),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// How an operation of a FHIR source asks: one search on one type of resource.
#[derive(Debug, Clone)]
pub struct SearchDef {
    /// The type of resource.
    pub resource: String,
    /// Search parameters, each with its value in pieces that are joined.
    pub search: Vec<(String, Vec<Piece>)>,
    /// Resources of a page.
    pub count: Option<u32>,
}

impl CallDef {
    /// The path as it stands in the mapping, like `/v1/meters/:id`.
    pub fn shown_path(&self) -> String {
        self.path
            .iter()
            .map(|piece| match piece {
                Piece::Constant(Scalar::Text(text)) => format!("/{text}"),
                Piece::Constant(_) => "/".to_owned(),
                Piece::Param(name) => format!("/:{name}"),
            })
            .collect()
    }

    /// Parameters that stand in the address, where access logs keep them.
    pub fn in_address(&self) -> impl Iterator<Item = &FieldName> {
        self.path.iter().chain(self.query.iter().map(|(_, piece)| piece)).filter_map(|piece| match piece {
            Piece::Param(name) => Some(name),
            Piece::Constant(_) => None,
        })
    }
}

/// The name of a search parameter without modifier and chain: what a server declares.
pub fn search_name(name: &str) -> &str {
    name.split([':', '.']).next().unwrap_or_default()
}

/// Whether a text is a JSON pointer to something inside a document.
pub fn is_pointer(text: &str) -> bool {
    text.len() > 1
        && text.len() <= 256
        && text.starts_with('/')
        && !text.contains('\0')
        && text.split('~').skip(1).all(|after| after.starts_with(['0', '1']))
}
