#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weekvault_fuzz::run("sealed_file", data));
