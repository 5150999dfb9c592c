//! The price of types: a job of 8 `key_by`s and 80 stateless operators must build in 30 s, in debug and in release, and its
//! release binary, of Cargo's own release profile, must stay below 20 MB.
//!
//! It builds a package of its own beside the workspace's, in `target/compile_size`, so that dependencies are built once;
//! only the build of the job itself is timed. Takes minutes the first time, hence
//! `cargo test -p thalweg-tests --test compile_size -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const KEY_BYS: usize = 8;
const OPERATORS: usize = 80;
const BUILD_LIMIT: Duration = Duration::from_secs(30);
const BINARY_BYTES_MAX: u64 = 20_000_000;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of the workspace").to_owned()
}

/// The job: ten stateless operators of five kinds behind each key.
fn source() -> String {
    let mut code = String::from(
        "use thalweg::prelude::*;\n\
         #[thalweg::record]\n#[derive(Clone, Debug)]\nstruct Row { key: u64, name: String, value: i64 }\n\
         fn main() -> thalweg::Result<()> {\n    let env = StreamExecutionEnvironment::new();\n    \
         let stream = env.from_parallel(|ctx| (ctx.subtask_index as u64..10_000).step_by(ctx.parallelism))\n        \
         .map(|n| Row { key: n, name: n.to_string(), value: 1 })\n",
    );
    for key_by in 0..KEY_BYS {
        for operator in 0..OPERATORS / KEY_BYS {
            let number = key_by * 100 + operator;
            let line = match operator % 5 {
                0 => format!(
                    ".map(|row: Row| Row {{ value: row.value.wrapping_add({number}), ..row }})"
                ),
                1 => format!(".filter(|row| row.value != -{number})"),
                2 => format!(".flat_map(|row: Row| (row.key != {number}).then_some(row))"),
                3 => format!(".try_map(|row: Row| Ok(Row {{ key: row.key ^ {number}, ..row }}))"),
                _ => ".map(|mut row: Row| { row.name.push('x'); row.name.truncate(9); row })"
                    .to_owned(),
            };
            writeln!(code, "        {line}").expect("a string takes everything");
        }
        let scan = ".scan(0i64, |sum, row| { *sum = sum.wrapping_add(row.value); Row { value: *sum, ..row } })";
        let modulus = 10 + key_by;
        writeln!(code, "        .key_by(|row| row.key % {modulus})\n        {scan}")
            .expect("a string takes everything");
    }
    code.push_str(
        "        .map(|row| row.value);\n    let values = stream.collect();\n    env.execute(\"deep\")?;\n    \
         println!(\"{} rows\", values.take().len());\n    Ok(())\n}\n",
    );
    code
}

fn write_package(directory: &Path) {
    let engine = workspace().join("engine");
    let manifest = format!(
        "[package]\nname = \"deep-job\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         thalweg = {{ path = {engine:?} }}\n\n[workspace]\n"
    );
    std::fs::create_dir_all(directory.join("src")).unwrap();
    std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    // The versions of the workspace, which are in the cache.
    std::fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    std::fs::write(directory.join("src/main.rs"), source()).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "it measures how long a build takes")]
fn cargo(directory: &Path, words: &[&str]) -> Duration {
    let started = Instant::now();
    let output = Command::new(env!("CARGO"))
        .args(words)
        .arg("--offline")
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    started.elapsed()
}

#[test]
#[ignore = "builds the engine anew: minutes; CI runs it by name"]
fn a_deep_job_builds_fast_and_small() {
    let directory = workspace().join("target/compile_size");
    for (profile, words) in [("debug", &["build"][..]), ("release", &["build", "--release"])] {
        write_package(&directory);
        let all = cargo(&directory, words);
        // Once more, the job alone, from nothing.
        let clean: &[&str] = match profile {
            "debug" => &["clean", "-p", "deep-job"],
            _ => &["clean", "--release", "-p", "deep-job"],
        };
        cargo(&directory, clean);
        let job = cargo(&directory, words);
        let binary = directory.join("target").join(profile).join("deep-job");
        let size_bytes = std::fs::metadata(&binary).unwrap().len();
        println!(
            "{profile}: job {job:.1?}, with its dependencies {all:.1?}, binary {size_bytes} bytes"
        );
        let output = Command::new(&binary).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.ends_with(" rows\n"), "{output:?}");
        assert!(job <= BUILD_LIMIT, "{profile}: the job took {job:.1?}, more than {BUILD_LIMIT:?}");
        assert!(profile == "debug" || size_bytes <= BINARY_BYTES_MAX, "{size_bytes} bytes");
    }
}
