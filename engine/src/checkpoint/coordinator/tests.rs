//! The coordinator against a model that has tasks, a disk and a clock: random orders of what can happen.

use super::*;
use crate::config::{CheckpointMode, OnCancel, Restore};
use crate::runtime::shell::seeded::SplitMix;

const SECOND_NS: u64 = 1_000_000_000;

fn settings() -> CheckpointSettings {
    CheckpointSettings {
        interval_ns: 10 * SECOND_NS,
        timeout_ns: 60 * SECOND_NS,
        pause_min_ns: 0,
        tolerated_failures: None,
        retained: 2,
        mode: CheckpointMode::ExactlyOnce,
        directory: None,
        memory_bytes_max: 1 << 20,
        on_cancel: OnCancel::Retain,
        restore: Restore::Latest,
        allow_repeated_commits: false,
        savepoint: None,
    }
}

fn tasks(count: u64) -> Vec<(TaskId, bool)> {
    (0..count).map(|number| (TaskId(number), number == 0)).collect()
}

fn started(settings: CheckpointSettings, count: u64) -> Coordinator {
    Coordinator::new(settings, (0, VecDeque::new()), tasks(count), 0)
}

fn snapshot(checkpoint: u64) -> TaskSnapshot {
    TaskSnapshot { checkpoint: CheckpointId(checkpoint), pieces: Vec::new() }
}

fn declined(checkpoint: u64) -> Declined {
    let (operator, cause) = ("map".to_owned(), "the disk is behind".into());
    Declined { checkpoint: CheckpointId(checkpoint), operator, subtask: 1, cause }
}

/// Actions in words.
fn told(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::BeginBarrier(barrier) => format!("begin {}", barrier.checkpoint),
        Action::Order(TaskOrder::Barrier(barrier)) if barrier.is_final => {
            format!("final barrier {}", barrier.checkpoint)
        }
        Action::Order(TaskOrder::Barrier(barrier)) => format!("barrier {}", barrier.checkpoint),
        Action::Order(TaskOrder::Completed(id)) => format!("completed {id}"),
        Action::Order(TaskOrder::Aborted(id)) => format!("aborted {id}"),
        Action::Order(TaskOrder::EndInput) => "end".to_owned(),
        Action::Order(other) => format!("{other:?}"),
        Action::Save(gathered) => format!("save {}", gathered.checkpoint),
        Action::Discard(id) => format!("discard {id}"),
        Action::Fail(failure) => format!("fail: {failure}"),
        Action::Warn(failure) => format!("warn: {failure}"),
    };
    actions.iter().map(word).collect()
}

/// Takes checkpoint `id` from its barrier to its end.
fn complete(coordinator: &mut Coordinator, id: u64, now_ns: u64) -> Vec<String> {
    let mut said = Vec::new();
    for task in coordinator.tasks.keys().copied().collect::<Vec<_>>() {
        said.extend(told(&coordinator.on_snapshot(task, snapshot(id))));
    }
    said.extend(told(&coordinator.on_saved(CheckpointId(id), Ok(()), now_ns)));
    said
}

#[test]
fn a_pinned_checkpoint_is_kept_until_it_is_unpinned() {
    let mut coordinator = started(CheckpointSettings { retained: 1, ..settings() }, 1);
    coordinator.pin(CheckpointId(1));
    let mut said = |id: u64| {
        assert_eq!(coordinator.on_time(id * 30 * SECOND_NS).len(), 2);
        complete(&mut coordinator, id, id * 30 * SECOND_NS)
    };
    assert_eq!(said(1), ["save 1", "completed 1"]);
    assert_eq!(said(2), ["save 2", "completed 2"]);
    assert_eq!(said(3), ["save 3", "completed 3", "discard 2"]);
    assert_eq!(told(&coordinator.unpin(CheckpointId(1))), ["discard 1"]);
    assert_eq!(coordinator.into_history().1, [CheckpointId(3)]);
}

#[test]
fn one_at_a_time_and_old_ones_go() {
    let mut coordinator = started(settings(), 2);
    assert_eq!(coordinator.next_ns(), Some(10 * SECOND_NS));
    assert!(coordinator.on_time(9 * SECOND_NS).is_empty());
    assert_eq!(told(&coordinator.on_time(10 * SECOND_NS)), ["begin 1", "barrier 1"]);
    assert!(coordinator.on_time(25 * SECOND_NS).is_empty(), "one at a time");
    assert_eq!(complete(&mut coordinator, 1, 26 * SECOND_NS), ["save 1", "completed 1"]);
    for id in 2..=3 {
        assert_eq!(coordinator.on_time(id * 30 * SECOND_NS).len(), 2);
        let said = complete(&mut coordinator, id, id * 30 * SECOND_NS);
        assert_eq!(said.last().unwrap(), ["", "", "completed 2", "discard 1"][id as usize]);
    }
    assert_eq!(coordinator.into_history(), (3, [CheckpointId(2), CheckpointId(3)].into()));
}

#[test]
fn failures_are_borne_as_often_as_allowed() {
    let mut coordinator =
        started(CheckpointSettings { tolerated_failures: Some(1), ..settings() }, 2);
    coordinator.on_time(10 * SECOND_NS);
    let said = told(&coordinator.on_declined(declined(1), 11 * SECOND_NS));
    assert_eq!(said[0], "aborted 1");
    assert!(
        said[1].starts_with("warn: checkpoint 1 failed: operator 'map' (subtask 2)"),
        "{}",
        said[1]
    );
    assert!(coordinator.on_declined(declined(1), 12 * SECOND_NS).is_empty(), "it is over");
    assert!(coordinator.on_snapshot(TaskId(0), snapshot(1)).is_empty(), "it is over");
    coordinator.on_time(20 * SECOND_NS);
    let said = told(&coordinator.on_time(80 * SECOND_NS));
    assert!(said[1].starts_with("fail: checkpoint 2 failed: 2 in a row"), "{}", said[1]);
    assert_eq!(coordinator.next_ns(), None);
}

#[test]
fn the_last_one_is_repeated_and_then_the_end_may_come() {
    let mut coordinator = started(settings(), 2);
    coordinator.on_input_ended(TaskId(0));
    assert_eq!(told(&coordinator.on_time(1)), ["begin 1", "final barrier 1"]);
    let full = || Err("the disk is full".to_owned());
    for task in [0, 1] {
        coordinator.on_snapshot(TaskId(task), snapshot(1));
    }
    let said = told(&coordinator.on_saved(CheckpointId(1), full(), 2));
    assert_eq!(said[1], "warn: checkpoint 1 failed: it could not be written: the disk is full");
    assert!(coordinator.on_time(3).is_empty(), "it waits a little");
    let again_ns = coordinator.next_ns().unwrap();
    assert_eq!(told(&coordinator.on_time(again_ns)), ["begin 2", "final barrier 2"]);
    assert_eq!(complete(&mut coordinator, 2, again_ns + 1), ["save 2", "completed 2", "end"]);
    assert_eq!(coordinator.next_ns(), None, "none begins after the last one");
}

#[test]
fn a_last_one_that_never_succeeds_fails_the_job() {
    let mut coordinator = started(settings(), 1);
    coordinator.on_input_ended(TaskId(0));
    let mut said = Vec::new();
    let mut now_ns = 1;
    while let Some(next_ns) = coordinator.next_ns() {
        now_ns = now_ns.max(next_ns);
        coordinator.on_time(now_ns);
        let id = coordinator.pending.as_ref().unwrap().checkpoint.0;
        said = told(&coordinator.on_declined(declined(id), now_ns));
    }
    assert!(
        said[1].contains("it was the last one") && said[1].contains("failed 10 times"),
        "{}",
        said[1]
    );
}

#[test]
fn finished_tasks_are_not_waited_for() {
    let mut coordinator = started(settings(), 2);
    coordinator.on_time(10 * SECOND_NS);
    coordinator.on_snapshot(TaskId(0), snapshot(1));
    assert_eq!(told(&coordinator.on_finished(TaskId(1))), ["save 1"]);
}

/// What a run of random events has seen.
#[derive(Default)]
struct Seen {
    begun: u64,
    completed: Vec<u64>,
    saving: Option<u64>,
    durable: BTreeSet<u64>,
    finals: u64,
    has_ended: bool,
    has_failed: bool,
}

impl Seen {
    fn check(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(!self.has_ended, "nothing is said after the end: {action:?}");
            match action {
                Action::BeginBarrier(Barrier { checkpoint, .. }) => {
                    assert!(checkpoint.0 > self.begun, "ids rise");
                    self.begun = checkpoint.0;
                }
                Action::Order(TaskOrder::Barrier(barrier)) => {
                    assert_eq!(barrier.checkpoint.0, self.begun);
                    assert!(self.finals == 0 || barrier.is_final, "after a final one all are");
                    self.finals += u64::from(barrier.is_final);
                }
                Action::Save(gathered) => {
                    assert_eq!((gathered.checkpoint.0, self.saving), (self.begun, None));
                    self.saving = Some(gathered.checkpoint.0);
                }
                Action::Order(TaskOrder::Completed(id)) => {
                    assert!(self.durable.contains(&id.0), "only what is durable is complete");
                    assert!(self.completed.last().is_none_or(|last| *last < id.0));
                    self.completed.push(id.0);
                }
                Action::Discard(id) => {
                    let newest = *self.completed.last().unwrap();
                    assert!(id.0 < newest && self.durable.remove(&id.0));
                    assert!(self.durable.contains(&newest), "the newest is kept");
                }
                Action::Order(TaskOrder::EndInput) => {
                    assert!(self.finals > 0 && !self.completed.is_empty());
                    self.has_ended = true;
                }
                Action::Fail(_) => self.has_failed = true,
                Action::Order(_) | Action::Warn(_) => {}
            }
        }
    }
}

#[test]
fn random_orders_of_events_keep_the_promises() {
    let (mut completed, mut ended) = (0, 0);
    for seed in 0..4_000 {
        let mut drawn = SplitMix(seed);
        let mut below = |bound: u64| drawn.below(bound as usize) as u64;
        let task_count = below(4) + 1;
        let mut coordinator = started(settings(), task_count);
        let (mut seen, mut now_ns) = (Seen::default(), 0);
        for _ in 0..120 {
            now_ns += below(8 * SECOND_NS);
            let id = seen.begun.saturating_sub(below(2));
            let task = TaskId(below(task_count));
            let actions = match below(100) {
                0..20 => coordinator.on_time(now_ns),
                20..75 => coordinator.on_snapshot(task, snapshot(id)),
                75..78 => coordinator.on_declined(declined(id), now_ns),
                78..80 => {
                    coordinator.want();
                    Vec::new()
                }
                80 if below(4) == 0 => {
                    coordinator.on_input_ended(TaskId(0));
                    Vec::new()
                }
                _ => match seen.saving.take() {
                    Some(id) => {
                        let is_saved = below(4) > 0;
                        if is_saved {
                            seen.durable.insert(id);
                        }
                        let result = is_saved.then_some(()).ok_or_else(|| "full".to_owned());
                        coordinator.on_saved(CheckpointId(id), result, now_ns)
                    }
                    None => Vec::new(),
                },
            };
            seen.check(actions);
            let is_due = coordinator.next_ns().is_some();
            assert!(
                is_due || seen.has_ended || seen.has_failed || seen.saving.is_some(),
                "it is never stuck"
            );
        }
        completed += seen.completed.len();
        ended += usize::from(seen.has_ended);
    }
    assert!(completed > 10_000 && ended > 100, "{completed} completed, {ended} ended");
}
