//! What a contract for counts asks beyond the rest: the declared table is one for everybody, so that nothing is
//! learnt by holding two answers against each other.

use crate::fields::Fault;
use crate::rows::{RowFault, check_arguments};
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::{ContractText, Method};

/// Dimensions of one table: each more makes cells so small that most are suppressed.
pub const DIMENSIONS_MAX: usize = 6;

/// What in the arguments does not fit the contract: a count takes none, a query those that its rows allow.
pub(crate) fn argument_fault(contract: &ContractText, arguments: &Arguments) -> Option<RowFault> {
    if contract.method == Method::Count && !arguments.is_empty() {
        return Some(RowFault::Untaken);
    }
    check_arguments(&contract.rows, arguments).err()
}

/// What in a contract for counts cannot stand.
pub(crate) fn check(contract: &ContractText, faults: &mut Vec<Fault>) {
    if contract.method != Method::Count {
        return;
    }
    if !contract.rows.is_empty() {
        faults.push(Fault::new(
            "rows",
            "a count has no row filter: two tables over different rows give away their difference",
            "leave `rows` empty; the mapping's declared table is counted whole",
        ));
    }
    if contract.fields.len() > DIMENSIONS_MAX {
        faults.push(Fault::new(
            "fields",
            format!("a count has at most {DIMENSIONS_MAX} dimensions"),
            "grant those that are needed",
        ));
    }
}
