//! A job of one's own in the simulator: killed, restarted, on a disk that fails, and still exactly once.
//!
//! The job has state, a timer and a window. It is written once, as it would be for production, but for its source (which
//! replays) and its sinks (which have transactions). `sim::check` runs it undisturbed, and then once for each seed in a
//! world that goes wrong in another way; in the end the same results must have been committed.
//!
//! ```text
//! cargo run --release --example simulated_failures
//! ```

use thalweg::prelude::*;
use thalweg::testing::sim;

/// A reading of a sensor, in tenths of a degree.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Reading {
    sensor: u64,
    temperature: i64,
}

/// Says when a sensor has been silent for a while: each reading that comes in time moves the sensor's timer.
#[derive(Clone, Default)]
struct Silence {
    deadline_ms: ValueState<i64>,
}

const SILENCE_MS: i64 = 400;

impl KeyedProcessFunction for Silence {
    type Key = u64;
    type In = Reading;
    type Out = (u64, i64);

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.deadline_ms = context.value_state(ValueStateDescriptor::new("deadline"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        _: Reading,
        context: &mut Context<'_, u64>,
        _: &mut Collector<'_, (u64, i64)>,
    ) -> thalweg::Result<()> {
        let at_ms = context.timestamp_ms();
        // A reading may come before the watermark has passed a deadline that lies before it: that one stands. (Without this
        // line the results depend on when watermarks come, and the simulator says so.)
        let moved = self.deadline_ms.value(context)?.filter(|before_ms| *before_ms >= at_ms);
        if let Some(before_ms) = moved {
            context.timer_service().delete_event_time_timer(before_ms);
        }
        context.timer_service().register_event_time_timer(at_ms + SILENCE_MS);
        Ok(self.deadline_ms.update(context, at_ms + SILENCE_MS)?)
    }

    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, u64>,
        out: &mut Collector<'_, (u64, i64)>,
    ) -> thalweg::Result<()> {
        if self.deadline_ms.value(context)? == Some(timer_ms) {
            self.deadline_ms.clear(context)?;
        }
        out.collect((*context.current_key(), timer_ms));
        Ok(())
    }
}

/// Five sensors; each falls silent now and then. Records of one sensor are in order, and one subtask reads them all.
fn readings() -> impl Iterator<Item = (i64, Reading)> {
    (0..400_i64).map(|n| {
        let pause_ms = (n / 80) * 1_000;
        let reading = Reading { sensor: (n % 5).unsigned_abs(), temperature: 200 + (n * 37) % 60 };
        (n * 20 + pause_ms, reading)
    })
}

fn write(env: &StreamExecutionEnvironment) {
    // One subtask up to the keys, or two of them could bring readings of one sensor in another order.
    let readings = env
        .from_source(sim::source(readings()), "readings")
        .set_parallelism(1)
        .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous())
        .set_parallelism(1);
    readings
        .clone()
        .key_by(|reading| reading.sensor)
        .process(Silence::default())
        .sink_to(sim::sink())
        .name("silences");
    readings
        .key_by(|reading| reading.sensor)
        .window(SlidingEventTimeWindows::of(seconds(2), seconds(1)))
        .aggregate_with(Count, |sensor, window: TimeWindow, count, out| {
            out.collect((*sensor, window.end(), count));
        })
        .sink_to(sim::sink())
        .name("readings in two seconds");
}

fn main() {
    let report = sim::check(write, 0..20);
    println!("{report}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_nothing_comes_twice() {
        let report = sim::check(write, 0..4);
        assert!(report.crashes > 0 && report.checkpoints > 0, "{report}");
    }
}
