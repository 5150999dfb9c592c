//! Functions of a stream and a broadcast one: rules that every subtask knows, and records that they are applied to.

use crate::Result;
use crate::function::{
    Collector, KeyedBroadcastContext, KeyedReadOnlyContext, OnTimerReadOnlyContext, ProcessContext,
    ReadOnlyContext, RuntimeContext, checkpoint_hooks,
};
use thalweg_state::Key;

/// Sees the records of a stream with broadcast state to read, and broadcast records with that state to change.
///
/// `events.connect_broadcast(rules.broadcast()).process(function)`. Broadcast states are registered in `open` with
/// [`RuntimeContext::broadcast_state`]; there may be several. Every subtask gets every broadcast record, in the same order,
/// and makes its own copy of the state from them: `process_broadcast_element` must therefore do the same in each of them. The
/// other side may only read: a write there does not compile.
///
/// Between the two sides there is no order. A record that comes before a rule is not seen by it; what must not be lost has to
/// be kept until the rule is there. The watermark is the smaller one of the two sides, so a rule stream that never ends and
/// gives no watermarks holds back event time; mark it idle, or give it the largest watermark.
///
/// **Limits.** No keyed state and no timers: see [`KeyedBroadcastProcessFunction`]. Lists of the operator
/// ([`RuntimeContext::operator_list_state`]) can be changed where broadcast state can, and read elsewhere.
///
/// **Costs.** One copy of each broadcast record, and of the state, for each subtask.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{self, TestDriver};
///
/// /// Passes the words that are not forbidden.
/// #[derive(Clone, Default)]
/// struct Filter { forbidden: BroadcastState<String, ()> }
///
/// impl BroadcastProcessFunction for Filter {
///     type In = String;
///     type Broadcast = String;
///     type Out = String;
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.forbidden = context.broadcast_state(MapStateDescriptor::new("forbidden"))?;
///         Ok(())
///     }
///     fn process_element(
///         &mut self,
///         word: String,
///         context: &mut ReadOnlyContext<'_>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         if !self.forbidden.contains(context, &word)? {
///             out.collect(word);
///         }
///         Ok(())
///     }
///     fn process_broadcast_element(
///         &mut self,
///         word: String,
///         context: &mut ProcessContext<'_>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         self.forbidden.put(context, word, ())?;
///         Ok(())
///     }
/// }
///
/// let mut test = TestDriver::new(|env| {
///     let words = env.from_source(testing::input::<String>(), "words");
///     let forbidden = env.from_source(testing::input::<String>(), "forbidden").broadcast();
///     let passed = words.connect_broadcast(forbidden).process(Filter::default());
///     passed.sink_to(testing::output()).name("passed");
/// });
/// test.pipe("words", ["tea", "rum"].map(String::from));
/// test.pipe("forbidden", ["rum".to_string()]);
/// test.pipe("words", ["tea", "rum"].map(String::from));
/// assert_eq!(test.outputs::<String>("passed"), ["tea", "rum", "tea"]);
/// ```
///
/// The state is read-only beside the rules:
/// ```compile_fail,E0277
/// # use thalweg::prelude::*;
/// fn forget(rules: &BroadcastState<String, ()>, context: &mut ReadOnlyContext<'_>) -> thalweg::Result<()> {
///     rules.clear(context)?;
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a BroadcastProcessFunction",
    note = "a KeyedBroadcastProcessFunction needs a keyed stream: call key_by before connect_broadcast"
)]
pub trait BroadcastProcessFunction: 'static {
    /// Records of the stream.
    type In: 'static;
    /// Broadcast records.
    type Broadcast: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record: registers broadcast state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record of the stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element(
        &mut self,
        record: Self::In,
        context: &mut ReadOnlyContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called for each broadcast record, in every subtask.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_broadcast_element(
        &mut self,
        record: Self::Broadcast,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}

/// Sees the records of a keyed stream with the key's state, its timers, and broadcast state to read; and broadcast records
/// with broadcast state to change, and the keyed state of all keys.
///
/// `events.key_by(..).connect_broadcast(rules.broadcast()).process(function)`. What is said of [`BroadcastProcessFunction`]
/// holds here too: broadcast state is registered in `open`, is the same in every subtask if `process_broadcast_element` does
/// the same in each, and is read-only everywhere else, `on_timer` included.
///
/// A broadcast record has no key: there keyed state answers with an error, except through
/// [`apply_to_keyed_state`](KeyedBroadcastContext::apply_to_keyed_state), which visits the keys of the subtask one by one.
///
/// **Costs.** As a [`KeyedProcessFunction`](crate::function::KeyedProcessFunction) for each key; and one copy of each
/// broadcast record, and of the broadcast state, for each subtask.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{self, TestDriver};
///
/// /// Tells which users have more clicks than a limit that comes beside them.
/// #[derive(Clone, Default)]
/// struct Limit { clicks: ValueState<u64>, limits: BroadcastState<String, u64> }
///
/// impl KeyedBroadcastProcessFunction for Limit {
///     type Key = String;
///     type In = String;
///     type Broadcast = u64;
///     type Out = String;
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.clicks = context.value_state(ValueStateDescriptor::new("clicks"))?;
///         self.limits = context.broadcast_state(MapStateDescriptor::new("limits"))?;
///         Ok(())
///     }
///     fn process_element(
///         &mut self,
///         user: String,
///         context: &mut KeyedReadOnlyContext<'_, String>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         let clicks = self.clicks.modify(context, |n| { *n += 1; *n })?;
///         let limit = self.limits.get(context, &"clicks".to_string())?.unwrap_or(u64::MAX);
///         if clicks > limit {
///             out.collect(format!("{user} now"));
///         }
///         Ok(())
///     }
///     fn process_broadcast_element(
///         &mut self,
///         limit: u64,
///         context: &mut KeyedBroadcastContext<'_, String>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         self.limits.put(context, "clicks".to_string(), limit)?;
///         context.apply_to_keyed_state(&self.clicks, |user, row| {
///             if self.clicks.value(row)?.unwrap_or(0) > limit {
///                 out.collect(format!("{user} before"));
///             }
///             Ok(())
///         })
///     }
/// }
///
/// let mut test = TestDriver::new(|env| {
///     let users = env.from_source(testing::input::<String>(), "users").key_by_ref(|user| user);
///     let limits = env.from_source(testing::input::<u64>(), "limits").broadcast();
///     let told = users.connect_broadcast(limits).process(Limit::default());
///     told.sink_to(testing::output()).name("told");
/// });
/// test.pipe("users", ["ann", "bob", "ann"].map(String::from));
/// test.pipe("limits", [1_u64]);
/// test.pipe("users", ["ann", "bob"].map(String::from));
/// assert_eq!(test.outputs::<String>("told"), ["ann before", "ann now", "bob now"]);
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a KeyedBroadcastProcessFunction")]
pub trait KeyedBroadcastProcessFunction: 'static {
    /// The stream's key.
    type Key: Key;
    /// Records of the keyed stream.
    type In: 'static;
    /// Broadcast records.
    type Broadcast: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record: registers keyed and broadcast state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record of the keyed stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element(
        &mut self,
        record: Self::In,
        context: &mut KeyedReadOnlyContext<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called for each broadcast record, in every subtask.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_broadcast_element(
        &mut self,
        record: Self::Broadcast,
        context: &mut KeyedBroadcastContext<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called when a timer fires. What it emits carries the timer's time, or no timestamp if it was one of processing time;
    /// side outputs carry the timer's time in both cases, as in Flink.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_timer(
        &mut self,
        _timer_ms: i64,
        _context: &mut OnTimerReadOnlyContext<'_, Self::Key>,
        _out: &mut Collector<'_, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}
