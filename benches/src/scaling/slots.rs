//! More slots on the same cores: up to one a core they should bring what a core brings, beyond that they should cost nothing.

use super::known::Workload;
use super::{Options, Rounds};

const SLOTS: [usize; 3] = [1, 2, 4];

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let cores = options.cores()?.len();
    for name in ["w1", "w2"] {
        let workload = Workload::by_name(name)?;
        let mut rates = SLOTS.map(|_| Rounds::default());
        for slots in SLOTS {
            workload.check(&options.environment(slots))?;
        }
        for _ in 0..options.rounds {
            for (slots, rates) in SLOTS.iter().zip(&mut rates) {
                let reading = workload.run(&options.environment(*slots), options.seconds)?.reading;
                rates.add(reading.events as f64 / reading.seconds);
            }
        }
        let one = rates[0].median();
        for (slots, rates) in SLOTS.iter().zip(&rates) {
            let used = cores.min(*slots);
            println!(
                "scaling slots workload={name} k={} p={slots} cores={used} slots_per_core={} events_per_s={:.0} least={:.0} most={:.0} per_core={:.0} times_of_one={:.2}",
                workload.keys,
                slots.div_ceil(used),
                rates.median(),
                rates.least(),
                rates.most(),
                rates.median() / used as f64,
                rates.median() / one,
            );
        }
    }
    Ok(())
}
