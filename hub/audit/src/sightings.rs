//! Who saw a person. Most answers name the person's tag in their statements. A page of a batch with more than 64 persons
//! names the Merkle root over everybody's tags only, and the tags stand in the journal of the adapter that answered; so
//! such a page is opened with the provider's journal, whose tags count only if they give the root in the entry. What
//! cannot be opened is said, never left out.

use crate::accesses::{Access, Filter, Found, find};
use crate::error::AuditError;
use crate::journal;
use crate::source::{Entries as _, Source};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use yiwang_proto::Digest;
use yiwang_proto::adapter_journal::{Exchange, Kind};
use yiwang_proto::answer::Answer;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, MemberId};
use yiwang_proto::merkle::{Frontier, leaf_hash};
use yiwang_proto::sha256;
use yiwang_proto::tag::{Tag, TagKey};

/// Findings that are listed one by one; more are only counted.
const LISTED: usize = 1000;

/// Who is looked for.
#[derive(Debug)]
pub enum Person {
    /// By a tag: of one member, in one case.
    Tag(Tag),
    /// By the identifier, in every case.
    Subject {
        /// Members' keys of subject tags. Each finds what that member asked or answered; a consumer's and a provider's tags
        /// of one person have nothing in common.
        keys: BTreeMap<MemberId, TagKey>,
        /// The canonical identifier.
        subject: String,
    },
}

/// Whether the person is in what an entry shows.
enum Shown {
    Yes,
    No,
    /// Its tags are of members whose keys were not given.
    Unknown,
}

impl Person {
    /// The person's tag in a case, as this member makes it.
    fn tag(&self, member: &str, case: &str) -> Option<Tag> {
        match self {
            Self::Tag(tag) => Some(*tag),
            Self::Subject { keys, subject } => {
                let (_, key) = keys.iter().find(|(id, _)| id.as_str() == member)?;
                Some(key.tag(subject, &CaseId::parse(case).ok()?))
            }
        }
    }

    fn shown(&self, found: &Found) -> Shown {
        let access = &found.access;
        let (consumer, provider) = found.tags.split_at_checked(found.of_consumer).unwrap_or_default();
        let mut known = found.tags.is_empty();
        for (member, tags) in [(&access.consumer, consumer), (&access.provider, provider)] {
            let Some(tag) = self.tag(member, &access.case) else { continue };
            if tags.contains(&tag) {
                return Shown::Yes;
            }
            known |= !tags.is_empty();
        }
        if known { Shown::No } else { Shown::Unknown }
    }
}

/// Where the person's tag stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundIn {
    /// In the statements of the entry.
    Statement,
    /// In the provider's journal, under the root in the entry.
    Journal,
}

impl FoundIn {
    /// The name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Journal => "journal",
        }
    }
}

/// One exchange that is about the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The exchange.
    #[serde(flatten)]
    pub access: Access,
    /// Where the tag stands.
    pub found_in: FoundIn,
}

/// What is wrong with the journal's word on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageFault {
    /// Its tags are not those under the root in the entry.
    TagsAltered,
    /// A journal of the provider was given, and does not hold the page's tags.
    TagsMissing,
}

impl PageFault {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TagsAltered => "tags-altered",
            Self::TagsMissing => "tags-missing",
        }
    }
}

/// A page that the journals cannot answer for, though they should.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PageFinding {
    /// The entry.
    pub index: u64,
    /// What is wrong.
    pub fault: PageFault,
    /// In words; no personal data.
    pub what: String,
}

/// What is missing to look into pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The provider's key of subject tags: under another one nobody in them has a tag that is known.
    Key,
    /// The provider's journal.
    Journal,
}

/// Pages of a provider of which nobody can tell whether the person is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The provider.
    pub provider: String,
    /// What would open them.
    pub missing: Missing,
    /// How many pages.
    pub pages: u64,
    /// The first of their entries.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Who saw the person, and what that does not cover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sightings {
    /// Exchanges about the person, oldest first.
    pub hits: Vec<Sighting>,
    /// Pages that were opened with a journal.
    pub opened: u64,
    /// Pages that could not be, by provider and by what is missing.
    pub closed: Vec<Closed>,
    /// Exchanges whose statements have tags of members only whose keys were not given.
    pub without_key: u64,
    /// Pages that a journal should have opened, by entry; at most 1,000.
    pub findings: Vec<PageFinding>,
    /// All of them.
    pub findings_total: u64,
    /// Ledger size that this speaks of.
    pub size: u64,
}

/// A page with more persons than its statement names.
struct Page {
    index: u64,
    provider: String,
    root: Digest,
    tag: Option<Tag>,
    opened: bool,
    altered: bool,
}

/// Everybody who saw a person in a ledger folder, with the journals of adapters that do not run. Signatures and proofs
/// of the ledger are not verified: run [`crate::verify_ledger`] first.
///
/// # Errors
/// [`AuditError`] when an entry or a journal cannot be read; what does not fit is a finding.
pub fn sightings(
    ledger: &Path,
    journals: &[PathBuf],
    filter: &Filter,
    person: &Person,
) -> Result<Sightings, AuditError> {
    let source = Source::open(ledger)?;
    let mut done = Sightings { size: source.size(), ..Sightings::default() };
    let mut pages = statements(&source, filter, person, &mut done)?;
    let mut covered = HashSet::new();
    for folder in journals {
        let mut hits = Vec::new();
        journal::each(folder, &mut |_, record| {
            if let Some(Kind::Exchange(exchange)) = record.kind {
                hits.extend(open_page(&exchange, &mut pages, &mut covered));
            }
        })?;
        for index in hits {
            let (bytes, _) = source.read(index)?;
            let access = find(index, &bytes)?.map(|found| found.access);
            done.hits.extend(access.map(|access| Sighting { access, found_in: FoundIn::Journal }));
        }
    }
    done.hits.sort_by_key(|hit| hit.access.index);
    account(pages, &covered, &mut done);
    Ok(done)
}

/// What the statements themselves say, and what they cannot; the pages that say it with a root only, by the digest of their answers.
fn statements(
    source: &Source,
    filter: &Filter,
    person: &Person,
    done: &mut Sightings,
) -> Result<HashMap<Digest, Page>, AuditError> {
    let filter = Filter { tag: None, ..filter.clone() };
    let mut pages = HashMap::new();
    for record in source.scan(source.first()) {
        let (index, bytes, _) = record?;
        let Some(found) = find(index, &bytes)?.filter(|found| filter.passes(found)) else { continue };
        let shown = person.shown(&found);
        if matches!(shown, Shown::Yes) {
            done.hits.push(Sighting { access: found.access, found_in: FoundIn::Statement });
            continue;
        }
        let Some(page) = found.page else {
            done.without_key += u64::from(matches!(shown, Shown::Unknown));
            continue;
        };
        let tag = person.tag(&found.access.provider, &found.access.case);
        let provider = found.access.provider;
        let page =
            (page.answer, Page { index, provider, root: page.root, tag, opened: false, altered: false });
        pages.extend([page]);
    }
    Ok(pages)
}

/// Opens the page of a journal's record; its entry, where the person is in it. Notes whose journal it is.
fn open_page(
    exchange: &Exchange,
    pages: &mut HashMap<Digest, Page>,
    covered: &mut HashSet<String>,
) -> Option<u64> {
    let signed = SignedStatement::parse(exchange.answer.clone()).ok()?;
    let answer = Answer::parse(signed.unverified_payload()).ok()?;
    covered.insert(answer.provider.to_string());
    let page = pages.get_mut(&sha256(&exchange.answer)).filter(|page| !page.opened)?;
    if exchange.handed_tags.is_empty() {
        return None;
    }
    if root_of(&exchange.handed_tags) != Some(page.root) {
        page.altered = true;
        return None;
    }
    page.opened = page.tag.is_some();
    let there = |tag: Tag| exchange.handed_tags.chunks_exact(tag.len()).any(|one| one == tag);
    page.tag.is_some_and(there).then_some(page.index)
}

/// The root over tags as a journal holds them, 32 bytes each.
fn root_of(tags: &[u8]) -> Option<Digest> {
    let chunks = tags.chunks_exact(size_of::<Tag>());
    if !chunks.remainder().is_empty() {
        return None;
    }
    let mut tree = Frontier::new();
    chunks.for_each(|tag| tree.push(leaf_hash(tag)));
    Some(tree.root())
}

/// Says of every page whether it was opened, and if not, why.
fn account(pages: HashMap<Digest, Page>, covered: &HashSet<String>, done: &mut Sightings) {
    let mut pages: Vec<Page> = pages.into_values().collect();
    pages.sort_by_key(|page| page.index);
    let mut closed: BTreeMap<(String, Missing), Closed> = BTreeMap::new();
    for page in pages {
        let Page { index, provider, opened, altered, tag, .. } = page;
        let finding = if opened {
            done.opened += 1;
            continue;
        } else if altered {
            let what = format!(
                "the tags in the journal of `{provider}` are not those under the root in the entry: the journal was changed"
            );
            PageFinding { index, fault: PageFault::TagsAltered, what }
        } else if tag.is_some() && covered.contains(&provider) {
            let what = format!(
                "cannot be answered without the journal of `{provider}` that holds this page; what was given does not"
            );
            PageFinding { index, fault: PageFault::TagsMissing, what }
        } else {
            let missing = if tag.is_some() { Missing::Journal } else { Missing::Key };
            let one = || Closed { provider: provider.clone(), missing, pages: 0, first: index, last: index };
            let closed = closed.entry((provider.clone(), missing)).or_insert_with(one);
            (closed.pages, closed.last) = (closed.pages + 1, index);
            continue;
        };
        done.findings_total += 1;
        if done.findings.len() < LISTED {
            done.findings.push(finding);
        }
    }
    done.closed = closed.into_values().collect();
}
