//! Operators: the links of a chain, and the verbs they speak.
//!
//! A chain is fused by generics: `map` holds the closure and the next operator by value, so a record passes the whole
//! chain without a virtual call. Three verbs are enough for every operator:
//!
//! 1. [`Push::push`] takes one record. It never fails and never waits; what does not fit goes to overflow.
//! 2. [`Push::control`] takes a watermark, a status, a barrier or the end.
//! 3. [`Push::drive`] lets the operator do work of its own (fire timers and windows in bounded steps, read rings,
//!    hand pages over) and says whether it can take more.
//!
//! **Invariants** (the owner's side of the contract)
//! - After at most 512 pushes the owner drives, and pushes on only when the answer is `Ready`.
//! - A control comes only when the last verb but it was a `drive` that answered `Ready`; so an operator with nothing of
//!   its own to emit before it may pass it on in the same call.
//! - After `control(End)` nothing but `drive` is called; it ends with `Done`.
//! - A watermark or barrier that an operator has taken is passed on only after everything it makes the operator emit.
//! - User code runs under a [`UserCall`], so a panic names its operator.

pub(crate) mod alignment;
pub(crate) mod async_wait;
pub(crate) mod broadcast;
pub(crate) mod build;
pub(crate) mod co_function;
pub(crate) mod context;
pub(crate) mod fan_out;
pub(crate) mod flat_map;
pub(crate) mod interval_join;
pub(crate) mod join_buffer;
pub(crate) mod keyed;
pub(crate) mod keyed_broadcast;
pub(crate) mod keyed_process;
pub(crate) mod keyed_services;
pub(crate) mod keyed_store;
pub(crate) mod map;
pub(crate) mod opened;
pub(crate) mod pieces;
pub(crate) mod process;
#[cfg(test)]
#[cfg(not(loom))]
mod restart_tests;
pub(crate) mod rich;
pub(crate) mod scan;
pub(crate) mod side_outputs;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod source_splits;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod test_support;
pub(crate) mod timestamps;
pub(crate) mod unkeyed_services;
pub(crate) mod window;

pub(crate) use context::{OperatorFailure, OperatorNames, StageContext, TaskContext, UserCall};

use crate::record::{Columns, Control};
use std::rc::Rc;

/// What an operator says when it is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Takes records, or one control.
    Ready,
    /// Has work of its own left: drive again before anything else.
    Busy,
    /// An output is full, or an input is held back by a barrier: come back later.
    Blocked,
    /// The end has passed through and everything is handed over.
    Done,
}

/// The downstream side of a chain; see the module docs.
pub trait Push<T>: 'static {
    fn push(&mut self, record: T, timestamp: i64);
    fn control(&mut self, control: Control);
    /// `dry`: upstream has nothing more just now, so hand partial pages over.
    fn drive(&mut self, dry: bool) -> Flow;
}

/// The head of a stage: takes records in columns. One virtual call a batch lies in front of it.
pub(crate) trait Consume<T>: 'static {
    fn consume(&mut self, columns: Columns<'_, T>);
    fn control(&mut self, control: Control);
    fn drive(&mut self, dry: bool) -> Flow;
}

/// A chain without a keyed head: rows go on one by one.
pub(crate) struct Plain<D> {
    pub(crate) next: D,
    pub(crate) stage: Rc<StageContext>,
    /// Behind a fan-out of the same stage: its records have been counted by the head.
    pub(crate) is_counted: bool,
}

impl<T: 'static, D: Push<T>> Consume<T> for Plain<D> {
    #[inline(never)]
    fn consume(&mut self, columns: Columns<'_, T>) {
        let (next, position) = (&mut self.next, &self.stage.position);
        if self.is_counted {
            // Back to where the batch began, so that each record is named by its own number (as long as the operators
            // in between give one record for each).
            position.set(position.get().saturating_sub(columns.len() as u64));
        }
        columns
            .for_each(&self.stage.position, |_, _, record, timestamp| next.push(record, timestamp));
    }
    fn control(&mut self, control: Control) {
        self.next.control(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.next.drive(dry)
    }
}

/// `control` and `drive` of an operator that adds nothing to them.
macro_rules! pass_on {
    () => {
        #[inline(always)]
        fn control(&mut self, control: $crate::record::Control) {
            self.next.control(control);
        }
        #[inline(always)]
        fn drive(&mut self, dry: bool) -> $crate::operator::Flow {
            self.next.drive(dry)
        }
    };
}
pub(crate) use pass_on;
