//! The command line, and each bench at a tiny size.

use super::*;
use thalweg::config::ConfigurationBuilder;

fn read(line: &str) -> Result<Options> {
    let words = std::iter::once("state").chain(line.split_whitespace());
    let arguments = ConfigurationBuilder::new().read_command_line(words, &declared())?;
    Options::read(&arguments)
}

#[test]
fn options_have_defaults_and_are_checked() {
    let options = read("rmw --zipf 0.99 --keys 10").unwrap();
    assert_eq!((options.bench, options.keys, options.value_bytes), (Bench::Rmw, 10, 8));
    assert_eq!((options.keys_are(), options.backend), ("zipf-0.99".to_owned(), Backend::Lsm));
    for (line, expected) in [
        ("sort", "there are rmw, list"),
        ("rmw --keys 0", "--keys 0 is not within 1 to"),
        ("rmw --value-bytes 9", "9 is neither 8 nor 100"),
        ("rmw --batch 0", "are at least 1"),
        ("rmw --seconds -1", "--seconds is not below 0"),
        ("rmw --backend disk", "there are lsm and memory"),
        ("rmw --barriers 9", "--barriers needs --barrier-every"),
        ("rmw --barriers 9 --barrier-every 5 --backend memory", "and --backend lsm"),
    ] {
        let error = read(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn every_bench_runs_and_agrees_with_its_baseline() {
    for line in [
        "rmw --keys 300 --backend memory",
        "rmw --keys 300 --barrier-every 500",
        "rmw --keys 300 --value-bytes 100 --zipf 0.99",
        "list --keys 100 --backend memory",
        "list --keys 100 --barrier-every 150",
        "map --keys 20 --backend memory",
        "map --keys 20 --barrier-every 300 --storage posix",
        "timers --keys 500 --backend memory",
        "timers --keys 500 --barrier-every 100 --barriers 40",
        "rmw --keys 300 --barrier-every 500 --layout flat",
        "snapshot --keys 400",
        "snapshot --keys 400 --layout flat --storage posix",
        "restore --keys 400",
        "restore --keys 400 --layout flat",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let line = format!(
            "{line} --directory {} --seconds 0 --slice 2000 --batch 128",
            directory.path().display()
        );
        run(&read(&line).unwrap()).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}
