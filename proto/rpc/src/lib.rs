//! The gRPC service stubs of Yiwang, generated from `proto/yiwang/v1`. Messages live in `yiwang-proto`.

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
mod generated {
    tonic::include_proto!("yiwang.v1");
}

mod codec;
mod gathered;

pub use codec::{SizedCodec, SizedEncoder};
pub use gathered::Gathered;
pub use generated::*;

/// The encoded `FileDescriptorSet` of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
