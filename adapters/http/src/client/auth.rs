//! How the adapter shows who it is: a fixed header, or a token that it asks for and keeps while it lasts.

use super::assertion::AssertionKey;
use super::base::Base;
use super::secret::Secret;
use super::transport::{Call, Deadline, Transport, refused};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use yiwang_adapter_sdk::mapping::{AuthDef, ClientDef, Method};
use yiwang_adapter_sdk::source::{Environment, SourceError};
use yiwang_proto::ambient::Entropy;
use zeroize::Zeroizing;

/// How long a token lasts where its issuer does not say: SMART's recommendation.
const LIFE: Duration = Duration::from_secs(300);
/// However long its issuer says, so that what it takes back ends within the hour.
const LIFE_MAX: Duration = Duration::from_secs(3600);
/// A token is not used in the last part of its life, which clocks and the way may take.
const MARGIN: Duration = Duration::from_secs(30);
/// Characters of a token: a header must hold it.
const TOKEN_MAX: usize = 16 * 1024;
/// What a token endpoint may say of a refusal (RFC 6749, section 5.2).
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

pub(crate) enum Auth {
    None,
    Header(HeaderName, Box<Secret<HeaderValue>>),
    Token(Box<Tokens>),
}

pub(crate) struct Tokens {
    endpoint: Base,
    /// The endpoint as it was named: who verifies an assertion compares it.
    audience: String,
    client: ClientDef,
    proof: Proof,
    kept: Mutex<Option<Token>>,
}

enum Proof {
    Secret(Secret<Zeroizing<String>>),
    Key(Secret<AssertionKey>),
}

impl Proof {
    async fn renew(&self) -> bool {
        match self {
            Self::Secret(secret) => secret.renew().await,
            Self::Key(key) => key.renew().await,
        }
    }
}

/// Why there is no token.
struct NoToken {
    error: SourceError,
    /// Whether it is for what the client proves itself with.
    for_proof: bool,
}

impl From<SourceError> for NoToken {
    fn from(error: SourceError) -> Self {
        Self { error, for_proof: false }
    }
}

struct Token {
    value: HeaderValue,
    until_us: u64,
}

impl Auth {
    pub(crate) fn new(
        def: &AuthDef,
        plain: bool,
        folder: &Path,
        environment: &Arc<dyn Environment>,
    ) -> Result<Self, SourceError> {
        let (client, proof) = match def {
            AuthDef::None => return Ok(Self::None),
            AuthDef::Header { name, value } => {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| no_header())?;
                let value = Secret::read(value, folder, environment, |text| {
                    let mut value = HeaderValue::from_str(text).map_err(|_| no_header())?;
                    value.set_sensitive(true);
                    Ok(value)
                })?;
                return Ok(Self::Header(name, Box::new(value)));
            }
            AuthDef::ClientCredentials { client, secret } => {
                let make = |text: &str| Ok(Zeroizing::new(text.to_owned()));
                (client, Proof::Secret(Secret::read(secret, folder, environment, make)?))
            }
            AuthDef::SmartBackend { client, key, kid } => {
                let kid = kid.clone();
                let make = move |text: &str| AssertionKey::parse(text, kid.as_deref());
                (client, Proof::Key(Secret::read(key, folder, environment, make)?))
            }
        };
        let audience = client.token_url.resolve(folder, environment.as_ref())?.trim().to_owned();
        Ok(Self::Token(Box::new(Tokens {
            endpoint: Base::parse(&audience, plain)?,
            audience,
            client: client.clone(),
            proof,
            kept: Mutex::new(None),
        })))
    }

    /// Whether what it shows itself to is called over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::None | Self::Header(..) => true,
            Self::Token(tokens) => tokens.endpoint.is_tls(),
        }
    }

    /// The header to send; asks for a token where none lasts long enough. One asks, the others wait for it.
    pub(crate) async fn shown(
        &self,
        transport: &Transport,
        entropy: &dyn Entropy,
        deadline: Deadline,
    ) -> Result<Option<(HeaderName, HeaderValue)>, SourceError> {
        match self {
            Self::None => Ok(None),
            Self::Header(name, value) => Ok(Some((name.clone(), value.value().as_ref().clone()))),
            Self::Token(tokens) => {
                let mut kept = tokens.kept.lock().await;
                if let Some(token) = kept.as_ref().filter(|token| token.until_us > transport.monotonic_us()) {
                    return Ok(Some((AUTHORIZATION, token.value.clone())));
                }
                let token = tokens.token(transport, entropy, deadline).await?;
                let value = token.value.clone();
                *kept = Some(token);
                Ok(Some((AUTHORIZATION, value)))
            }
        }
    }

    /// After a refusal: forgets the token that was shown, or reads the header's value again, unless another was had
    /// since. False where there is nothing else to show.
    pub(crate) async fn renew(&self, shown: Option<&(HeaderName, HeaderValue)>) -> bool {
        let Some((_, refused)) = shown else { return false };
        match self {
            Self::None => false,
            Self::Header(_, value) => {
                // Of many questions that are refused at once one finds the new value.
                *value.value() != *refused || value.renew().await || *value.value() != *refused
            }
            Self::Token(tokens) => {
                let mut kept = tokens.kept.lock().await;
                if kept.as_ref().is_some_and(|token| token.value == *refused) {
                    *kept = None;
                }
                true
            }
        }
    }
}

impl Tokens {
    /// Asks for a token; once more with another secret or key, where the one that was shown is refused and another is
    /// there by now.
    async fn token(
        &self,
        transport: &Transport,
        entropy: &dyn Entropy,
        deadline: Deadline,
    ) -> Result<Token, SourceError> {
        let mut asked = self.ask(transport, entropy, deadline).await;
        if asked.as_ref().is_err_and(|refused| refused.for_proof) && self.proof.renew().await {
            asked = self.ask(transport, entropy, deadline).await;
        }
        asked.map_err(|refused| refused.error)
    }

    async fn ask(
        &self,
        transport: &Transport,
        entropy: &dyn Entropy,
        deadline: Deadline,
    ) -> Result<Token, NoToken> {
        let (form, header) = self.request(transport, entropy)?;
        let call = Call {
            method: Method::Post,
            target: if self.endpoint.path().is_empty() {
                "/".to_owned()
            } else {
                self.endpoint.path().to_owned()
            },
            content: Some(("application/x-www-form-urlencoded", Bytes::from(form))),
            accept: "application/json",
            headers: Vec::new(),
            idempotent: false,
        };
        let asked = transport.once(&self.endpoint, &call, header.as_ref(), deadline).await;
        let response = asked.map_err(|failed| no_token(&failed.error.to_string()))?;
        let began_us = transport.monotonic_us();
        let status = response.status();
        let reply =
            transport.finish(response, deadline).await.map_err(|error| no_token(&error.to_string()))?;
        let json = reply.json.unwrap_or_default();
        if status != StatusCode::OK {
            let said = json.get("error").and_then(Value::as_str);
            let known = said.and_then(|said| ERRORS.into_iter().find(|known| *known == said));
            let what = known.map_or_else(|| refused(status).to_string(), |known| format!("it says {known}"));
            let for_proof = status == StatusCode::UNAUTHORIZED || known == Some("invalid_client");
            return Err(NoToken { error: no_token(&what), for_proof });
        }
        let token = json.get("access_token").and_then(Value::as_str).unwrap_or_default();
        let bearer = json
            .get("token_type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        if !bearer
            || token.is_empty()
            || token.len() > TOKEN_MAX
            || !token.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(no_token("its answer holds no bearer token").into());
        }
        let life =
            json.get("expires_in").and_then(Value::as_u64).map_or(LIFE, Duration::from_secs).min(LIFE_MAX);
        let usable = life.saturating_sub(MARGIN.min(life / 5));
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| no_token("its answer holds no bearer token"))?;
        value.set_sensitive(true);
        let usable_us = u64::try_from(usable.as_micros()).unwrap_or(u64::MAX);
        Ok(Token { value, until_us: began_us.saturating_add(usable_us) })
    }

    fn request(
        &self,
        transport: &Transport,
        entropy: &dyn Entropy,
    ) -> Result<(String, Option<(HeaderName, HeaderValue)>), SourceError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.client.scopes.is_empty() {
            form.append_pair("scope", &self.client.scopes.join(" "));
        }
        let header = match &self.proof {
            Proof::Secret(secret) => {
                let encode =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let client = encode(&self.client.client_id);
                let secret = Zeroizing::new(encode(&secret.value()));
                let pair = Zeroizing::new(format!("{client}:{}", secret.as_str()));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
                    .map_err(|_| SourceError::Setting("auth: the secret cannot be sent".to_owned()))?;
                value.set_sensitive(true);
                Some((AUTHORIZATION, value))
            }
            Proof::Key(key) => {
                let key = key.value();
                let assertion =
                    key.assertion(&self.client.client_id, &self.audience, transport.now_ms(), entropy)?;
                form.append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                );
                form.append_pair("client_assertion", &assertion);
                None
            }
        };
        Ok((form.finish(), header))
    }
}

fn no_header() -> SourceError {
    SourceError::Setting("auth: name or value cannot be a header".to_owned())
}

fn no_token(what: &str) -> SourceError {
    SourceError::Unavailable(format!("no access token: {what}"))
}
