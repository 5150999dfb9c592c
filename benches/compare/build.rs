//! Tells the program with which flags it was built, for the line about the machine.

fn main() {
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    println!("cargo::rustc-env=COMPARE_RUSTFLAGS={}", flags.replace('\u{1f}', " "));
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
}
