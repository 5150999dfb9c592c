//! Prints what a directory of state holds, and verifies its checksums.
//!
//! ```text
//! cargo run --release -p thalweg-state --bin thalweg-inspect -- DIRECTORY [--no-verify]
//! ```
//! Ends with 0 if all is sound, 1 if something is damaged or missing, 2 if it cannot tell.

use std::process::ExitCode;
use std::sync::Arc;

use thalweg_io::storage::PosixStorage;
use thalweg_state::inspect;

const USAGE: &str = "usage: thalweg-inspect DIRECTORY [--no-verify]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, verify) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [directory] if !directory.starts_with('-') => (directory, true),
        [directory, "--no-verify"] | ["--no-verify", directory] => (directory, false),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match inspect(directory, Arc::new(PosixStorage::new()), verify) {
        Ok(report) => {
            println!("{report}");
            ExitCode::from(u8::from(!report.is_sound()))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
