//! The block cache: blocks of sorted files that were read by rows lately.
//!
//! CLOCK: blocks lie in a ring of slots; a hit marks its block, and the hand that seeks a victim
//! takes the mark off once before it evicts. A block begins without a mark, so one that is read once
//! goes in the first round. Better policies pay where reads repeat; here the resident tables above
//! have taken the repeats, and what misses them is close to random.
//!
//! # Invariants
//!
//! - `bytes` is the sum over all slots in use, and at most `capacity_bytes` after each call. A block
//!   that is larger is not kept.
//! - `places` has the slot of each block that is kept, and nothing else; `free` has the other slots.
//! - One owner, no locks: blocks are handed out as `Rc`, so a reader goes on using one that is evicted
//!   meanwhile.

use std::rc::Rc;

use hashbrown::HashTable;
use thalweg_io::block::FileId;

use crate::KeyHasher;

/// The frame of a block, as it lies in its file.
pub(crate) type CachedBlock = Rc<Box<[u8]>>;

/// Memory of a slot, of its place and of the allocations, beside the block's bytes.
const SLOT_BYTES: usize = 96;

/// Which block: the file, and the block's number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockKey {
    pub(crate) file: FileId,
    pub(crate) block: usize,
}

impl BlockKey {
    fn hash(self) -> u64 {
        let mut hasher = KeyHasher::new();
        hasher.write_u64(self.file.0);
        hasher.write_u64(self.block as u64);
        hasher.finish().wide()
    }
}

#[derive(Debug)]
struct Slot {
    key: BlockKey,
    block: CachedBlock,
    is_marked: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        self.block.len() + SLOT_BYTES
    }
}

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct BlockCache {
    slots: Vec<Option<Slot>>,
    places: HashTable<u32>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
    capacity_bytes: usize,
}

impl BlockCache {
    /// A cache that takes up to `capacity_bytes` of memory.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        BlockCache { capacity_bytes, ..BlockCache::default() }
    }

    /// The block, if it is here.
    #[inline]
    pub(crate) fn get(&mut self, key: BlockKey) -> Option<CachedBlock> {
        let slots = &mut self.slots;
        let is_key =
            |slot: &u32| slots[*slot as usize].as_ref().is_some_and(|slot| slot.key == key);
        let slot = *self.places.find(key.hash(), is_key)?;
        let slot = slots[slot as usize].as_mut()?;
        slot.is_marked = true;
        Some(Rc::clone(&slot.block))
    }

    /// Keeps a block that is not here yet.
    pub(crate) fn insert(&mut self, key: BlockKey, block: CachedBlock) {
        let slot = Slot { key, block, is_marked: false };
        let bytes = slot.bytes();
        if bytes > self.capacity_bytes {
            return;
        }
        self.evict_to(self.capacity_bytes - bytes);
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[place as usize] = Some(slot);
        self.bytes += bytes;
        let slots = &self.slots;
        self.places.insert_unique(key.hash(), place, |place| {
            slots[*place as usize].as_ref().map_or(0, |slot| slot.key.hash())
        });
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes how much memory it may take.
    pub(crate) fn set_capacity_bytes(&mut self, capacity_bytes: usize) {
        self.capacity_bytes = capacity_bytes;
        self.evict_to(capacity_bytes);
    }

    /// Forgets the blocks of files that are not wanted any more.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(FileId) -> bool) {
        for place in 0..self.slots.len() {
            if self.slots[place].as_ref().is_some_and(|slot| !is_wanted(slot.key.file)) {
                self.evict(place);
            }
        }
    }

    /// Moves the hand until no more than `bytes` are in use. Each round takes off all marks, so two
    /// rounds are the most.
    fn evict_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[place] {
                Some(slot) if slot.is_marked => slot.is_marked = false,
                Some(_) => self.evict(place),
                None => {}
            }
        }
    }

    fn evict(&mut self, place: usize) {
        let Some(slot) = self.slots[place].take() else { return };
        self.bytes -= slot.bytes();
        self.free.push(place as u32);
        if let Ok(entry) = self.places.find_entry(slot.key.hash(), |at| *at as usize == place) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::test_random::SplitMix64;

    fn key(number: u64) -> BlockKey {
        BlockKey { file: FileId(number / 10), block: number as usize % 10 }
    }

    fn block(number: u64) -> CachedBlock {
        Rc::new(vec![number as u8; 100].into())
    }

    #[test]
    fn keeps_what_is_used_within_its_capacity() {
        let mut cache = BlockCache::new(10 * (100 + SLOT_BYTES));
        (0..10).for_each(|number| cache.insert(key(number), block(number)));
        assert!(cache.get(key(3)).is_some() && cache.get(key(7)).is_some());
        (10..18).for_each(|number| cache.insert(key(number), block(number)));
        let kept: Vec<u64> = (0..18).filter(|number| cache.get(key(*number)).is_some()).collect();
        assert_eq!(kept, [3, 7, 10, 11, 12, 13, 14, 15, 16, 17]);
        cache.retain(|file| file != FileId(1));
        assert_eq!(cache.bytes(), 2 * (100 + SLOT_BYTES));
        cache.set_capacity_bytes(0);
        assert_eq!(cache.bytes(), 0);
        cache.insert(key(1), block(1));
        assert!(cache.get(key(1)).is_none());
    }

    /// Whatever is found is what was inserted, and the accounts hold.
    #[test]
    fn random_calls_keep_the_accounts() {
        let mut random = SplitMix64::new(5);
        let mut cache = BlockCache::new(0);
        for _ in 0..100_000 {
            let number = random.below(200);
            match random.below(100) {
                0 => cache.set_capacity_bytes(random.below(20_000) as usize),
                1 => cache.retain(|file| file.0 % 7 != number % 7),
                _ => match cache.get(key(number)) {
                    Some(found) => assert_eq!(found, block(number)),
                    None => cache.insert(key(number), block(number)),
                },
            }
            assert!(cache.bytes <= cache.capacity_bytes);
            let used = cache.slots.iter().flatten().count();
            assert_eq!(used, cache.places.len());
            assert_eq!(used + cache.free.len(), cache.slots.len());
        }
        let distinct: BTreeMap<BlockKey, ()> =
            cache.slots.iter().flatten().map(|slot| (slot.key, ())).collect();
        assert_eq!(distinct.len(), cache.places.len());
    }
}
