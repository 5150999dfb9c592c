//! The seeded shell: all cores of a job and its control plane on the calling thread, in an order drawn from a seed.
//!
//! A turn belongs to one of the cores, which runs one round beginning with a slot that is drawn too, or to the
//! dispatcher, which handles one event. Turns are drawn among those that may have something to do, until nobody has. So a
//! seed stands for one interleaving of what runs concurrently elsewhere: the same seed gives the same run, another seed
//! may give another order wherever the engine promises none.
//!
//! **Invariants**
//! - The loops, tasks, rings and job masters are those of production; only who runs next is decided here.
//! - No thread, no timer and no wait: time is what the given clock shows.
//! - At rest ([`settle`](SeededCores::settle) has returned) a full round of each core and a look of the dispatcher have
//!   found nothing since anybody last worked; all of it on one thread, so nothing is under way.

use std::sync::Arc;

use crate::runtime::core_loop::CoreLoop;
use crate::runtime::core_loop_link::CoreLink;
use crate::runtime::dispatcher::Dispatcher;
use crate::time::Clock;

/// See the module docs.
pub(crate) struct SeededCores {
    loops: Vec<CoreLoop>,
    random: SplitMix,
}

impl SeededCores {
    /// `count` cores, numbered from 0, that see the time of `clock`.
    pub(crate) fn new(count: usize, seed: u64, clock: &Arc<dyn Clock>) -> Self {
        let core = |core| CoreLoop::new(Arc::new(CoreLink::new(core)), clock.clone());
        Self { loops: (0..count).map(core).collect(), random: SplitMix(seed) }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn count(&self) -> usize {
        self.loops.len()
    }

    /// How to reach a core.
    pub(crate) fn link(&self, core: usize) -> &Arc<CoreLink> {
        self.loops[core].link()
    }

    /// Runs until nobody has anything to do; false if `give_up`, asked now and then, ends it before.
    pub(crate) fn settle(
        &mut self,
        dispatcher: &mut Dispatcher,
        mut give_up: impl FnMut() -> bool,
    ) -> bool {
        // Who has not found nothing since anybody last worked; the last place is the dispatcher's.
        let everybody: Vec<usize> = (0..=self.loops.len()).collect();
        let mut may_have_work = everybody.clone();
        let mut turns: u64 = 0;
        while !may_have_work.is_empty() {
            let place = self.random.below(may_have_work.len());
            if self.turn(may_have_work[place], dispatcher) {
                may_have_work.clone_from(&everybody);
            } else {
                may_have_work.swap_remove(place);
            }
            turns += 1;
            if turns.is_multiple_of(TURNS_BETWEEN_QUESTIONS) && give_up() {
                return false;
            }
        }
        true
    }

    /// So many turns of whoever is drawn; false if nothing was done in any.
    pub(crate) fn take_turns(&mut self, count: usize, dispatcher: &mut Dispatcher) -> bool {
        let mut has_worked = false;
        for _ in 0..count {
            let index = self.random.below(self.loops.len() + 1);
            has_worked |= self.turn(index, dispatcher);
        }
        has_worked
    }

    /// One turn; true if something was done.
    fn turn(&mut self, index: usize, dispatcher: &mut Dispatcher) -> bool {
        let Some(core) = self.loops.get_mut(index) else { return dispatcher.step() };
        let first = self.random.below(core.slot_count().max(1));
        core.round_from(first).worked
    }
}

/// A clock is read for each question.
const TURNS_BETWEEN_QUESTIONS: u64 = 256;

/// `SplitMix64`: enough to choose who is next.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0. The bias of the remainder is far below what anybody could see here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
