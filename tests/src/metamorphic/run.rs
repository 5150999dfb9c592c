//! Runs a job under a variant.

use crate::Random;
use crate::metamorphic::Item;
use crate::metamorphic::build::OUTPUTS;
use crate::metamorphic::plan::Job;
use std::collections::BTreeMap;
use thalweg::api::Evaluation;
use thalweg::testing::{OutputEvent, TestDriver};

/// How a job is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Subtasks of all operators but the inputs.
    pub parallelism: usize,
    /// Most records a source hands over at once.
    pub batch_records: usize,
    /// Buffers of an edge.
    pub pages_in_flight: usize,
    /// Their size.
    pub page_bytes: usize,
    /// Windows are kept one by one.
    pub is_per_pane: bool,
    /// Of the turns of the tasks.
    pub seed: u64,
    /// Something that is wrong on purpose.
    pub fault: Option<Fault>,
}

/// A mistake that must be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record of each input is lost.
    LosesARecord,
    /// The value of a record of each input changes.
    ChangesAValue,
}

/// For each output and key: values and timestamps, sorted.
pub type Rows = BTreeMap<(&'static str, u32), Vec<(i64, Option<i64>)>>;

impl Variant {
    /// What the others are compared to.
    pub const PLAIN: Variant = Variant {
        parallelism: 1,
        batch_records: 512,
        pages_in_flight: 8,
        page_bytes: 16 << 10,
        is_per_pane: false,
        seed: 0,
        fault: None,
    };

    /// Each setting changed by itself, and all of them at random.
    pub fn others(random: &mut Random) -> Vec<Variant> {
        let mut seed = || random.number();
        let (p2, p4) = (
            Variant { parallelism: 2, seed: seed(), ..Self::PLAIN },
            Variant { parallelism: 4, seed: seed(), ..Self::PLAIN },
        );
        let other_turns = Variant { seed: seed(), ..p4 };
        let mut variants = vec![
            p2,
            p4,
            other_turns,
            Variant { is_per_pane: true, ..Self::PLAIN },
            Variant { batch_records: 1, ..Self::PLAIN },
            Variant { batch_records: 1 + random.below(16) as usize, ..p4 },
            Variant { pages_in_flight: 2, page_bytes: 4 << 10, ..p4 },
        ];
        variants.push(Variant {
            parallelism: 1 + random.below(4) as usize,
            batch_records: 1 + random.below(512) as usize,
            pages_in_flight: 2 + random.below(7) as usize,
            page_bytes: 4096 << random.below(3),
            is_per_pane: random.once_in(2),
            seed: random.number(),
            fault: None,
        });
        variants
    }

    pub(super) fn evaluation(&self) -> Evaluation {
        if self.is_per_pane { Evaluation::PerPane } else { Evaluation::Automatic }
    }
}

impl Job {
    /// All that the job emits.
    ///
    /// # Panics
    /// If the job fails, or has not ended when it comes to rest.
    pub fn run(&self, variant: &Variant) -> Rows {
        let Variant { parallelism, batch_records, pages_in_flight, page_bytes, seed, .. } =
            *variant;
        let driver = TestDriver::builder()
            .parallelism(parallelism)
            .seed(seed)
            .configure(|c| {
                c.batch_records(batch_records)
                    .pages_in_flight(pages_in_flight)
                    .page_bytes(page_bytes)
            })
            .build(|env| self.build(env, variant));
        let mut driver = driver.unwrap_or_else(|error| panic!("{error} in {self:?}"));
        if let Some(failure) = driver.failure() {
            panic!("{failure} in {self:?}");
        }
        assert!(driver.is_finished(), "it should have ended: {variant:?} {self:?}");
        let mut rows = Rows::new();
        for output in OUTPUTS {
            for event in driver.events::<Item>(output) {
                if let OutputEvent::Record { value, timestamp_ms } = event {
                    rows.entry((output, value.key)).or_default().push((value.v, timestamp_ms));
                }
            }
        }
        rows.values_mut().for_each(|rows| rows.sort_unstable());
        rows
    }
}
