//! The one place where service codes become gRPC statuses. Strangers get the code and its help, never
//! inner text.

use crate::limits::RETRY_AFTER;
use tonic::metadata::MetadataMap;
use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
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
        Code::StatementExpired
        | Code::ClockSkew
        | Code::LedgerNotAppending
        | Code::HeadContradicts
        | Code::NotWitnessed
        | Code::SealingKeyUnknown => Grpc::FailedPrecondition,
        Code::DeadlineExceeded => Grpc::DeadlineExceeded,
        Code::ProviderUnavailable | Code::SourceError | Code::LedgerFull | Code::ReceiptsOwed => {
            Grpc::Unavailable
        }
        Code::RateExceeded
        | Code::QuotaExceeded
        | Code::ProviderBusy
        | Code::Overloaded
        | Code::AnswersWaiting
        | Code::Throttled => Grpc::ResourceExhausted,
        Code::AnswerInvalid => Grpc::DataLoss,
        Code::PolicyError | Code::Internal => Grpc::Internal,
        Code::WrongMember
        | Code::NoContract
        | Code::ContractExpired
        | Code::ContractNotYetValid
        | Code::ContractInvalid
        | Code::CatalogueInvalid
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
        | Code::TicketUsedUp
        | Code::Revoked
        | Code::StandingStale => Grpc::PermissionDenied,
    }
}

/// The status for a code.
pub fn of(code: Code) -> Status {
    let mut metadata = MetadataMap::new();
    if let Ok(value) = code.as_str().parse() {
        metadata.insert(CODE_KEY, value);
    }
    let mut details = ErrorDetails::with_error_info(code.as_str(), "yiwang", []);
    if may_try_again(code) {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details_and_metadata(grpc(code), words(code), details, metadata)
}

/// Whether the same request may succeed a moment later: only what turns away without having looked.
fn may_try_again(code: Code) -> bool {
    matches!(code, Code::Overloaded | Code::AnswersWaiting | Code::Throttled | Code::ProviderBusy)
}

fn words(code: Code) -> String {
    format!("{code}: {}", code.help())
}

/// The headers of a refusal that has nothing else.
pub fn metadata(code: Code) -> [(&'static str, String); 3] {
    // Our words are ASCII; gRPC wants anything else percent-encoded.
    let status = i32::from(grpc(code)).to_string();
    [
        (CODE_KEY, code.as_str().to_owned()),
        ("grpc-status", status),
        ("grpc-message", words(code).replace('%', "%25")),
    ]
}
