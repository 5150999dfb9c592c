//! In which order what waits in an asynchronous operator leaves it.
//!
//! Ordered: as it came. Unordered: controls cut the stream into segments; within a segment requests leave as they are
//! answered, and a segment is left only when it is empty.
//!
//! **Invariants**
//! - No control overtakes a request that came before it, and no request a control.
//! - A request is in the queue from its begin until it is popped.

use crate::record::Control;
use std::collections::VecDeque;

/// What may leave next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The answered request of this slot.
    Request(u32),
    Control(Control),
    /// Nothing until another request is answered, or nothing is there.
    Nothing,
}

/// See the module docs.
pub(crate) enum Queue {
    Ordered(Ordered),
    Unordered(Unordered),
}

impl Queue {
    pub(crate) fn new(is_ordered: bool) -> Self {
        if is_ordered {
            Queue::Ordered(Ordered::default())
        } else {
            Queue::Unordered(Unordered::default())
        }
    }

    /// Adds the request of a slot. Returns the number that [`answered`](Self::answered) wants of it.
    pub(crate) fn add_request(&mut self, slot: u32) -> u64 {
        match self {
            Queue::Ordered(queue) => {
                queue.entries.push_back(Entry::Request { slot, is_answered: false });
                queue.first + (queue.entries.len() - 1) as u64
            }
            Queue::Unordered(queue) => {
                queue.open.waiting += 1;
                queue.first + queue.closed.len() as u64
            }
        }
    }

    pub(crate) fn add_control(&mut self, control: Control) {
        match self {
            Queue::Ordered(queue) => {
                queue.entries.push_back(Entry::Control(control));
                queue.controls += 1;
            }
            Queue::Unordered(queue) => {
                queue.closed.push_back((std::mem::take(&mut queue.open), control));
            }
        }
    }

    /// The request of `slot`, which was added under `number`, has its answer.
    pub(crate) fn answered(&mut self, slot: u32, number: u64) {
        match self {
            Queue::Ordered(queue) => {
                let index = (number - queue.first) as usize;
                let Some(Entry::Request { is_answered, .. }) = queue.entries.get_mut(index) else {
                    unreachable!("a request is in the queue until it is popped");
                };
                *is_answered = true;
            }
            Queue::Unordered(queue) => {
                let index = (number - queue.first) as usize;
                let segment = match queue.closed.get_mut(index) {
                    Some((segment, _)) => segment,
                    None => &mut queue.open,
                };
                segment.waiting -= 1;
                segment.answered.push_back(slot);
            }
        }
    }

    #[inline]
    pub(crate) fn next(&self) -> Next {
        match self {
            Queue::Ordered(queue) => match queue.entries.front() {
                Some(Entry::Request { slot, is_answered: true }) => Next::Request(*slot),
                Some(Entry::Control(control)) => Next::Control(*control),
                Some(Entry::Request { .. }) | None => Next::Nothing,
            },
            Queue::Unordered(queue) => {
                let (segment, end) = match queue.closed.front() {
                    Some((segment, control)) => (segment, Some(control)),
                    None => (&queue.open, None),
                };
                match (segment.answered.front(), end) {
                    (Some(slot), _) => Next::Request(*slot),
                    (None, Some(control)) if segment.waiting == 0 => Next::Control(*control),
                    (None, _) => Next::Nothing,
                }
            }
        }
    }

    /// Removes what [`next`](Self::next) gave.
    pub(crate) fn pop(&mut self) {
        match self {
            Queue::Ordered(queue) => {
                if let Some(Entry::Control(_)) = queue.entries.pop_front() {
                    queue.controls -= 1;
                }
                queue.first += 1;
            }
            Queue::Unordered(queue) => queue.pop(),
        }
    }

    /// Controls with the numbers of the requests before and behind them: one goes before all requests whose number is above
    /// its own. (Requests that came with a number have it from [`add_request`](Self::add_request).)
    pub(crate) fn controls_in_order(&self) -> impl Iterator<Item = (u64, Control)> + '_ {
        let (ordered, unordered) = match self {
            Queue::Ordered(queue) => (Some(queue), None),
            Queue::Unordered(queue) => (None, Some(queue)),
        };
        let ordered = ordered.into_iter().flat_map(|queue| {
            let entries = queue.entries.iter().zip(queue.first..);
            entries.filter_map(|(entry, number)| match entry {
                Entry::Control(control) => Some((number, *control)),
                Entry::Request { .. } => None,
            })
        });
        let unordered = unordered.into_iter().flat_map(|queue| {
            let closed = queue.closed.iter().zip(queue.first..);
            closed.map(|((_, control), number)| (number, *control))
        });
        ordered.chain(unordered)
    }

    /// How many controls wait.
    pub(crate) fn controls(&self) -> usize {
        match self {
            Queue::Ordered(queue) => queue.controls,
            Queue::Unordered(queue) => queue.closed.len(),
        }
    }
}

/// First in, first out.
#[derive(Default)]
pub(crate) struct Ordered {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// How many entries are controls.
    controls: usize,
}

enum Entry {
    Request { slot: u32, is_answered: bool },
    Control(Control),
}

/// Segments, each but the last closed by a control.
#[derive(Default)]
pub(crate) struct Unordered {
    closed: VecDeque<(Segment, Control)>,
    open: Segment,
    /// The number of the first segment.
    first: u64,
}

#[derive(Default)]
struct Segment {
    /// Requests without an answer.
    waiting: usize,
    /// Slots of the others, in the order of their answers.
    answered: VecDeque<u32>,
}

impl Unordered {
    fn pop(&mut self) {
        let Some((segment, _)) = self.closed.front_mut() else {
            self.open.answered.pop_front();
            return;
        };
        if segment.answered.pop_front().is_none() {
            self.closed.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Control::Watermark;

    /// All that can leave now.
    fn leave(queue: &mut Queue) -> Vec<Next> {
        let mut left = Vec::new();
        while queue.next() != Next::Nothing {
            left.push(queue.next());
            queue.pop();
        }
        left
    }

    #[test]
    fn ordered_leaves_as_it_came() {
        let mut queue = Queue::new(true);
        let numbers = [queue.add_request(5), queue.add_request(6)];
        queue.add_control(Watermark(1));
        let last = queue.add_request(7);
        queue.answered(7, last);
        queue.answered(6, numbers[1]);
        assert_eq!(leave(&mut queue), []);
        assert_eq!(queue.controls(), 1);
        queue.answered(5, numbers[0]);
        let expected =
            [Next::Request(5), Next::Request(6), Next::Control(Watermark(1)), Next::Request(7)];
        assert_eq!(leave(&mut queue), expected);
        let number = queue.add_request(8);
        queue.answered(8, number);
        assert_eq!(leave(&mut queue), [Next::Request(8)]);
    }

    #[test]
    fn controls_lie_between_the_numbers_of_requests() {
        for is_ordered in [true, false] {
            let mut queue = Queue::new(is_ordered);
            let gone = queue.add_request(9);
            queue.answered(9, gone);
            queue.pop();
            let first = queue.add_request(0);
            queue.add_control(Watermark(1));
            queue.add_control(Watermark(2));
            let second = queue.add_request(1);
            queue.add_control(Watermark(3));
            let controls: Vec<_> = queue.controls_in_order().collect();
            let before = |number: u64| controls.iter().filter(|(at, _)| *at < number).count();
            assert_eq!((before(first), before(second), controls.len()), (0, 2, 3), "{is_ordered}");
            assert_eq!(controls[2].1, Watermark(3));
        }
    }

    #[test]
    fn unordered_leaves_as_it_is_answered_between_controls() {
        let mut queue = Queue::new(false);
        let first = [queue.add_request(0), queue.add_request(1)];
        queue.add_control(Watermark(1));
        queue.add_control(Watermark(2));
        let second = queue.add_request(2);
        queue.answered(2, second);
        queue.answered(1, first[1]);
        assert_eq!(leave(&mut queue), [Next::Request(1)]);
        assert_eq!(queue.controls(), 2);
        queue.answered(0, first[0]);
        let expected = [
            Next::Request(0),
            Next::Control(Watermark(1)),
            Next::Control(Watermark(2)),
            Next::Request(2),
        ];
        assert_eq!(leave(&mut queue), expected);
        let third = queue.add_request(3);
        queue.answered(3, third);
        assert_eq!(leave(&mut queue), [Next::Request(3)]);
    }
}
