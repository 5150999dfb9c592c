//! The plain-thread shell: one named, pinned thread a core.
//!
//! It needs nothing of the host but threads, so it serves where io_uring is refused, and as the second implementation
//! that keeps the first one honest. If the pinning is refused, the core runs unpinned, with one warning: slower, right
//! all the same.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;

use super::affinity::pin_current_thread;
use super::idle::{IdleLadder, Step};
use super::{StartReport, await_start, thread_name};
use crate::runtime::core_loop::{CoreLoop, Park};
use crate::runtime::core_loop_link::CoreLink;
use crate::runtime::wake::Unparker;
use crate::sync::thread;
use crate::time::Clock;

/// Pause instructions between two polls of an idle core, about 0.1 us: the sibling hyperthread and the caches of the
/// producers are spared, and a poll more or less is not what latency is made of.
pub(super) const PAUSES_BETWEEN_POLLS: usize = 8;

/// Starts the thread of `link`'s core.
pub(super) fn start(link: Arc<CoreLink>, clock: Arc<dyn Clock>) -> Result<(), String> {
    let (sender, report) = sync_channel(1);
    let handle = Builder::new()
        .name(thread_name(link.core()))
        .spawn(move || run(link, clock, &sender))
        .map_err(|error| format!("the thread could not be started: {error}"))?;
    await_start(&report, || match handle.join() {
        Ok(()) => "the thread ended before it began".to_owned(),
        Err(_) => "the thread panicked before it began".to_owned(),
    })
}

fn run(link: Arc<CoreLink>, clock: Arc<dyn Clock>, report: &SyncSender<StartReport>) {
    if let Err(error) = pin_current_thread(link.core()) {
        tracing::warn!(core = link.core(), "the thread runs unpinned: {error}");
    }
    link.waker().bind(Unparker::Thread(thread::current()));
    let core = CoreLoop::new(link, clock);
    // The starter has gone when it no longer listens; the core serves whoever else holds its link.
    let _ = report.send(Ok(()));
    drive(core);
}

fn drive(mut core: CoreLoop) {
    let link = Arc::clone(core.link());
    let mut ladder = IdleLadder::default();
    loop {
        let round = core.round();
        if core.is_shut_down() {
            return;
        }
        match ladder.step(round, core.monotonic_ns(), link.spin_ns()) {
            Step::Again => {}
            Step::Spin => (0..PAUSES_BETWEEN_POLLS).for_each(|_| std::hint::spin_loop()),
            Step::Park => match core.prepare_to_park() {
                Park::No => {}
                Park::UntilWoken => link.waker().sleep_on_thread(None),
                Park::For(limit) => link.waker().sleep_on_thread(Some(limit)),
            },
        }
    }
}
