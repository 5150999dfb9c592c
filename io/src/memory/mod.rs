//! Large pieces of memory taken from the kernel directly.

mod arena;
mod page_supply;

pub use arena::{Arena, ArenaError, ArenaOptions};
pub use page_supply::{HUGE_PAGE_BYTES, PageSupply};
