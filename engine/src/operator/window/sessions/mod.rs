//! Event-time sessions of one gap with incremental aggregates: a key's open sessions inline in its entry, and deadlines
//! instead of timers.
//!
//! 1. An element finds its key's entry and extends the session that it touches, or opens one. A session that grows
//!    leaves its deadline where it is: it is put off when it comes up, once a gap and not once an element.
//! 2. A watermark takes the deadlines up to it in order of time. A session that has not grown fires; with an allowed
//!    lateness it stays until that is over too, and fires again with each element that comes behind the watermark.
//! 3. Sessions that an element bridges become the first of them; the deadlines of the others lead nowhere.
//!
//! The answers are those of the general operator, which a test holds it against.
//!
//! **Measured** (w4: 100,000 keys, gap 100 ms, 37 sessions a hundred events): see `benches`; the general operator
//! registers three timers an element and keeps three rows a session.
//!
//! **Invariants**
//! - The open sessions of a key do not touch one another.
//! - A session has a deadline at or before the instant at which something happens to it.
//! - A session is `fired` exactly where the watermark has reached its last instant.
//! - Empty entries are bounded by the others: they are dropped when they outnumber them.

mod deadlines;
mod entry;

use crate::Result;
use crate::function::{AggregateFunction, Collector, KeySelector, OutputTag};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::opened::Opened;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::emit::EmitPlain;
use crate::operator::window::late::LateRecords;
use crate::operator::{Push, StageContext, UserCall};
use crate::record::NO_TIMESTAMP;
use crate::window::{AlignedWindows, TimeWindow};
use deadlines::{Deadline, Deadlines};
use entry::{Entry, Session};
use std::rc::Rc;
use thalweg_state::{Key, KeyHash, PrefetchTable};

/// Deadlines between a hint and its use.
const AHEAD: usize = 16;
/// Empty entries up to this number are not worth a pass over the table.
const EMPTY_ALLOWED: usize = 1024;

/// What the operator is made of, before it reaches its core.
pub(crate) struct SessionSettings<T, S, A> {
    pub(crate) selector: S,
    pub(crate) aggregate: A,
    pub(crate) gap_ms: i64,
    pub(crate) lateness_ms: i64,
    pub(crate) late: Option<OutputTag<T>>,
    pub(crate) node: NodeId,
}

/// See the module docs.
pub(crate) struct SessionWindows<T, S: KeySelector<T>, A: AggregateFunction<T>, E> {
    selector: S,
    aggregate: A,
    emit: Opened<E>,
    gap_ms: i64,
    lateness_ms: i64,
    table: PrefetchTable<Entry<S::Key, A::Accumulator>>,
    /// Entries with sessions.
    live_entries: usize,
    deadlines: Deadlines,
    /// The deadlines of the instant that is firing, and how many are done.
    firing: Vec<Deadline>,
    fired: usize,
    firing_ms: i64,
    next_serial: u64,
    watermark: i64,
    late: LateRecords<T>,
    sides: SideOutputs,
    stage: Rc<StageContext>,
    node: NodeId,
}

/// What an element did to its key's sessions.
enum Outcome {
    /// Its session ends ahead of the watermark.
    Added,
    /// Its session lies behind the watermark: it fires at once.
    Fires(u64),
    Late,
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
        let (sides, stage) = (context.open_sides(node)?, context.stage.clone());
        Ok(SessionWindows {
            selector,
            aggregate,
            emit,
            gap_ms,
            lateness_ms,
            table: PrefetchTable::new(),
            live_entries: 0,
            deadlines: Deadlines::default(),
            firing: Vec::new(),
            fired: 0,
            firing_ms: i64::MIN,
            next_serial: 1,
            watermark: i64::MIN,
            late: LateRecords::new(late, stage.clone(), node),
            sides,
            stage,
            node,
        })
    }

    /// Puts an element into its key's sessions.
    #[inline(always)]
    fn add(&mut self, hash: u32, record: &T, timestamp: i64) -> Outcome {
        let SessionWindows { selector, aggregate, table, stage, node, .. } = self;
        let call = UserCall::begin(stage, *node);
        let entry = selector.with_key(record, |key| {
            table.find_or_insert_with(
                KeyHash::from_u32(hash),
                |entry| entry.key == *key,
                |entry| entry.key.key_hash(),
                || Entry::new(key.clone()),
            )
        });
        let end = timestamp.saturating_add(self.gap_ms);
        let mut is_new = false;
        let session = match entry.only_touching(timestamp, end) {
            Some(session) => session.extend(timestamp, end),
            None => {
                let over_ms = (end - 1).saturating_add(self.lateness_ms);
                let is_over = over_ms <= self.watermark || is_misfit(timestamp);
                is_new = !entry.touches(timestamp, end);
                match (is_new, is_over) {
                    (true, true) => {
                        call.end();
                        return Outcome::Late;
                    }
                    (true, false) => {
                        self.live_entries += usize::from(entry.is_empty());
                        let serial = self.next_serial;
                        self.next_serial += 1;
                        let accumulator = aggregate.create_accumulator();
                        entry.push(Session::new((timestamp, end), serial, accumulator))
                    }
                    (false, _) => {
                        entry.bridge(timestamp, end, |into, other| aggregate.merge(into, other))
                    }
                }
            }
        };
        aggregate.add(&mut session.accumulator, record);
        call.end();
        // What lies ahead of the watermark needs a deadline, unless it has one, which may be too early.
        let (last_ms, serial) = (session.last_instant(), session.serial());
        if last_ms > self.watermark {
            if session.is_fired() {
                session.set_fired(false);
                self.deadlines.add(last_ms, Deadline { hash, serial });
            }
            return Outcome::Added;
        }
        if is_new {
            let over_ms = last_ms.saturating_add(self.lateness_ms);
            self.deadlines.add(over_ms, Deadline { hash, serial });
        }
        Outcome::Fires(serial)
    }

    /// A late element that its session still takes: the session fires again.
    #[cold]
    fn fire_again<D: Push<E::Out>>(&mut self, hash: u32, serial: u64, next: &mut D) {
        let hash = KeyHash::from_u32(hash);
        let Some(entry) = self.table.find(hash, |entry| entry.find(serial).is_some()) else {
            return;
        };
        let Some(session) = entry.find(serial) else { return };
        emit_session((&self.aggregate, &mut self.emit), &entry.key, session, next);
    }

    #[cold]
    fn take_late(&mut self, record: T, timestamp: i64) {
        self.drop_empty_entries();
        if is_misfit(timestamp) {
            return self.stage.fail(self.node, AlignedWindows::misfit(timestamp).into());
        }
        self.late.take(record, timestamp, self.watermark, &mut self.sides);
    }

    /// What a deadline leads to.
    #[inline(always)]
    fn meet<D: Push<E::Out>>(&mut self, deadline: Deadline, next: &mut D) {
        let (hash, serial) = (KeyHash::from_u32(deadline.hash), deadline.serial);
        let Some(entry) = self.table.find_mut(hash, |entry| entry.find(serial).is_some()) else {
            return; // The session was merged into another one.
        };
        let (key, session) = entry.key_and_session(serial);
        let Some(session) = session else { return };
        let over_ms = session.last_instant().saturating_add(self.lateness_ms);
        if !session.is_fired() {
            if session.last_instant() > self.firing_ms {
                return self.deadlines.add(session.last_instant(), deadline);
            }
            emit_session((&self.aggregate, &mut self.emit), key, session, next);
            session.set_fired(true);
        }
        if over_ms > self.firing_ms || over_ms == i64::MAX {
            return self.deadlines.add(over_ms, deadline);
        }
        entry.remove(serial);
        self.live_entries -= usize::from(entry.is_empty());
    }

    /// Gives up entries without sessions when they outnumber the others.
    fn drop_empty_entries(&mut self) {
        let empty = self.table.len() - self.live_entries;
        if empty > self.live_entries + EMPTY_ALLOWED {
            self.table.retain(|entry| !entry.is_empty());
        }
    }
}

/// Is it missing, or is there no time left after it?
fn is_misfit(timestamp: i64) -> bool {
    timestamp == NO_TIMESTAMP || timestamp == i64::MAX
}

#[inline]
fn emit_session<T, K, A, E, D>(
    (aggregate, emit): (&A, &mut Opened<E>),
    key: &K,
    session: &Session<A::Accumulator>,
    next: &mut D,
) where
    A: AggregateFunction<T>,
    E: EmitPlain<K, TimeWindow, A::Result>,
    D: Push<E::Out>,
{
    let window = session.window();
    emit.call(|emit| {
        let result = aggregate.result(&session.accumulator);
        emit.emit(key, window, result, &mut Collector::new(next, window.max_timestamp()))
    });
}

impl<T: 'static, S, A, E> KeyedLogic for SessionWindows<T, S, A, E>
where
    S: KeySelector<T>,
    A: AggregateFunction<T>,
    E: EmitPlain<S::Key, TimeWindow, A::Result>,
{
    type Out = E::Out;

    fn is_deep(&mut self) -> bool {
        self.table.is_deep()
    }

    fn advance(&mut self, watermark: i64) -> bool {
        self.watermark = watermark;
        self.deadlines.next_ms().is_some_and(|at_ms| at_ms <= watermark)
    }

    fn fire<D: Push<E::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        let mut left = budget;
        loop {
            while let Some(deadline) = self.firing.get(self.fired).copied() {
                if left == 0 {
                    return false;
                }
                left -= 1;
                if let Some(ahead) = self.firing.get(self.fired + AHEAD) {
                    self.table.hint(KeyHash::from_u32(ahead.hash));
                }
                self.fired += 1;
                self.meet(deadline, next);
            }
            self.fired = 0;
            let Some(at_ms) = self.deadlines.take_due(self.watermark, &mut self.firing) else {
                self.drop_empty_entries();
                return true;
            };
            self.firing_ms = at_ms;
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
        match self.add(hash, &record, timestamp) {
            Outcome::Added => {}
            Outcome::Fires(serial) => self.fire_again(hash, serial, next),
            Outcome::Late => self.take_late(record, timestamp),
        }
    }

    #[inline(always)]
    fn hint(&self, hash: u32) {
        self.table.hint(KeyHash::from_u32(hash));
    }
}
