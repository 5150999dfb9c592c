//! Inputs for readers of formats: real bytes, mutated; and what the readers take of memory.
//!
//! Changed bytes fail their checksum, and nothing behind it is reached. So half of the inputs have
//! the checksums of their blocks made right again after they were changed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bolero::TypeGenerator;
use thalweg_io::block::{BlockAddress, HEADER_BYTES};

/// What each format is tried with, in continuous integration.
pub(crate) const INPUTS: usize = 50_000;

/// A change of some bytes.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) enum Mutation {
    Flip {
        at: u32,
        bit: u8,
    },
    Set {
        at: u32,
        byte: u8,
    },
    /// A number that lies at an edge of its range.
    Edge {
        at: u32,
        edge: u8,
        is_long: bool,
    },
    Cut {
        at: u32,
    },
    Remove {
        at: u32,
        length: u8,
    },
    Insert {
        at: u32,
        bytes: Vec<u8>,
    },
    Repeat {
        at: u32,
        length: u8,
    },
}

/// An input: which of the real ones, and what is done to it.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Input {
    pub(crate) seed: u16,
    pub(crate) resealed: bool,
    /// Nothing of the real one is left.
    pub(crate) is_noise: u8,
    pub(crate) noise: Vec<u8>,
    pub(crate) first: Mutation,
    pub(crate) others: Vec<Mutation>,
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length_bytes = bytes.len().max(1);
        let place = |at: u32| at as usize % length_bytes;
        match self {
            _ if bytes.is_empty() => {}
            Mutation::Flip { at, bit } => bytes[place(*at)] ^= 1 << (bit % 8),
            Mutation::Set { at, byte } => bytes[place(*at)] = *byte,
            Mutation::Edge { at, edge, is_long } => {
                let width = if *is_long { 8 } else { 4 };
                let start = place(*at);
                let end = (start + width).min(bytes.len());
                let value = edge_value(*edge).to_le_bytes();
                bytes[start..end].copy_from_slice(&value[..end - start]);
            }
            Mutation::Cut { at } => bytes.truncate(place(*at)),
            Mutation::Remove { at, length } => {
                let start = place(*at);
                let end = (start + usize::from(*length)).min(bytes.len());
                bytes.drain(start..end);
            }
            Mutation::Insert { at, bytes: new } => {
                let start = place(*at);
                bytes.splice(start..start, new.iter().copied());
            }
            Mutation::Repeat { at, length } => {
                let start = place(*at);
                let end = (start + usize::from(*length)).min(bytes.len());
                let piece = bytes[start..end].to_vec();
                bytes.splice(end..end, piece);
            }
        }
    }
}

fn edge_value(edge: u8) -> u64 {
    match edge % 8 {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => 1 << 31,
        5 => u64::from(u16::MAX),
        6 => i64::MAX as u64,
        _ => 1 << 30,
    }
}

/// A real input, with the blocks that it is made of, if it is a file.
pub(crate) struct Seed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<BlockAddress>,
}

impl Seed {
    /// Bytes without blocks.
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        Seed { bytes, blocks: Vec::new() }
    }
}

impl Input {
    pub(crate) fn bytes(&self, seeds: &[Seed]) -> Vec<u8> {
        if self.is_noise < 8 {
            return self.noise.clone();
        }
        let seed = &seeds[usize::from(self.seed) % seeds.len()];
        let mut bytes = seed.bytes.clone();
        self.first.apply(&mut bytes);
        self.others.iter().take(6).for_each(|mutation| mutation.apply(&mut bytes));
        if self.resealed {
            seed.blocks.iter().for_each(|address| reseal(&mut bytes, address.offset as usize));
        }
        bytes
    }
}

/// Makes the checksum of the block at `start` right, if there is room for one.
fn reseal(bytes: &mut [u8], start: usize) {
    let Some(header) = bytes.get(start..start + HEADER_BYTES) else { return };
    let length = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
    let payload_start = start + HEADER_BYTES;
    let Some(payload) = bytes.get(payload_start..payload_start.saturating_add(length)) else {
        return;
    };
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..32]), payload);
    bytes[start + 32..start + 36].copy_from_slice(&checksum.to_le_bytes());
}

/// Gives `read` as many inputs as [`INPUTS`] says, made of these seeds. `prepare` is not measured;
/// `read` may take 16 times the bytes of its input, and `constant_bytes`.
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) fn fuzz<T>(
    seeds: &[Seed],
    constant_bytes: usize,
    prepare: impl Fn(Vec<u8>) -> T + std::panic::RefUnwindSafe,
    read: impl Fn(&T) + std::panic::RefUnwindSafe,
) {
    fuzz_with(INPUTS, seeds, constant_bytes, |_, bytes| prepare(bytes), read);
}

/// As [`fuzz`], with so many inputs, and told which seed each is made of.
pub(crate) fn fuzz_with<T>(
    inputs: usize,
    seeds: &[Seed],
    constant_bytes: usize,
    prepare: impl Fn(usize, Vec<u8>) -> T + std::panic::RefUnwindSafe,
    read: impl Fn(&T) + std::panic::RefUnwindSafe,
) {
    assert!(!seeds.is_empty());
    let seeds = std::panic::AssertUnwindSafe(seeds);
    bolero::check!().with_iterations(inputs).with_type::<Input>().for_each(move |input| {
        let bytes = input.bytes(*seeds);
        let length = bytes.len();
        let prepared = prepare(usize::from(input.seed) % seeds.len(), bytes);
        let peak_bytes = peak_bytes_of(|| read(&prepared));
        let limit_bytes = 16 * length + constant_bytes;
        assert!(peak_bytes <= limit_bytes, "{peak_bytes} bytes of memory for {length} of input");
    });
}

/// Counts what each thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// The most memory that `run` held at a time, on this thread.
fn peak_bytes_of(run: impl FnOnce()) -> usize {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    run();
    usize::try_from(PEAK_BYTES.get() - before).unwrap()
}

fn count(byte_count: isize) {
    // A thread that ends counts no more.
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get() + byte_count);
        PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())))
    });
}

// SAFETY: everything is passed on to the system's allocator unchanged; counting allocates nothing,
// because the thread-locals are constant and need no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
