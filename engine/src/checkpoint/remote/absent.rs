//! A build that cannot copy checkpoints (without the feature `object-store`): who asks for it is told.

use super::{Ending, RemoteJob};
use crate::BoxError;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::store::CheckpointStore;

/// The build cannot do what the option wants.
#[derive(Debug, thiserror::Error)]
#[error(
    "`checkpoint_remote` is '{url}', and this program was built without the feature `object-store` of thalweg; build it with \
     that, or leave the option out"
)]
struct NotBuilt {
    url: String,
}

/// There is none.
#[derive(Clone, Debug)]
pub(crate) enum RemoteCopy {}

impl RemoteCopy {
    pub(crate) fn open(job: RemoteJob) -> Result<Self, BoxError> {
        Err(NotBuilt { url: job.settings.url }.into())
    }

    pub(crate) fn resume(
        &self,
        _: &CheckpointStore,
        _: &CheckpointMetadata,
    ) -> Result<(), BoxError> {
        match *self {}
    }

    pub(crate) fn saved(&self, _: &CheckpointStore, _: &CheckpointMetadata) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn abandon_waits(&self) {
        match *self {}
    }

    pub(crate) fn expect_copies(&self) {
        match *self {}
    }

    pub(crate) fn finish(&self, _: Ending) {
        match *self {}
    }
}
