//! Claiming a place: one process at a time copies there.
//!
//! 1. The newest owner must be of the same job. If the local directory has checkpoints it must know that owner.
//! 2. The local directory notes the claim that is about to be made; then the next epoch is claimed, which works for one only.
//! 3. What is there is listed after that. Whoever owned the place before sees the claim when it looks after writing an index,
//!    or else that index was there when the list was made.
//!
//! **Invariants**
//! - Epochs rise, also if owners were removed by hand: they are above those of indexes.

use super::index::{self, Index, IndexName};
use super::local::LocalCopy;
use super::objects::{Objects, get};
use super::owner::{self, Owner};
use super::part::{self, PartHash};
use super::{RemoteError, crash_points};
use std::collections::{BTreeMap, HashMap};
use thalweg_io::crash_point;

/// So many are tried: each time somebody else was faster.
const CLAIMS_MAX: usize = 16;

/// What a claim is about.
#[derive(Debug)]
pub(super) struct ClaimRequest<'a> {
    pub(super) job: &'a str,
    pub(super) local: &'a LocalCopy,
    /// Has the local directory checkpoints that the job will go on from?
    pub(super) goes_on_locally: bool,
    pub(super) claimed_at_ms: i64,
    /// Tells claims of one process and millisecond apart.
    pub(super) nonce: String,
}

/// A place as the process that claimed it knows it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) epoch: u64,
    /// Complete copies; `None` for an index that cannot be read.
    pub(super) indexes: BTreeMap<IndexName, Option<Index>>,
    /// Why those cannot be.
    pub(super) unreadable: BTreeMap<IndexName, RemoteError>,
    /// Parts that are there, with their lengths.
    pub(super) parts: HashMap<PartHash, u64>,
}

/// See the module docs.
pub(super) fn claim(
    request: &ClaimRequest<'_>,
    objects: &dyn Objects,
) -> Result<Claimed, RemoteError> {
    for _ in 0..CLAIMS_MAX {
        if let Some(epoch) = try_claim(request, objects)? {
            crash_point(crash_points::CLAIMED);
            return take_stock(epoch, objects);
        }
    }
    let (url, found) = (objects.url().to_owned(), newest_epoch(objects)?);
    Err(RemoteError::Taken { url, ours: 0, found })
}

/// Claims the next epoch; `None` if somebody else did.
fn try_claim(
    request: &ClaimRequest<'_>,
    objects: &dyn Objects,
) -> Result<Option<u64>, RemoteError> {
    let url = objects.url();
    let newest = newest_epoch(objects)?;
    let before = match newest {
        0 => None,
        _ => get(objects, &owner::object_of(newest))?,
    };
    let known = request.local.claims(url)?;
    let mut claims = Vec::new();
    if let Some(bytes) = &before {
        let (owner, hash) = (Owner::decode(url, newest, bytes)?, PartHash::of(bytes));
        if owner.job != request.job {
            let (expected, found) = (request.job.to_owned(), owner.job);
            return Err(RemoteError::OtherJob { url: url.to_owned(), expected, found });
        }
        if request.goes_on_locally && !known.contains(&hash) {
            let directory = request.local.directory.clone();
            return Err(RemoteError::OtherHistory {
                directory,
                url: url.to_owned(),
                found: newest,
            });
        }
        claims.push(hash);
    }
    let of_indexes = names_of_indexes(objects)?.last().map_or(0, |name| name.epoch);
    let epoch = newest.max(of_indexes) + 1;
    let nonce = request.nonce.clone();
    let bytes = Owner::new(request.job, epoch, request.claimed_at_ms, nonce).encode();
    claims.push(PartHash::of(&bytes));
    request.local.note(url, &claims)?;
    crash_point(crash_points::NOTED);
    let object = owner::object_of(epoch);
    // A request whose answer was lost is repeated by the client, and then finds what it has written itself.
    let is_ours = objects.put_new(&object, &bytes)? || get(objects, &object)? == Some(bytes);
    Ok(is_ours.then_some(epoch))
}

/// The epoch of the owner; 0 if there was none.
pub(super) fn newest_epoch(objects: &dyn Objects) -> Result<u64, RemoteError> {
    let listed = objects.list(owner::FOLDER)?;
    Ok(listed.iter().filter_map(|object| owner::epoch_of(&object.name)).max().unwrap_or(0))
}

fn names_of_indexes(objects: &dyn Objects) -> Result<Vec<IndexName>, RemoteError> {
    let listed = objects.list(index::FOLDER)?;
    let mut names: Vec<_> = listed.iter().filter_map(|o| IndexName::of_object(&o.name)).collect();
    names.sort_unstable();
    Ok(names)
}

fn take_stock(epoch: u64, objects: &dyn Objects) -> Result<Claimed, RemoteError> {
    let names = names_of_indexes(objects)?;
    let read = objects.get_all(&names.iter().map(IndexName::object).collect::<Vec<_>>())?;
    let (mut indexes, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    for (name, bytes) in names.into_iter().zip(read) {
        // One that was removed since it was listed is none.
        let Some(bytes) = bytes else { continue };
        let index = match Index::decode(objects.url(), name, &bytes) {
            Ok(index) => Some(index),
            Err(error) => {
                tracing::warn!("an index of a copied checkpoint cannot be used: {error}");
                unreadable.insert(name, error);
                None
            }
        };
        indexes.insert(name, index);
    }
    let listed = objects.list(part::FOLDER)?;
    let named = listed
        .iter()
        .filter_map(|object| Some((PartHash::of_object(&object.name)?, object.length_bytes)));
    Ok(Claimed { epoch, indexes, unreadable, parts: named.collect() })
}

impl Claimed {
    /// Fails if somebody else has claimed the place since.
    pub(super) fn confirm(&self, objects: &dyn Objects) -> Result<(), RemoteError> {
        let found = newest_epoch(objects)?;
        match found > self.epoch {
            false => Ok(()),
            true => {
                let (url, ours) = (objects.url().to_owned(), self.epoch);
                Err(RemoteError::Taken { url, ours, found })
            }
        }
    }
}
