//! What a role may do, and the refusal of one that can write.

use super::words;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::source::SourceError;

/// How many rights a message names; a role that may do all there is has hundreds.
const NAMED_MAX: usize = 5;

/// What a role may do, by the server's own account.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub(crate) role: String,
    /// What it can change, each like `insert, update on public.person`.
    pub(crate) writes: Vec<String>,
    /// What it can run with the rights of others.
    pub(crate) lends: Vec<String>,
}

fn some(all: &[String]) -> String {
    let mut named = all.iter().take(NAMED_MAX).map(|right| words(right)).collect::<Vec<_>>().join("; ");
    if all.len() > NAMED_MAX {
        named.push_str(&format!("; and {} more", all.len() - NAMED_MAX));
    }
    named
}

impl Rights {
    fn writer(&self) -> String {
        format!("role `{}` can write: {}", words(&self.role), some(&self.writes))
    }

    const HELP: &str = "give the adapter a role of its own that may only select what the mapping reads; what PUBLIC was granted \
                        counts, since every role has it";

    /// What is said of a role that can write.
    pub(crate) fn can_write(&self) -> Option<String> {
        (!self.writes.is_empty()).then(|| self.writer())
    }

    /// An error for a role that can write: whoever asks the source for rows gets none.
    pub(crate) fn refuse_writer(&self) -> Result<(), SourceError> {
        match self.can_write() {
            None => Ok(()),
            Some(said) => Err(SourceError::Unavailable(format!("{said}; {}", Self::HELP))),
        }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![if self.writes.is_empty() {
            let message = format!(
                "proved: role `{}` can write nothing, nor any role that it can take",
                words(&self.role)
            );
            Finding::new(Severity::Note, "A-SQL-010", message)
        } else {
            Finding::new(Severity::Error, "A-SQL-012", self.writer()).help(Self::HELP)
        }];
        if !self.lends.is_empty() {
            let message = format!(
                "role `{}` may run with the rights of others: {}",
                words(&self.role),
                some(&self.lends)
            );
            findings.push(
                Finding::new(Severity::Warning, "A-SQL-015", message)
                    .help("take the right to execute away, or see that none of these writes"),
            );
        }
        findings
    }
}
