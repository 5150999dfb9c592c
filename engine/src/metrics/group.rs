//! [`MetricGroup`]: where user functions get their own counters, gauges and histograms by name.
//!
//! A function asks its group once, in `open`, and keeps the handle; counting through a handle takes no lock and
//! allocates nothing.
//!
//! **Invariants**
//! - Asking for the same name twice gives the same metric: within one operator of one subtask, so within one thread.
//! - A metric sits on cache lines of its own.
//! - An operator has at most [`METRICS_PER_OPERATOR_MAX`] metrics. A handle beyond that counts nothing, and the refusal
//!   is itself counted, so a name made from a record's key cannot eat the memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use super::cell::{Counter, Gauge, Padded};
use super::histogram::Histogram;
use super::subtask::SubtaskMetrics;

/// Most user metrics of one operator in one subtask.
pub const METRICS_PER_OPERATOR_MAX: usize = 1_024;

/// The user metrics of all operators of one subtask.
#[derive(Debug, Default)]
pub(super) struct UserMetrics {
    /// By operator name. Locked when a metric is registered or all are read, never to count.
    operators: Mutex<BTreeMap<String, OperatorMetrics>>,
}

/// The user metrics of one operator in one subtask.
#[derive(Clone, Debug, Default)]
pub(super) struct OperatorMetrics {
    pub(super) counters: BTreeMap<String, Arc<Padded<Counter>>>,
    pub(super) gauges: BTreeMap<String, Arc<Padded<Gauge>>>,
    pub(super) histograms: BTreeMap<String, Arc<Padded<Histogram>>>,
    /// How many were asked for beyond the bound.
    pub(super) refused_count: u64,
}

impl UserMetrics {
    /// The metrics now registered; cheap to hold, the numbers stay where they are.
    pub(super) fn operators(&self) -> BTreeMap<String, OperatorMetrics> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds or makes a metric in one of an operator's maps.
    fn register<T: Default>(
        &self,
        operator: &str,
        name: &str,
        map_of: impl Fn(&mut OperatorMetrics) -> &mut BTreeMap<String, Arc<Padded<T>>>,
    ) -> Option<Arc<Padded<T>>> {
        // A panic while the lock is held can only be one of allocation, before anything is changed.
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = operators.entry(operator.to_owned()).or_default();
        let full = metrics.count() >= METRICS_PER_OPERATOR_MAX;
        match map_of(metrics).entry(name.to_owned()) {
            Entry::Occupied(entry) => return Some(entry.get().clone()),
            Entry::Vacant(entry) if !full => return Some(entry.insert(Arc::default()).clone()),
            Entry::Vacant(_) => {}
        }
        metrics.refused_count += 1;
        None
    }
}

impl OperatorMetrics {
    fn count(&self) -> usize {
        self.counters.len() + self.gauges.len() + self.histograms.len()
    }
}

/// The metrics of one operator in one subtask: the engine's and the user's.
///
/// ```
/// use thalweg::metrics::JobMetrics;
/// let job = JobMetrics::new("words");
/// let group = job.register_subtask("source -> parse", 0);
/// let parsed = group.for_operator("parse").counter("parsed");
/// parsed.add(3);
/// group.subtask().records_in.add(3);
/// let vertex = &job.snapshot().vertices[0];
/// assert_eq!(vertex.total.records_in, 3);
/// assert_eq!(vertex.operators[0].counters["parsed"], 3);
/// ```
#[derive(Clone, Debug)]
pub struct MetricGroup {
    operator: Arc<str>,
    subtask: Arc<SubtaskMetrics>,
    user: Arc<UserMetrics>,
}

impl MetricGroup {
    pub(super) fn new(
        operator: &str,
        subtask: Arc<SubtaskMetrics>,
        user: Arc<UserMetrics>,
    ) -> Self {
        Self { operator: operator.into(), subtask, user }
    }

    /// The group of one operator of the chain. Operators of the same name share their metrics, so give it a name that is
    /// unique in the vertex.
    #[must_use]
    pub fn for_operator(&self, operator: &str) -> Self {
        Self { operator: operator.into(), ..self.clone() }
    }

    /// The operator whose metrics these are.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// What the engine counts for the subtask as a whole.
    pub fn subtask(&self) -> &Arc<SubtaskMetrics> {
        &self.subtask
    }

    /// The counter of this name, made if new.
    pub fn counter(&self, name: &str) -> CounterHandle {
        CounterHandle(self.user.register(&self.operator, name, |metrics| &mut metrics.counters))
    }

    /// The gauge of this name, made if new.
    pub fn gauge(&self, name: &str) -> GaugeHandle {
        GaugeHandle(self.user.register(&self.operator, name, |metrics| &mut metrics.gauges))
    }

    /// The histogram of this name, made if new; takes 30 KiB.
    pub fn histogram(&self, name: &str) -> HistogramHandle {
        HistogramHandle(self.user.register(&self.operator, name, |metrics| &mut metrics.histograms))
    }
}

/// A user's counter. The default counts nothing, so a function can hold one before `open`.
///
/// All clones count into the same number and must stay on the thread of their subtask.
#[derive(Clone, Debug, Default)]
pub struct CounterHandle(Option<Arc<Padded<Counter>>>);

impl CounterHandle {
    /// Adds `n`; see [`Counter::add`].
    #[inline]
    pub fn add(&self, n: u64) {
        if let Some(counter) = &self.0 {
            counter.add(n);
        }
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The value now; 0 for a handle that counts nothing.
    pub fn get(&self) -> u64 {
        self.0.as_ref().map_or(0, |counter| counter.get())
    }
}

/// A user's gauge. The default keeps nothing, so a function can hold one before `open`.
///
/// All clones set the same number and must stay on the thread of their subtask.
#[derive(Clone, Debug, Default)]
pub struct GaugeHandle(Option<Arc<Padded<Gauge>>>);

impl GaugeHandle {
    /// Sets the value; see [`Gauge::set`].
    #[inline]
    pub fn set(&self, value: i64) {
        if let Some(gauge) = &self.0 {
            gauge.set(value);
        }
    }

    /// Changes the value by `delta`; see [`Gauge::add`].
    #[inline]
    pub fn add(&self, delta: i64) {
        if let Some(gauge) = &self.0 {
            gauge.add(delta);
        }
    }

    /// The value now; 0 for a handle that keeps nothing.
    pub fn get(&self) -> i64 {
        self.0.as_ref().map_or(0, |gauge| gauge.get())
    }
}

/// A user's histogram. The default counts nothing, so a function can hold one before `open`.
///
/// All clones record into the same histogram and must stay on the thread of their subtask.
#[derive(Clone, Debug, Default)]
pub struct HistogramHandle(Option<Arc<Padded<Histogram>>>);

impl HistogramHandle {
    /// Counts one value; see [`Histogram::record`].
    #[inline]
    pub fn record(&self, value: u64) {
        if let Some(histogram) = &self.0 {
            histogram.record(value);
        }
    }

    /// Counts a value `count` times; see [`Histogram::record_many`].
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        if let Some(histogram) = &self.0 {
            histogram.record_many(value, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> MetricGroup {
        MetricGroup::new("first", Arc::default(), Arc::default())
    }

    #[test]
    fn a_name_is_one_metric_within_its_operator() {
        let group = group();
        group.counter("n").add(1);
        group.counter("n").increment();
        group.for_operator("second").counter("n").add(5);
        group.gauge("n").set(-7);
        group.histogram("n").record(9);
        assert_eq!(group.counter("n").get(), 2);
        assert_eq!(group.gauge("n").get(), -7);
        let operators = group.user.operators();
        assert_eq!(operators["second"].counters["n"].get(), 5);
        assert_eq!(operators["first"].histograms["n"].counts().count(), 1);
    }

    #[test]
    fn default_handles_count_nothing() {
        let (counter, gauge) = (CounterHandle::default(), GaugeHandle::default());
        counter.increment();
        gauge.add(4);
        HistogramHandle::default().record(1);
        assert_eq!((counter.get(), gauge.get()), (0, 0));
    }

    #[test]
    fn the_number_of_metrics_is_bounded() {
        let group = group();
        for index in 0..METRICS_PER_OPERATOR_MAX + 3 {
            group.counter(&format!("key {index}")).increment();
        }
        group.gauge("one more").set(1);
        group.counter("key 0").increment();
        let metrics = &group.user.operators()["first"];
        assert_eq!(metrics.count(), METRICS_PER_OPERATOR_MAX);
        assert_eq!(metrics.refused_count, 4);
        assert_eq!(metrics.counters["key 0"].get(), 2);
    }

    #[test]
    fn handles_can_be_held_by_functions_that_move_to_their_thread() {
        fn check<T: Clone + Default + Send + 'static>() {}
        check::<CounterHandle>();
        check::<GaugeHandle>();
        check::<HistogramHandle>();
    }
}
