//! Aligned, pooled buffers for writes that the kernel does from where the bytes lie.
//!
//! A buffer is moved into an operation of [`ring`](crate::ring) and comes out again with its
//! completion: while the kernel reads it, nobody else has it, and the compiler knows.

mod aligned;
mod pool;

pub(crate) use aligned::{AlignedBuffer, BLOCK_BYTES};
pub(crate) use pool::BufferPool;
