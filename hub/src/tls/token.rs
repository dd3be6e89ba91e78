//! One-time enrolment tokens. The hub keeps only the SHA-256 of each secret, as the name of a file, so a
//! copy of its folder enrols nobody and a look-up compares no secret bytes. Redeeming renames that file:
//! of two attempts at once, the system lets one win.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::pb;
use yiwang_proto::time::{format_rfc3339, parse_rfc3339};
use yiwang_proto::{Digest, hex, sha256};

use super::files;
use super::identity::{Identity, TrustDomain};

/// The start of a token's text; the number is the version of its form.
pub const PREFIX: &str = "yiwang-enrol-1.";
/// How long a token may be used: a working week, so that it can be carried by hand.
pub const TOKEN_LIFETIME_MS: i64 = 7 * 24 * 3600 * 1000;
/// A secret of 32 bytes in base64 has 43 characters.
const SECRET_MAX: usize = 64;
const FILE_MAX: u64 = 4096;
const USED: &str = "used";

/// Why a token cannot be issued or redeemed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Unknown, used, expired or of somebody else: a stranger is not told which.
    #[error("the enrolment token is not valid; ask the hub's operator for a new one")]
    Refused(Refusal),
    /// A file operation failed.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody enrols as the hub.
    #[error("a token is for a member or an auditor")]
    NotEnrollable,
}

/// Why a token was refused; for counters and the operator's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such token was issued.
    Unknown,
    /// It was redeemed before.
    Used,
    /// It is past its end.
    Expired,
    /// It was issued for somebody else.
    OtherHolder,
}

/// What a token pins besides its secret: how to reach the hub and how to know it.
#[derive(Debug, Clone)]
pub struct HubFacts {
    /// `host:port` of the door for enrolled members.
    pub hub: String,
    /// `host:port` of the enrolment door.
    pub enrol: String,
    /// SHA-256 of the authority's certificate.
    pub ca: Digest,
    /// The ledger's origin.
    pub origin: String,
    /// The ledger's key, in the form of signed notes.
    pub verifier_key: String,
    /// The network.
    pub trust_domain: TrustDomain,
}

#[derive(Serialize)]
struct RawToken<'a> {
    hub: &'a str,
    enrol: &'a str,
    ca: String,
    origin: &'a str,
    verifier_key: &'a str,
    trust_domain: &'a str,
    who: &'a str,
    secret: &'a str,
    expires: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    who: String,
    expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<RawScope>,
}

/// An auditor's scope, as the operator gave it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScope {
    all: bool,
    members: Vec<String>,
    records: Vec<String>,
}

impl RawScope {
    fn of(scope: &AuditScope) -> Self {
        let pb::AuditScope { all, members, records } = scope.to_pb();
        Self { all, members, records }
    }

    fn check(self) -> Option<AuditScope> {
        let Self { all, members, records } = self;
        AuditScope::check(Some(&pb::AuditScope { all, members, records })).ok()
    }
}

/// The tokens of one hub, in a folder of its own.
#[derive(Debug)]
pub struct TokenStore {
    dir: PathBuf,
    /// Tokens whose enrolment is under way, by the hash that names their file.
    claimed: Mutex<HashSet<Digest>>,
}

/// A token that one enrolment holds: nobody else can use it meanwhile. Dropped without
/// [`Claim::spend`] it is as it was, so that an enrolment that fails half-way costs no token.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a TokenStore,
    secret: &'a str,
    who: &'a Identity,
}

impl Claim<'_> {
    /// Spends the token, as [`TokenStore::redeem`].
    ///
    /// # Errors
    /// As [`TokenStore::redeem`].
    pub fn spend(self, now_ms: i64) -> Result<(), TokenError> {
        self.store.redeem(self.secret, self.who, now_ms)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.store.claimed().remove(&sha256(self.secret.as_bytes()));
    }
}

impl TokenStore {
    /// Opens the folder, and makes it if missing.
    ///
    /// # Errors
    /// [`TokenError::Io`].
    pub fn open(dir: &Path) -> Result<Self, TokenError> {
        let used = dir.join(USED);
        files::create_private_dir(dir).map_err(|source| TokenError::Io { path: dir.to_owned(), source })?;
        files::create_private_dir(&used).map_err(|source| TokenError::Io { path: used, source })?;
        Ok(Self { dir: dir.to_owned(), claimed: Mutex::default() })
    }

    /// Issues a token for one member or auditor and yields its text, which is shown once and kept nowhere.
    ///
    /// # Errors
    /// [`TokenError::NotEnrollable`] for the hub; [`TokenError::Io`].
    pub fn issue(
        &self,
        identity: &Identity,
        facts: &HubFacts,
        expires_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, TokenError> {
        self.issue_scoped(identity, None, facts, expires_ms, entropy)
    }

    /// As [`TokenStore::issue`], for an auditor with what it may see; without a scope that is nothing.
    ///
    /// # Errors
    /// As [`TokenStore::issue`]; also [`TokenError::NotEnrollable`] for a member with a scope.
    pub fn issue_scoped(
        &self,
        identity: &Identity,
        scope: Option<&AuditScope>,
        facts: &HubFacts,
        expires_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, TokenError> {
        if scope.is_some() && !matches!(identity, Identity::Auditor(_)) {
            return Err(TokenError::NotEnrollable);
        }
        if *identity == Identity::Hub {
            return Err(TokenError::NotEnrollable);
        }
        let secret = URL_SAFE_NO_PAD.encode(random::<32>(entropy));
        let (who, expires) = (identity.who(), format_rfc3339(expires_ms));
        let token = RawToken {
            hub: &facts.hub,
            enrol: &facts.enrol,
            ca: hex(&facts.ca),
            origin: &facts.origin,
            verifier_key: &facts.verifier_key,
            trust_domain: facts.trust_domain.as_str(),
            who: &who,
            secret: &secret,
            expires: &expires,
        };
        // Structs of strings always serialise.
        let text =
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default()));
        let kept =
            serde_json::to_vec(&RawFile { who, expires, scope: scope.map(RawScope::of) }).unwrap_or_default();
        let (path, _used) = self.paths(&secret);
        match files::replace(&path, &kept, files::PRIVATE) {
            Ok(()) => Ok(text),
            Err(source) => Err(TokenError::Io { path, source }),
        }
    }

    /// Whose token it is, without spending it: what to check the rest of an enrolment against.
    ///
    /// # Errors
    /// [`TokenError::Refused`] unless [`TokenStore::redeem`] would now succeed for that holder.
    pub fn holder(&self, secret: &str, now_ms: i64) -> Result<Identity, TokenError> {
        let raw = self.unspent(secret, now_ms)?;
        Identity::from_who(&raw.who).ok_or(TokenError::Refused(Refusal::Unknown))
    }

    /// What the auditor that a token enrols may see; a scope that does not hold is none.
    ///
    /// # Errors
    /// As [`TokenStore::holder`].
    pub fn scope(&self, secret: &str, now_ms: i64) -> Result<AuditScope, TokenError> {
        let raw = self.unspent(secret, now_ms)?;
        Ok(raw.scope.and_then(RawScope::check).unwrap_or_default())
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a token for one enrolment, without spending it.
    ///
    /// # Errors
    /// [`TokenError::Refused`] unless [`TokenStore::redeem`] would now succeed for that holder and no other
    /// enrolment holds it.
    pub fn claim<'a>(
        &'a self,
        secret: &'a str,
        who: &'a Identity,
        now_ms: i64,
    ) -> Result<Claim<'a>, TokenError> {
        if self.unspent(secret, now_ms)?.who != who.who() {
            return Err(TokenError::Refused(Refusal::OtherHolder));
        }
        if !self.claimed().insert(sha256(secret.as_bytes())) {
            return Err(TokenError::Refused(Refusal::Used));
        }
        Ok(Claim { store: self, secret, who })
    }

    /// Spends a token. After `Ok` the secret never works again, also after a power cut.
    ///
    /// # Errors
    /// [`TokenError::Refused`] unless the secret was issued for exactly this holder, is not expired and was
    /// not redeemed before. A refusal spends nothing.
    pub fn redeem(&self, secret: &str, who: &Identity, now_ms: i64) -> Result<(), TokenError> {
        let refused = |why| Err(TokenError::Refused(why));
        if self.unspent(secret, now_ms)?.who != who.who() {
            return refused(Refusal::OtherHolder);
        }
        let (path, used) = self.paths(secret);
        match std::fs::rename(&path, &used) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return refused(Refusal::Used),
            Err(source) => return Err(TokenError::Io { path, source }),
        }
        for dir in [self.dir.join(USED), self.dir.clone()] {
            files::sync_dir(&dir).map_err(|source| TokenError::Io { path: dir, source })?;
        }
        Ok(())
    }

    /// Makes every unspent token of somebody useless.
    ///
    /// # Errors
    /// [`TokenError::Io`]; some may be left.
    pub fn void(&self, who: &Identity) -> Result<usize, TokenError> {
        let io = |source| TokenError::Io { path: self.dir.clone(), source };
        let mut voided = 0;
        for file in std::fs::read_dir(&self.dir).map_err(io)? {
            let path = file.map_err(io)?.path();
            if path.is_file() && read(&path)?.is_some_and(|raw| raw.who == who.who()) {
                std::fs::remove_file(&path).map_err(io)?;
                voided += 1;
            }
        }
        files::sync_dir(&self.dir).map_err(io)?;
        Ok(voided)
    }

    /// Who has an unspent token, also where its time is over; each once, in their order. What is no token is left out.
    ///
    /// # Errors
    /// [`TokenError::Io`].
    pub fn holders(&self) -> Result<Vec<String>, TokenError> {
        let io = |source| TokenError::Io { path: self.dir.clone(), source };
        let mut holders = BTreeSet::new();
        for file in std::fs::read_dir(&self.dir).map_err(io)? {
            let path = file.map_err(io)?.path();
            // One that is spent meanwhile is gone.
            if path.is_file() {
                holders.extend(read(&path).ok().flatten().map(|raw| raw.who));
            }
        }
        Ok(holders.into_iter().collect())
    }

    fn paths(&self, secret: &str) -> (PathBuf, PathBuf) {
        let name = hex(&sha256(secret.as_bytes()));
        (self.dir.join(&name), self.dir.join(USED).join(&name))
    }

    fn unspent(&self, secret: &str, now_ms: i64) -> Result<RawFile, TokenError> {
        let refused = |why| Err(TokenError::Refused(why));
        if secret.is_empty() || secret.len() > SECRET_MAX {
            return refused(Refusal::Unknown);
        }
        let (path, used) = self.paths(secret);
        let Some(raw) = read(&path)? else {
            return refused(if used.exists() { Refusal::Used } else { Refusal::Unknown });
        };
        // A date that does not parse ends the token.
        if parse_rfc3339(&raw.expires).map_or(true, |expires_ms| now_ms >= expires_ms) {
            return refused(Refusal::Expired);
        }
        Ok(raw)
    }
}

fn read(path: &Path) -> Result<Option<RawFile>, TokenError> {
    let io = |source| TokenError::Io { path: path.to_owned(), source };
    match files::read_small(path, FILE_MAX) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| io(io::Error::from(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::SeededEntropy;

    fn facts() -> HubFacts {
        HubFacts {
            hub: "127.0.0.1:1".to_owned(),
            enrol: "127.0.0.1:2".to_owned(),
            ca: [7; 32],
            origin: "city.example/ledger".to_owned(),
            verifier_key: "city.example/ledger+00000000+AA".to_owned(),
            trust_domain: TrustDomain::parse("city.example").unwrap(),
        }
    }

    fn secret_of(token: &str) -> String {
        let json = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX).unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        value.get("secret").unwrap().as_str().unwrap().to_owned()
    }

    fn why(result: Result<(), TokenError>) -> Option<Refusal> {
        match result.unwrap_err() {
            TokenError::Refused(why) => Some(why),
            _ => None,
        }
    }

    #[test]
    fn a_token_works_once_for_its_holder_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = TokenStore::open(dir.path()).unwrap();
        let police = Identity::from_who("member:police").unwrap();
        let health = Identity::from_who("member:health").unwrap();
        let entropy = SeededEntropy::new(1);
        let secret = secret_of(&store.issue(&police, &facts(), 10_000, &entropy).unwrap());
        let late = secret_of(&store.issue(&police, &facts(), 10_000, &entropy).unwrap());

        assert_eq!(why(store.redeem(&secret, &health, 0)), Some(Refusal::OtherHolder));
        let auditor = Identity::from_who("auditor:police").unwrap();
        assert_eq!(why(store.redeem(&secret, &auditor, 0)), Some(Refusal::OtherHolder));
        assert_eq!(store.holder(&secret, 9_999).unwrap(), police);
        store.redeem(&secret, &police, 9_999).unwrap();
        assert_eq!(why(store.redeem(&secret, &police, 0)), Some(Refusal::Used));
        let again = TokenStore::open(dir.path()).unwrap();
        assert_eq!(why(again.redeem(&secret, &police, 0)), Some(Refusal::Used), "also after a restart");
        assert_eq!(why(store.redeem(&late, &police, 10_000)), Some(Refusal::Expired));
        assert!(store.holder(&secret, 0).is_err() && store.holder(&late, 10_000).is_err());
        for bad in ["", "x", "../used", &"a".repeat(1000)] {
            assert_eq!(why(store.redeem(bad, &police, 0)), Some(Refusal::Unknown), "{bad:?}");
        }
        assert!(store.issue(&Identity::Hub, &facts(), 1, &entropy).is_err());
        // Spent ones are nobody's any more.
        assert_eq!(store.holders().unwrap(), ["member:police"]);
        store.void(&police).unwrap();
        assert!(store.holders().unwrap().is_empty());
    }

    #[test]
    fn a_claimed_token_is_nobody_elses_and_comes_back_unless_it_is_spent() {
        let dir = tempfile::tempdir().unwrap();
        let store = TokenStore::open(dir.path()).unwrap();
        let police = Identity::from_who("member:police").unwrap();
        let health = Identity::from_who("member:health").unwrap();
        let secret = secret_of(&store.issue(&police, &facts(), 1000, &SeededEntropy::new(4)).unwrap());
        let claim = |who| store.claim(&secret, who, 0);
        assert_eq!(why(claim(&health).map(drop)), Some(Refusal::OtherHolder));
        let held = claim(&police).unwrap();
        assert_eq!(why(claim(&police).map(drop)), Some(Refusal::Used));
        drop(held);
        let held = claim(&police).unwrap();
        assert_eq!(why(held.spend(1000)), Some(Refusal::Expired));
        claim(&police).unwrap().spend(999).unwrap();
        assert_eq!(why(claim(&police).map(drop)), Some(Refusal::Used));
    }

    #[test]
    fn of_many_attempts_at_once_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = TokenStore::open(dir.path()).unwrap();
        let police = Identity::from_who("member:police").unwrap();
        let secret = secret_of(&store.issue(&police, &facts(), 1000, &SeededEntropy::new(2)).unwrap());
        let won = std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..8).map(|_| scope.spawn(|| store.redeem(&secret, &police, 0).is_ok())).collect();
            tries.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn the_folder_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let store = TokenStore::open(dir.path()).unwrap();
        let police = Identity::from_who("member:police").unwrap();
        let secret = secret_of(&store.issue(&police, &facts(), 1000, &SeededEntropy::new(3)).unwrap());
        for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            assert!(!entry.file_name().to_string_lossy().contains(&secret));
            if entry.path().is_file() {
                assert!(!std::fs::read_to_string(entry.path()).unwrap().contains(&secret));
                assert!(!files::is_exposed(&entry.path()).unwrap());
            }
        }
    }
}
