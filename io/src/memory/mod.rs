//! Large pieces of memory taken from the kernel directly.

mod arena;

pub use arena::{Arena, ArenaError, ArenaOptions};
