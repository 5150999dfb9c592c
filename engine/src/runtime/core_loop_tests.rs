//! The loop of a core, driven by hand on a clock that is moved by hand.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Mutex;

use super::*;
use crate::runtime::deployment::{CoreEvent, EventSink, TaskId};
use crate::runtime::task::{Progress, Task};
use crate::time::ManualClock;

/// A task whose runs are a closure; dropping it may panic.
struct Scripted<F> {
    run: F,
    panics_in_drop: bool,
}

impl<F: FnMut(usize) -> Progress> Task for Scripted<F> {
    fn run(&mut self, budget: usize) -> Progress {
        (self.run)(budget)
    }
}

impl<F> Drop for Scripted<F> {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "in drop");
    }
}

fn scripted(run: impl FnMut(usize) -> Progress + 'static) -> Box<dyn Task> {
    Box::new(Scripted { run, panics_in_drop: false })
}

/// A loop by hand and all it reported.
struct Bench {
    core: CoreLoop,
    clock: Arc<ManualClock>,
    log: Arc<Mutex<Vec<String>>>,
    job: JobId,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at_ms(1_000));
        let shared: Arc<dyn Clock> = clock.clone();
        let core = CoreLoop::new(Arc::new(CoreLink::new(0)), shared);
        Self { core, clock, log: Arc::default(), job: JobId(1) }
    }

    fn deployment(
        &self,
        id: u64,
        build: impl FnOnce(&CoreHandle) -> Result<Box<dyn Task>, crate::BoxError> + Send + 'static,
    ) -> Box<TaskDeployment> {
        let log = Arc::clone(&self.log);
        let events: EventSink = Arc::new(move |event| log.lock().unwrap().push(told(&event)));
        let name = format!("t{id}");
        let mut deployment =
            TaskDeployment::new(self.job, SlotId(0), name, events, Box::new(build));
        deployment.task = TaskId(id);
        Box::new(deployment)
    }

    fn send(&self, command: CoreCommand) {
        self.core.link().send(command).unwrap();
    }

    /// Deploys and starts one task and does a round.
    fn run_one(
        build: impl FnOnce(&CoreHandle) -> Result<Box<dyn Task>, crate::BoxError> + Send + 'static,
    ) -> Self {
        let mut bench = Self::new();
        bench.send(CoreCommand::Deploy(bench.deployment(1, build)));
        bench.send(CoreCommand::Start(bench.job));
        bench.core.round();
        bench
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn told(event: &CoreEvent) -> String {
    match event {
        CoreEvent::TaskBuilt(task) => format!("built {}", task.0),
        CoreEvent::TaskRunning(task) => format!("running {}", task.0),
        CoreEvent::TaskFinished(task) => format!("finished {}", task.0),
        CoreEvent::TaskFailed { task, failure } => format!("failed {}: {failure}", task.0),
        CoreEvent::Checkpoint { task, report } => format!("{}: {report:?}", task.0),
        CoreEvent::TaskDisposed(task) => format!("disposed {}", task.0),
    }
}

#[test]
fn tasks_are_all_built_before_any_runs() {
    let mut bench = Bench::new();
    for id in 1..=2 {
        let build = move |_: &CoreHandle| Ok(scripted(|_| Progress::Done));
        bench.send(CoreCommand::Deploy(bench.deployment(id, build)));
    }
    assert!(bench.core.round().worked);
    assert!(!bench.core.round().worked);
    assert_eq!(bench.log(), ["built 1", "built 2"]);
    bench.send(CoreCommand::Start(JobId(99)));
    bench.core.round();
    assert!(bench.log().is_empty());
    bench.send(CoreCommand::Start(bench.job));
    bench.core.round();
    let expected =
        ["running 1", "running 2", "finished 2", "disposed 2", "finished 1", "disposed 1"];
    assert_eq!(bench.log(), expected);
}

#[test]
fn a_task_that_counts_runs_until_it_is_done() {
    let mut left = 10_000_usize;
    let mut bench = Bench::run_one(move |_| {
        Ok(scripted(move |budget| {
            left -= budget.min(left);
            if left == 0 { Progress::Done } else { Progress::Worked }
        }))
    });
    let mut rounds = 1;
    while bench.core.round().worked {
        rounds += 1;
    }
    assert_eq!(rounds, 10_000_usize.div_ceil(2_048));
    assert_eq!(bench.log(), ["built 1", "running 1", "finished 1", "disposed 1"]);
}

#[test]
fn failures_of_build_are_reported() {
    let bench = Bench::run_one(|_| Err("no such file".into()));
    assert_eq!(bench.log(), ["failed 1: task `t1` failed: no such file", "disposed 1"]);
    let bench = Bench::run_one(|_| panic!("in build"));
    assert_eq!(bench.log(), ["failed 1: task `t1` panicked: in build", "disposed 1"]);
}

#[test]
fn panics_of_run_and_drop_are_reported_once() {
    let bench = Bench::run_one(|_| {
        let run = |_| -> Progress { panic!("in run") };
        Ok(Box::new(Scripted { run, panics_in_drop: true }))
    });
    let expected = ["built 1", "running 1", "failed 1: task `t1` panicked: in run", "disposed 1"];
    assert_eq!(bench.log(), expected);
    let bench = Bench::run_one(|_| {
        Ok(Box::new(Scripted { run: |_| Progress::Done, panics_in_drop: true }))
    });
    let failed = "failed 1: task `t1` panicked: in drop (while the task was dropped)";
    assert_eq!(bench.log(), ["built 1", "running 1", failed, "disposed 1"]);
}

#[test]
fn an_operators_failure_ends_the_task_after_the_run() {
    use crate::runtime::deployment::TaskFailure;

    let mut bench = Bench::new();
    let mut deployment = bench.deployment(1, |_| unreachable!());
    let cell = deployment.failure.clone();
    deployment.build = Box::new(move |_| {
        Ok(scripted(move |_| {
            cell.set(TaskFailure::from_error("map", "bad record".into()));
            Progress::Worked
        }))
    });
    bench.send(CoreCommand::Deploy(deployment));
    bench.send(CoreCommand::Start(bench.job));
    bench.core.round();
    let failed = "failed 1: task `map` failed: bad record";
    assert_eq!(bench.log(), ["built 1", "running 1", failed, "disposed 1"]);
    assert!(!bench.core.round().worked);
}

#[test]
fn cancelling_drops_the_tasks_of_that_job_alone() {
    let mut bench = Bench::new();
    let idle = |_: &CoreHandle| Ok(scripted(|_| Progress::Idle));
    bench.send(CoreCommand::Deploy(bench.deployment(1, idle)));
    bench.send(CoreCommand::Start(bench.job));
    // Built only.
    bench.send(CoreCommand::Deploy(bench.deployment(2, idle)));
    bench.job = JobId(2);
    bench.send(CoreCommand::Deploy(bench.deployment(3, idle)));
    bench.send(CoreCommand::Start(bench.job));
    bench.core.round();
    bench.log();
    bench.send(CoreCommand::CancelJob(JobId(1)));
    bench.core.round();
    assert_eq!(bench.log(), ["disposed 2", "disposed 1"]);
    bench.send(CoreCommand::CancelJob(JobId(2)));
    bench.core.round();
    assert_eq!(bench.log(), ["disposed 3"]);
}

#[test]
fn a_core_that_ends_leaves_nobody_waiting() {
    let mut bench = Bench::run_one(|_| Ok(scripted(|_| Progress::Idle)));
    let late = bench.deployment(2, |_| unreachable!("the core is closing"));
    bench.send(CoreCommand::Shutdown);
    bench.send(CoreCommand::Deploy(late));
    bench.core.round();
    assert!(bench.core.is_shut_down());
    let refused = "failed 2: task `t2` failed: core 0 shut down before the task was built";
    let expected = ["built 1", "running 1", "disposed 1", refused, "disposed 2"];
    assert_eq!(bench.log(), expected);
    assert!(bench.core.link().send(CoreCommand::Start(JobId(1))).is_err());

    let bench = Bench::run_one(|_| Ok(scripted(|_| Progress::Idle)));
    bench.log();
    let Bench { core, log, .. } = bench;
    drop(core);
    assert_eq!(*log.lock().unwrap(), ["disposed 1"]);
}

#[test]
fn slots_get_equal_shares_whatever_their_number_of_tasks() {
    let mut bench = Bench::new();
    let records: Arc<Mutex<[usize; 2]>> = Arc::default();
    for (id, slot) in [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1)] {
        let records = Arc::clone(&records);
        let mut deployment = bench.deployment(id, move |_| {
            Ok(scripted(move |budget| {
                records.lock().unwrap()[slot] += budget;
                Progress::Worked
            }))
        });
        deployment.slot = SlotId(slot as u32);
        bench.send(CoreCommand::Deploy(deployment));
    }
    bench.send(CoreCommand::Start(bench.job));
    bench.core.round();
    *records.lock().unwrap() = [0; 2];
    (0..100).for_each(|_| assert!(bench.core.round().worked));
    assert_eq!(*records.lock().unwrap(), [100 * DEFAULT_BUDGET; 2]);
}

const DEFAULT_BUDGET: usize = crate::runtime::deployment::DEFAULT_BUDGET_RECORDS;

#[test]
fn every_slot_is_first_in_turn() {
    let mut bench = Bench::new();
    let order: Arc<Mutex<Vec<u64>>> = Arc::default();
    for id in 0..3 {
        let order = Arc::clone(&order);
        let mut deployment = bench.deployment(id, move |_| {
            Ok(scripted(move |_| {
                order.lock().unwrap().push(id);
                Progress::Worked
            }))
        });
        deployment.slot = SlotId(id as u32);
        bench.send(CoreCommand::Deploy(deployment));
    }
    bench.send(CoreCommand::Start(bench.job));
    for _ in 0..3 {
        bench.core.round();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 0, 1, 2, 1, 2, 0]);
    order.lock().unwrap().clear();
    bench.core.round_from(2);
    assert_eq!(*order.lock().unwrap(), [2, 0, 1]);
}

#[test]
fn an_idle_core_sleeps_until_the_earliest_timer() {
    let mut bench = Bench::run_one(|services: &CoreHandle| {
        let services = Rc::clone(services);
        let due_ms = Cell::new(1_050_i64);
        Ok(scripted(move |_| {
            if services.now_ms.get() >= due_ms.get() {
                due_ms.set(i64::MAX);
                return Progress::Worked;
            }
            let next_ms = services.next_timer_ms.get().min(due_ms.get());
            services.next_timer_ms.set(next_ms);
            Progress::Idle
        }))
    });
    assert_eq!(bench.core.prepare_to_park(), Park::For(Duration::from_millis(50)));
    assert!(bench.core.link().waker().is_raised());
    bench.core.link().waker().lower();
    bench.clock.advance_ms(50);
    assert_eq!(bench.core.prepare_to_park(), Park::No);
    assert!(!bench.core.link().waker().is_raised());
    assert_eq!(bench.core.prepare_to_park(), Park::UntilWoken);
}

#[test]
fn a_sleep_before_a_far_timer_is_bounded_and_a_due_one_forbids_it() {
    assert_eq!(park_until(i64::MAX, 5), Park::UntilWoken);
    assert_eq!(park_until(1_000_000, 5), Park::For(PARK_WITH_TIMER_MAX));
    assert_eq!(park_until(6, 5), Park::For(Duration::from_millis(1)));
    assert_eq!(park_until(5, 5), Park::No);
    assert_eq!(park_until(i64::MIN, 5), Park::No);
}

#[test]
fn a_command_that_comes_before_the_sleep_prevents_it() {
    let mut bench = Bench::run_one(|_| Ok(scripted(|_| Progress::Blocked)));
    assert_eq!(bench.core.prepare_to_park(), Park::UntilWoken);
    bench.send(CoreCommand::Start(JobId(9)));
    assert!(!bench.core.link().waker().is_raised());
    assert_eq!(bench.core.prepare_to_park(), Park::No);
}

#[test]
fn time_goes_to_those_who_spend_it() {
    let mut bench = Bench::new();
    let mut times = Vec::new();
    // Two tasks that work for 3 and 1 us a run, one that is blocked, one that is idle.
    for (id, progress, ns) in [
        (1, Progress::Worked, 3_000),
        (2, Progress::Worked, 1_000),
        (3, Progress::Blocked, 0),
        (4, Progress::Idle, 0),
    ] {
        let clock = Arc::clone(&bench.clock);
        let deployment = bench.deployment(id, move |_| {
            Ok(scripted(move |_| {
                clock.advance_monotonic_ns(ns);
                progress
            }))
        });
        times.push(Arc::clone(&deployment.times));
        bench.send(CoreCommand::Deploy(deployment));
    }
    bench.send(CoreCommand::Start(bench.job));
    // The first round finds out that two tasks work; its 4 us are halved. 99 exact ones follow.
    for _ in 0..101 {
        bench.core.round();
    }
    let now_ns = bench.clock.monotonic_ns();
    let read: Vec<_> = times.iter().map(|times| times.read(now_ns)).collect();
    assert_eq!(read[0].busy_ns, 2_000 + 100 * 3_000);
    assert_eq!(read[1].busy_ns, 2_000 + 100 * 1_000);
    assert!(read[2].backpressured_ns.abs_diff(now_ns) <= 4_000, "{read:?}");
    assert!(read[3].idle_ns.abs_diff(now_ns) <= 4_000, "{read:?}");
    assert_eq!((read[2].busy_ns, read[3].busy_ns), (0, 0));
    assert_eq!((read[2].idle_ns, read[3].backpressured_ns), (0, 0));

    // Cancelled tasks' times stand still.
    bench.send(CoreCommand::CancelJob(bench.job));
    bench.core.round();
    let ended_ns = bench.clock.monotonic_ns();
    let before: Vec<_> = times.iter().map(|times| times.read(ended_ns)).collect();
    let after: Vec<_> = times.iter().map(|times| times.read(ended_ns + 1_000_000)).collect();
    assert_eq!(before, after);
}
