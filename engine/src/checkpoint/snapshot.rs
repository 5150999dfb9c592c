//! What tasks hand over for a checkpoint, and what they get back from one.
//!
//! State is kept in *pieces*: bytes of a part of an operator (its timers, its store, its reader) in one subtask, under the
//! operator's id and the piece's name. Which bytes is the part's own affair; each begins with a version.

use super::piece_bytes::PieceBytes;
use crate::BoxError;
use crate::graph::OperatorId;
use crate::record::CheckpointId;
use std::collections::HashMap;
use std::sync::Arc;

/// Names a piece within its subtask.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PieceKey {
    pub(crate) operator: OperatorId,
    pub(crate) name: &'static str,
}

/// A piece of one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotPiece {
    pub(crate) key: PieceKey,
    pub(crate) subtask: usize,
    pub(crate) bytes: PieceBytes,
}

/// All pieces of a task at one barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskSnapshot {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) pieces: Vec<SnapshotPiece>,
}

/// A task cannot take part in a checkpoint; the job goes on without it.
#[derive(Debug)]
pub(crate) struct Declined {
    pub(crate) checkpoint: CheckpointId,
    /// Name and subtask of the operator that declines.
    pub(crate) operator: String,
    pub(crate) subtask: usize,
    pub(crate) cause: BoxError,
}

/// A piece as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestoredPiece {
    /// Which subtask's it was, of as many as the checkpoint says.
    pub(crate) subtask: usize,
    pub(crate) bytes: Arc<[u8]>,
}

/// The state that a job goes on from.
#[derive(Debug)]
pub(crate) struct RestoredState {
    pub(crate) checkpoint: CheckpointId,
    /// Subtasks that each operator had.
    pub(crate) parallelism: HashMap<OperatorId, usize>,
    /// By operator and name of the piece, in the order of subtasks.
    pub(crate) pieces: HashMap<OperatorId, HashMap<String, Vec<RestoredPiece>>>,
}

impl RestoredState {
    /// The pieces of this name that all subtasks of an operator had, in the order of subtasks.
    pub(crate) fn of(&self, operator: OperatorId, name: &str) -> &[RestoredPiece] {
        let pieces = self.pieces.get(&operator).and_then(|pieces| pieces.get(name));
        pieces.map_or(&[], Vec::as_slice)
    }
}
