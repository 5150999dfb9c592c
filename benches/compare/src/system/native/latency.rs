//! w5: two threads that poll, each a source, a shard and one end of each ring. An event is pushed as soon as it is due.

use crate::case::Case;
use crate::latency::{PacedRun, Recorder, Stamped};
use crate::operator::{IntegerMap, route};
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::sync::Barrier;
use thalweg_benches::now_ns;
use thalweg_benches::workload::Latencies;

const RING: usize = 8_192;

struct Shard {
    sums: IntegerMap<u64>,
    recorder: Recorder,
    from_other: Consumer<Stamped>,
}

impl Shard {
    #[inline]
    fn apply(&mut self, event: Stamped) {
        let sum = self.sums.entry(event.key).or_insert(0);
        *sum += event.value;
        std::hint::black_box(*sum);
        self.recorder.record(&event);
    }

    #[inline]
    fn receive(&mut self) {
        while let Ok(event) = self.from_other.pop() {
            self.apply(event);
        }
        std::hint::spin_loop();
    }

    /// While there is no room it works on what the other has pushed: both may wait for room.
    #[inline]
    fn push(&mut self, to_other: &mut Producer<Stamped>, mut event: Stamped) {
        while let Err(PushError::Full(refused)) = to_other.push(event) {
            event = refused;
            self.receive();
        }
    }
}

fn run_thread(
    run: &PacedRun,
    index: u64,
    (mut to_other, from_other): (Producer<Stamped>, Consumer<Stamped>),
    start: &Barrier,
) {
    let mut source = run.source(index, 2);
    let recorder = run.recorder(Some(index as u32));
    let mut shard = Shard { sums: IntegerMap::default(), recorder, from_other };
    start.wait();
    while !source.is_over() {
        let now = now_ns();
        while let Some(event) = source.poll(now) {
            if route(event.key) & 1 == index {
                shard.apply(event);
            } else {
                shard.push(&mut to_other, event);
            }
        }
        shard.receive();
    }
    // The other one is told by it that nothing comes any more.
    drop(to_other);
    loop {
        let has_other_ended = shard.from_other.is_abandoned();
        shard.receive();
        if has_other_ended {
            return;
        }
    }
}

pub(super) fn run(case: &Case) -> Latencies {
    let run = PacedRun::new(case);
    let (to_second, from_first) = RingBuffer::new(RING);
    let (to_first, from_second) = RingBuffer::new(RING);
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for (index, rings) in (0..).zip([(to_second, from_second), (to_first, from_first)]) {
            let (run, start) = (&run, &start);
            scope.spawn(move || run_thread(run, index, rings, start));
        }
    });
    run.latencies()
}
