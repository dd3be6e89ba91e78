//! Searching: the index proposes entries in ascending order, the ledger decides.

use super::schema::{self, Shape, WENT_BACK, case_bytes, prefix};
use super::{Fault, SearchIndex, number};
use crate::accesses::{Access, Filter, Found, find};
use crate::error::AuditError;
use crate::source::Entries;
use rusqlite::{OptionalExtension as _, Params, params};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// One page of hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The exchanges, oldest first, as the ledger holds them.
    pub hits: Vec<Access>,
    /// Where the next page begins: pass it as `after`. None where there is no more. It is the index of an entry, so it
    /// stays good while the ledger grows.
    pub next: Option<u64>,
    /// Ledger size that the page speaks of.
    pub size: u64,
    /// Where a tag is looked for: pages of batches behind the cursor with more persons than their entries name, of which
    /// nobody can tell here whether the person is in them.
    pub closed_pages: u64,
}

/// First and last entry that may be hits.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    after: i64,
    last: i64,
}

/// Which shapes may be hits.
enum Shapes {
    Any,
    Of(HashSet<i64>),
}

impl Shapes {
    fn allow(&self, shape: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Of(shapes) => shapes.contains(&shape),
        }
    }
}

/// Takes a proposed entry; false = enough.
type Take<'a> = dyn FnMut(i64) -> Result<bool, Fault> + 'a;

impl SearchIndex {
    pub(super) fn find(
        &self,
        entries: &dyn Entries,
        filter: &Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page, Fault> {
        let size = schema::size(&self.db)?;
        let mut page = Page { hits: Vec::new(), next: None, size, closed_pages: 0 };
        let Some(bounds) = self.bounds(filter, after, size)? else { return Ok(page) };
        if filter.tag.is_some() {
            page.closed_pages = self.closed_pages(filter, bounds)?;
        }
        self.propose(filter, bounds, &mut |index| {
            let found = self.read_again(entries, index, filter)?;
            if filter.passes(&found) {
                if page.hits.len() >= limit {
                    page.next = page.hits.last().map(|hit| hit.index);
                    return Ok(false);
                }
                page.hits.push(found.access);
            }
            Ok(true)
        })?;
        Ok(page)
    }

    /// A span of time is a span of entries where time goes on from entry to entry. Where a clock was accepted that went back,
    /// it is all from the first to the last entry of that time.
    fn bounds(&self, filter: &Filter, after: Option<u64>, size: u64) -> Result<Option<Bounds>, Fault> {
        let mut bounds = Bounds { after: after.map_or(-1, number), last: number(size) - 1 };
        let went_back = schema::meta(&self.db, WENT_BACK)?.is_some();
        if let Some(since) = filter.since_ms {
            let sql = if went_back {
                "SELECT min(idx) FROM exchanges WHERE time_ms >= ?1 HAVING count(*) > 0"
            } else {
                "SELECT idx FROM exchanges WHERE time_ms >= ?1 ORDER BY time_ms, idx LIMIT 1"
            };
            match self.db.query_row(sql, [since], |row| row.get::<_, i64>(0)).optional()? {
                Some(first) => bounds.after = bounds.after.max(first - 1),
                None => return Ok(None),
            }
        }
        if let Some(until) = filter.until_ms {
            let sql = if went_back {
                "SELECT max(idx) FROM exchanges WHERE time_ms < ?1 HAVING count(*) > 0"
            } else {
                "SELECT idx FROM exchanges WHERE time_ms < ?1 ORDER BY time_ms DESC, idx DESC LIMIT 1"
            };
            match self.db.query_row(sql, [until], |row| row.get::<_, i64>(0)).optional()? {
                Some(last) => bounds.last = bounds.last.min(last),
                None => return Ok(None),
            }
        }
        Ok(Some(bounds))
    }

    /// How many pages of batches a search by tag cannot look into.
    fn closed_pages(&self, filter: &Filter, bounds: Bounds) -> Result<u64, Fault> {
        let shapes = self.shapes(filter);
        let officer = filter.officer.as_ref().map(|officer| self.officers.get(officer.as_str()));
        let Some(officer) = officer.map_or(Some(None), |id| id.map(Some)) else { return Ok(0) };
        let case = filter.case.as_ref().and_then(|case| case_bytes(case.as_str()));
        let sql = "SELECT e.idx, e.shape FROM exchanges e JOIN tags t ON t.idx = e.idx \
                   WHERE t.prefix = ?1 AND t.idx > ?2 AND t.idx <= ?3 \
                   AND (?4 IS NULL OR e.officer = ?4) AND (?5 IS NULL OR e.case_id = ?5)";
        let mut pages = 0;
        let case = case.as_ref().map(|case| &case[..]);
        self.walk(
            sql,
            params![schema::ROOTED, bounds.after, bounds.last, officer, case],
            &shapes,
            &mut |_| {
                pages += 1;
                Ok(true)
            },
        )?;
        Ok(pages)
    }

    /// Shows candidates in ascending order, by whatever narrows most.
    fn propose(&self, filter: &Filter, bounds: Bounds, take: &mut Take<'_>) -> Result<(), Fault> {
        let Bounds { after, last } = bounds;
        let shapes = self.shapes(filter);
        let columns = "SELECT e.idx, e.shape FROM exchanges e";
        let range = "AND e.idx > ?2 AND e.idx <= ?3 ORDER BY e.idx";
        if let Some(tag) = &filter.tag {
            let sql = format!(
                "{columns} JOIN tags t ON t.idx = e.idx WHERE t.prefix = ?1 AND t.idx > ?2 AND t.idx <= ?3 \
                 ORDER BY t.idx"
            );
            return self.walk(&sql, params![prefix(tag), after, last], &shapes, take);
        }
        if let Some(case) = &filter.case {
            let Some(case) = case_bytes(case.as_str()) else { return Ok(()) };
            let sql = format!("{columns} WHERE e.case_id = ?1 {range}");
            return self.walk(&sql, params![&case[..], after, last], &shapes, take);
        }
        if let Some(officer) = &filter.officer {
            let Some(id) = self.officers.get(officer.as_str()) else { return Ok(()) };
            let sql = format!("{columns} WHERE e.officer = ?1 {range}");
            return self.walk(&sql, params![id, after, last], &shapes, take);
        }
        match &shapes {
            Shapes::Any => {
                let sql = format!("{columns} WHERE e.idx > ?1 AND e.idx <= ?2 ORDER BY e.idx");
                self.walk(&sql, params![after, last], &shapes, take)
            }
            Shapes::Of(shapes) => self.merge(shapes, bounds, take),
        }
    }

    fn walk(
        &self,
        sql: &str,
        parameters: impl Params,
        shapes: &Shapes,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let mut select = self.db.prepare(sql)?;
        let mut rows = select.query(parameters)?;
        while let Some(row) = rows.next()? {
            if shapes.allow(row.get(1)?) && !take(row.get(0)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Merges the entries of each shape: one step into the database for each shape and each hit, however many
    /// entries there are.
    fn merge(&self, shapes: &HashSet<i64>, bounds: Bounds, take: &mut Take<'_>) -> Result<(), Fault> {
        let mut step = self.db.prepare(
            "SELECT idx FROM exchanges WHERE shape = ?1 AND idx > ?2 AND idx <= ?3 ORDER BY idx LIMIT 1",
        )?;
        let mut next = |shape: i64, after: i64| {
            step.query_row(params![shape, after, bounds.last], |row| row.get::<_, i64>(0)).optional()
        };
        let mut heads = BinaryHeap::with_capacity(shapes.len());
        for shape in shapes {
            heads.extend(next(*shape, bounds.after)?.map(|index| Reverse((index, *shape))));
        }
        while let Some(Reverse((index, shape))) = heads.pop() {
            if !take(index)? {
                break;
            }
            heads.extend(next(shape, index)?.map(|index| Reverse((index, shape))));
        }
        Ok(())
    }

    /// The shapes that pass what the filter says of shapes.
    fn shapes(&self, filter: &Filter) -> Shapes {
        let of_shapes =
            Filter { case: None, officer: None, tag: None, since_ms: None, until_ms: None, ..filter.clone() };
        let any = Filter::default();
        let says_nothing = of_shapes.member == any.member
            && of_shapes.consumer == any.consumer
            && of_shapes.provider == any.provider
            && of_shapes.contract == any.contract
            && of_shapes.purpose == any.purpose
            && of_shapes.record == any.record
            && of_shapes.outcome == any.outcome
            && of_shapes.code == any.code
            && of_shapes.scope == any.scope;
        if says_nothing {
            return Shapes::Any;
        }
        let passing = self.shapes.iter().filter(|(shape, _)| of_shapes.passes(&shape.example()));
        Shapes::Of(passing.map(|(_, id)| *id).collect())
    }

    /// The entry as the ledger holds it, which must be what its row says.
    fn read_again(&self, entries: &dyn Entries, index: i64, filter: &Filter) -> Result<Found, Fault> {
        let at = u64::try_from(index).unwrap_or(u64::MAX);
        let wrong = |what: &str| Fault::Doubt(format!("its row of entry {at} is wrong: {what}"));
        let (bytes, _) = entries.entry(at).map_err(|error| match error {
            AuditError::NoEntry { .. } => wrong("there is no such entry"),
            error => Fault::Ledger(error),
        })?;
        let found = find(at, &bytes)?.ok_or_else(|| wrong("it is no exchange"))?;
        let known = filter.tag.as_ref().is_none_or(|tag| schema::prefixes(&found).contains(&prefix(tag)));
        if !known {
            return Err(wrong("another tag"));
        }
        match self.row_fault(&found)? {
            Some(what) => Err(wrong(what)),
            None => Ok(found),
        }
    }

    /// What the row of an exchange holds against it.
    pub(super) fn row_fault(&self, found: &Found) -> Result<Option<&'static str>, Fault> {
        type Row = (i64, i64, Option<i64>, Option<Vec<u8>>);
        let sql = "SELECT time_ms, shape, officer, case_id FROM exchanges WHERE idx = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let row: Option<Row> = self.db.query_row(sql, [number(found.access.index)], read).optional()?;
        let Some((time_ms, shape, officer, case)) = row else { return Ok(Some("there is no row")) };
        let officer_known = match officer {
            None => found.access.officer.is_empty(),
            Some(id) => self.officers.get(&found.access.officer) == Some(&id),
        };
        Ok(if time_ms != found.time_ms {
            Some("another time")
        } else if self.shapes.get(&Shape::of(found)) != Some(&shape) {
            Some("another shape")
        } else if !officer_known {
            Some("another officer")
        } else if case.as_deref() != case_bytes(&found.access.case).as_ref().map(|id| &id[..]) {
            Some("another case")
        } else {
            None
        })
    }
}
