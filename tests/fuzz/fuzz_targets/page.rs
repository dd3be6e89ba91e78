#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| yiwang_fuzz::page(data));
