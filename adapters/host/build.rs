//! How the adapter that is given out is linked.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // With the allocator of what is given out, so that a build of anybody's own runs also on older systems: packed
    // relocations need glibc 2.36, and spare a waiting adapter a megabyte that its start alone reads.
    let given_out = std::env::var_os("CARGO_FEATURE_JEMALLOC").is_some();
    let system =
        ["OS", "ENV"].map(|part| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default());
    if given_out && system == ["linux", "gnu"] {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
