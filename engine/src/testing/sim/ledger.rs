//! The system behind the sinks of simulations: transactions that outlive the process, and an account of what is visible.
//!
//! What a transaction has before it is prepared dies with the process; what is prepared or committed does not. The ledger
//! checks what any such system would: a transaction that is committed must have been prepared, and is committed once
//! for good.
//!
//! **Invariant**: a process that was killed changes nothing any more, whatever its sinks still do while they are dropped.

use crate::Result;
use crate::function::{Recovery, Sink, TransactionContext, TwoPhase, TwoPhaseCommitSink};
use crate::record::CheckpointId;
use crate::sync::{Mutex, lock};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::Arc;

/// How far a transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Prepared,
    Committed,
}

#[derive(Debug)]
struct Transaction {
    stage: Stage,
    /// The sink's name in the plan.
    operator: String,
    subtask: usize,
    /// In words.
    records: Vec<String>,
}

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<LedgerState>,
}

#[derive(Debug, Default)]
struct LedgerState {
    /// The process that may change anything.
    process: u64,
    transactions: BTreeMap<String, Transaction>,
    /// Records of those that are committed, in that order.
    committed: Vec<String>,
    /// What no system of transactions would put up with.
    violations: Vec<String>,
    commits: u64,
    aborts: u64,
}

impl Ledger {
    /// The process is gone, and with it what was not prepared; the next one begins.
    pub(super) fn next_process(&self) -> u64 {
        let mut state = lock(&self.state);
        state.transactions.retain(|_, transaction| transaction.stage != Stage::Open);
        state.process += 1;
        state.process
    }

    /// All that is visible, in the order of commits.
    pub(super) fn committed(&self) -> Vec<String> {
        lock(&self.state).committed.clone()
    }

    /// Transactions with records that are open, and that are prepared.
    pub(super) fn pending(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let count = |stage| {
            let is_there = |t: &&Transaction| t.stage == stage && !t.records.is_empty();
            state.transactions.values().filter(is_there).count()
        };
        (count(Stage::Open), count(Stage::Prepared))
    }

    /// Is this still the process that may change anything?
    fn is_alive(&self, process: u64) -> bool {
        lock(&self.state).process == process
    }

    /// Transactions that nobody will commit or abort any more, once the job has ended.
    pub(super) fn dangling(&self) -> Vec<String> {
        let state = lock(&self.state);
        let open = state.transactions.iter().filter(|(_, t)| t.stage != Stage::Committed);
        open.map(|(name, t)| format!("{name} ({:?}, {} records)", t.stage, t.records.len()))
            .collect()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        lock(&self.state).violations.clone()
    }

    /// Transactions committed and aborted.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.commits, state.aborts)
    }

    /// Runs `change` for a process that is alive.
    fn change<R: Default>(&self, process: u64, change: impl FnOnce(&mut LedgerState) -> R) -> R {
        let mut state = lock(&self.state);
        if state.process == process { change(&mut state) } else { R::default() }
    }
}

impl LedgerState {
    fn commit(&mut self, name: &str) {
        match self.transactions.get_mut(name) {
            Some(transaction) if transaction.stage == Stage::Open => {
                self.violations.push(format!("{name} was committed before it was prepared"));
            }
            Some(transaction) => {
                if transaction.stage == Stage::Prepared {
                    self.commits += 1;
                    self.committed.append(&mut transaction.records);
                }
                transaction.stage = Stage::Committed;
            }
            None => self
                .violations
                .push(format!("{name} was committed, and is not there: its records are lost")),
        }
    }

    fn abort(&mut self, name: &str) {
        match self.transactions.get(name).map(|transaction| transaction.stage) {
            Some(Stage::Committed) => {
                self.violations.push(format!("{name} was aborted after it was committed"));
            }
            Some(_) => {
                self.transactions.remove(name);
                self.aborts += 1;
            }
            None => {}
        }
    }
}

thread_local! {
    /// The ledger of the job that is being written on this thread, and its process.
    static AT_HAND: RefCell<Option<(Arc<Ledger>, u64)>> = const { RefCell::new(None) };
}

/// Runs `write` with a ledger at hand for [`sink`].
pub(super) fn at_hand<R>(ledger: &Arc<Ledger>, process: u64, write: impl FnOnce() -> R) -> R {
    let before = AT_HAND.replace(Some((ledger.clone(), process)));
    let result = write();
    AT_HAND.set(before);
    result
}

/// The process of the job that is being written: what lies outside of the job asks it before it believes what a sink says.
#[derive(Clone, Debug)]
pub struct SimulatedProcess(Option<(Arc<Ledger>, u64)>);

impl SimulatedProcess {
    /// Has it not been killed yet? Outside of a simulation: yes.
    pub fn is_alive(&self) -> bool {
        self.0.as_ref().is_none_or(|(ledger, process)| ledger.is_alive(*process))
    }
}

/// The process that the job belongs to which is being written on this thread.
#[must_use]
pub fn process() -> SimulatedProcess {
    SimulatedProcess(AT_HAND.with_borrow(Clone::clone))
}

/// A sink with transactions in the simulated system of the check that is under way. Outside of one it fails the job when it
/// is opened.
///
/// # Examples
/// See the [module](super).
#[must_use]
pub fn sink<T: Debug + Send + 'static>() -> impl Sink<T> + Clone + Send + Sync {
    TwoPhase::new(LedgerSink { share: AT_HAND.with_borrow(Clone::clone), record: PhantomData })
}

/// See [`sink`].
pub struct LedgerSink<T> {
    share: Option<(Arc<Ledger>, u64)>,
    record: PhantomData<fn(T)>,
}

impl<T> Clone for LedgerSink<T> {
    fn clone(&self) -> Self {
        LedgerSink { share: self.share.clone(), record: PhantomData }
    }
}

impl<T> fmt::Debug for LedgerSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerSink").finish_non_exhaustive()
    }
}

impl<T> LedgerSink<T> {
    fn change<R: Default>(&self, change: impl FnOnce(&mut LedgerState) -> R) -> Result<R> {
        match &self.share {
            Some((ledger, process)) => Ok(ledger.change(*process, change)),
            None => Err("sim::sink was called outside of a simulation; call it in the closure that writes its job".into()),
        }
    }
}

impl<T: Debug + 'static> TwoPhaseCommitSink for LedgerSink<T> {
    type In = T;
    type Transaction = String;

    fn begin(&mut self, context: &TransactionContext) -> Result<String> {
        let name = context.name();
        self.change(|state| {
            state.abort(&name);
            let (operator, subtask) = (context.operator_name.clone(), context.subtask_index);
            let transaction =
                Transaction { stage: Stage::Open, operator, subtask, records: Vec::new() };
            state.transactions.insert(name.clone(), transaction);
        })?;
        Ok(name)
    }

    fn write(&mut self, name: &mut String, record: T, timestamp_ms: i64) -> Result<()> {
        let _ = timestamp_ms;
        self.change(|state| match state.transactions.get_mut(name) {
            Some(transaction) if transaction.stage == Stage::Open => {
                transaction.records.push(format!("{record:?}"));
            }
            _ => state
                .violations
                .push(format!("{record:?} was written to {name}, which is not open")),
        })
    }

    fn pre_commit(&mut self, name: &mut String, _: CheckpointId) -> Result<()> {
        self.change(|state| {
            if let Some(transaction) = state.transactions.get_mut(name) {
                transaction.stage = Stage::Prepared;
            }
        })
    }

    fn commit(&mut self, name: &String) -> Result<()> {
        self.change(|state| state.commit(name))
    }

    fn abort(&mut self, name: &String) -> Result<()> {
        self.change(|state| state.abort(name))
    }

    fn abort_unknown(&mut self, recovery: &Recovery<'_, String>) -> Result<()> {
        self.change(|state| {
            let is_unknown = |name: &String, transaction: &Transaction| {
                transaction.stage != Stage::Committed
                    && transaction.operator == recovery.operator_name()
                    && recovery.takes_over(transaction.subtask)
                    && !recovery.pending().contains(name)
            };
            let before = state.transactions.len();
            state.transactions.retain(|name, transaction| !is_unknown(name, transaction));
            state.aborts += (before - state.transactions.len()) as u64;
        })
    }
}
