//! Nothing is shared: each example is one file beside `Cargo.toml`, complete in itself, with the command that runs it
//! at its head.
