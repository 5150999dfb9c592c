use super::*;
use crate::config::option::OptionKind;
use crate::time::{milliseconds, seconds};

fn builder() -> ConfigurationBuilder {
    let mut builder = ConfigurationBuilder::new();
    builder.with_available_cores(6);
    builder
}

const NONE: fn() -> DeclaredArguments = || DeclaredArguments::new("");

#[test]
fn the_higher_layer_wins_in_whatever_order_they_are_read() {
    type Layer = fn(&mut ConfigurationBuilder);
    let layers: [Layer; 4] = [
        |b| _ = b.read_file(Path::new("job.toml"), "seed = 1"),
        |b| _ = b.read_environment([("THALWEG_SEED", "2")]),
        |b| _ = b.read_command_line(["job", "--seed", "3"], &NONE()).unwrap(),
        |b| _ = b.set("seed", 4),
    ];
    for lower in 0..layers.len() {
        for higher in lower..layers.len() {
            for order in [[lower, higher], [higher, lower]] {
                let mut builder = builder();
                order.iter().for_each(|layer| layers[*layer](&mut builder));
                assert_eq!(builder.build().unwrap().seed(), higher as u64 + 1, "{order:?}");
            }
        }
    }
}

#[test]
fn within_a_layer_the_later_value_wins_and_may_unset() {
    let mut builder = builder();
    builder.slots(3).slots(5);
    assert_eq!(builder.build().unwrap().slots(), Some(5));
    builder.set("slots", "none");
    let configuration = builder.build().unwrap();
    assert_eq!(configuration.slots(), None);
    assert!(matches!(configuration.origin("slots"), Some(Origin::Code { .. })));
}

#[test]
fn all_errors_of_all_layers_come_at_once() {
    let mut builder = builder();
    builder.read_file(Path::new("job.toml"), "paralelism = 1\nslots = 0");
    builder.read_environment([("THALWEG_SLOTZ", "1")]);
    builder.read_command_line(["job", "--page-bytes", "5000"], &NONE()).unwrap();
    builder.set("nothing", 1).slots(2);
    let errors = builder.build().unwrap_err();
    assert_eq!(errors.as_slice().len(), 5);
    let text = errors.to_string();
    for part in ["job.toml:1", "job.toml:2", "THALWEG_SLOTZ", "--page-bytes", "code at "] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn code_is_named_by_the_line_of_the_setter() {
    let mut builder = builder();
    let line = line!() + 1;
    builder.page_bytes(5_000);
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains(&format!("tests.rs:{line}: expected a size")), "{error}");
}

#[test]
fn parallelism_defaults_to_the_cores_it_may_use() {
    assert_eq!(builder().build().unwrap().parallelism(), 6);
    assert_eq!(builder().cores([2, 3, 7]).build().unwrap().parallelism(), 3);
    assert_eq!(builder().max_parallelism(4).build().unwrap().parallelism(), 4);
    assert!(ConfigurationBuilder::new().build().unwrap().parallelism() >= 1);
}

#[test]
fn parallelism_above_its_maximum_is_refused_with_both_origins() {
    let mut builder = builder();
    builder.read_environment([("THALWEG_PARALLELISM", "9")]);
    builder.read_file(Path::new("job.toml"), "max_parallelism = 8");
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "parallelism = 9 (environment variable THALWEG_PARALLELISM) is above max_parallelism = 8 \
         (job.toml:1); lower the first or raise the second"
    );
}

#[test]
fn typed_setters_reach_their_getters() {
    let mut builder = builder();
    builder
        .parallelism(3)
        .max_parallelism(128)
        .slots(4)
        .cores([1, 0])
        .when_slots_are_taken(WhenSlotsAreTaken::Refuse)
        .slot_memory_mib(64)
        .state_backend(StateBackend::Memory)
        .state_directory("state of jobs")
        .shell(ShellKind::Threads)
        .profile(Profile::Efficient)
        .spin(milliseconds(1))
        .chaining(false)
        .page_bytes(4_096)
        .pages_in_flight(2)
        .batch_records(7)
        .drain_budget_records(8)
        .auto_watermark_interval(seconds(1))
        .seed(u64::MAX);
    builder
        .checkpoint_interval(milliseconds(11))
        .checkpoint_directory("checkpoints of jobs")
        .checkpoint_mode(CheckpointMode::AtLeastOnce)
        .checkpoint_timeout(milliseconds(12))
        .checkpoint_min_pause(milliseconds(13))
        .checkpoint_tolerated_failures(14)
        .checkpoints_retained(15)
        .checkpoint_memory_mib(16)
        .checkpoints_on_cancel(OnCancel::Delete)
        .restore(Restore::Nothing)
        .allow_repeated_commits(true)
        .savepoint("savepoint of a job")
        .savepoint_job("other")
        .allow_non_restored_state(true)
        .restart_strategy(RestartKind::FailureRate)
        .restart_attempts(17)
        .restart_delay(milliseconds(18))
        .restart_delay_max(milliseconds(19))
        .restart_backoff_multiplier(20)
        .restart_reset_after(milliseconds(21))
        .restart_failures_max(22)
        .restart_failure_interval(milliseconds(23))
        .stop_timeout(milliseconds(24));
    let c = builder.build().unwrap();
    assert_eq!((c.parallelism(), c.max_parallelism(), c.slots()), (3, Some(128), Some(4)));
    assert_eq!(c.cores().unwrap().as_slice(), [1, 0]);
    assert_eq!(c.when_slots_are_taken(), WhenSlotsAreTaken::Refuse);
    assert_eq!(c.slot_memory_bytes(), Some(64 << 20));
    assert_eq!(c.state_backend(), StateBackend::Memory);
    assert_eq!(c.state_directory(), Some(std::path::Path::new("state of jobs")));
    assert_eq!((c.shell(), c.profile()), (ShellKind::Threads, Profile::Efficient));
    assert_eq!((c.spin(), c.auto_watermark_interval()), (milliseconds(1), seconds(1)));
    assert!(!c.chaining());
    assert_eq!((c.page_bytes(), c.pages_in_flight()), (4_096, 2));
    assert_eq!((c.batch_records(), c.drain_budget_records(), c.seed()), (7, 8, u64::MAX));
    assert_eq!(c.checkpoint_interval(), Some(milliseconds(11)));
    assert_eq!(c.checkpoint_directory(), Some(std::path::Path::new("checkpoints of jobs")));
    assert_eq!(c.checkpoint_mode(), CheckpointMode::AtLeastOnce);
    assert_eq!(
        (c.checkpoint_timeout(), c.checkpoint_min_pause()),
        (milliseconds(12), milliseconds(13))
    );
    assert_eq!((c.checkpoint_tolerated_failures(), c.checkpoints_retained()), (Some(14), 15));
    assert_eq!(c.checkpoint_memory_bytes(), 16 << 20);
    assert_eq!((c.checkpoints_on_cancel(), c.restore()), (OnCancel::Delete, Restore::Nothing));
    assert!(c.allow_repeated_commits() && c.allow_non_restored_state());
    let savepoint = std::path::Path::new("savepoint of a job");
    assert_eq!((c.savepoint(), c.savepoint_job()), (Some(savepoint), Some("other")));
    assert_eq!((c.restart_strategy(), c.restart_attempts()), (Some(RestartKind::FailureRate), 17));
    assert_eq!((c.restart_delay(), c.restart_delay_max()), (milliseconds(18), milliseconds(19)));
    assert_eq!((c.restart_backoff_multiplier(), c.restart_reset_after()), (20, milliseconds(21)));
    assert_eq!((c.restart_failures_max(), c.restart_failure_interval()), (22, milliseconds(23)));
    assert_eq!(c.stop_timeout(), milliseconds(24));
    for option in options().iter().filter(|option| option.scope == Scope::Everywhere) {
        assert!(matches!(c.origin(option.key), Some(Origin::Code { .. })), "{}", option.key);
    }
}

#[test]
fn a_duration_finer_than_its_unit_is_refused() {
    let error = builder().auto_watermark_interval(Duration::from_micros(1_500)).build();
    assert!(error.unwrap_err().to_string().starts_with("invalid value '1500000ns'"));
    assert!(builder().spin(Duration::MAX).build().is_err());
}

const SECRET: &[ConfigOption] = &[ConfigOption {
    key: "token",
    env: "THALWEG_TOKEN",
    flag: "token",
    short: None,
    kind: OptionKind::Secret("TOKEN"),
    default: DefaultValue::Unset("no token"),
    unit: crate::config::Unit::Count(""),
    scope: Scope::Everywhere,
    description: "the token of the web page",
}];

#[test]
fn secrets_are_masked_wherever_they_could_be_shown() {
    let mut builder = ConfigurationBuilder::over(SECRET);
    builder.read_environment([("THALWEG_TOKEN", "hunter2")]);
    let configuration = builder.build().unwrap();
    let Some(ConfigValue::Secret(secret)) = configuration.value("token") else {
        panic!("{configuration:?}");
    };
    assert_eq!(secret.expose(), "hunter2");
    let shown = format!("{builder:?} {configuration:?} {configuration}");
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn errors_about_secrets_do_not_tell_them() {
    let mut builder = ConfigurationBuilder::over(SECRET);
    builder.read_file(Path::new("job.toml"), "token = 1234");
    let text = builder.build().unwrap_err().to_string();
    assert!(text.starts_with("invalid value '***' for 'token' in job.toml:1"), "{text}");
}
