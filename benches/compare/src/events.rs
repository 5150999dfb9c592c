//! Events as every system is given them: event `i` is made from `splitmix64(i)`, and subtask `s` of `p` emits the `i` with
//! `i % p == s`, in blocks.

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::sync::Arc;
use thalweg_benches::digest::splitmix64;
use thalweg_benches::now_ns;
use thalweg_benches::workload::{Meter, Settings};

/// The event of w1 to w4: 24 bytes of plain data.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) ts: u64,
    pub(crate) value: u64,
}

/// How event time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A thousand events have the same millisecond.
    Dense,
    /// Each has one of its own.
    Sparse,
}

impl Event {
    #[inline(always)]
    pub(crate) fn new(i: u64, keys: u64, pace: Pace) -> Self {
        let r = splitmix64(i);
        let ts = if pace == Pace::Sparse { i } else { i / 1000 };
        Event { key: r % keys, ts, value: r >> 48 }
    }
}

/// What a user of w7 did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    Buy { cents: u64 },
    Click { page: u32 },
    Leave,
}

/// The event of w7: a string, an enum and an array.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) seq: u64,
    pub(crate) score: f64,
    pub(crate) tags: [u32; 8],
}

impl Named {
    pub(crate) fn new(i: u64) -> Self {
        let r = splitmix64(i);
        let id = r % 10_000;
        let mut name = String::with_capacity(32);
        write!(name, "user-{id:010}-").expect("a string takes all that is written");
        name.extend(std::iter::repeat_n('x', (id % 16) as usize));
        let action = match r >> 62 {
            1 => Action::Buy { cents: (r >> 32) & 0xFFFF },
            0 => Action::Click { page: r as u32 },
            _ => Action::Leave,
        };
        Named { name, action, seq: i, score: r as f64, tags: [r as u32; 8] }
    }

    /// The cents paid.
    pub(crate) fn cents(&self) -> u64 {
        match self.action {
            Action::Buy { cents } => cents,
            Action::Click { .. } | Action::Leave => 0,
        }
    }
}

/// Events between two readings of the clock: at 4 ns an event that is every 60 us. Thalweg's source has the same.
const EVENTS_BETWEEN_CLOCKS: u64 = 16_384;

/// The numbers of the events of one source subtask, in blocks, until there are no more or the time is over.
#[derive(Clone)]
pub(crate) struct Numbers {
    next: u64,
    step: u64,
    events: u64,
    /// How long it runs, and from the first block on when it stops.
    stop_ns: u64,
    blocks: u64,
    meter: Arc<Meter>,
}

impl Numbers {
    pub(crate) fn new(settings: &Settings, meter: Arc<Meter>, subtask: u64, of: u64) -> Self {
        let stop_ns = settings.seconds.saturating_mul(1_000_000_000);
        Numbers { next: subtask, step: of, events: settings.events, stop_ns, blocks: 0, meter }
    }

    /// The next `size` of them, or fewer at the end.
    #[inline]
    pub(crate) fn next_block(&mut self, size: u64) -> Option<Block> {
        if self.blocks == 0 {
            self.meter.started();
            self.stop_ns = self.stop_ns.saturating_add(now_ns());
        }
        self.blocks += 1;
        let is_over = self.stop_ns != u64::MAX
            && self.blocks.is_multiple_of((EVENTS_BETWEEN_CLOCKS / size).max(1))
            && now_ns() >= self.stop_ns;
        if is_over || self.next >= self.events {
            return None;
        }
        let end = self.events.min(self.next.saturating_add(size.saturating_mul(self.step)));
        let count = (end - self.next).div_ceil(self.step);
        let block = Block { next: self.next, step: self.step, left: count };
        self.next += count * self.step;
        self.meter.emitted(count);
        Some(block)
    }
}

/// Numbers of events that are emitted in one go.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    next: u64,
    step: u64,
    left: u64,
}

impl Block {
    pub(crate) const EMPTY: Block = Block { next: 0, step: 1, left: 0 };

    /// How many.
    pub(crate) fn len(&self) -> u64 {
        self.left
    }

    /// The last one.
    pub(crate) fn last_number(&self) -> u64 {
        self.next + (self.left - 1) * self.step
    }
}

impl Iterator for Block {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        let number = self.next;
        self.next += self.step;
        self.left -= 1;
        Some(number)
    }
}
