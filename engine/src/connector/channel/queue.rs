//! The bounded queue behind the channel source, the channel sink and source functions.
//!
//! One end is a core, which must never wait; the other is a thread or a future of the host service. Each side can wait for the
//! other in its own manner:
//!
//! | who waits | for | how |
//! |---|---|---|
//! | future | room, a record | its `Waker`, kept here |
//! | thread | room, a record | a condition variable |
//! | core | room, a record | goes on polling and may fall asleep: its [`CoreWaker`] gets it up |
//!
//! Records are moved in batches under one short lock: a core takes or gives up to a batch at a time, and an idle core looks at a
//! flag before it takes the lock.
//!
//! **Invariants**
//! - At most `capacity` records lie in the queue.
//! - `has_news` is up whenever the queue holds a record or its producers are gone; it is set under the lock after the change and
//!   before the consumer's waker is called.
//! - Wakers are called after the lock is released: they run foreign code.
//! - A future that was woken for room and is dropped before it used it passes the room on to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::runtime::CoreWaker;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// Why a record was not taken; it is handed back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<T> {
    Full(T),
    Closed(T),
}

/// What is left after a core has taken its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Records.
    More,
    /// Nothing just now.
    Nothing,
    /// Nothing, and the producers are gone.
    Ended,
}

/// See the module docs.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Written under the lock by both sides, read without it by a polling core. Release/acquire, so that a core that sees it finds
    /// the record under the lock.
    has_news: AtomicBool,
    /// Threads that wait for room.
    room: Condvar,
    /// A thread that waits for a record.
    arrival: Condvar,
}

struct State<T> {
    records: VecDeque<T>,
    capacity: usize,
    producers_gone: bool,
    consumer_gone: bool,
    /// Futures that wait for room, in order of arrival, which is that of their tickets: a thousand clients may wait.
    sending: VecDeque<(WaitTicket, Waker)>,
    next_ticket: u64,
    /// Threads that wait for room.
    blocked_senders: usize,
    /// Cores that wait for room.
    sending_cores: Vec<Arc<CoreWaker>>,
    /// The future that waits for a record.
    receiving: Option<Waker>,
    /// The core that takes the records.
    receiving_core: Option<Arc<CoreWaker>>,
}

/// Names the place of a future among those that wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaitTicket(u64);

/// Those to wake once the lock is released.
#[derive(Default)]
struct Calls {
    futures: Vec<Waker>,
    cores: Vec<Arc<CoreWaker>>,
}

impl Calls {
    fn make(self) {
        self.futures.into_iter().for_each(Waker::wake);
        self.cores.iter().for_each(|core| core.wake_if_sleeping());
    }
}

impl<T> State<T> {
    fn has_room(&self) -> bool {
        self.records.len() < self.capacity
    }

    /// Takes a future out of the line for room; false if it was woken before.
    fn leave_line(&mut self, ticket: WaitTicket) -> bool {
        let place = self.sending.binary_search_by_key(&ticket, |(waiting, _)| *waiting);
        place.is_ok_and(|place| self.sending.remove(place).is_some())
    }

    /// Who has to know that a record has come or that none will come.
    fn calls_for_consumer(&mut self) -> Calls {
        let futures = self.receiving.take().into_iter().collect();
        Calls { futures, cores: self.receiving_core.clone().into_iter().collect() }
    }

    /// Who has to know that there is room for `count` records.
    fn calls_for_producers(&mut self, count: usize) -> Calls {
        let woken = count.min(self.sending.len());
        let futures = self.sending.drain(..woken).map(|(_, waker)| waker).collect();
        // A core gives whole batches, so it is worth its while only when there is room for many.
        let is_roomy = self.records.len() <= self.capacity / 2;
        let cores = if is_roomy { std::mem::take(&mut self.sending_cores) } else { Vec::new() };
        Calls { futures, cores }
    }
}

impl<T> Queue<T> {
    /// An empty queue; a capacity of 0 counts as 1.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let state = State {
            records: VecDeque::new(),
            capacity: capacity.max(1),
            producers_gone: false,
            consumer_gone: false,
            sending: VecDeque::new(),
            next_ticket: 0,
            blocked_senders: 0,
            sending_cores: Vec::new(),
            receiving: None,
            receiving_core: None,
        };
        Arc::new(Queue {
            state: Mutex::new(state),
            has_news: AtomicBool::new(false),
            room: Condvar::new(),
            arrival: Condvar::new(),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        lock(&self.state).capacity
    }

    pub(crate) fn length(&self) -> usize {
        lock(&self.state).records.len()
    }

    pub(crate) fn is_consumer_gone(&self) -> bool {
        lock(&self.state).consumer_gone
    }

    pub(crate) fn are_producers_gone(&self) -> bool {
        lock(&self.state).producers_gone
    }

    // ---- producers -------------------------------------------------------------------------------------------------

    pub(crate) fn try_push(&self, record: T) -> Result<(), Refused<T>> {
        self.push_or_refuse(lock(&self.state), record)
    }

    fn push_or_refuse(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        record: T,
    ) -> Result<(), Refused<T>> {
        if state.consumer_gone {
            return Err(Refused::Closed(record));
        }
        if !state.has_room() {
            return Err(Refused::Full(record));
        }
        state.records.push_back(record);
        self.announce(state);
        Ok(())
    }

    /// Tells the consumer; releases the lock.
    fn announce(&self, mut state: MutexGuard<'_, State<T>>) {
        self.has_news.store(true, Ordering::Release);
        let calls = state.calls_for_consumer();
        drop(state);
        self.arrival.notify_one();
        calls.make();
    }

    /// Waits for room; gives the record back if the consumer is gone.
    pub(crate) fn push_blocking(&self, record: T) -> Result<(), T> {
        let mut state = lock(&self.state);
        while !state.has_room() && !state.consumer_gone {
            state.blocked_senders += 1;
            state = wait(&self.room, state);
            state.blocked_senders -= 1;
        }
        match self.push_or_refuse(state, record) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(record) | Refused::Full(record)) => Err(record),
        }
    }

    /// Takes the record out of `record` when there is room, otherwise waits in line. `Err` leaves it there.
    pub(crate) fn poll_push(
        &self,
        record: &mut Option<T>,
        ticket: &mut Option<WaitTicket>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ()>> {
        let mut state = lock(&self.state);
        if let Some(ticket) = ticket.take() {
            state.leave_line(ticket);
        }
        if state.consumer_gone {
            return Poll::Ready(Err(()));
        }
        if !state.has_room() {
            let next = WaitTicket(state.next_ticket);
            state.next_ticket += 1;
            state.sending.push_back((next, context.waker().clone()));
            *ticket = Some(next);
            return Poll::Pending;
        }
        if let Some(record) = record.take() {
            state.records.push_back(record);
            self.announce(state);
        }
        Poll::Ready(Ok(()))
    }

    /// A future that waited leaves; if it had been woken already, the next in line gets its turn.
    pub(crate) fn stop_waiting(&self, ticket: WaitTicket) {
        let mut state = lock(&self.state);
        let was_waiting = state.leave_line(ticket);
        if !was_waiting && state.has_room() {
            let calls = state.calls_for_producers(1);
            drop(state);
            calls.make();
        }
    }

    /// Moves records from a core as long as there is room. If some stay, `core` is got up when there is more room. False when the
    /// consumer is gone.
    pub(crate) fn push_batch(&self, records: &mut VecDeque<T>, core: &Arc<CoreWaker>) -> bool {
        let mut state = lock(&self.state);
        if state.consumer_gone {
            return false;
        }
        let count = records.len().min(state.capacity - state.records.len());
        state.records.extend(records.drain(..count));
        let is_listed = state.sending_cores.iter().any(|listed| Arc::ptr_eq(listed, core));
        if !records.is_empty() && !is_listed {
            state.sending_cores.push(core.clone());
        }
        if count > 0 {
            self.announce(state);
        }
        true
    }

    /// No more records will come.
    pub(crate) fn close_producers(&self) {
        let mut state = lock(&self.state);
        state.producers_gone = true;
        self.announce(state);
    }

    // ---- the consumer ----------------------------------------------------------------------------------------------

    /// Names the core that polls [`take_batch`](Self::take_batch), or none.
    pub(crate) fn set_receiving_core(&self, core: Option<Arc<CoreWaker>>) {
        lock(&self.state).receiving_core = core;
    }

    /// Appends at most `max` records to `batch`.
    pub(crate) fn take_batch(&self, max: usize, batch: &mut VecDeque<T>) -> Left {
        if !self.has_news.load(Ordering::Acquire) {
            return Left::Nothing;
        }
        let mut state = lock(&self.state);
        let count = max.min(state.records.len());
        if batch.is_empty() && count == state.records.len() {
            std::mem::swap(batch, &mut state.records);
        } else {
            batch.extend(state.records.drain(..count));
        }
        let left = match (state.records.is_empty(), state.producers_gone) {
            (false, _) => Left::More,
            (true, false) => Left::Nothing,
            (true, true) => Left::Ended,
        };
        self.has_news.store(left != Left::Nothing, Ordering::Release);
        self.tell_of_room(state, count);
        left
    }

    /// Tells producers of room for `count` records; releases the lock.
    fn tell_of_room(&self, mut state: MutexGuard<'_, State<T>>, count: usize) {
        if count == 0 {
            return;
        }
        let calls = state.calls_for_producers(count);
        let are_threads_blocked = state.blocked_senders > 0;
        drop(state);
        if are_threads_blocked {
            self.room.notify_all();
        }
        calls.make();
    }

    fn pop(&self, mut state: MutexGuard<'_, State<T>>) -> Option<T> {
        let record = state.records.pop_front();
        self.tell_of_room(state, usize::from(record.is_some()));
        record
    }

    /// `Err(true)`: nothing and the producers are gone.
    pub(crate) fn try_pop(&self) -> Result<T, bool> {
        let state = lock(&self.state);
        let ended = state.producers_gone;
        self.pop(state).ok_or(ended)
    }

    pub(crate) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        if state.records.is_empty() && !state.producers_gone {
            state.receiving = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.pop(state))
    }

    /// Waits for a record; `None` when the producers are gone.
    pub(crate) fn pop_blocking(&self) -> Option<T> {
        let mut state = lock(&self.state);
        while state.records.is_empty() && !state.producers_gone {
            state = wait(&self.arrival, state);
        }
        self.pop(state)
    }

    /// No more records will be taken; those in the queue are dropped.
    pub(crate) fn close_consumer(&self) {
        let mut state = lock(&self.state);
        state.consumer_gone = true;
        state.receiving_core = None;
        state.receiving = None;
        let dropped = std::mem::take(&mut state.records);
        let calls = state.calls_for_producers(usize::MAX);
        drop(state);
        self.room.notify_all();
        calls.make();
        drop(dropped);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
