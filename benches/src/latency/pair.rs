//! w5 by hand: what the processors and the host allow, without an engine.
//!
//! ```text
//!  core 0: due? ─► key's owner ─┬─ own: sum, record      core 1: the same
//!                               └─ ring ─────────────────► sum, record
//! ```
//! One pinned thread a core that never sleeps, a ring of rtrb each way between any two, a hash map for the sums. Each event is on
//! its way as soon as it is due, alone. Generator, stamps, recorder and check are those of the job.

use super::host::stay_on;
use super::job::{Batch, Generator, Pace, Recorder, Run, Schedule, Stamped};
use super::{Measurement, gaps::Gaps};
use crate::now_ns;
use hashbrown::HashMap;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Events that a ring holds.
const RING_EVENTS: usize = 4_096;
/// Events that are emitted before the rings are looked at again.
const BATCH_EVENTS: usize = 512;

/// The threads, under way.
pub struct Pair {
    schedule: Arc<Schedule>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Pair {
    /// Starts one thread on each of these cores.
    pub fn start(pace: &Pace, cores: &[usize]) -> Self {
        let schedule = Schedule::new(pace);
        let mut sides: Vec<Side> = (0..cores.len())
            .map(|index| Side { index, senders: Vec::new(), receivers: Vec::new() })
            .collect();
        for from in 0..cores.len() {
            for to in 0..cores.len() {
                // The ring to itself is never used.
                let (sender, receiver) = RingBuffer::new(RING_EVENTS);
                sides[from].senders.push(sender);
                sides[to].receivers.push(receiver);
            }
        }
        let start = |(side, core): (Side, &usize)| {
            let (schedule, core) = (schedule.clone(), *core);
            thread::spawn(move || {
                stay_on(core)?;
                side.run(&schedule);
                Ok(())
            })
        };
        let threads = sides.into_iter().zip(cores).map(start).collect();
        Pair { schedule, threads }
    }

    /// From when on events are measured, and until when.
    pub fn measured_ns(&self) -> Option<(u64, u64)> {
        self.schedule.measured_ns()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If a thread cannot be pinned, or the sums are not those of the events.
    pub fn wait(self) -> thalweg::Result<Measurement> {
        for thread in self.threads {
            thread.join().map_err(|_| "a thread of the pair has panicked")??;
        }
        Run::of(self.schedule).measurement()
    }
}

struct Side {
    index: usize,
    senders: Vec<Producer<Stamped>>,
    receivers: Vec<Consumer<Stamped>>,
}

impl Side {
    fn run(self, schedule: &Arc<Schedule>) {
        let Side { index, mut senders, mut receivers } = self;
        let count = senders.len();
        let mut generator = Generator::new(schedule, index, count);
        let mut sums = Sums { sums: HashMap::default(), recorder: Recorder::new(schedule, index) };
        loop {
            let batch = generator.batch(BATCH_EVENTS, |event| {
                let owner = owner_of(event.key, count);
                if owner == index {
                    return sums.take(event);
                }
                let mut waiting = event;
                while let Err(PushError::Full(event)) = senders[owner].push(waiting) {
                    // The other side may be waiting for this one.
                    waiting = event;
                    sums.take_all(&mut receivers);
                }
            });
            sums.take_all(&mut receivers);
            if batch == Batch::End {
                break;
            }
            std::hint::spin_loop();
        }
        // The end of input for the others.
        senders.clear();
        for receiver in &mut receivers {
            // Asked first: what was pushed before the end is seen after it.
            while !receiver.is_abandoned() {
                sums.take_from(receiver);
                std::hint::spin_loop();
            }
            sums.take_from(receiver);
        }
        sums.recorder.finish();
    }
}

struct Sums {
    sums: HashMap<u64, u64, foldhash::fast::FixedState>,
    recorder: Recorder,
}

impl Sums {
    #[inline(always)]
    fn take(&mut self, event: Stamped) {
        let sum = self.sums.entry(event.key).or_default();
        *sum += event.value;
        let sum = *sum;
        self.recorder.record(&event, sum);
    }

    #[inline(always)]
    fn take_from(&mut self, receiver: &mut Consumer<Stamped>) {
        while let Ok(event) = receiver.pop() {
            self.take(event);
        }
    }

    #[inline(always)]
    fn take_all(&mut self, receivers: &mut [Consumer<Stamped>]) {
        for receiver in receivers {
            self.take_from(receiver);
        }
    }
}

/// Which thread has the sum of a key.
#[inline(always)]
fn owner_of(key: u64, count: usize) -> usize {
    let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((hash * count as u64) >> 32) as usize
}

/// Reads the clock on `core` without a pause between two times, and says what gaps there were.
pub(super) fn control(core: usize, from_ns: u64, end_ns: u64) -> JoinHandle<std::io::Result<Gaps>> {
    thread::spawn(move || {
        stay_on(core)?;
        let mut gaps = Gaps::default();
        loop {
            let now = now_ns();
            if now >= end_ns {
                return Ok(gaps);
            }
            if now >= from_ns {
                gaps.saw(now);
            }
            std::hint::spin_loop();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on whatever cores there are, shared with other tests: only the sums are looked at.
    #[test]
    fn sums_are_those_of_the_events() {
        let core = super::super::host::allowed_cores().unwrap()[0];
        for (cores, fills) in [(vec![core], false), (vec![core, core], true)] {
            let pace =
                Pace { keys: 100, rate: 20_000, warm_up_ns: 0, measured_ns: 100_000_000, fills };
            let measurement = Pair::start(&pace, &cores).wait().unwrap();
            assert!(measurement.rows > 1_000, "{}", measurement.rows);
            assert!(measurement.latencies.due.len() > 1_000);
        }
    }

    #[test]
    fn keys_have_owners_on_both_sides() {
        let right = (0..1_000).filter(|key| owner_of(*key, 2) == 1).count();
        assert!((400..600).contains(&right), "{right}");
        assert!((0..1_000).all(|key| owner_of(key, 1) == 0));
    }
}
