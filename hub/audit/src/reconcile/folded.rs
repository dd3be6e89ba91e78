//! Denials that are no entries of their own: the hub's journal accounts for them.

use super::Reconciled;
use super::heads::Heads;
use super::received::Received;
use crate::error::AuditError;
use crate::folded::each;
use std::collections::HashSet;
use std::path::Path;
use yiwang_proto::request::Head;

/// Counts what apps asked, got no response to, and the hub denied; takes the heads that those requests name.
pub(super) fn account(
    ledger: &Path,
    received: &Received,
    heads: &mut Heads,
    done: &mut Reconciled,
) -> Result<(), AuditError> {
    let mut open: HashSet<_> = received.unanswered().collect();
    let mut folded = 0;
    done.folded_denials = each(ledger, &mut |at, digest, statement| {
        if let Some((_, request)) = &statement.request {
            let Head { size, root } = request.head;
            heads.add(Head { size, root }, || {
                format!("app `{}` of `{}` in folded record {at}", request.app, request.consumer)
            });
        }
        folded += u64::from(digest.is_some_and(|digest| open.remove(&digest)));
    })?;
    done.folded = folded;
    Ok(())
}
