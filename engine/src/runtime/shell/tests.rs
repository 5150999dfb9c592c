//! Both shells under the same tests. Each test starts cores of its own and ends them, so that no other test's policy
//! or load is in its way but the machine's.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::runtime::deployment::{
    BuildTask, CoreCommand, CoreEvent, JobId, SlotId, TaskDeployment, TaskFailure,
};
use crate::runtime::executors::io_uring_refused;
use crate::runtime::task::{CoreHandle, Progress, Task};
use crate::runtime::wake::CoreWaker;
use crate::time::SystemClock;

const PATIENCE: Duration = Duration::from_secs(30);

struct Closure<F>(F);
impl<F: FnMut(usize) -> Progress> Task for Closure<F> {
    fn run(&mut self, budget: usize) -> Progress {
        (self.0)(budget)
    }
}

fn task(run: impl FnMut(usize) -> Progress + 'static) -> Box<dyn Task> {
    Box::new(Closure(run))
}

/// A core of the test's own, ended with it.
struct TestCore {
    link: Arc<CoreLink>,
    events: Receiver<CoreEvent>,
    sender: Sender<CoreEvent>,
    job: JobId,
}

impl TestCore {
    fn start(shell: Shell, core: usize, policy: IdlePolicy) -> Self {
        let link = start(shell, core, Arc::new(SystemClock::new())).unwrap();
        link.lease(policy);
        let (sender, events) = channel();
        Self { link, events, sender, job: JobId::allocate() }
    }

    fn deploy(
        &self,
        build: impl FnOnce(&CoreHandle) -> Result<Box<dyn Task>, crate::BoxError> + Send + 'static,
    ) {
        let sender = self.sender.clone();
        let sink = Arc::new(move |event| drop(sender.send(event)));
        let build: BuildTask = Box::new(build);
        let deployment = TaskDeployment::new(self.job, SlotId(0), "task", sink, build);
        self.link.send(CoreCommand::Deploy(Box::new(deployment))).unwrap();
    }

    fn go(&self) {
        self.link.send(CoreCommand::Start(self.job)).unwrap();
    }

    /// How the next task that ends has ended: `None` when cancelled, else its failure, if any.
    fn ending(&self) -> Option<Result<(), TaskFailure>> {
        let mut ending = None;
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                CoreEvent::TaskFinished(_) => ending = Some(Ok(())),
                CoreEvent::TaskFailed { failure, .. } => ending = Some(Err(failure)),
                CoreEvent::TaskDisposed(_) => return ending,
                CoreEvent::TaskBuilt(_)
                | CoreEvent::TaskRunning(_)
                | CoreEvent::Checkpoint { .. } => {}
            }
        }
    }

    fn failure(&self) -> TaskFailure {
        self.ending().unwrap().unwrap_err()
    }

    fn await_running(&self) {
        while !matches!(self.events.recv_timeout(PATIENCE).unwrap(), CoreEvent::TaskRunning(_)) {}
    }
}

impl Drop for TestCore {
    fn drop(&mut self) {
        let _ = self.link.send(CoreCommand::Shutdown);
    }
}

fn first_core() -> usize {
    allowed_cores().unwrap()[0]
}

fn last_core() -> usize {
    *allowed_cores().unwrap().last().unwrap()
}

/// Drops with a panic.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

fn tasks_end_in_all_ways(shell: Shell) {
    let core = TestCore::start(shell, first_core(), IdlePolicy::EFFICIENT);
    let mut left = 1_000_000_usize;
    core.deploy(move |_| {
        Ok(task(move |budget| {
            left -= budget.min(left);
            if left == 0 { Progress::Done } else { Progress::Worked }
        }))
    });
    core.go();
    assert!(core.ending().unwrap().is_ok());

    core.deploy(|_| Err("no such topic".into()));
    assert_eq!(core.failure().message, "no such topic");
    core.deploy(|_| panic!("in build"));
    assert_eq!(core.failure().message, "in build");

    core.deploy(|_| Ok(task(|_| panic!("in run"))));
    core.go();
    let failure = core.failure();
    assert!(failure.panicked && failure.message == "in run");

    core.deploy(|_| {
        let bomb = Bomb;
        Ok(task(move |_| {
            let _ = &bomb;
            Progress::Done
        }))
    });
    core.go();
    assert!(core.failure().message.starts_with("in drop"));

    core.deploy(|_| Ok(task(|_| Progress::Worked)));
    core.deploy(|_| Ok(task(|_| Progress::Idle)));
    core.go();
    core.await_running();
    core.link.send(CoreCommand::CancelJob(core.job)).unwrap();
    assert!(core.ending().is_none());
    assert!(core.ending().is_none());
}

fn a_core_starts_fast(shell: Shell) {
    let clock = SystemClock::new();
    let begin_ns = clock.monotonic_ns();
    let core = TestCore::start(shell, first_core(), IdlePolicy::EFFICIENT);
    let started_ns = clock.monotonic_ns();
    let first_run_ns = Arc::new(AtomicU64::new(0));
    let first_run = Arc::clone(&first_run_ns);
    core.deploy(move |services| {
        let services = Rc::clone(services);
        Ok(task(move |_| {
            first_run.store(services.monotonic_ns.get(), Ordering::Release);
            Progress::Done
        }))
    });
    core.go();
    assert!(core.ending().unwrap().is_ok());
    let total_ns = first_run_ns.load(Ordering::Acquire) - begin_ns;
    println!(
        "{shell:?}: thread up after {} us, first run after {} us",
        (started_ns - begin_ns) / 1_000,
        total_ns / 1_000
    );
    // The promise is 100 ms; a machine full of other tests gets ten times that before this test calls it broken.
    assert!(total_ns < 1_000_000_000, "{total_ns} ns");
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live `timespec`, all the call writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// An idle task with a processing-time timer 300 ms away measures what its thread burnt meanwhile.
fn cpu_share_while_idle(shell: Shell, policy: IdlePolicy) -> f64 {
    const IDLE_MS: i64 = 300;
    let core = TestCore::start(shell, last_core(), policy);
    let (tell, told) = channel();
    core.deploy(move |services| {
        let services = Rc::clone(services);
        let mut begin: Option<(i64, u64, u64)> = None;
        Ok(task(move |_| {
            let now_ms = services.now_ms.get();
            let now_ns = services.monotonic_ns.get();
            let (due_ms, begin_ns, cpu_ns) =
                *begin.get_or_insert_with(|| (now_ms + IDLE_MS, now_ns, thread_cpu_ns()));
            if now_ms >= due_ms {
                let share = (thread_cpu_ns() - cpu_ns) as f64 / (now_ns - begin_ns) as f64;
                tell.send((share, now_ns - begin_ns)).unwrap();
                return Progress::Done;
            }
            services.next_timer_ms.set(services.next_timer_ms.get().min(due_ms));
            Progress::Idle
        }))
    });
    core.go();
    assert!(core.ending().unwrap().is_ok());
    let (share, elapsed_ns) = told.recv().unwrap();
    println!("{shell:?} {policy:?}: {:.2} % CPU over {} ms", share * 100.0, elapsed_ns / 1_000_000);
    assert!(elapsed_ns >= 299_000_000, "the timer came early: {elapsed_ns} ns");
    share
}

fn an_idle_core_costs_nothing(shell: Shell) {
    assert!(cpu_share_while_idle(shell, IdlePolicy::EFFICIENT) < 0.1);
    assert!(cpu_share_while_idle(shell, IdlePolicy::BALANCED) < 0.1);
}

/// Latency leases make a core that is asleep poll, and it sleeps again when they end.
fn the_most_wakeful_lease_rules(shell: Shell) {
    let core = TestCore::start(shell, last_core(), IdlePolicy::EFFICIENT);
    let rounds = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&rounds);
    core.deploy(move |_| {
        Ok(task(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Progress::Idle
        }))
    });
    core.go();
    core.await_running();
    let lease = core.link.lease(IdlePolicy::LATENCY);
    let polling = rounds.load(Ordering::Relaxed);
    await_condition(|| rounds.load(Ordering::Relaxed) > polling + 10_000);
    core.link.release(lease);
    await_condition(|| {
        let before = rounds.load(Ordering::Relaxed);
        std::thread::park_timeout(Duration::from_millis(20));
        rounds.load(Ordering::Relaxed) == before
    });
}

fn await_condition(condition: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let limit_ns = clock.monotonic_ns() + u64::try_from(PATIENCE.as_nanos()).unwrap();
    while !condition() {
        assert!(clock.monotonic_ns() < limit_ns, "the condition did not come true");
        std::thread::yield_now();
    }
}

/// One end of a ping-pong over real rings: sends back whatever comes, and wakes the other core.
fn echo(
    mut input: rtrb::Consumer<u64>,
    mut output: rtrb::Producer<u64>,
    peer: Arc<CoreWaker>,
) -> Box<dyn Task> {
    task(move |_| match input.pop() {
        Ok(value) => {
            output.push(value).unwrap();
            peer.wake_if_sleeping();
            Progress::Worked
        }
        Err(_) if input.is_abandoned() => Progress::Done,
        Err(_) => Progress::Idle,
    })
}

/// The other end: serves `count` round trips and reports the half of each, in nanoseconds.
fn server(
    mut input: rtrb::Consumer<u64>,
    mut output: rtrb::Producer<u64>,
    peer: Arc<CoreWaker>,
    count: usize,
    tell: Sender<Vec<u64>>,
) -> Box<dyn Task> {
    let clock = SystemClock::new();
    let mut in_flight = false;
    let mut times_ns = Vec::with_capacity(count);
    task(move |_| {
        if in_flight {
            let Ok(sent_ns) = input.pop() else { return Progress::Idle };
            times_ns.push((clock.monotonic_ns() - sent_ns) / 2);
            in_flight = false;
        }
        if times_ns.len() == count {
            tell.send(std::mem::take(&mut times_ns)).unwrap();
            return Progress::Done;
        }
        output.push(clock.monotonic_ns()).unwrap();
        peer.wake_if_sleeping();
        in_flight = true;
        Progress::Worked
    })
}

fn ping_pong(shell: Shell, policy: IdlePolicy, count: usize) -> Vec<u64> {
    let left = TestCore::start(shell, first_core(), policy);
    let right = TestCore::start(shell, last_core(), policy);
    let (to_right, from_left) = rtrb::RingBuffer::new(8);
    let (to_left, from_right) = rtrb::RingBuffer::new(8);
    let (tell, told) = channel();
    let left_waker = Arc::clone(left.link.waker());
    let right_waker = Arc::clone(right.link.waker());
    right.deploy(move |_| Ok(echo(from_left, to_left, left_waker)));
    left.deploy(move |_| Ok(server(from_right, to_right, right_waker, count, tell)));
    right.go();
    left.go();
    let mut times_ns = told.recv_timeout(PATIENCE).unwrap();
    assert!(left.ending().unwrap().is_ok());
    // The end of the ring was abandoned, which nobody wakes for: a command does.
    right.link.send(CoreCommand::Start(right.job)).unwrap();
    assert!(right.ending().unwrap().is_ok());
    assert_eq!(times_ns.len(), count);
    times_ns.sort_unstable();
    times_ns
}

fn cores_wake_each_other(shell: Shell) {
    let parked = ping_pong(shell, IdlePolicy::EFFICIENT, 2_000);
    println!("{shell:?} parked ping-pong, one way: {}", percentiles(&parked));
    let balanced = ping_pong(shell, IdlePolicy::BALANCED, 20_000);
    println!("{shell:?} balanced ping-pong, one way: {}", percentiles(&balanced));
    let polled = ping_pong(shell, IdlePolicy::LATENCY, 20_000);
    println!("{shell:?} polled ping-pong, one way: {}", percentiles(&polled));
}

fn percentiles(sorted_ns: &[u64]) -> String {
    let at = |per_mille: usize| sorted_ns[(sorted_ns.len() - 1) * per_mille / 1_000];
    format!("p50 {} ns, p99 {} ns, p99.9 {} ns, max {} ns", at(500), at(990), at(999), at(1_000))
}

/// A plain thread feeds a parked core through a ring, one value at a time, as a blocking client would.
fn a_parked_core_wakes_for_a_foreign_thread(shell: Shell) {
    const COUNT: usize = 500;
    let core = TestCore::start(shell, last_core(), IdlePolicy::EFFICIENT);
    let (mut feed, mut input) = rtrb::RingBuffer::<u64>::new(8);
    let (tell, told) = channel();
    let waker = Arc::clone(core.link.waker());
    core.deploy(move |services| {
        let clock = SystemClock::new();
        let own = Arc::clone(&services.waker);
        Ok(task(move |_| {
            let _ = &own;
            match input.pop() {
                Ok(sent_ns) => {
                    tell.send(clock.monotonic_ns() - sent_ns).unwrap();
                    Progress::Worked
                }
                Err(_) if input.is_abandoned() => Progress::Done,
                Err(_) => Progress::Idle,
            }
        }))
    });
    core.go();
    core.await_running();
    let clock = SystemClock::new();
    let mut times_ns = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        await_condition(|| waker.is_raised());
        // The flag goes up a little before the sleep; a bit later the core is likely down for good.
        let asleep_ns = clock.monotonic_ns() + 100_000;
        while clock.monotonic_ns() < asleep_ns {
            std::hint::spin_loop();
        }
        feed.push(clock.monotonic_ns()).unwrap();
        waker.wake_if_sleeping();
        times_ns.push(told.recv_timeout(PATIENCE).unwrap());
    }
    drop(feed);
    waker.wake_if_sleeping();
    assert!(core.ending().unwrap().is_ok());
    times_ns.sort_unstable();
    println!("{shell:?} wake-up from parked: {}", percentiles(&times_ns));
}

/// A core that is busy, or that polls for ever, takes commands and ends all the same; while it is busy the executor's
/// other duties are not its own.
fn a_busy_core_obeys(shell: Shell) {
    let core = TestCore::start(shell, last_core(), IdlePolicy::LATENCY);
    let dropped = Arc::new(AtomicBool::new(false));
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let guard = Guard(Arc::clone(&dropped));
    core.deploy(move |_| {
        Ok(task(move |_| {
            let _ = &guard;
            Progress::Worked
        }))
    });
    core.go();
    core.await_running();
    core.link.send(CoreCommand::Shutdown).unwrap();
    assert!(core.ending().is_none());
    assert!(dropped.load(Ordering::Acquire));
    await_condition(|| core.link.is_closed());
}

macro_rules! under_both_shells {
    ($($test:ident),+ $(,)?) => {
        mod under_threads {
            use super::*;
            $(#[test] fn $test() { super::$test(Shell::Threads); })+
        }
        mod under_glommio {
            use super::*;
            $(#[test] fn $test() {
                match io_uring_refused() {
                    Some(reason) => println!("skipped: {reason}"),
                    None => super::$test(Shell::Glommio),
                }
            })+
        }
    };
}

under_both_shells!(
    tasks_end_in_all_ways,
    a_core_starts_fast,
    an_idle_core_costs_nothing,
    the_most_wakeful_lease_rules,
    cores_wake_each_other,
    a_parked_core_wakes_for_a_foreign_thread,
    a_busy_core_obeys,
);
