//! Event-time sessions of one gap with incremental aggregates: no timer, and no look-up but the element's own.
//!
//! ```text
//! index: PrefetchTable<(hash, number)> ──► sessions: PrefetchSlab<Session> ◄── queue: DueQueue, numbers by time
//! ```
//! 1. An element finds its key's sessions through the index: an entry a session, since the last session of a key often
//!    waits for the watermark while the next one is open already. It extends the one that it touches, or opens one.
//!    A session that grows stays in the queue where it is.
//! 2. A watermark takes numbers out of the queue in order of time. A session that has grown meanwhile goes back, at its
//!    new time: about once a gap, not once an element. One that has not fires.
//!
//! The answers are those of the general operator (a test holds them against each other).
//!
//! A checkpoint has the sessions and the watermark; index and queue are made of them again. While it is written
//! (see `session_copy`), all elements take the slow path: the fast one finds no session open after the end of time.
//!
//! **Cost.** Per open session: key, accumulator, 24 bytes of times, 9 of the index, and 4 in the queue.
//!
//! **Rules** (Flink's `EventTimeSessionWindows` with `EventTimeTrigger`)
//! - An element opens the window `[timestamp, timestamp + gap)`; windows that overlap or touch merge.
//! - Lateness is decided after merging: an element behind the watermark that touches an open session is kept.
//! - A session fires when the watermark reaches its last instant, and goes when it has passed that by the allowed
//!   lateness. Until then each further element fires it at once, unless it moves the end beyond the watermark.
//!
//! **Invariants**
//! - Sessions of one key neither overlap nor touch. Each has one entry in the index.
//! - A session has fired if and only if its last instant is not after the watermark (between two advances).
//! - `scheduled_ms` is after the watermark, and not after the time at which the session must be looked at: its last
//!   instant if it has not fired, else its clean-up. The queue has the session's number at that time; numbers at other
//!   times are left over from merging and lead nowhere.

mod due_queue;
mod session_copy;

use crate::Result;
use crate::function::{AggregateFunction, Collector, KeySelector, OutputTag};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::keyed_services::restored_watermark;
use crate::operator::opened::Opened;
use crate::operator::pieces::{Notice, Piece};
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::late::LateRecords;
use crate::operator::window::table_bytes::{TableEntry, TableHeader, TableKind};
use crate::operator::window::window_tables::{PIECE, STEP, restore_pieces};
use crate::operator::{Push, StageContext, UserCall};
use crate::record::{CheckpointId, NO_TIMESTAMP};
use crate::state::StateError;
use crate::window::{AlignedWindows, TimeWindow};
use due_queue::DueQueue;
use session_copy::SessionCopy;
use std::rc::Rc;
use thalweg_state::{Key, KeyHash, PrefetchSlab, PrefetchTable};

/// Numbers between a hint and its use, while sessions are visited.
const AHEAD: usize = 16;
/// Sessions beyond this size are prefetched; see `PrefetchTable`.
const DEEP_BYTES: usize = 512 << 10;

/// What the operator is made of, before it reaches its core.
pub(crate) struct SessionSettings<T, S, A> {
    pub(crate) selector: S,
    pub(crate) aggregate: A,
    pub(crate) gap_ms: i64,
    pub(crate) lateness_ms: i64,
    pub(crate) late: Option<OutputTag<T>>,
    pub(crate) node: NodeId,
}

/// One session of a key.
struct Session<K, A> {
    key: K,
    start_ms: i64,
    /// The first instant after it.
    end_ms: i64,
    scheduled_ms: i64,
    accumulator: A,
}

/// The index: hash of the key and number of the session.
type Entry = (u32, u32);

/// See the module docs.
pub(crate) struct SessionWindows<T, S: KeySelector<T>, A: AggregateFunction<T>, E> {
    selector: S,
    aggregate: A,
    emit: Opened<E>,
    gap_ms: i64,
    lateness_ms: i64,
    late: LateRecords<T>,
    sides: SideOutputs,
    watermark: i64,
    /// Sessions that end after this are open for the fast path: those after the watermark, or none while a checkpoint is
    /// written.
    open_after_ms: i64,
    index: PrefetchTable<Entry>,
    sessions: PrefetchSlab<Session<S::Key, A::Accumulator>>,
    queue: DueQueue,
    /// The time that is being served, its numbers, and the next of them.
    serving: Option<(i64, Vec<u32>, usize)>,
    copying: Option<SessionCopy>,
    checkpoints: Piece,
    stage: Rc<StageContext>,
    node: NodeId,
}

impl<K: Key, A> Session<K, A> {
    fn window(&self) -> TimeWindow {
        TimeWindow { start: self.start_ms, end: self.end_ms }
    }

    #[inline(always)]
    fn last_ms(&self) -> i64 {
        self.end_ms - 1
    }

    #[inline(always)]
    fn touches(&self, start_ms: i64, end_ms: i64) -> bool {
        start_ms <= self.end_ms && self.start_ms <= end_ms
    }

    #[inline(always)]
    fn extend(&mut self, start_ms: i64, end_ms: i64) {
        self.start_ms = self.start_ms.min(start_ms);
        self.end_ms = self.end_ms.max(end_ms);
    }
}

/// What comes of a session whose time has come.
enum Visit {
    /// It must be looked at again then.
    At(i64),
    /// It fires, and must be looked at again then.
    FireAndAt(i64),
    /// It fires, and goes.
    FireAndGo,
    /// It goes.
    Go,
}

/// What comes of a session with this last instant at `due_ms`, a time for which it was scheduled.
fn visit_of(last_ms: i64, lateness_ms: i64, due_ms: i64) -> Visit {
    let cleanup_ms = last_ms.saturating_add(lateness_ms);
    if due_ms < last_ms {
        Visit::At(last_ms)
    } else if due_ms == last_ms {
        if lateness_ms == 0 { Visit::FireAndGo } else { Visit::FireAndAt(cleanup_ms) }
    } else if due_ms < cleanup_ms {
        Visit::At(cleanup_ms)
    } else {
        Visit::Go
    }
}

/// The numbers of the sessions that an element touches: none, one, or several.
#[derive(Clone, Copy)]
enum Touched {
    None,
    One(u32),
    Several,
}

impl<T: 'static, S, A, E> SessionWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    pub(crate) fn open(
        settings: SessionSettings<T, S, A>,
        emit: Opened<E>,
        context: &mut BuildContext,
    ) -> Result<Self> {
        let SessionSettings { selector, aggregate, gap_ms, lateness_ms, late, node } = settings;
        let sides = context.open_sides(node)?;
        let stage = context.stage.clone();
        let late = LateRecords::new(late, stage.clone(), node);
        let mut windows = SessionWindows {
            selector,
            aggregate,
            emit,
            gap_ms,
            lateness_ms,
            late,
            sides,
            watermark: i64::MIN,
            open_after_ms: i64::MIN,
            index: PrefetchTable::new(),
            sessions: PrefetchSlab::new(),
            queue: DueQueue::new(gap_ms),
            serving: None,
            copying: None,
            checkpoints: context.piece(node, PIECE),
            stage,
            node,
        };
        windows.restore(context)?;
        Ok(windows)
    }

    /// Goes on from a checkpoint, if there is one.
    fn restore(&mut self, context: &BuildContext) -> Result {
        let mut scheduled = Vec::new();
        let header = self.header();
        let SessionWindows { sessions, index, .. } = self;
        let take = |entry: TableEntry<S::Key, A::Accumulator>| {
            let TableEntry { hash, times: [start_ms, end_ms, scheduled_ms], .. } = entry;
            let TableEntry { key, accumulator, .. } = entry;
            let session = Session { key, start_ms, end_ms, scheduled_ms, accumulator };
            let number = sessions.insert(session);
            index.insert_unique(hash, (hash.as_u32(), number), rehash);
            scheduled.push((scheduled_ms, number));
        };
        let Some((watermark, _)) = restore_pieces(context, self.node, &header, take)? else {
            return Ok(());
        };
        let watermark = restored_watermark(watermark);
        (self.watermark, self.open_after_ms) = (watermark, watermark);
        // In order of time, as the queue likes it.
        scheduled.sort_unstable();
        for (at_ms, number) in scheduled {
            if at_ms < i64::MAX {
                self.queue.push(at_ms, number);
            }
        }
        Ok(())
    }

    fn header(&self) -> TableHeader {
        TableHeader {
            kind: TableKind::Sessions,
            max_parallelism: self.stage.max_parallelism,
            windows: None,
            watermark: self.watermark,
            next_end_ms: i64::MAX,
        }
    }

    /// Writes up to so many sessions that the checkpoint at hand lacks; delivers it when it lacks none.
    #[cold]
    fn copy(&mut self, budget: usize) {
        // Also keeps the core from sleeping before all is written.
        self.stage.task.worked(1);
        while let Some(notice) = self.checkpoints.next_notice() {
            if self.copying.as_ref().is_some_and(|c| notice == Notice::Aborted(c.checkpoint)) {
                return self.end_copy();
            }
        }
        let Some(copy) = &mut self.copying else { return };
        match copy.write(budget, &self.sessions) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(copy) = self.copying.take() {
                    self.checkpoints.deliver(copy.checkpoint, copy.finish());
                }
                self.end_copy();
            }
            Err(error) => self.give_up_copy(error),
        }
    }

    #[cold]
    fn give_up_copy(&mut self, error: StateError) {
        if let Some(copy) = self.copying.take() {
            self.checkpoints.decline(copy.checkpoint, error.into());
        }
        self.end_copy();
    }

    fn end_copy(&mut self) {
        self.copying = None;
        self.open_after_ms = self.watermark;
    }

    /// Writes sessions that are about to change.
    fn copy_first(&mut self, numbers: &[u32]) {
        let SessionWindows { copying: Some(copy), sessions, .. } = self else { return };
        let mut numbers = numbers.iter();
        if let Err(error) = numbers.try_for_each(|number| copy.before_change(*number, sessions)) {
            self.give_up_copy(error);
        }
    }

    /// Writes the sessions of a key that touch a window.
    fn copy_touched(&mut self, hash: u32, record: &T, (start_ms, end_ms): (i64, i64)) {
        let SessionWindows { selector, index, sessions, .. } = self;
        let mut touched = Vec::new();
        selector.with_key(record, |key| {
            index.find(KeyHash::from_u32(hash), |entry| {
                if entry.0 == hash
                    && let Some(session) = sessions.get(entry.1)
                    && session.touches(start_ms, end_ms)
                    && session.key == *key
                {
                    touched.push(entry.1);
                }
                false
            });
        });
        self.copy_first(&touched);
    }

    /// An element that joins several sessions, or one that has fired, or that comes late.
    #[cold]
    #[inline(never)]
    fn apply_slowly<D: Push<E::Out>>(
        &mut self,
        (hash, record, timestamp): (u32, T, i64),
        next: &mut D,
    ) {
        if is_misfit(timestamp) {
            return self.stage.fail(self.node, AlignedWindows::misfit(timestamp).into());
        }
        let (start_ms, end_ms) = (timestamp, timestamp.saturating_add(self.gap_ms));
        if self.copying.is_some() {
            self.copy_touched(hash, &record, (start_ms, end_ms));
        }
        let key = self.selector.with_key(&record, Clone::clone);
        let touched = self.take_touched(hash, &key, start_ms, end_ms);
        let cleanup_ms = (end_ms - 1).saturating_add(self.lateness_ms);
        if touched.is_empty() && cleanup_ms <= self.watermark {
            return self.late.take(record, timestamp, self.watermark, &mut self.sides);
        }
        let mut session = self.merged(touched, key, (start_ms, end_ms));
        let call = UserCall::begin(&self.stage, &self.node);
        self.aggregate.add(&mut session.accumulator, &record);
        call.end();
        let last_ms = session.last_ms();
        if last_ms <= self.watermark {
            fire(&self.aggregate, &mut self.emit, &session, next);
        }
        let is_open = last_ms > self.watermark;
        session.scheduled_ms =
            if is_open { last_ms } else { last_ms.saturating_add(self.lateness_ms) };
        let scheduled_ms = session.scheduled_ms;
        // A new number also for what was there before: the queue knows it by that from now on.
        let number = self.sessions.insert(session);
        if let Some(copy) = &mut self.copying {
            copy.leave_out(number);
        }
        self.index.insert_unique(KeyHash::from_u32(hash), (hash, number), rehash);
        if scheduled_ms < i64::MAX {
            self.queue.push(scheduled_ms, number);
        }
    }

    /// Takes out the sessions of a key that touch a window.
    fn take_touched(
        &mut self,
        hash: u32,
        key: &S::Key,
        start_ms: i64,
        end_ms: i64,
    ) -> Vec<Session<S::Key, A::Accumulator>> {
        let SessionWindows { index, sessions, .. } = self;
        let mut taken = Vec::new();
        let is_touched = |entry: &Entry| {
            entry.0 == hash
                && sessions
                    .get(entry.1)
                    .is_some_and(|session| session.touches(start_ms, end_ms) && session.key == *key)
        };
        while let Some((_, number)) = index.remove(KeyHash::from_u32(hash), is_touched) {
            taken.push(number);
        }
        taken.into_iter().filter_map(|number| sessions.remove(number)).collect()
    }

    /// The session that an element's window and the sessions it touches make, without the element.
    fn merged(
        &self,
        mut touched: Vec<Session<S::Key, A::Accumulator>>,
        key: S::Key,
        (start_ms, end_ms): (i64, i64),
    ) -> Session<S::Key, A::Accumulator> {
        // By start, so that accumulators merge in order of time.
        touched.sort_unstable_by_key(|session| session.start_ms);
        let mut touched = touched.into_iter();
        let call = UserCall::begin(&self.stage, &self.node);
        let mut merged = touched.next().unwrap_or_else(|| {
            let accumulator = self.aggregate.create_accumulator();
            Session { key, start_ms, end_ms, scheduled_ms: i64::MAX, accumulator }
        });
        merged.extend(start_ms, end_ms);
        for session in touched {
            self.aggregate.merge(&mut merged.accumulator, &session.accumulator);
            merged.extend(session.start_ms, session.end_ms);
        }
        call.end();
        merged
    }

    /// Prefetches what removing this session will need, if it will go at `due_ms`.
    #[inline(always)]
    fn hint_removal(&self, due_ms: i64, number: u32) {
        if let Some(session) = self.sessions.get(number)
            && session.last_ms() == due_ms
        {
            self.index.hint(session.key.key_hash());
        }
    }

    /// Looks at the session of this number, if it is scheduled at `due_ms`.
    #[inline]
    fn visit<D: Push<E::Out>>(&mut self, due_ms: i64, number: u32, next: &mut D) {
        let SessionWindows { aggregate, emit, sessions, queue, lateness_ms, .. } = self;
        let session = sessions.get_mut(number).filter(|session| session.scheduled_ms == due_ms);
        let Some(session) = session else { return };
        let visit = visit_of(session.last_ms(), *lateness_ms, due_ms);
        if matches!(visit, Visit::FireAndAt(_) | Visit::FireAndGo) {
            fire(aggregate, emit, session, next);
        }
        match visit {
            Visit::At(at_ms) | Visit::FireAndAt(at_ms) => {
                session.scheduled_ms = at_ms;
                if at_ms < i64::MAX {
                    queue.push(at_ms, number);
                }
            }
            Visit::FireAndGo | Visit::Go => {
                let hash = session.key.key_hash();
                self.index.remove(hash, |entry| entry.1 == number);
                self.sessions.remove(number);
            }
        }
    }
}

/// Is it missing, or is there no time left after it?
#[inline(always)]
fn is_misfit(timestamp: i64) -> bool {
    timestamp == NO_TIMESTAMP || timestamp == i64::MAX
}

/// Emits the result of a session.
#[inline(always)]
fn fire<T, K: Key, A, E, D>(
    aggregate: &A,
    emit: &mut Opened<E>,
    session: &Session<K, A::Accumulator>,
    next: &mut D,
) where
    A: AggregateFunction<T>,
    E: EmitPlain<K, TimeWindow, A::Result>,
    D: Push<E::Out>,
{
    emit.call(|emit| {
        let (window, result) = (session.window(), aggregate.result(&session.accumulator));
        emit.emit(&session.key, window, result, &mut Collector::new(next, window.max_timestamp()))
    });
}

fn rehash(entry: &Entry) -> KeyHash {
    KeyHash::from_u32(entry.0)
}

impl<T: 'static, S, A, E> KeyedLogic for SessionWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    type Out = E::Out;

    fn is_deep(&mut self) -> bool {
        self.index.is_deep() || self.sessions.allocation_bytes() > DEEP_BYTES
    }

    fn maintain(&mut self) -> Result {
        if self.copying.is_some() {
            self.copy(STEP);
        }
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) {
        debug_assert!(self.serving.is_none(), "a barrier comes when nothing is firing");
        while self.copying.is_some() {
            // The one before is wanted as well, and there is one at a time.
            self.copy(usize::MAX);
        }
        self.copying = Some(SessionCopy::begin(checkpoint, &self.header(), &self.sessions));
        self.open_after_ms = i64::MAX;
        if self.sessions.is_empty() {
            self.copy(usize::MAX);
        }
    }

    fn advance(&mut self, watermark: i64) -> bool {
        self.watermark = watermark;
        if self.copying.is_none() {
            self.open_after_ms = watermark;
        }
        self.queue.next_ms() <= watermark && self.queue.next_ms() != i64::MAX
    }

    fn fire<D: Push<E::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        let mut left = budget;
        loop {
            let taken = self.serving.take();
            let taken = taken.or_else(|| {
                self.queue.take(self.watermark).map(|(due_ms, numbers)| (due_ms, numbers, 0))
            });
            let Some((due_ms, numbers, mut at)) = taken else { return true };
            if self.copying.is_some() {
                self.copy_first(&numbers[at..numbers.len().min(at + left)]);
            }
            while at < numbers.len() && left > 0 {
                if let Some(number) = numbers.get(at + AHEAD) {
                    self.sessions.hint(*number);
                }
                if let Some(number) = numbers.get(at + AHEAD / 2) {
                    self.hint_removal(due_ms, *number);
                }
                self.visit(due_ms, numbers[at], next);
                at += 1;
                left -= 1;
            }
            if at < numbers.len() {
                self.serving = Some((due_ms, numbers, at));
                return false;
            }
            self.queue.give_back(due_ms, numbers);
        }
    }

    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.sides)
    }
}

impl<T: 'static, S, A, E> Logic<T> for SessionWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    #[inline(always)]
    fn apply<D: Push<E::Out>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D) {
        let SessionWindows { selector, aggregate, index, sessions, queue, .. } = self;
        let (open_after_ms, key_hash) = (self.open_after_ms, KeyHash::from_u32(hash));
        let (start_ms, end_ms) = (timestamp, timestamp.saturating_add(self.gap_ms));
        let call = UserCall::begin(&self.stage, &self.node);
        let is_done = selector.with_key(&record, |key| {
            let mut touched = Touched::None;
            // Looks at all entries of the hash, and takes none.
            index.find(key_hash, |entry| {
                if entry.0 == hash
                    && let Some(session) = sessions.get(entry.1)
                    && session.touches(start_ms, end_ms)
                    && session.key == *key
                {
                    touched = match touched {
                        Touched::None => Touched::One(entry.1),
                        _ => Touched::Several,
                    };
                }
                false
            });
            match touched {
                Touched::One(number) => {
                    let Some(session) = sessions.get_mut(number) else { return false };
                    let last_ms = session.last_ms().max(end_ms - 1);
                    let is_open = last_ms > open_after_ms && session.scheduled_ms <= last_ms;
                    if is_open {
                        session.extend(start_ms, end_ms);
                        aggregate.add(&mut session.accumulator, &record);
                    }
                    is_open
                }
                Touched::None if end_ms - 1 > open_after_ms && !is_misfit(timestamp) => {
                    let mut accumulator = aggregate.create_accumulator();
                    aggregate.add(&mut accumulator, &record);
                    let (key, scheduled_ms) = (key.clone(), end_ms - 1);
                    let session = Session { key, start_ms, end_ms, scheduled_ms, accumulator };
                    let number = sessions.insert(session);
                    index.insert_unique(key_hash, (hash, number), rehash);
                    queue.push(scheduled_ms, number);
                    true
                }
                _ => false,
            }
        });
        call.end();
        if !is_done {
            self.apply_slowly((hash, record, timestamp), next);
        }
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        self.index.hint(KeyHash::from_u32(hash));
    }

    #[inline(always)]
    fn hint_row(&self, hash: u32) {
        self.index.find(KeyHash::from_u32(hash), |entry| {
            if entry.0 == hash {
                self.sessions.hint(entry.1);
            }
            false
        });
    }
}
