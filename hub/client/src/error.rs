//! What can go wrong at the client's side.

use yiwang_proto::codes::Code;
use yiwang_proto::ids::ContractId;

/// Why a call gave no verified result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub answered with a service code and no entry.
    #[error("the hub refused: {code}: {}", code.help())]
    Hub {
        /// The code.
        code: Code,
    },
    /// The connection failed.
    #[error("the hub cannot be reached: {0}; check the address in `member.toml` and the network")]
    Transport(String),
    /// What came does not verify: the hub or the provider broke a promise. Keep it as evidence.
    #[error("the answer does not verify: {0}")]
    Unverified(String),
    /// The next page of a contract is wanted that is not asked.
    #[error(
        "`resume` names contract `{contract}`, which this question does not ask, or not with such a token: ask with the body whose \
         answer gave it, or leave it out"
    )]
    Resume {
        /// The contract.
        contract: ContractId,
    },
    /// What was asked cannot be asked.
    #[error("{0}")]
    Ask(String),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        let code = status.metadata().get("yiwang-code").and_then(|value| value.to_str().ok());
        match code.and_then(Code::parse) {
            Some(code) => ClientError::Hub { code },
            None => ClientError::Transport(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}

impl ClientError {
    pub(crate) fn unverified(what: impl std::fmt::Display) -> Self {
        Self::Unverified(what.to_string())
    }

    /// The service code, where the hub gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Hub { code } => Some(*code),
            _ => None,
        }
    }
}
