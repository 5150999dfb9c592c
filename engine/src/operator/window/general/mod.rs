//! The general window operator: any assigner, trigger, evictor and function; the rules of Flink's `WindowOperator`.
//!
//! ```text
//! rows of (key, window):  contents | trigger's state | function's state of the window      timers refer to these rows
//! rows of key:            merging set (sessions)     | function's state of the key
//! ```
//!
//! 1. An element is assigned to windows; those that are over already do not take it. If none does and it is behind the
//!    watermark itself, it is late.
//! 2. Each window that takes it adds it to its contents, asks its trigger, and fires or purges as that says. A timer is
//!    set for the instant at which the window is given up: its last instant plus the allowed lateness.
//! 3. Timers fire in order of time over all keys. Each asks the trigger; the one that gives up the window then clears
//!    contents, trigger and function.
//! 4. Windows that merge keep their contents in their *state window* (see `window::merging`), triggers and timers move
//!    to the window that results.
//!
//! 5. In checkpoints are the rows, the timers and the watermark; what triggers, evictors and merging sets know lies in rows.
//!
//! **Invariants**
//! - A row of a window lives as long as it has state or timers, so a window that was given up costs nothing.
//! - A timer is there once for each time, key and window.
//! - All user code runs under one call guard, so an error or panic names the operator and the record.
//!
//! **Cost**: for each element and window one lookup, two timer registrations (mostly of timers that are there), one
//! call of trigger and contents each; for windows that merge a lookup of the key's set besides.

mod merging;
mod store;

use crate::Result;
use crate::function::{KeySelector, OutputTag, RuntimeContext, StateOfWindows, TimeDomain};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic};
use crate::operator::keyed_services::KeyedServices;
use crate::operator::keyed_store::open_rows;
use crate::operator::opened::Opened;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::body::Body;
use crate::operator::window::late::LateRecords;
use crate::operator::window::table_bytes::TableError;
use crate::operator::window::window_tables::PIECE;
use crate::record::CheckpointId;
use crate::state::{ValueState, ValueStateDescriptor};
use crate::window::{AssignerContext, Trigger, WindowAssigner};
use store::{Element, Limits, WindowStore};
use thalweg_state::{KeyHash, Namespaced, RowId, StateRegistrar};

/// The user code of a window operator.
pub(crate) struct UserCode<A, R, B> {
    assigner: A,
    trigger: R,
    body: B,
}

/// What the operator is made of, before it reaches its core.
pub(crate) struct GeneralSettings<T, S, A, R, B> {
    pub(crate) selector: S,
    pub(crate) assigner: A,
    pub(crate) trigger: R,
    pub(crate) body: B,
    pub(crate) lateness_ms: i64,
    pub(crate) late: Option<OutputTag<T>>,
    pub(crate) node: NodeId,
}

/// See the module docs.
pub(crate) struct GeneralWindows<T, S, A, R, B>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    B: Body<T, S::Key, A::Window>,
{
    user: Opened<UserCode<A, R, B>>,
    selector: S,
    store: WindowStore<S::Key, A::Window, B::State>,
    late: LateRecords<T>,
    /// The windows of the element at hand, and their rows.
    assigned: Vec<A::Window>,
    rows: Vec<RowId>,
}

impl<T, S, A, R, B> GeneralWindows<T, S, A, R, B>
where
    T: 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: Trigger<T, A::Window>,
    B: Body<T, S::Key, A::Window>,
{
    pub(crate) fn open(
        settings: GeneralSettings<T, S, A, R, B>,
        context: &mut BuildContext,
    ) -> Result<Self> {
        let GeneralSettings { selector, assigner, trigger, body, lateness_ms, late, node } =
            settings;
        let stage = context.stage.clone();
        let name = stage.names.get(node);
        let mut windows = StateRegistrar::new::<Namespaced<S::Key, A::Window>>(name);
        let mut keys = StateRegistrar::new::<S::Key>(name);
        let contents = windows.register_value(&ValueStateDescriptor::new("window: contents"))?;
        let is_merging = assigner.is_merging();
        let merging = match is_merging {
            true => keys.register_value(&ValueStateDescriptor::new("window: merging set"))?,
            false => ValueState::default(),
        };
        let own_states = keys.states().len();
        let limits = Limits { is_event_time: assigner.is_event_time(), lateness_ms };
        let open = |code: &mut UserCode<A, R, B>, context: &mut RuntimeContext<'_>| {
            code.trigger.open(&mut context.with_registrar(&mut windows))?;
            let of_windows = match is_merging {
                true => StateOfWindows::Merging,
                false => StateOfWindows::Registrar(&mut windows),
            };
            code.body.open(&mut context.with_windows(of_windows))
        };
        let code = UserCode { assigner, trigger, body };
        let place = (&stage, node);
        let close = |code: &mut UserCode<A, R, B>| code.body.close();
        let user = Opened::open_keyed(code, place, Some(&mut keys), open, close)?;
        let has_key_state = keys.states().len() > own_states;
        refuse_tables(context, node)?;
        let files = context.open_keyed_store(node)?;
        let mut windows = open_rows(windows, files.as_ref(), "windows")?;
        let keys = open_rows(keys, files.as_ref(), "keys")?;
        let sides = context.open_sides(node)?;
        let mut services = KeyedServices::new(sides, stage.task.core.clone());
        services.restore(context, node, (files.as_ref(), &mut windows))?;
        let store = WindowStore {
            windows,
            keys,
            files,
            contents,
            merging,
            is_merging,
            has_key_state,
            services,
            limits,
        };
        let late = LateRecords::new(late, stage.clone(), node);
        Ok(GeneralWindows { user, selector, store, late, assigned: vec![], rows: vec![] })
    }

    /// Fires up to `budget` timers of a domain; true when none is left that is due.
    fn fire_timers<D: Push<B::Out>>(
        &mut self,
        domain: TimeDomain,
        budget: usize,
        next: &mut D,
    ) -> bool {
        let GeneralWindows { user, store, .. } = self;
        for _ in 0..budget {
            let Some(timer) = store.services.pop_due(domain) else { return true };
            if let Some(row) = store.services.upcoming(domain) {
                store.windows.hint_id(row);
            }
            user.call(|code| store.on_timer(code, domain, timer, next));
        }
        false
    }
}

/// A checkpoint has windows in tables, as operators keep them that are not general.
fn refuse_tables(context: &BuildContext, node: NodeId) -> Result {
    match context.restored(node, PIECE).first() {
        None => Ok(()),
        Some(piece) => {
            let cause = TableError::NotGeneral.into();
            Err(context.piece_error(node, (PIECE, piece.subtask), cause).into())
        }
    }
}

/// Puts one element into its windows; returns it if it is late.
#[inline]
fn process_element<T, S, A, R, B, D>(
    code: &mut UserCode<A, R, B>,
    selector: &mut S,
    store: &mut WindowStore<S::Key, A::Window, B::State>,
    (assigned, rows): (&mut Vec<A::Window>, &mut Vec<RowId>),
    (hash, record, timestamp): (KeyHash, T, i64),
    next: &mut D,
) -> Result<Option<T>>
where
    T: 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: Trigger<T, A::Window>,
    B: Body<T, S::Key, A::Window>,
    D: Push<B::Out>,
{
    store.tell_time();
    assigned.clear();
    let context = AssignerContext { now_ms: store.services.now_ms() };
    code.assigner.assign_windows(&record, timestamp, &context, assigned)?;
    if store.is_merging {
        let key = selector.with_key(&record, Clone::clone);
        return store.on_merging_element(code, (hash, &key), assigned, (record, timestamp), next);
    }
    assigned.retain(|window| !store.is_late(window));
    if assigned.is_empty() {
        return Ok(store.is_element_late(timestamp).then_some(record));
    }
    rows.clear();
    selector.with_key(&record, |key| {
        assigned.iter().try_for_each(|window| {
            rows.push(store.row_of(hash, key, window)?);
            Ok::<_, thalweg_state::StateError>(())
        })
    })?;
    let Some((last, others)) = rows.split_last() else { return Ok(None) };
    for row in others {
        store.on_element(code, (*row, *row), Element::Shared(&record), timestamp, next)?;
    }
    store.on_element(code, (*last, *last), Element::Owned(record), timestamp, next)?;
    Ok(None)
}

impl<T, S, A, R, B> KeyedLogic for GeneralWindows<T, S, A, R, B>
where
    T: 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: Trigger<T, A::Window>,
    B: Body<T, S::Key, A::Window>,
{
    type Out = B::Out;

    /// Rows are found by key and window, so nothing can be fetched by the hash of the key alone.
    fn is_deep(&mut self) -> bool {
        false
    }
    fn maintain(&mut self) -> Result {
        let WindowStore { windows, keys, services, files, .. } = &mut self.store;
        match files {
            None => Ok(()),
            Some(files) => files.maintain(&mut [&mut services.with_timers(windows), keys]),
        }
    }
    fn snapshot(&mut self, checkpoint: CheckpointId) {
        let WindowStore { windows, keys, services, files, .. } = &mut self.store;
        if let Some(files) = files {
            files.snapshot(checkpoint, &mut [&mut services.with_timers(windows), keys]);
        }
        services.snapshot(checkpoint);
    }
    fn advance(&mut self, watermark: i64) -> bool {
        self.store.services.advance(watermark)
    }
    fn fire<D: Push<B::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        self.fire_timers(TimeDomain::EventTime, budget, next)
    }
    fn fire_processing_time<D: Push<B::Out>>(
        &mut self,
        _: i64,
        budget: usize,
        next: &mut D,
    ) -> bool {
        self.fire_timers(TimeDomain::ProcessingTime, budget, next)
    }
    fn next_processing_time_ms(&mut self) -> i64 {
        self.store.services.next_processing_time_ms()
    }
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.store.services.sides)
    }
}

impl<T, S, A, R, B> Logic<T> for GeneralWindows<T, S, A, R, B>
where
    T: 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: Trigger<T, A::Window>,
    B: Body<T, S::Key, A::Window>,
{
    fn apply<D: Push<B::Out>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D) {
        let GeneralWindows { user, selector, store, late, assigned, rows } = self;
        let Some((code, call)) = user.begin() else { return };
        let element = (KeyHash::from_u32(hash), record, timestamp);
        let result = process_element(code, selector, store, (assigned, rows), element, next);
        call.end();
        match result {
            Ok(None) => {}
            Ok(Some(record)) => {
                let services = &mut store.services;
                late.take(record, timestamp, services.watermark, &mut services.sides);
            }
            Err(cause) => user.fail(cause),
        }
    }

    fn hint(&self, _: u32) {}
}
