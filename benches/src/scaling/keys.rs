//! More keys: from what the nearest cache holds to what no cache holds.
//!
//! Beside it the floor: the sums of the same events in an array of the same size (see `floor`), by as many threads, each with its share
//! of the keys. `share_of_floor` tells how far the job is bound by memory: the floor is 8 bytes a key and no hash table, so
//! where both fall together it is the memory that they wait for. `lines_gb_per_s` is a cache line an event, which is what the
//! job must at least touch; `resident_b_per_key` is what the process has grown by while the keys came.

use super::floor::Array;
use super::{Options, Rounds, filled};
use crate::latency::host::{available_bytes, stay_on};
use crate::now_ns;
use std::thread;

/// What a key may take at most while tables grow, array included.
const BYTES_PER_KEY_MAX: u64 = 72;
/// What is left to others.
const BYTES_LEFT: u64 = 1 << 30;
/// Below that, memory is the process's more than the keys'.
const KEYS_TOLD_MIN: u64 = 1_000_000;

pub(super) fn run(options: &Options) -> thalweg::Result<()> {
    let counts = (3..).map(|power| 10_u64.pow(power)).take_while(|keys| *keys <= options.keys_max);
    for keys in counts {
        for p in [1, 2] {
            let (needed, available) = (keys * BYTES_PER_KEY_MAX, available_bytes());
            if needed + BYTES_LEFT > available {
                println!(
                    "scaling keys k={keys} p={p} skipped: may need {} MiB and leave 1024, there are {}",
                    needed >> 20,
                    available >> 20,
                );
                continue;
            }
            measure(options, keys, p)?;
        }
    }
    Ok(())
}

fn measure(options: &Options, keys: u64, p: usize) -> thalweg::Result<()> {
    let (mut rates, mut floors, mut resident) =
        (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..options.rounds {
        let filled = filled::run(&options.environment(p), keys, options.seconds)?;
        let (digest, floor) = match p {
            // The check is the floor: one thread, the same events.
            1 => add_alone(keys, &filled.counts)?,
            _ => (add_alone(keys, &filled.counts)?.0, floor_of(options, keys, &filled.counts)?),
        };
        if filled.digest != digest {
            let found = filled.digest;
            return Err(format!("k={keys} p={p}: {found:016x} is not {digest:016x}").into());
        }
        rates.add(filled.rate());
        floors.add(floor);
        resident.add(filled.resident_mib);
    }
    let resident = match keys {
        KEYS_TOLD_MIN.. => {
            format!("{:.1}", resident.median() * (1 << 20) as f64 / keys as f64)
        }
        _ => "-".to_owned(),
    };
    let gb = |rate: f64| rate * 64.0 / 1e9;
    println!(
        "scaling keys k={keys} p={p} events_per_s={:.0} least={:.0} most={:.0} ns_per_event={:.2} floor_events_per_s={:.0} share_of_floor={:.2} lines_gb_per_s={:.2} floor_lines_gb_per_s={:.2} resident_b_per_key={resident}",
        rates.median(),
        rates.least(),
        rates.most(),
        1e9 / rates.median() * p as f64,
        floors.median(),
        rates.median() / floors.median(),
        gb(rates.median()),
        gb(floors.median()),
    );
    Ok(())
}

/// The digest of these events, and events a second, in one thread.
fn add_alone(keys: u64, counts: &[u64]) -> thalweg::Result<(u64, f64)> {
    let mut array = Array::new(keys)?;
    let begin_ns = now_ns();
    let step = counts.len() as u64;
    let digests = (0..).zip(counts).map(|(first, count)| array.add_all(first, step, *count));
    let digest = digests.fold(0, u64::wrapping_add);
    let ns = (now_ns() - begin_ns).max(1);
    Ok((digest, counts.iter().sum::<u64>() as f64 / ns as f64 * 1e9))
}

/// Events a second of a thread on each core, each with its share of the keys.
fn floor_of(options: &Options, keys: u64, counts: &[u64]) -> thalweg::Result<f64> {
    let step = counts.len() as u64;
    let share = keys.div_ceil(step);
    let cores = options.cores()?;
    let arrays = counts.iter().map(|_| Array::new(share)).collect::<Result<Vec<_>, _>>()?;
    let begin_ns = now_ns();
    thread::scope(|scope| -> thalweg::Result<()> {
        let threads: Vec<_> = (0..)
            .zip(counts.iter().zip(arrays))
            .map(|(first, (count, mut array))| {
                let core = cores[first as usize % cores.len()];
                scope.spawn(move || {
                    stay_on(core)?;
                    std::hint::black_box(array.add_all(first, step, *count));
                    std::io::Result::Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread of the floor has panicked")??;
        }
        Ok(())
    })?;
    let ns = (now_ns() - begin_ns).max(1);
    Ok(counts.iter().sum::<u64>() as f64 / ns as f64 * 1e9)
}
