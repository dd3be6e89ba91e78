//! The one place where service codes become gRPC statuses. Strangers get the code and its help, never
//! inner text.

use tonic::{Code as Grpc, Status};
use yiwang_proto::codes::Code;

/// Metadata key that carries the service code.
pub const CODE_KEY: &str = "yiwang-code";

/// The gRPC code of a service code.
pub fn grpc(code: Code) -> Grpc {
    match code {
        Code::Malformed | Code::ArgumentInvalid => Grpc::InvalidArgument,
        Code::TooLarge => Grpc::OutOfRange,
        Code::SignatureInvalid | Code::KeyUnknown | Code::DelegationInvalid => Grpc::Unauthenticated,
        Code::Replayed => Grpc::AlreadyExists,
        Code::NotFound => Grpc::NotFound,
        Code::StatementExpired | Code::ClockSkew | Code::LedgerNotAppending | Code::SealingKeyUnknown => {
            Grpc::FailedPrecondition
        }
        Code::DeadlineExceeded => Grpc::DeadlineExceeded,
        Code::ProviderUnavailable | Code::SourceError | Code::LedgerFull => Grpc::Unavailable,
        Code::RateExceeded | Code::ProviderBusy | Code::Overloaded => Grpc::ResourceExhausted,
        Code::AnswerInvalid => Grpc::DataLoss,
        Code::PolicyError | Code::Internal => Grpc::Internal,
        Code::WrongMember
        | Code::NoContract
        | Code::ContractExpired
        | Code::ContractNotYetValid
        | Code::ContractInvalid
        | Code::PurposeMismatch
        | Code::ConsumerMismatch
        | Code::NoCase
        | Code::CaseClosed
        | Code::MatterMismatch
        | Code::SubjectNotInCase
        | Code::TagMismatch
        | Code::FieldNotGranted
        | Code::OperationNotGranted
        | Code::RowOutsideFilter
        | Code::SealingRequired
        | Code::ApprovalsRequired
        | Code::OfficerSignatureRequired
        | Code::OfficerInvalid
        | Code::TicketInvalid
        | Code::TicketUsedUp => Grpc::PermissionDenied,
    }
}

/// The status for a code.
pub fn of(code: Code) -> Status {
    let mut status = Status::new(grpc(code), format!("{code}: {}", code.help()));
    if let Ok(value) = code.as_str().parse() {
        status.metadata_mut().insert(CODE_KEY, value);
    }
    status
}
