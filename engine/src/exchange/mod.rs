//! What lies between two tasks.
//!
//! ```text
//!  producer chain ─► Router ─┬─ own lane: a block, then the gate below in the same call
//!                            ├─ Writer ═ local queue ═► Reader ─┐
//!                            └─ Writer ═ SPSC ring ═══► Reader ─┴─► Gate ─► consumer chain
//! ```
//!
//! A [`Router`](router::Router) ends a chain and spreads its records over the consumers; a [`Gate`](gate::Gate) begins one
//! and merges its inputs through the [`Valve`](valve::Valve). Where producer and consumer subtask share a slot the
//! gate hangs below the router (it is *nested*), so a linear job is one task a slot.

pub(crate) mod channel;
pub(crate) mod gate;
pub(crate) mod partitioner;
pub(crate) mod router;
pub(crate) mod valve;
pub(crate) mod wiring;
