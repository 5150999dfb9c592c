//! The glommio shell: one pinned executor a core, one async task that runs the core's loop.
//!
//! What of glommio is used, and how:
//! - **Place**: `Placement::Fixed`; the pool for blocking calls (one idle thread glommio insists on) is left unpinned, so
//!   that nothing else ever wants the record core.
//! - **Yielding**: while there is work, `yield_if_needed` after each round; it is two loads until the preemption timer
//!   has fired or network I/O has completed, and then the executor handles its rings and comes back. While polling,
//!   `yield_now` (27 ns), which leaves room for other tasks of the executor, such as connectors' sockets.
//! - **Sleeping**: the task returns `Pending` and the executor parks in its reactor. The core's flag is raised before
//!   the recheck and the waker is foreign to the producer, so glommio queues it and writes its eventfd, with a
//!   membarrier on its side: the hand-over from our flag to its sleep is not a gap. What follows in its loop is one:
//! - **Heartbeats**: glommio 0.9.0 can park with a runnable task. If a completion nobody waits for (a late write of its
//!   eventfd, its preemption timer) lands between its reactor's turn and its run queue, `run_task_queues` stops before
//!   it ran anything, the completion is swallowed without counting as work, and the executor sleeps. Nobody wakes it,
//!   for our flag is down already. With that one line of glommio mended 0 of 150 runs of the ping-pong test stalled;
//!   as published, 8 of 210. Timers that are always armed end such a sleep: it becomes a delay of up to
//!   [`HEARTBEATS`]' shortest instead of a stall. This bounds the fault, it does not remove it; two periods, because a
//!   beat that has just fired can itself be the task that is left lying. Where a busy machine let both lie, the
//!   dispatcher's nudge (a wake-up from a foreign thread, which glommio always passes on) ends the sleep.
//! - **Its start** has neither: no timer is armed and nobody has a waker before the first task ran once. So the preemption
//!   timer of glommio's own queue is [`NEVER`], and the loop runs in a queue of its own, whose latency brings the timer. With
//!   the timer on from the beginning 4 of some 6,000 starts on a busy machine never reported.
//! - **One waker** for the life of the task. glommio counts wakers in 16 bits and frees a task on its own thread only,
//!   so the waker is bound once and unbound by the loop's drop, on the executor.
//!
//! Not used: its channels (`spsc_queue` is unsound in 0.9), its latency classes (they do not protect record latency),
//! `spin_before_park` (it polls the reactor, not our rings), tasks per operator.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::Duration;

use ::glommio::timer::Timer;
use ::glommio::{
    Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, executor, spawn_local,
    spawn_local_into,
};

use super::idle::{IdleLadder, Step};
use super::threads::PAUSES_BETWEEN_POLLS;
use super::{StartReport, await_start, thread_name};
use crate::runtime::core_loop::{CoreLoop, Park};
use crate::runtime::core_loop_link::CoreLink;
use crate::runtime::wake::{CoreWaker, Unparker};
use crate::time::Clock;

/// Memory glommio registers with the kernel for storage I/O that we do elsewhere; 64 KiB is its minimum. The default
/// of 10 MiB would by itself exceed the 8 MiB of locked memory that ordinary users have.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How often a busy core lets the executor handle its rings. Below 100 us the timer's own cost shows; glommio's default
/// of 100 ms would be the latency of a connector's socket.
const PREEMPT_TIMER: Duration = Duration::from_micros(500);

/// The preemption timer before the core's loop has a queue; see the module.
const NEVER: Duration = Duration::from_hours(24);

/// Periods of the timers that end a sleep glommio should not have begun; see the module. The short one bounds the delay,
/// the long one covers the moment in which the short one is not armed.
const HEARTBEATS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// Starts the executor of `link`'s core.
pub(super) fn start(link: Arc<CoreLink>, clock: Arc<dyn Clock>) -> Result<(), String> {
    let (sender, report) = sync_channel(1);
    let core = link.core();
    let handle = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&thread_name(core))
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(NEVER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || run(link, clock, sender))
        .map_err(|error| format!("glommio could not start its thread: {error}"))?;
    await_start(&report, || match handle.join() {
        Ok(()) => "the executor ended before it began".to_owned(),
        Err(error) => format!("glommio could not set up its executor: {error}"),
    })
}

async fn run(link: Arc<CoreLink>, clock: Arc<dyn Clock>, report: SyncSender<StartReport>) {
    let latency = Latency::Matters(PREEMPT_TIMER);
    let queue = executor().create_task_queue(Shares::default(), latency, "core loop");
    match spawn_local_into(serve(link, clock, report.clone()), queue) {
        Ok(core_loop) => core_loop.await,
        Err(error) => {
            let _ = report.send(Err(format!("glommio has no queue for the core's loop: {error}")));
        }
    }
}

async fn serve(link: Arc<CoreLink>, clock: Arc<dyn Clock>, report: SyncSender<StartReport>) {
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    link.waker().bind(Unparker::Task(waker));
    let core = CoreLoop::new(link, clock);
    // The starter has gone when it no longer listens; the core serves whoever else holds its link.
    let _ = report.send(Ok(()));
    // Dropping a glommio task cancels it; these end with the loop.
    let _heartbeats = HEARTBEATS.map(|period| spawn_local(beat(period)));
    drive(core).await;
}

async fn beat(period: Duration) {
    loop {
        Timer::new(period).await;
    }
}

async fn drive(mut core: CoreLoop) {
    let link = Arc::clone(core.link());
    let mut ladder = IdleLadder::default();
    loop {
        let round = core.round();
        if core.is_shut_down() {
            return;
        }
        match ladder.step(round, core.monotonic_ns(), link.spin_ns()) {
            Step::Again => executor().yield_if_needed().await,
            Step::Spin => {
                (0..PAUSES_BETWEEN_POLLS).for_each(|_| std::hint::spin_loop());
                executor().yield_now().await;
            }
            Step::Park => match core.prepare_to_park() {
                // A timer is due or a command came: other tasks of the executor still get their turn.
                Park::No => executor().yield_if_needed().await,
                Park::UntilWoken => sleep(link.waker(), None).await,
                Park::For(limit) => sleep(link.waker(), Some(limit)).await,
            },
        }
    }
}

/// Sleeps until the flag is down or the time is up.
async fn sleep(waker: &CoreWaker, limit: Option<Duration>) {
    let mut timer = pin!(limit.map(Timer::new));
    poll_fn(|context| {
        if !waker.is_raised() {
            return Poll::Ready(());
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => due(timer, context),
            None => Poll::Pending,
        }
    })
    .await;
    waker.lower();
}

fn due(timer: std::pin::Pin<&mut Timer>, context: &mut Context<'_>) -> Poll<()> {
    timer.poll(context).map(|_instant| ())
}
