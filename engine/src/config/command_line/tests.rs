use super::*;
use crate::config::{Configuration, Profile};

fn declared() -> DeclaredArguments {
    DeclaredArguments::new("counts things")
        .with(Argument::option("csv", "FILE").short('c').help("the input"))
        .with(Argument::flag("verbose").short('v'))
        .with(Argument::positional("first"))
        .with(Argument::positional("second"))
}

fn read_with(
    words: &str,
    declared: &DeclaredArguments,
) -> Result<(Configuration, Arguments), Vec<String>> {
    let mut builder = ConfigurationBuilder::new();
    builder.with_available_cores(4);
    let words = std::iter::once("job").chain(words.split(' ').filter(|word| !word.is_empty()));
    let arguments =
        builder.read_command_line(words, declared).map_err(|help| vec![help.to_string()])?;
    match builder.build() {
        Ok(configuration) => Ok((configuration, arguments)),
        Err(errors) => Err(errors.into_iter().map(|error| error.to_string()).collect()),
    }
}

#[track_caller]
fn ok(words: &str) -> (Configuration, Arguments) {
    read_with(words, &declared()).unwrap()
}

#[track_caller]
fn refuse(words: &str, expected: &[&str]) {
    assert_eq!(read_with(words, &declared()).unwrap_err(), expected, "{words}");
}

#[test]
fn every_way_to_write_a_value() {
    for words in
        ["-p 3", "-p3", "-p=3", "--parallelism 3", "--parallelism=3", "--set parallelism=3"]
    {
        let (configuration, _) = ok(words);
        assert_eq!(configuration.parallelism(), 3, "{words}");
        let flag = words.split(['3', ' ', '=']).next().unwrap();
        let origin = configuration.origin("parallelism").unwrap().to_string();
        assert_eq!(origin, format!("command line flag {flag}"));
    }
    assert_eq!(ok("-p 3 --set parallelism=5").0.parallelism(), 5);
    assert_eq!(ok("--profile latency").0.profile(), Profile::Latency);
}

#[test]
fn switches_of_the_engine_take_a_value_or_none() {
    assert!(!ok("--chaining false").0.chaining());
    assert!(!ok("--chaining=false").0.chaining());
    let (configuration, arguments) = ok("--chaining input.txt");
    assert!(configuration.chaining());
    assert_eq!(arguments.get("first"), Some("input.txt"));
}

#[test]
fn arguments_of_the_job_stand_beside_those_of_the_engine() {
    let (configuration, arguments) = ok("a.txt -p 2 --csv x.csv -v b.txt -c=y.csv");
    assert_eq!(configuration.parallelism(), 2);
    assert_eq!(arguments.all("csv").collect::<Vec<_>>(), ["x.csv", "y.csv"]);
    assert!(arguments.is_given("verbose"));
    assert_eq!((arguments.get("first"), arguments.get("second")), (Some("a.txt"), Some("b.txt")));
}

#[test]
fn dashes() {
    let (_, arguments) = ok("--csv -5 -- --csv -p");
    assert_eq!(arguments.get("csv"), Some("-5"));
    assert_eq!((arguments.get("first"), arguments.get("second")), (Some("--csv"), Some("-p")));
    assert_eq!(ok("- -1.5").1.get("second"), Some("-1.5"));
    assert_eq!(ok("--csv=--x").1.get("csv"), Some("--x"));
    assert_eq!(ok("--csv=").1.get("csv"), Some(""));
}

#[test]
fn the_rest_goes_to_one_argument() {
    let declared = DeclaredArguments::new("")
        .with(Argument::positional("to").required())
        .with(Argument::rest("from").required());
    let (_, arguments) = read_with("a b c", &declared).unwrap();
    assert_eq!(arguments.all("from").collect::<Vec<_>>(), ["b", "c"]);
    let errors = read_with("", &declared).unwrap_err();
    assert_eq!(errors, ["the argument <to> is missing", "the argument <from>.. is missing"]);
}

#[test]
fn everything_wrong_is_reported_at_once() {
    refuse(
        "--paralelism 4 -p many --set slot=1 --set seed --cvs=3 -x --verbose=yes --csv",
        &[
            "unknown flag '--paralelism' on the command line; did you mean '--parallelism'?",
            "invalid value 'many' for 'parallelism' in command line flag -p: \
             expected a whole number from 1 to 32768",
            "unknown key 'slot' in command line flag --set; did you mean 'slots'?",
            "--set needs key=value, and was given 'seed'",
            "unknown flag '--cvs' on the command line; did you mean '--csv'?",
            "unknown flag '-x' on the command line; --help lists every flag",
            "--verbose takes no value, and was given 'yes'",
            "--csv needs a value: --csv FILE (or --csv=FILE if it begins with a dash)",
        ],
    );
    refuse("-p --csv x", &["-p needs a value: -p N (or -p=N if it begins with a dash)"]);
    refuse(
        "--set config=x",
        &["'config' cannot be set in command line flag --set; use THALWEG_CONFIG or --config"],
    );
}

#[test]
fn words_too_many_are_refused_unless_an_unknown_flag_may_own_them() {
    refuse("a b c", &["unexpected argument 'c'; --help shows what this job takes"]);
    refuse(
        "a b --nothing c",
        &["unknown flag '--nothing' on the command line; --help lists every flag"],
    );
}

#[test]
fn help_wins_over_errors() {
    let text = read_with("--nonsense -h", &declared()).unwrap_err().remove(0);
    assert!(text.starts_with("counts things\n\nusage: job "), "{text}");
    assert!(text.contains("--csv FILE") && text.contains("--parallelism N"), "{text}");
}

#[test]
fn declarations_that_clash_are_refused() {
    let declared = DeclaredArguments::new("")
        .with(Argument::flag("parallelism"))
        .with(Argument::flag("port").short('p'))
        .with(Argument::flag("port"))
        .with(Argument::flag("--dashes"))
        .with(Argument::rest("a"))
        .with(Argument::rest("b"));
    let errors = read_with("", &declared).unwrap_err();
    let expected = [
        "'parallelism': 'parallelism' is the engine's; choose another name",
        "'port': 'p' is the engine's; choose another name",
        "'port': 'port' is declared twice",
        "'--dashes': a name is of letters, digits, '-' and '_', and begins with a letter",
        "'b': only one argument can take the rest",
    ];
    let expected = expected.map(|what| format!("the job cannot declare the argument {what}"));
    assert_eq!(errors, expected);
}

#[test]
fn words_that_are_no_unicode_are_errors_which_show_no_value() {
    use std::os::unix::ffi::OsStringExt;
    let mut builder = ConfigurationBuilder::new();
    let broken = OsString::from_vec(b"--csv=hunter2\xff".to_vec());
    let words = [OsString::from("job"), broken];
    builder.read_command_line(words, &declared()).unwrap();
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "argument 1 is not valid Unicode: '--csv'"
    );
}
