//! Two threads, each a source and a shard. Records of the own shard are applied in place, the other's are staged and pushed
//! over a ring in slices; watermarks and the end go the same way, as records of a kind of their own.

use super::Input;
use crate::events::{Event, Named, Numbers};
use crate::operator::{END_OF_TIME, ShardOperator, route, route_name};
use crate::sink::Run;
use rtrb::{Consumer, Producer, RingBuffer};

const BLOCK: u64 = 512;
const RING: usize = 8_192;

/// What may go over a ring. A mark is told by a field that no event has: a word beside each record would make it longer.
pub(super) trait Exchanged: Send {
    /// Modulo two it is the shard.
    fn route(&self) -> u64;
    fn mark(watermark: u64) -> Self;
    fn as_mark(&self) -> Option<u64>;
}

impl Exchanged for Event {
    #[inline(always)]
    fn route(&self) -> u64 {
        route(self.key)
    }

    fn mark(watermark: u64) -> Self {
        Event { key: u64::MAX, ts: watermark, value: 0 }
    }

    #[inline(always)]
    fn as_mark(&self) -> Option<u64> {
        (self.key == u64::MAX).then_some(self.ts)
    }
}

impl Exchanged for Named {
    #[inline(always)]
    fn route(&self) -> u64 {
        route_name(&self.name)
    }

    /// Its events have no time; only the end is marked.
    fn mark(watermark: u64) -> Self {
        assert_eq!(watermark, END_OF_TIME, "names have no watermarks");
        Named { seq: u64::MAX, name: String::new(), ..Named::new(0) }
    }

    #[inline(always)]
    fn as_mark(&self) -> Option<u64> {
        (self.seq == u64::MAX).then_some(END_OF_TIME)
    }
}

/// One of the two threads.
struct Shard<O: ShardOperator, S> {
    operator: O,
    out: S,
    to_other: Producer<O::In>,
    from_other: Consumer<O::In>,
    /// Records that wait until there are enough of them.
    own: Vec<O::In>,
    others: Vec<O::In>,
    /// How far this source and the other one are.
    watermarks: [u64; 2],
    has_other_ended: bool,
}

impl<O, S> Shard<O, S>
where
    O: ShardOperator<In: Exchanged>,
    S: FnMut(O::Out),
{
    fn new(
        operator: O,
        out: S,
        (to_other, from_other): (Producer<O::In>, Consumer<O::In>),
    ) -> Self {
        let [own, others] = [(); 2].map(|()| Vec::with_capacity(BLOCK as usize + 1));
        let (watermarks, has_other_ended) = ([0; 2], false);
        Shard { operator, out, to_other, from_other, own, others, watermarks, has_other_ended }
    }

    /// Takes what the ring has. `false` if that is nothing.
    #[inline]
    fn receive(&mut self) -> bool {
        let count = self.from_other.slots();
        if count == 0 {
            return false;
        }
        let chunk = self.from_other.read_chunk(count).expect("there are so many slots");
        for record in chunk {
            match record.as_mark() {
                Some(watermark) => {
                    self.has_other_ended |= watermark == END_OF_TIME;
                    self.watermarks[1] = watermark;
                    if O::HAS_WATERMARKS {
                        let both = self.watermarks[0].min(watermark);
                        self.operator.watermark(both, &mut self.out);
                    }
                }
                None if O::IS_BATCHED => self.own.push(record),
                None => self.operator.record(record, &mut self.out),
            }
        }
        self.operator.batch(&mut self.own, &mut self.out);
        true
    }

    /// Pushes what is staged for the other; while there is no room it works on what the other has pushed.
    #[inline]
    fn send(&mut self) {
        while !self.others.is_empty() {
            let count = self.to_other.slots().min(self.others.len());
            if count > 0 {
                let chunk = self.to_other.write_chunk_uninit(count).expect("there is room for it");
                chunk.fill_from_iter(self.others.drain(..count));
            } else if !self.receive() {
                std::hint::spin_loop();
            }
        }
    }

    fn note_watermark(&mut self, watermark: u64) {
        if watermark > self.watermarks[0] {
            self.watermarks[0] = watermark;
            let both = self.watermarks[1].min(watermark);
            self.operator.watermark(both, &mut self.out);
            self.others.push(O::In::mark(watermark));
        }
    }

    #[inline(never)]
    fn run<M, T>(&mut self, mut numbers: Numbers, index: u64, input: &Input<M, T>)
    where
        M: Fn(u64) -> O::In,
        T: Fn(u64) -> u64,
    {
        while let Some(block) = numbers.next_block(BLOCK) {
            for i in block {
                let record = (input.make)(i);
                if record.route() & 1 == index {
                    self.own.push(record);
                } else {
                    self.others.push(record);
                }
            }
            self.operator.batch(&mut self.own, &mut self.out);
            if O::HAS_WATERMARKS {
                self.note_watermark(input.watermark(block.last_number()));
            }
            self.send();
            self.receive();
        }
        self.note_watermark(END_OF_TIME);
        self.send();
        while !self.has_other_ended {
            if !self.receive() {
                std::hint::spin_loop();
            }
        }
    }
}

pub(super) fn run<O, M, T, S>(
    run: &Run,
    input: &Input<M, T>,
    operator: impl Fn() -> O + Sync,
    sinks: [S; 2],
) where
    O: ShardOperator<In: Exchanged>,
    M: Fn(u64) -> O::In + Sync,
    T: Fn(u64) -> u64 + Sync,
    S: FnMut(O::Out) + Send,
{
    let (to_second, from_first) = RingBuffer::new(RING);
    let (to_first, from_second) = RingBuffer::new(RING);
    let rings = [(to_second, from_second), (to_first, from_first)];
    std::thread::scope(|scope| {
        for ((index, rings), out) in (0..).zip(rings).zip(sinks) {
            let operator = &operator;
            scope.spawn(move || {
                let numbers = Numbers::new(&run.settings, run.meter.clone(), index, 2);
                Shard::new(operator(), out, rings).run(numbers, index, input);
            });
        }
    });
}
