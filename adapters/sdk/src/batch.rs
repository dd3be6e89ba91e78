//! Batches: all rows of an operation, page by page in the order of a key. Each page is an exchange of its own; what the
//! next one begins after travels in the answer's body, sealed so that only this member's adapters read it, and names the
//! page before by its request. Where the last pages ended is kept for a moment, so that the next one can be asked for
//! while the one before it is still under way; nothing else is kept here between two pages. Searches that have pages use
//! the same tokens (`batch/search.rs`).

mod ends;
mod search;

use ends::Before;

pub(crate) use ends::Ends;
pub(crate) use search::is_paged_search;

use crate::adapter::Adapter;
use crate::fetch::{AnswerError, Ask, Mapped, MappedSource, empty};
use crate::mapping::{Mapping, OperationKind, SourceDef};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use serde::{Deserialize, Serialize};
use yiwang_policies::SubjectKind;
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};
use yiwang_proto::limits::{ARGUMENT_BYTES_MAX, TAGS_MAX};
use yiwang_proto::merkle::{Frontier, leaf_hash};
use yiwang_proto::request::Request;
use yiwang_proto::tag::Tag;
use yiwang_proto::{Digest, digest_of_hex};

/// The argument under which a request names what its page begins after.
pub const RESUME: &str = "resume";
/// The argument under which it names instead the request of the page before, SHA-256 in hexadecimal, while that is under
/// way.
pub const FOLLOWS: &str = "follows";
/// Bytes of a key's text: in the token it stands as JSON, encrypted and in base64, which must fit an argument.
pub const KEY_BYTES_MAX: usize = 256;

/// Why a token is refused. Holds no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResumeError {
    /// Not made by this member's adapters, changed, or made for another app, contract, case, operation or choice of
    /// fields: who tries a token that is not its own learns nothing of it.
    #[error("argument `resume` is none that this member gave for this batch")]
    Foreign,
    /// Made over another source, or by another key.
    #[error("the source or key of the batch has changed since the page before; begin the batch anew")]
    Mapping,
    /// The key of a row is too long, or none.
    #[error("the key of a row is null or too long")]
    Key,
    /// No page of this batch under this request here: another of the member's adapters gave it, or it is too long ago.
    #[error("argument `follows` names no page of this batch that is under way here; name its `resume`")]
    Unknown,
    /// A search has had all its pages.
    #[error("argument `resume` goes beyond the pages that one question has")]
    Over,
    /// The page before failed, or is not there soon.
    #[error("the page before is not there")]
    Before,
}

/// What all pages of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whole {
    /// App, contract, case, operation and fields, by SHA-256.
    pub(crate) asked: Digest,
    /// What its keys are of, as [`keys_of`] says.
    pub(crate) mapping: Digest,
}

/// What a key is good for: the source and the column, by SHA-256. Not the mapping's text: a code that is added to a table
/// while a batch is under way lets it go on, and each page names the mapping that made it.
fn keys_of(mapping: &Mapping, operation: &Operation) -> Digest {
    let page = mapping.operation(operation).and_then(|operation| operation.page.as_ref());
    let source = match mapping.source() {
        SourceDef::Sqlite(source) => format!("sqlite {:?}", source.path),
        SourceDef::Postgres(source) => format!("postgres {:?}", source.url),
        SourceDef::Mariadb(source) => format!("mariadb {:?}", source.url),
        // None of them hands over batches.
        SourceDef::Csv(_) | SourceDef::Http(_) | SourceDef::Fhir(_) => String::new(),
    };
    let key = page.map(|page| page.key.as_ref()).unwrap_or_default();
    yiwang_proto::sha256(format!("{source}\0{key}").as_bytes())
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resume {
    /// Of which batch.
    pub(crate) whole: Whole,
    /// Pages given so far.
    pub(crate) pages: u32,
    /// The request of the page before.
    pub(crate) before: Digest,
    /// The key of its last row.
    pub(crate) after: Scalar,
}

impl Whole {
    /// What identifies a batch, `named` being app, case and operation: parts with grammars without a zero byte, so that no two run into each other.
    pub(crate) fn of(contract: &Digest, named: [&str; 3], fields: &[FieldName], mapping: Digest) -> Self {
        let mut bytes = contract.to_vec();
        for part in named.into_iter().chain(fields.iter().map(FieldName::as_str)) {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        Self { asked: yiwang_proto::sha256(&bytes), mapping }
    }

    /// Whether another page is of this batch.
    fn same(&self, other: &Self) -> Result<(), ResumeError> {
        if self.asked != other.asked {
            return Err(ResumeError::Foreign);
        }
        if self.mapping == other.mapping { Ok(()) } else { Err(ResumeError::Mapping) }
    }
}

impl Resume {
    /// The token.
    ///
    /// # Errors
    /// [`ResumeError::Key`] where the key does not fit.
    pub(crate) fn seal(&self, key: &[u8; 32], entropy: &dyn Entropy) -> Result<String, ResumeError> {
        if matches!(&self.after, Scalar::Text(text) if text.len() > KEY_BYTES_MAX) {
            return Err(ResumeError::Key);
        }
        let nonce: [u8; 12] = random(entropy);
        let plain = serde_json::to_vec(self).map_err(|_| ResumeError::Key)?;
        let cipher = ChaCha20Poly1305::new(&Key::from(*key));
        let sealed = cipher.encrypt(&Nonce::from(nonce), plain.as_slice()).map_err(|_| ResumeError::Key)?;
        let token = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        if token.len() > ARGUMENT_BYTES_MAX { Err(ResumeError::Key) } else { Ok(token) }
    }

    /// Reads a token of the batch that is asked for.
    ///
    /// # Errors
    /// [`ResumeError`].
    pub(crate) fn open(token: &str, key: &[u8; 32], whole: &Whole) -> Result<Self, ResumeError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| ResumeError::Foreign)?;
        let (nonce, sealed) = bytes.split_first_chunk::<12>().ok_or(ResumeError::Foreign)?;
        let cipher = ChaCha20Poly1305::new(&Key::from(*key));
        let plain = cipher.decrypt(&Nonce::from(*nonce), sealed).map_err(|_| ResumeError::Foreign)?;
        let resume: Self = serde_json::from_slice(&plain).map_err(|_| ResumeError::Foreign)?;
        whole.same(&resume.whole)?;
        Ok(resume)
    }
}

/// Where a page begins, and how many are before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Begin {
    pub(crate) pages: u32,
    /// The last key of the page before; none for the first.
    pub(crate) after: Option<Scalar>,
    /// SHA-256 of the token that the page before gave; none for the first.
    pub(crate) token: Option<Digest>,
}

/// What a request says of where its page begins.
enum Named {
    Here(Begin),
    After(Digest),
}

/// What a page hands over besides its records.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// Own tags of everybody whose row is in it, ascending.
    pub(crate) tags: Vec<Tag>,
    /// What the next page is asked for with; empty where this is the last.
    pub(crate) resume: String,
    /// The token that it begins after, by SHA-256.
    pub(crate) follows: Option<Digest>,
}

/// What it takes to say where the next page begins.
struct Handing {
    key: [u8; 32],
    whole: Whole,
    /// With this one.
    pages: u32,
    /// How many there are at most.
    most: u32,
    /// The request of this one.
    before: Digest,
}

impl Handing {
    /// Where the next page begins and its token, which is empty where there is none.
    fn seal(
        &self,
        next: Option<Scalar>,
        entropy: &dyn Entropy,
    ) -> Result<(Option<Begin>, String), AnswerError> {
        let Some(after) = next.filter(|_| self.pages < self.most) else { return Ok((None, String::new())) };
        let (pages, before) = (self.pages, self.before);
        let resume = Resume { whole: self.whole.clone(), pages, before, after };
        let token = resume.seal(&self.key, entropy).map_err(|error| AnswerError {
            code: Code::SourceError,
            clause: error.to_string(),
            detail: error.to_string(),
        })?;
        let of_token = Some(yiwang_proto::sha256(token.as_bytes()));
        Ok((Some(Begin { pages, after: Some(resume.after), token: of_token }), token))
    }
}

/// INVARIANT: no page leaves before the one that it follows is whole.
async fn holds(before: Option<Before>) -> Result<(), AnswerError> {
    match before {
        Some(before) => before.holds().await.map_err(refused),
        None => Ok(()),
    }
}

fn refused(error: ResumeError) -> AnswerError {
    // What the page before came to is no fault of who asks.
    let code = if error == ResumeError::Before { Code::ProviderBusy } else { Code::ArgumentInvalid };
    let clause = error.to_string();
    AnswerError { code, clause: clause.clone(), detail: clause }
}

impl Adapter {
    /// One page: opens what the request names, fetches, and seals where the next one begins.
    pub(crate) async fn page(
        &self,
        source: &MappedSource,
        ask: Ask<'_>,
        request: &Request,
        digest: Digest,
    ) -> Result<(Mapped, Handed), AnswerError> {
        let operation = source.paged(ask.operation, OperationKind::Batch)?;
        self.names_everybody(source, &ask, request)?;
        let key = self.tag_key.resume_key();
        let named = [request.app.as_str(), request.case.as_str(), request.operation.as_str()];
        let keys = keys_of(source.mapping(), ask.operation);
        let whole = Whole::of(&request.contract_digest, named, ask.fields, keys);
        let mut arguments = ask.arguments.clone();
        let begins = [RESUME, FOLLOWS].map(|name| take(&mut arguments, name));
        let from = named_in(begins, &key, &whole).map_err(refused)?;
        // Before anything is waited for, so that the page after this one finds it.
        let under_way = self.ends.begin(digest, whole.clone());
        let (begin, before) = match from {
            Named::Here(begin) => (Some(begin), None),
            Named::After(request) => {
                let (begin, before) = self.ends.of(request, &whole).await.map_err(refused)?;
                (begin, Some(before))
            }
        };
        let Some(begin) = begin else {
            holds(before).await?;
            under_way.ended(None);
            return Ok((empty(Vec::new(), self.now_ms()), Handed::default()));
        };
        // What a mapping raises to class 3 is not in a batch either, whoever signed for it.
        let highest_class = (ask.highest_class.0.min(2), ask.highest_class.1);
        let ask = Ask { arguments: &arguments, highest_class, now_ms: self.now_ms(), ..ask };
        let asked_us = self.clock.monotonic_us();
        let (pages, most) = (begin.pages.saturating_add(1), operation.1.most);
        let handing = Handing { key, whole, pages, most, before: digest };
        let came = async {
            let page = source.page(ask, operation, begin.after).await?;
            // Where it is certain, the next page learns of it before this one is written.
            let ahead =
                page.end_ahead()?.map(|next| handing.seal(next, self.entropy.as_ref())).transpose()?;
            if let Some((next, _)) = &ahead {
                under_way.fetched(next.clone());
            }
            let (mapped, end) = page.write()?;
            let sealed = ahead.map_or_else(|| handing.seal(end.next, self.entropy.as_ref()), Ok)?;
            if !end.left_out.is_empty() {
                source.note_left_out(&request.operation, handing.pages, &end.left_out);
            }
            Ok((mapped, end.subjects, sealed))
        };
        let came: Result<_, AnswerError> = came.await;
        let took_us = self.clock.monotonic_us().saturating_sub(asked_us);
        // What is wrong with an argument says nothing of the source.
        if !came.as_ref().is_err_and(|error| error.code == Code::ArgumentInvalid) {
            source.note(&request.operation, took_us, self.now_ms(), came.as_ref().err());
        }
        let (mapped, subjects, (next, resume)) = came?;
        holds(before).await?;
        under_way.ended(next);
        let in_case = self.tag_key.in_case(&request.case);
        let mut tags: Vec<Tag> = subjects.iter().map(|subject| in_case.tag(subject)).collect();
        tags.sort_unstable();
        tags.dedup();
        Ok((mapped, Handed { tags, resume, follows: begin.token }))
    }

    /// Nobody is handed over unseen: who stands in a page is in its tags. Of a record that is not the program's own it is
    /// not known here whom it is about.
    fn names_everybody(
        &self,
        source: &MappedSource,
        ask: &Ask<'_>,
        request: &Request,
    ) -> Result<(), AnswerError> {
        let record = self.decider.catalogue().record(&request.record);
        let operation = source.mapping().operation(ask.operation);
        let personal = |name: &FieldName| {
            let raised = operation.and_then(|operation| operation.field(name)).and_then(|field| field.class);
            let class = record.and_then(|record| record.field(name)).map_or(2, |field| field.class);
            class.max(raised.unwrap_or(0)) >= 2
        };
        let about_persons = record.is_none_or(|record| record.subject == SubjectKind::Person)
            || ask.fields.iter().any(personal);
        let unnamed = operation
            .and_then(|operation| operation.page.as_ref())
            .is_some_and(|page| page.subject.is_none());
        if about_persons && unnamed {
            let clause = "the mapping names no subject of the rows that a batch hands over".to_owned();
            return Err(AnswerError { code: Code::SourceError, clause: clause.clone(), detail: clause });
        }
        Ok(())
    }
}

/// Takes an argument out of them.
fn take(arguments: &mut Arguments, wanted: &str) -> Option<Scalar> {
    let given = arguments.keys().find(|name| name.as_str() == wanted).cloned();
    given.and_then(|name| arguments.remove(&name))
}

/// What a request's `resume` and `follows` say of where the page begins.
fn named_in(
    [resume, follows]: [Option<Scalar>; 2],
    key: &[u8; 32],
    whole: &Whole,
) -> Result<Named, ResumeError> {
    match (resume, follows) {
        (None, None) => Ok(Named::Here(Begin { pages: 0, after: None, token: None })),
        (Some(Scalar::Text(token)), None) => {
            let resume = Resume::open(&token, key, whole)?;
            let of_token = Some(yiwang_proto::sha256(token.as_bytes()));
            Ok(Named::Here(Begin { pages: resume.pages, after: Some(resume.after), token: of_token }))
        }
        (None, Some(Scalar::Text(request))) => {
            digest_of_hex(&request).map(Named::After).ok_or(ResumeError::Unknown)
        }
        (None, Some(_)) => Err(ResumeError::Unknown),
        (Some(_), _) => Err(ResumeError::Foreign),
    }
}

/// What a statement says of those whose rows leave: their tags, or the root over them where there are more than fit.
pub(crate) fn said(mut single: Vec<Tag>, handed: &[Tag]) -> (Vec<Tag>, Option<Digest>) {
    if handed.len() + single.len() <= TAGS_MAX {
        single.extend(handed);
        return (single, None);
    }
    let mut tree = Frontier::new();
    handed.iter().for_each(|tag| tree.push(leaf_hash(tag)));
    (single, Some(tree.root()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::SeededEntropy;

    fn whole(number: u8) -> Whole {
        of("desk", number)
    }

    fn of(app: &str, number: u8) -> Whole {
        Whole::of(&[number; 32], [app, "case", "person.all"], &["name".parse().unwrap()], [7; 32])
    }

    fn resume(after: Scalar) -> Resume {
        Resume { whole: whole(1), pages: 3, before: [9; 32], after }
    }

    #[test]
    fn a_token_goes_back_to_its_batch_only_and_shows_nothing() {
        let (key, entropy) = ([5; 32], SeededEntropy::new(1));
        for after in [
            Scalar::Text("980101199001010017".to_owned()),
            Scalar::Integer(-7),
            Scalar::Text("x".repeat(256)),
        ] {
            let token = resume(after.clone()).seal(&key, &entropy).unwrap();
            assert!(token.len() <= ARGUMENT_BYTES_MAX, "{}", token.len());
            assert_eq!(Resume::open(&token, &key, &whole(1)).unwrap(), resume(after));
            for other in [whole(2), of("other-desk", 1)] {
                assert_eq!(Resume::open(&token, &key, &other), Err(ResumeError::Foreign));
            }
            let other = Whole { mapping: [8; 32], ..whole(1) };
            assert_eq!(Resume::open(&token, &key, &other), Err(ResumeError::Mapping));
            assert_eq!(Resume::open(&token, &[6; 32], &whole(1)), Err(ResumeError::Foreign));
            for at in 0..token.len() {
                let mut bent = token.clone().into_bytes();
                bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
                let bent = String::from_utf8(bent).unwrap();
                assert!(Resume::open(&bent, &key, &whole(1)).is_err() || bent == token, "{at}");
            }
        }
        let long = resume(Scalar::Text("x".repeat(257)));
        assert_eq!(long.seal(&key, &entropy), Err(ResumeError::Key));
        for text in ["", "A", "!", &"A".repeat(1024)] {
            assert_eq!(Resume::open(text, &key, &whole(1)), Err(ResumeError::Foreign), "{text}");
        }
    }

    #[test]
    fn a_token_holds_over_changes_of_a_mapping_that_leave_its_source_and_key() {
        let text = r#"format = "adapter/1"
mapping = "a.b"
record = "Person"
owner = "police"
[source.sqlite]
path = { env = "DB" }
time_zone = "Asia/Shanghai"
[codes.sex]
"1" = "male"
unknown = "fail"
[[operation]]
name = "person.all"
kind = "batch"
key = "NR"
sql = "select NR, XX, A from T"
limit = 100
timeout = "1s"
[operation.fields]
sex = { from = "A", type = "code", codes = "sex" }
"#;
        let operation = "person.all".parse().unwrap();
        let keys = |text: &str| {
            let mapping = Mapping::parse(text, std::path::Path::new("m.toml"));
            keys_of(&mapping.unwrap_or_else(|faults| panic!("{faults:?}")), &operation)
        };
        let before = keys(text);
        for (from, to) in
            [("unknown =", "\"2\" = \"female\"\nunknown ="), ("100", "50"), ("kind = ", "kind   = ")]
        {
            assert!(text.contains(from));
            assert_eq!(keys(&text.replace(from, to)), before, "{to}");
        }
        for (from, to) in
            [("\"DB\"", "\"OTHER\""), ("{ env = \"DB\" }", "\"DB\""), ("key = \"NR\"", "key = \"XX\"")]
        {
            assert!(text.contains(from));
            assert_ne!(keys(&text.replace(from, to)), before, "{to}");
        }
    }
}
