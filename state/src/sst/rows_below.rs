//! A delta or a run of sorted files, read from one end to the other.

use super::FileSource;
use crate::backend::StoreError;
use crate::codec::{Record, RowPrefix};
use crate::merge::{DeltaSource, RowSource};

/// What scans and compactions merge.
#[derive(Debug)]
pub(crate) enum RowsBelow {
    Delta(DeltaSource),
    Files(FileSource),
}

impl RowSource for RowsBelow {
    #[inline]
    fn prefix(&self) -> Option<RowPrefix> {
        match self {
            RowsBelow::Delta(source) => source.prefix(),
            RowsBelow::Files(source) => source.prefix(),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            RowsBelow::Delta(source) => source.key(),
            RowsBelow::Files(source) => source.key(),
        }
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        match self {
            RowsBelow::Delta(source) => source.record(),
            RowsBelow::Files(source) => source.record(),
        }
    }

    #[inline]
    fn next_record(&mut self) -> Result<(), StoreError> {
        match self {
            RowsBelow::Delta(source) => source.next_record(),
            RowsBelow::Files(source) => source.next_record(),
        }
    }

    #[inline]
    fn next_row(&mut self) -> Result<(), StoreError> {
        match self {
            RowsBelow::Delta(source) => source.next_row(),
            RowsBelow::Files(source) => source.next_row(),
        }
    }
}
