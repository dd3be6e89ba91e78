//! What the libraries would say to a peer whose bytes are no message: their words name types, fields and
//! limits of the inside. They are replaced by the service code that fits.

use crate::status::{CODE_KEY, metadata};
use axum::response::Response;
use http::HeaderValue;
use tonic::Code as Grpc;
use yiwang_proto::codes::Code;

/// Replaces statuses that are not ours.
pub(super) async fn plain_words(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.contains_key(CODE_KEY) {
        return response;
    }
    let Some(status) = headers.get("grpc-status").map(|value| Grpc::from_bytes(value.as_bytes())) else {
        return response;
    };
    let code = match status {
        // The library's words for a message that does not decode.
        Grpc::Internal | Grpc::Unknown | Grpc::DataLoss => Code::Malformed,
        Grpc::OutOfRange | Grpc::ResourceExhausted => Code::TooLarge,
        _ => return response,
    };
    headers.remove("grpc-status-details-bin");
    for (name, value) in metadata(code) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
