//! Mapping files: how one record type of the catalogue is read from one source. TOML, one file per record
//! type; no policy in it (that is the contract) and no template language over SQL.

mod batch;
mod count;
mod date_format;
mod def;
mod expression;
mod fault;
mod field;
mod help;
mod masked;
mod operation;
mod order;
mod paging;
mod parse;
mod read;
mod server;
mod service;
mod service_operation;
mod service_read;
mod source;
mod sql_text;
mod test_run;
mod test_table;
mod test_update;

pub use count::{COUNT_COLUMN, CountDef, K_MIN};
pub use def::{
    Access, CodeTable, ColumnDef, ColumnType, Compared, CsvDef, Encoding, Expectation, FieldDef, FieldType,
    FreshnessDef, HealthDef, OperationDef, OperationKind, PageDef, ParamDef, ParamType, PoolDef, ServerDef,
    SourceCommon, SourceDef, SqliteDef, Step, TestDef, TlsDef, UnknownCode, WhereDef, WhereValue,
};
pub use expression::{Computed, Expression, NoValue};
pub(crate) use fault::position;
pub use fault::{MappingFault, fault_at, render, render_masked};
pub use help::next_step;
pub use operation::{LIMIT, TIMEOUT};
pub use order::OrderDef;
pub use service::{
    AuthDef, CallDef, ClientDef, FhirDef, HttpDef, Method, ParamPlace, Piece, RetryDef, SearchDef,
    ServiceDef, ServiceTlsDef, Template, is_pointer, search_name,
};
pub use source::FILES;
pub(crate) use sql_text::{is_ordered, names_in};
pub use sql_text::{parameters, without_constants};
pub use test_run::{TestResult, run_tests};
pub use test_update::{TestChange, TestUpdate, test_updates};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_proto::ids::{MemberId, Operation, RecordType};

/// Value of `format` in a mapping file.
pub const FORMAT: &str = "adapter/1";
/// Bytes of a mapping file: hundreds of fields and code tables fit.
pub const MAPPING_MAX: usize = 512 * 1024;

/// A mapping file, checked. Secrets are not in it: they are resolved when its source is opened.
#[derive(Debug)]
pub struct Mapping {
    file: PathBuf,
    digest: [u8; 32],
    name: String,
    name_span: std::ops::Range<usize>,
    record: RecordType,
    record_span: std::ops::Range<usize>,
    owner: MemberId,
    source: SourceDef,
    codes: BTreeMap<String, Arc<CodeTable>>,
    operations: Vec<Arc<OperationDef>>,
    tests: Vec<TestDef>,
}

impl Mapping {
    /// Reads a mapping; on failure all its faults at once, in the order of the file.
    pub fn parse(text: &str, file_name: &Path) -> Result<Self, Vec<MappingFault>> {
        parse::parse(text, file_name)
    }

    /// The file, as it was named to `parse`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The folder that relative paths are relative to.
    pub fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// SHA-256 of the file's bytes; auditors see by it which mapping answered.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Its own name, like `police.person`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its name stands in the file.
    pub fn name_span(&self) -> std::ops::Range<usize> {
        self.name_span.clone()
    }

    /// The record type of the catalogue.
    pub fn record(&self) -> &RecordType {
        &self.record
    }

    /// Where the record type stands in the file.
    pub fn record_span(&self) -> std::ops::Range<usize> {
        self.record_span.clone()
    }

    /// The member whose data it is; must be the member of the adapter.
    pub fn owner(&self) -> &MemberId {
        &self.owner
    }

    /// Where the data is.
    pub fn source(&self) -> &SourceDef {
        &self.source
    }

    /// Code tables by name.
    pub fn codes(&self) -> &BTreeMap<String, Arc<CodeTable>> {
        &self.codes
    }

    /// Its operations.
    pub fn operations(&self) -> &[Arc<OperationDef>] {
        &self.operations
    }

    /// An operation by name.
    pub fn operation(&self, name: &Operation) -> Option<&Arc<OperationDef>> {
        self.operations.iter().find(|operation| operation.name == *name)
    }

    /// Its tests.
    pub fn tests(&self) -> &[TestDef] {
        &self.tests
    }
}

#[cfg(test)]
#[path = "mapping_test.rs"]
mod tests;
