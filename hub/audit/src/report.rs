use crate::rules::Rule;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use yiwang_proto::plural::counted;

/// Findings that are listed one by one; more are only counted.
pub const MAX_FINDINGS: usize = 1000;
/// Longest text of one finding, in characters: texts may quote hostile input.
const MAX_TEXT: usize = 400;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The entry that it is about, if it is about one.
    pub index: Option<u64>,
    /// The rule that is broken.
    pub rule: Rule,
    /// What is wrong, in words.
    pub what: String,
}

impl Finding {
    pub(crate) fn new(index: Option<u64>, rule: Rule, what: impl AsRef<str>) -> Self {
        Self { index, rule, what: what.as_ref().chars().take(MAX_TEXT).collect() }
    }
}

/// What was decided again and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Exchanges that were forwarded, and that the rules permit.
    pub permitted_again: u64,
    /// Exchanges that the hub denied, and that the rules deny.
    pub denied_again: u64,
    /// Exchanges that the rules judge otherwise; each is a finding.
    pub contradicted: u64,
    /// Exchanges that could not be decided again, by reason.
    pub not_decided: BTreeMap<String, u64>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was verified: `ledger`, `evidence`, `proof`, `fsck`.
    pub subject: &'static str,
    /// The ledger's origin.
    pub origin: String,
    /// The ledger's key, as a vkey.
    pub key: String,
    /// Whether the auditor pinned the key; if not, the whole ledger may be made up.
    pub key_pinned: bool,
    /// Size of the checkpoint under which everything stands; none where it does not hold.
    pub size: Option<u64>,
    /// Base64 of the root of that checkpoint.
    pub root: Option<String>,
    /// Witnesses that have cosigned that checkpoint, as the auditor's policy calls them.
    pub witnesses: Vec<String>,
    /// Entries that were read.
    pub entries: u64,
    /// Entries after the checkpoint: durable, not yet covered by a signed head.
    pub after_checkpoint: u64,
    /// Size of the older checkpoint that the ledger continues.
    pub continues: Option<u64>,
    /// Hash tiles that were compared.
    pub tiles: u64,
    /// Signatures that were verified.
    pub signatures: u64,
    /// Entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Exchanges by outcome, with the code where there is one.
    pub outcomes: BTreeMap<String, u64>,
    /// Decisions made again.
    pub decisions: Decisions,
    /// What the reader should know; nothing of it is wrong.
    pub notes: Vec<String>,
    /// What is wrong, in the order of the entries; at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// All findings, also those that are not listed.
    pub findings_total: u64,
}

impl Report {
    pub(crate) fn new(subject: &'static str) -> Self {
        Self { subject, ..Self::default() }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0
    }

    /// 0 clean, 1 findings.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        i32::from(!self.is_clean())
    }

    pub(crate) fn finding(&mut self, index: Option<u64>, rule: Rule, what: impl AsRef<str>) {
        self.add([Finding::new(index, rule, what)]);
    }

    pub(crate) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.findings_total += 1;
            if self.findings.len() < MAX_FINDINGS {
                self.findings.push(finding);
            }
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Puts what is about the whole before what is about single entries.
    pub(crate) fn sort(&mut self) {
        self.findings.sort();
    }

    /// The report as one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// The report for people: stable lines, the verdict first.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.is_clean() { "CLEAN" } else { "NOT CLEAN" };
        writeln!(out, "{}: {verdict}", self.subject)?;
        if let (Some(size), Some(root)) = (self.size, &self.root) {
            writeln!(out, "as of size {size}, root {root}")?;
        }
        if !self.origin.is_empty() {
            writeln!(out, "origin {}", visible(&self.origin))?;
        }
        if !self.key.is_empty() {
            let pinned = if self.key_pinned { "pinned by you" } else { "NOT PINNED, taken from the folder" };
            writeln!(out, "key {} ({pinned})", visible(&self.key))?;
        }
        if let Some(size) = self.continues {
            writeln!(out, "continues your older checkpoint of size {size}")?;
        }
        self.write_counts(out)?;
        for note in &self.notes {
            writeln!(out, "note: {}", visible(note))?;
        }
        self.write_findings(out)
    }

    fn write_counts(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "entries {}, after the checkpoint {}", self.entries, self.after_checkpoint)?;
        writeln!(out, "signatures verified {}, tiles compared {}", self.signatures, self.tiles)?;
        for (kind, count) in &self.kinds {
            writeln!(out, "  {kind} {count}")?;
        }
        for (outcome, count) in &self.outcomes {
            writeln!(out, "  exchange {} {count}", visible(outcome))?;
        }
        let decisions = &self.decisions;
        writeln!(
            out,
            "decided again: {} permitted, {} denied, {} contradicted",
            decisions.permitted_again, decisions.denied_again, decisions.contradicted
        )?;
        for (reason, count) in &decisions.not_decided {
            writeln!(out, "  not decided again, {}: {count}", visible(reason))?;
        }
        Ok(())
    }

    fn write_findings(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rules = std::collections::BTreeSet::new();
        for finding in &self.findings {
            let at = finding.index.map_or_else(|| "whole".to_owned(), |index| format!("entry {index}"));
            writeln!(out, "finding: {at}: {}: {}", finding.rule, visible(&finding.what))?;
            rules.insert(finding.rule);
        }
        let listed = self.findings.len() as u64;
        if self.findings_total > listed {
            writeln!(out, "and {}", counted(self.findings_total - listed, "more finding"))?;
        }
        for rule in rules {
            writeln!(out, "next, for {rule}: {}", rule.next_step())?;
        }
        writeln!(out, "findings {}", self.findings_total)
    }
}

/// Text from outside for a terminal: nothing in it moves the cursor or turns the writing around.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if hidden {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_counted() {
        let mut report = Report::new("ledger");
        for index in 0..2500 {
            report.finding(Some(index), Rule::Entry, "x".repeat(1000));
        }
        assert_eq!((report.findings.len(), report.findings_total), (MAX_FINDINGS, 2500));
        assert!(report.findings.iter().all(|finding| finding.what.len() == MAX_TEXT));
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("and 1500 more findings"));
    }

    #[test]
    fn hostile_text_cannot_steer_a_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
    }
}
