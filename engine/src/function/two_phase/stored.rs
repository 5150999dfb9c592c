//! What checkpoints hold of a two-phase sink.
//!
//! Handles are archived by themselves beside their type: that is the user's, and may change.

use super::protocol::Pending;
use crate::Result;
use crate::function::{ArchivedState, SINK_PIECE, SinkStateContext};
use crate::operator::pieces::{PieceCause, PieceError, ReadAs, StoredType, stored_type};
use crate::record::CheckpointId;
use crate::state::StateValue;

/// A transaction with the name that messages have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named<X> {
    pub(crate) name: String,
    pub(crate) handle: X,
}

/// What one subtask has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transactions<X> {
    pub(crate) next_sequence: u64,
    pub(crate) open: Option<Named<X>>,
    pub(crate) pending: Vec<(CheckpointId, Named<X>)>,
}

/// A named handle, archived.
type StoredNamed = (String, Vec<u8>);

/// The handle's type, the next number, the open transaction, those pending by checkpoint.
type Stored = (StoredType, u64, Option<StoredNamed>, Vec<(u64, StoredNamed)>);
/// As older programs have written it.
type BareStored = (u64, u64, Option<StoredNamed>, Vec<(u64, StoredNamed)>);

fn upgraded((fingerprint, next_sequence, open, pending): BareStored) -> Stored {
    ((fingerprint, String::new()), next_sequence, open, pending)
}

fn store<X: StateValue>(transaction: &Named<X>) -> Result<StoredNamed> {
    Ok((transaction.name.clone(), transaction.handle.to_archived()?.into_vec()))
}

/// The state at a barrier.
pub(crate) fn archive<'a, X: StateValue>(
    next_sequence: u64,
    open: Option<&Named<X>>,
    pending: impl Iterator<Item = &'a Pending<Named<X>>>,
) -> Result<ArchivedState> {
    let open = open.map(store).transpose()?;
    let pending = pending.map(|one| Ok((one.checkpoint.0, store(&one.transaction)?)));
    let pending = pending.collect::<Result<Vec<_>>>()?;
    let stored: Stored = (stored_type::<X>(), next_sequence, open, pending);
    Ok(ArchivedState::of(&stored)?)
}

fn load_all<X: StateValue>(stored: Stored) -> Result<Transactions<X>, PieceCause> {
    let ((fingerprint, text), next_sequence, open, pending) = stored;
    let read_as = ReadAs::of::<X>((fingerprint, &text))?;
    let load = |(name, bytes): StoredNamed| {
        Ok::<_, PieceCause>(Named { name, handle: read_as.read(&bytes)? })
    };
    let open = open.map(load).transpose()?;
    let pending = pending.into_iter().map(|(id, stored)| Ok((CheckpointId(id), load(stored)?)));
    let pending = pending.collect::<Result<Vec<_>, PieceCause>>()?;
    Ok(Transactions { next_sequence, open, pending })
}

/// What the checkpoint has of all subtasks, by subtask.
pub(crate) fn restore<X: StateValue>(
    context: &SinkStateContext<'_>,
) -> Result<Vec<(usize, Transactions<X>)>> {
    let states = context.states_since(upgraded)?.into_iter().map(|(subtask, stored)| {
        let loaded = load_all(stored);
        let named = |cause| PieceError::new(context.operator_name(), subtask, SINK_PIECE, cause);
        Ok((subtask, loaded.map_err(named)?))
    });
    states.collect()
}
