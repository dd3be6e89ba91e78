//! All files of a folder as they were at one moment, with an index for each operation.

use crate::cells::{write, write_wanted};
use crate::dropped::{Dropped, OfFile};
use crate::file::{Parsed, parse};
use crate::folder::{Entry, Folder, Version};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use yiwang_adapter_sdk::mapping::{
    Access, COUNT_COLUMN, Compared, CsvDef, OperationDef, WhereDef, WhereValue,
};
use yiwang_adapter_sdk::source::{FetchQuery, Fetched, Quarantined, SourceError};
use yiwang_adapter_sdk::value::{Cell, Rows};
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;

/// Quarantined rows that are kept with their reason over all files.
const KEPT_MAX: usize = 10_000;

/// File and row.
type Place = (u32, u32);
type Index = HashMap<u64, Vec<Place>>;

#[derive(Debug, Clone)]
struct Loaded {
    name: String,
    /// The version that was looked at last.
    version: Version,
    /// Why that version is not served. What it served before stays, and it is not looked at again.
    bad: Option<String>,
    /// It could not even be opened: that may pass without a change of the file.
    unread: bool,
    /// What is served, and when it was written; none where no version of the file was good yet.
    served: Option<(Arc<Parsed>, Version)>,
    /// What counted as dropped when it was looked at.
    dropped: OfFile,
    /// It was dropped as a whole, and with it what an earlier version of it had served.
    dropped_whole: bool,
}

impl Loaded {
    /// Looks at a version that was not seen before. One file's fault is its own: the others are served.
    fn look(
        folder: &Folder,
        def: &CsvDef,
        name: String,
        version: Version,
        before: Option<&Self>,
        dropped: OfFile,
    ) -> Self {
        let content = folder.read(&name);
        let unread = content.is_err();
        let mut file = Self { name, version, bad: None, unread, served: None, dropped, dropped_whole: false };
        if let Ok((content, read)) = &content
            && file.dropped.has_file(content)
        {
            return Self { version: *read, dropped_whole: true, ..file };
        }
        let parsed = content.and_then(|(content, read)| {
            Ok((Arc::new(parse(&file.name, &content, def, &file.dropped)?), read))
        });
        match parsed {
            Ok((parsed, read)) => {
                file.version = read;
                file.served = Some((parsed, read));
            }
            Err(fault) => {
                file.bad = Some(fault.to_string());
                file.served = before.and_then(|before| before.served.clone());
            }
        }
        file
    }
}

impl Loaded {
    fn rows(&self) -> usize {
        self.served.as_ref().map_or(0, |(parsed, _)| parsed.rows.len())
    }
}

/// The rows of a folder.
#[derive(Debug)]
pub(crate) struct Snapshot {
    entries: Vec<Entry>,
    /// The list of what was dropped that counted.
    dropped: Option<Version>,
    files: Vec<Loaded>,
    /// One per operation, in the order of the mapping.
    indexes: Vec<Index>,
    hasher: RandomState,
    quarantined: Vec<Quarantined>,
    quarantined_count: usize,
    /// Rows whose key came again later, also in a row that is held back.
    pub(crate) replaced: usize,
}

impl Snapshot {
    /// Reads the folder; files that are as they were in `previous`, good or bad, are not read again.
    ///
    /// Errors: the folder cannot be listed, or it has files and no version of any was ever good, so that
    /// the mapping fits nothing and an empty answer would be a lie.
    pub(crate) fn load(
        folder: &Folder,
        def: &CsvDef,
        operations: &[Arc<OperationDef>],
        dropped: (&Dropped, Option<Version>),
        previous: Option<&Self>,
    ) -> Result<Self, SourceError> {
        let entries = folder.list()?;
        let mut snapshot = Self {
            entries: entries.clone(),
            dropped: dropped.1,
            files: Vec::new(),
            indexes: Vec::new(),
            hasher: RandomState::new(),
            quarantined: Vec::new(),
            quarantined_count: 0,
            replaced: 0,
        };
        for entry in entries {
            let Some(version) = entry.version else {
                snapshot.quarantine([Quarantined {
                    file: entry.name,
                    line: 0,
                    reason: "is no plain file and is not opened".to_owned(),
                }]);
                continue;
            };
            let before = previous.into_iter().flat_map(|previous| &previous.files);
            let before = before.into_iter().find(|file| file.name == entry.name);
            let of = dropped.0.of(&entry.name);
            let same = |file: &&Loaded| file.version == version && !file.unread && file.dropped == of;
            let loaded = match before.filter(same) {
                Some(file) => file.clone(),
                None => Loaded::look(folder, def, entry.name, version, before, of),
            };
            snapshot.take(loaded);
        }
        let served = snapshot.files.iter().any(|file| file.served.is_some());
        if let Some(bad) = snapshot.files.iter().find_map(|file| file.bad.as_ref()).filter(|_| !served) {
            return Err(SourceError::Drift(bad.clone()));
        }
        if !served && snapshot.files.iter().any(|file| file.dropped_whole) {
            let what = "every file of its folder was dropped; `yiwang-adapter quarantine list` says by whom";
            return Err(SourceError::Unavailable(what.to_owned()));
        }
        let gone = snapshot.replaced_rows(def);
        snapshot.index(def, operations, &gone);
        Ok(snapshot)
    }

    fn take(&mut self, file: Loaded) {
        if let Some(reason) = &file.bad {
            let kept = if file.served.is_some() { "; its earlier version is served" } else { "" };
            let reason = format!("{reason}{kept}");
            self.quarantine([Quarantined { file: file.name.clone(), line: 0, reason }]);
        }
        if let Some((parsed, _)) = &file.served {
            self.quarantined_count += parsed.quarantined_count - parsed.quarantined.len();
            self.quarantine(parsed.quarantined.iter().cloned());
        }
        self.files.push(file);
    }

    fn quarantine(&mut self, rows: impl IntoIterator<Item = Quarantined>) {
        for row in rows {
            self.quarantined_count += 1;
            if self.quarantined.len() < KEPT_MAX {
                self.quarantined.push(row);
            }
        }
    }

    /// Whether the folder looks as it did when this was read.
    pub(crate) fn is_current(&self, folder: &Folder, dropped: Option<Version>) -> Result<bool, SourceError> {
        let reads_again = |file: &Loaded| file.unread && folder.read(&file.name).is_ok();
        Ok(dropped == self.dropped && folder.list()? == self.entries && !self.files.iter().any(reads_again))
    }

    /// Rows, and whole files, that were dropped by hand.
    pub(crate) fn dropped(&self) -> (usize, usize) {
        let rows = self.files.iter().filter_map(|file| file.served.as_ref());
        let rows = rows.map(|(parsed, _)| parsed.dropped).sum();
        (rows, self.files.iter().filter(|file| file.dropped_whole).count())
    }

    pub(crate) fn quarantined(&self) -> (&[Quarantined], usize) {
        (&self.quarantined, self.quarantined_count)
    }

    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn rows(&self) -> usize {
        self.files.iter().map(Loaded::rows).sum()
    }

    /// Files that are not served as they are.
    pub(crate) fn bad_files(&self) -> usize {
        self.files.iter().filter(|file| file.bad.is_some()).count()
    }

    /// When the newest file that is served was written, milliseconds.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.files.iter().filter_map(|file| file.served.as_ref()).map(|(_, read)| read.modified_ms()).max()
    }

    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.files.iter().enumerate().flat_map(|(file, loaded)| {
            let file = u32::try_from(file).unwrap_or(u32::MAX);
            (0..u32::try_from(loaded.rows()).unwrap_or(u32::MAX)).map(move |row| (file, row))
        })
    }

    fn cell(&self, (file, row): Place, column: usize) -> Cell<'_> {
        let served = self.files.get(file as usize).and_then(|loaded| loaded.served.as_ref());
        served.map_or(Cell::Null, |(parsed, _)| parsed.rows.cell(row as usize, column))
    }

    /// Rows whose key comes again later: the last one counts, and where that one is held back, none.
    fn replaced_rows(&mut self, def: &CsvDef) -> std::collections::HashSet<Place> {
        let mut gone = std::collections::HashSet::new();
        let at = def.key.as_ref().and_then(|key| def.columns.keys().position(|column| column == key));
        if let Some(at) = at {
            let mut last: HashMap<Vec<u8>, Place> = HashMap::new();
            for (file, loaded) in (0..).zip(&self.files) {
                let Some((parsed, _)) = &loaded.served else { continue };
                let mut held = parsed.held_keys.iter().peekable();
                // One more than there are, for what is held back behind the last.
                for row in 0..=parsed.rows.len() {
                    while let Some((_, key)) = held.next_if(|(before, _)| *before <= row) {
                        gone.extend(last.remove(key));
                    }
                    let mut key = Vec::new();
                    let place = (file, u32::try_from(row).unwrap_or(u32::MAX));
                    if write(&mut key, parsed.rows.cell(row, at), Compared::Whole, def) {
                        gone.extend(last.insert(key, place));
                    }
                }
            }
        }
        self.replaced = gone.len();
        gone
    }

    fn index(
        &mut self,
        def: &CsvDef,
        operations: &[Arc<OperationDef>],
        gone: &std::collections::HashSet<Place>,
    ) {
        let indexes = operations.iter().map(|operation| {
            let mut index = Index::new();
            let Some(conditions) = conditions(operation, def) else { return index };
            let mut key = Vec::new();
            for place in self.places().filter(|place| !gone.contains(place)) {
                if self.key(&mut key, place, &conditions.always, def) {
                    index.entry(self.hasher.hash_one(&key)).or_default().push(place);
                }
            }
            index
        });
        self.indexes = indexes.collect();
    }

    /// The key of a row for an operation; false if one of its cells is empty.
    fn key(&self, key: &mut Vec<u8>, place: Place, conditions: &[Condition<'_>], def: &CsvDef) -> bool {
        key.clear();
        conditions
            .iter()
            .all(|condition| write(key, self.cell(place, condition.column), condition.def.compared, def))
    }

    /// Finds the rows of a query. Errors: also that there is none, and something is held back, which may be it.
    pub(crate) fn fetch(&self, at: usize, query: &FetchQuery, def: &CsvDef) -> Result<Fetched, SourceError> {
        let fetched = self.find(at, query, def)?;
        if fetched.rows.is_empty() && self.may_be_held_back(query, def) {
            return Err(SourceError::HeldBack);
        }
        Ok(fetched)
    }

    /// Whether a row that is held back may be one that is looked for. Where the key of each of them can be read, one of
    /// another key is none.
    fn may_be_held_back(&self, query: &FetchQuery, def: &CsvDef) -> bool {
        let held = || {
            self.files
                .iter()
                .filter_map(|file| file.served.as_ref())
                .flat_map(|(parsed, _)| &parsed.held_keys)
        };
        if self.quarantined_count == 0 || held().count() < self.quarantined_count {
            return self.quarantined_count > 0;
        }
        let key = def.key.as_ref().and_then(|key| def.columns.keys().position(|column| column == key));
        let Some(conditions) = conditions(&query.operation, def) else { return true };
        match conditions.always.as_slice() {
            [one] if Some(one.column) == key && one.def.compared == Compared::Whole => {
                let wanted = wanted(&conditions.always, query, def);
                wanted.is_none_or(|wanted| held().any(|(_, key)| *key == wanted))
            }
            _ => true,
        }
    }

    fn find(&self, at: usize, query: &FetchQuery, def: &CsvDef) -> Result<Fetched, SourceError> {
        let mut fetched = Rows::new(query.columns.len());
        let conditions = conditions(&query.operation, def)
            .ok_or_else(|| SourceError::Query("the operation has no conditions".to_owned()))?;
        let given = conditions.given(query);
        if let (true, true, Some(name)) = (conditions.always.is_empty(), given.is_empty(), conditions.first) {
            let what = "is missing, and so is every other one: all rows would be found";
            return Err(SourceError::Argument { name: name.clone(), what });
        }
        let both = (wanted(&conditions.always, query, def), wanted(&given, query, def));
        let (Some(wanted), Some(besides)) = both else { return Ok(Fetched { rows: fetched }) };
        let columns: Option<Vec<usize>> =
            query.columns.iter().map(|column| def.columns.keys().position(|known| known == column)).collect();
        let columns =
            columns.ok_or_else(|| SourceError::Query("a column is not in the mapping".to_owned()))?;
        let found = self.indexes.get(at).and_then(|index| index.get(&self.hasher.hash_one(&wanted)));
        let mut key = Vec::new();
        for place in found.into_iter().flatten() {
            if fetched.len() >= query.limit as usize {
                break;
            }
            // Two keys can have one hash.
            if !self.key(&mut key, *place, &conditions.always, def) || key != wanted {
                continue;
            }
            if !self.key(&mut key, *place, &given, def) || key != besides {
                continue;
            }
            let read = |column: &str| {
                let at = def.columns.keys().position(|known| known.as_ref() == column);
                at.map_or(Cell::Null, |at| self.cell(*place, at))
            };
            if query.filter.as_ref().is_some_and(|filter| !filter.matches(read)) {
                continue;
            }
            for column in &columns {
                fetched.push(self.cell(*place, *column))?;
            }
        }
        Ok(Fetched { rows: fetched })
    }
}

impl Snapshot {
    /// How many rows there are for each combination of the query's columns: the rows of a count.
    pub(crate) fn count(&self, at: usize, query: &FetchQuery, def: &CsvDef) -> Result<Fetched, SourceError> {
        let of = |column: &Arc<str>| def.columns.keys().position(|known| known == column);
        let columns: Vec<Option<usize>> = query
            .columns
            .iter()
            .map(|column| if column.as_ref() == COUNT_COLUMN { None } else { of(column) })
            .collect();
        let mut groups: HashMap<Vec<u8>, (Place, i64)> = HashMap::new();
        let mut key = Vec::new();
        for place in self.indexes.get(at).into_iter().flat_map(HashMap::values).flatten() {
            key.clear();
            for column in columns.iter().flatten() {
                // What is empty is a value of its own here.
                if !write(&mut key, self.cell(*place, *column), Compared::Whole, def) {
                    key.push(b'0');
                }
            }
            match groups.get_mut(&key) {
                Some((_, rows)) => *rows += 1,
                None => {
                    groups.insert(key.clone(), (*place, 1));
                }
            }
        }
        let mut fetched = Rows::new(query.columns.len());
        for (place, rows) in groups.values().take(query.limit as usize) {
            for column in &columns {
                fetched.push(column.map_or(Cell::Integer(*rows), |column| self.cell(*place, column)))?;
            }
        }
        Ok(Fetched { rows: fetched })
    }
}

/// One condition with the place of its column.
#[derive(Clone, Copy)]
struct Condition<'o> {
    column: usize,
    def: &'o WhereDef,
}

impl Condition<'_> {
    /// What it compares with; none where its parameter was not given.
    fn value<'v>(&'v self, query: &'v FetchQuery) -> Option<&'v Scalar> {
        match &self.def.value {
            WhereValue::Constant(value) => Some(value),
            WhereValue::Param(name) => {
                query.params.iter().find(|(known, _)| known.as_ref() == name.as_str())?.1.as_ref()
            }
        }
    }
}

/// An operation's conditions.
#[derive(Default)]
struct Conditions<'o> {
    /// Those that hold for every question: they make the index.
    always: Vec<Condition<'o>>,
    /// Those whose parameter can be left out, and the condition with it.
    optional: Vec<Condition<'o>>,
    /// The first of these parameters.
    first: Option<&'o FieldName>,
}

impl<'o> Conditions<'o> {
    fn given(&self, query: &FetchQuery) -> Vec<Condition<'o>> {
        self.optional.iter().filter(|condition| condition.value(query).is_some()).copied().collect()
    }
}

fn conditions<'o>(operation: &'o OperationDef, def: &CsvDef) -> Option<Conditions<'o>> {
    let Access::Where(list) = &operation.access else { return None };
    let mut conditions = Conditions::default();
    for condition in list {
        let column = def.columns.keys().position(|column| *column == condition.column)?;
        let left_out = match &condition.value {
            WhereValue::Constant(_) => None,
            WhereValue::Param(name) => {
                operation.params.iter().find(|param| param.optional && param.name == *name)
            }
        };
        match left_out {
            None => conditions.always.push(Condition { column, def: condition }),
            Some(param) => {
                conditions.first = conditions.first.or(Some(&param.name));
                conditions.optional.push(Condition { column, def: condition });
            }
        }
    }
    Some(conditions)
}

fn wanted(conditions: &[Condition<'_>], query: &FetchQuery, def: &CsvDef) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for condition in conditions {
        let value = condition.value(query)?;
        let column = def.columns.get(&condition.def.column)?;
        write_wanted(&mut key, value, condition.def, column, def)?;
    }
    Some(key)
}
