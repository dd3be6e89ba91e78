//! Generates the service stubs; messages come from `yiwang-proto`.
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../yiwang");
    let files = ["envelope", "ledger", "exchange", "record", "case", "directory", "link"]
        .map(|name| format!("yiwang/v1/{name}.proto"));
    let descriptors = protox::compile(files, [".."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), protox_bytes(&descriptors))?;
    tonic_prost_build::configure()
        .extern_path(".yiwang.v1", "::yiwang_proto::pb")
        .build_client(true)
        .build_server(true)
        .codec_path("crate::codec::SizedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}

fn protox_bytes(descriptors: &protox::prost_reflect::prost_types::FileDescriptorSet) -> Vec<u8> {
    use protox::prost_reflect::prost::Message;
    descriptors.encode_to_vec()
}
