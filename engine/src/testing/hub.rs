//! Where a driver and the sources and sinks of its job meet: ports by name.
//!
//! 1. While the job is written the hub is at hand in the thread, and [`input`](super::input) and
//!    [`output`](super::output) take a share of it.
//! 2. When the job's tasks are built, on whatever core, readers and sinks enter it with name and subtask.
//! 3. The driver finds them by name.
//! 4. When a task is dropped its reader or sink leaves; the port stays, and when the job is made anew the next attempt's
//!    reader or sink enters it.
//!
//! **Invariant**: a name belongs to one source, or to one sink; a second one of that name fails the job when it is built.

use crate::Result;
use crate::sync::{Mutex, lock};
use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is entered by operators of one kind.
pub(super) trait Port: Any + Send + Sync {
    /// For the driver, which knows the type of its records.
    fn as_any(&self) -> &dyn Any;
    /// For those that share it.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// An operator's ports, by subtask.
pub(super) struct Ports<P: ?Sized> {
    /// Of the source or sink, so that two of one name are told apart.
    owner: u64,
    record: (TypeId, &'static str),
    pub(super) by_subtask: BTreeMap<usize, Arc<P>>,
    /// Subtasks whose reader or sink is gone.
    left: BTreeSet<usize>,
    /// The subtask whose turn it is.
    pub(super) turn: usize,
}

/// The ports of one kind, inputs or outputs, by name.
pub(super) struct Registry<P: ?Sized> {
    kind: &'static str,
    named: Mutex<BTreeMap<String, Ports<P>>>,
}

impl<P: ?Sized> Registry<P> {
    fn new(kind: &'static str) -> Self {
        Registry { kind, named: Mutex::new(BTreeMap::new()) }
    }

    /// Enters what `make` makes, given the ports that are there already, also that of the same subtask in an earlier attempt.
    pub(super) fn enter<T: 'static>(
        &self,
        (owner, name, subtask): (u64, &str, usize),
        make: impl FnOnce(&BTreeMap<usize, Arc<P>>) -> Arc<P>,
    ) -> Result<Arc<P>> {
        let mut named = lock(&self.named);
        let record = (TypeId::of::<T>(), type_name::<T>());
        let fresh =
            || Ports { owner, record, by_subtask: BTreeMap::new(), left: BTreeSet::new(), turn: 0 };
        let ports = named.entry(name.to_owned()).or_insert_with(fresh);
        let is_taken = ports.by_subtask.contains_key(&subtask) && !ports.left.contains(&subtask);
        if ports.owner != owner || is_taken {
            let kind = self.kind;
            return Err(
                format!("two test {kind}s are named '{name}'; give each its own name").into()
            );
        }
        let port = make(&ports.by_subtask);
        ports.by_subtask.insert(subtask, port.clone());
        ports.left.remove(&subtask);
        Ok(port)
    }

    /// The reader or sink of a subtask is gone.
    pub(super) fn leave(&self, name: &str, subtask: usize) {
        if let Some(ports) = lock(&self.named).get_mut(name) {
            ports.left.insert(subtask);
        }
    }

    /// Calls `code` with the ports of a name; an error says what is there instead.
    pub(super) fn with<R>(
        &self,
        name: &str,
        code: impl FnOnce(&mut Ports<P>) -> R,
    ) -> std::result::Result<R, String> {
        let mut named = lock(&self.named);
        if let Some(ports) = named.get_mut(name) {
            return Ok(code(ports));
        }
        let kind = self.kind;
        let known: Vec<_> = named.keys().map(|name| format!("'{name}'")).collect();
        Err(match known.is_empty() {
            true => format!("the job has no test {kind} '{name}', nor any other"),
            false => format!("the job has no test {kind} '{name}'; it has {}", known.join(", ")),
        })
    }

    /// As [`with`](Self::with), where records of type `T` are to be expected.
    pub(super) fn with_type<T: 'static, R>(
        &self,
        name: &str,
        code: impl FnOnce(&mut Ports<P>) -> R,
    ) -> std::result::Result<R, String> {
        self.with(name, |ports| {
            let (known, known_name) = ports.record;
            if known == TypeId::of::<T>() {
                return Ok(code(ports));
            }
            let (kind, asked) = (self.kind, type_name::<T>());
            Err(format!(
                "test {kind} '{name}' has records of type {known_name}, not {asked}; name the type (`1_i64`, \
                 `outputs::<{known_name}>`)"
            ))
        })?
    }
}

/// See the module docs.
pub(super) struct Hub {
    pub(super) inputs: Registry<dyn super::input::InputPort>,
    pub(super) outputs: Registry<dyn super::output::OutputPort>,
    owners: Mutex<u64>,
}

thread_local! {
    /// That of the job which is being written on this thread.
    static AT_HAND: RefCell<Option<Arc<Hub>>> = const { RefCell::new(None) };
}

impl Hub {
    pub(super) fn new() -> Arc<Self> {
        let (inputs, outputs) = (Registry::new("input"), Registry::new("output"));
        Arc::new(Hub { inputs, outputs, owners: Mutex::new(0) })
    }

    /// Runs `write` with this hub at hand.
    pub(super) fn at_hand<R>(self: &Arc<Self>, write: impl FnOnce() -> R) -> R {
        let _guard = AtHand(AT_HAND.replace(Some(self.clone())));
        write()
    }

    /// A share of the hub at hand, and an owner's number, for a source or sink.
    pub(super) fn share() -> Option<(Arc<Self>, u64)> {
        let hub = AT_HAND.with_borrow(Clone::clone)?;
        let owner = {
            let mut owners = lock(&hub.owners);
            *owners += 1;
            *owners
        };
        Some((hub, owner))
    }
}

/// Puts back what was at hand before, also when a panic unwinds.
struct AtHand(Option<Arc<Hub>>);

impl Drop for AtHand {
    fn drop(&mut self) {
        AT_HAND.set(self.0.take());
    }
}
