//! Compiles the messages without protoc.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=yiwang");
    let files = ["envelope", "ledger", "exchange", "record", "case", "directory", "link"]
        .map(|name| format!("yiwang/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    prost_build::Config::new()
        // Bodies and envelopes are passed on as slices of the message they came in.
        .bytes(["."])
        .skip_protoc_run()
        .compile_fds(descriptors)?;
    Ok(())
}
