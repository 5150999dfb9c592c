//! Rising temperatures: when it has not become colder for ten hours, at the three airports of New York.
//!
//! ```sh
//! cargo run --release --example temperature_rise
//! ```
//!
//! 1. The file has the temperature of every hour of three months; see `data/README.md`.
//! 2. Each airport is a key. The first rise registers a timer of event time, ten hours ahead; a fall deletes it.
//! 3. When the watermark reaches the timer there was no fall, and that is the alert. The next rise begins anew.
//!
//! Watermarks come now and then, so readings from after a timer's time may arrive before it fires. They must not change
//! what it tells: a reading that is later than the timer fires it itself. So the alerts are the same however
//! often watermarks come, and at every parallelism.
//!
//! It costs two values and at most one timer for each airport. `data/temperature_rise.py` finds the same alerts.

use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::time::duration_ms;

/// Found from anywhere: cargo runs the example in whatever directory the user is in.
const WEATHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/weather.csv.gz");
/// How long it must not have become colder.
const LASTING: Duration = hours(10);

/// A row of the file.
#[thalweg::record]
#[derive(Clone, Debug, serde::Deserialize)]
struct Reading {
    observed_at_ms: i64,
    origin: String,
    temp_f: f64,
}

/// Since `from_f` it has only become warmer, or stayed the same.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Alert {
    at_ms: i64,
    origin: String,
    from_f: f64,
    last_f: f64,
}

/// The job: alerts of all airports.
fn temperature_rise(
    readings: DataStream<Reading, impl Chain<Reading>>,
    lasting: Duration,
) -> DataStream<Alert> {
    let lasting_ms = duration_ms(lasting);
    readings
        .key_by_ref(|reading| &reading.origin)
        .process(Rising { lasting_ms, ..Rising::default() })
        .name("rising")
        .boxed()
}

/// A rise that has begun, and when it will have lasted long enough.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Rise {
    from_f: f64,
    alert_at_ms: i64,
}

/// Emits an alert for each rise that lasts.
#[derive(Clone, Default)]
struct Rising {
    lasting_ms: i64,
    last_f: ValueState<f64>,
    rise: ValueState<Rise>,
}

impl KeyedProcessFunction for Rising {
    type Key = String;
    type In = Reading;
    type Out = Alert;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.last_f = context.value_state(ValueStateDescriptor::new("last"))?;
        self.rise = context.value_state(ValueStateDescriptor::new("rise"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        Reading { observed_at_ms, temp_f, .. }: Reading,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Alert>,
    ) -> thalweg::Result<()> {
        let mut rise = self.rise.value(context)?;
        if let Some(Rise { alert_at_ms, .. }) = rise
            && alert_at_ms < observed_at_ms
        {
            // The watermark would have come before this reading, had it come at once.
            context.timer_service().delete_event_time_timer(alert_at_ms);
            self.alert(context, out)?;
            rise = None;
        }
        let last_f = self.last_f.value(context)?;
        self.last_f.update(context, temp_f)?;
        match (last_f, rise) {
            (Some(from_f), None) if temp_f > from_f => {
                let alert_at_ms = observed_at_ms + self.lasting_ms;
                context.timer_service().register_event_time_timer(alert_at_ms);
                self.rise.update(context, Rise { from_f, alert_at_ms })?;
            }
            (Some(last_f), Some(Rise { alert_at_ms, .. })) if temp_f < last_f => {
                context.timer_service().delete_event_time_timer(alert_at_ms);
                self.rise.clear(context)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, String>,
        out: &mut Collector<'_, Alert>,
    ) -> thalweg::Result<()> {
        self.alert(context, out)
    }
}

impl Rising {
    /// Tells of the rise at hand, and forgets it.
    fn alert(
        &self,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Alert>,
    ) -> thalweg::Result<()> {
        let last_f = self.last_f.value(context)?;
        if let (Some(Rise { from_f, alert_at_ms }), Some(last_f)) =
            (self.rise.take(context)?, last_f)
        {
            let origin = context.current_key().clone();
            out.collect_with_timestamp(
                Alert { at_ms: alert_at_ms, origin, from_f, last_f },
                alert_at_ms,
            );
        }
        Ok(())
    }
}

/// The file with its event times.
fn weather(env: &StreamExecutionEnvironment) -> DataStream<Reading> {
    env.from_source(FileSource::csv::<Reading>(WEATHER), "weather")
        .assign_timestamps_and_watermarks(
            WatermarkStrategy::monotonous()
                .with_timestamp(|reading: &Reading| reading.observed_at_ms),
        )
        .boxed()
}

/// `03-14 09:00`: month, day, hour of the year 2013.
fn utc(time_ms: i64) -> String {
    let hours = (time_ms - 1_356_998_400_000).div_euclid(3_600_000);
    let (mut month, mut day) = (1, hours.div_euclid(24) + 1);
    for days in [31, 28, 31, 30] {
        if day <= days {
            break;
        }
        (month, day) = (month + 1, day - days);
    }
    format!("{month:02}-{day:02} {:02}:00", hours.rem_euclid(24))
}

fn main() -> thalweg::Result<()> {
    let declared =
        DeclaredArguments::new("Tells when it has not become colder for ten hours in New York.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let alerts = temperature_rise(weather(&env), LASTING).collect();
    let result = env.execute("temperature rise")?;

    let mut alerts = alerts.take();
    alerts.sort_by(|left, right| (left.at_ms, &left.origin).cmp(&(right.at_ms, &right.origin)));
    for Alert { at_ms, origin, from_f, last_f } in &alerts {
        println!("{} UTC  {origin}  from {from_f:.1} to {last_f:.1} °F", utc(*at_ms));
    }
    let readings = result.metrics.vertices.first().map_or(0, |source| source.total.records_out);
    println!("{readings} readings, {} alerts; {:.1?}", alerts.len(), result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    /// A driver of the job with a second instead of ten hours.
    fn driver() -> TestDriver {
        TestDriver::new(|env| {
            let readings = env.from_source(testing::input::<Reading>(), "readings");
            temperature_rise(readings, seconds(1)).sink_to(testing::output()).name("alerts");
        })
    }

    fn pipe<const N: usize>(test: &mut TestDriver, readings: [(i64, f64); N]) {
        let origin = || "s1".to_owned();
        let reading = |(observed_at_ms, temp_f)| {
            (observed_at_ms, Reading { observed_at_ms, origin: origin(), temp_f })
        };
        test.pipe_at("readings", readings.map(reading));
    }

    fn alerts(test: &mut TestDriver) -> Vec<(i64, f64, f64)> {
        let alerts = test.outputs::<Alert>("alerts").into_iter();
        alerts.map(|alert| (alert.at_ms, alert.from_f, alert.last_f)).collect()
    }

    #[test]
    fn a_rise_must_last_and_a_fall_ends_it() {
        let mut test = driver();
        pipe(&mut test, [(1_000, 20.0), (1_200, 21.0), (1_500, 22.0)]);
        test.watermark("readings", 2_199);
        pipe(&mut test, [(2_150, 23.0)]);
        assert_eq!(alerts(&mut test), []);
        test.watermark("readings", 2_200);
        assert_eq!(alerts(&mut test), [(2_200, 20.0, 23.0)]);
        pipe(&mut test, [(2_300, 24.0), (2_400, 10.0)]);
        test.watermark("readings", 3_400);
        assert_eq!(alerts(&mut test), []);
        pipe(&mut test, [(3_500, 11.0), (3_600, 11.0)]);
        test.watermark("readings", 4_500);
        assert_eq!(alerts(&mut test), [(4_500, 10.0, 11.0)]);
    }

    #[test]
    fn a_watermark_that_is_behind_changes_nothing() {
        let mut test = driver();
        pipe(&mut test, [(1_000, 20.0), (1_200, 21.0), (2_200, 22.0), (2_300, 10.0)]);
        assert_eq!(alerts(&mut test), [(2_200, 20.0, 22.0)]);
        test.end("readings");
        assert_eq!(alerts(&mut test), []);
    }

    /// The numbers are those of `data/temperature_rise.py`.
    #[test]
    fn three_months_of_new_york_have_the_alerts_that_another_program_finds() {
        for parallelism in [1, 2, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let alerts = temperature_rise(weather(&env), LASTING).collect();
            env.execute("temperature rise").unwrap();
            let alerts = alerts.take();
            let of = |origin: &str| alerts.iter().filter(|alert| alert.origin == origin).count();
            assert_eq!(["EWR", "JFK", "LGA"].map(of), [13, 16, 23]);
            let hours: i64 = alerts.iter().map(|alert| alert.at_ms / 3_600_000).sum();
            let warmer: f64 = alerts.iter().map(|alert| alert.last_f - alert.from_f).sum();
            assert_eq!((hours, (warmer * 100.0).round()), (19_655_225, 45_522.0));
        }
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(utc(1_356_998_400_000), "01-01 00:00");
        assert_eq!(utc(1_357_052_400_000), "01-01 15:00");
        assert_eq!(utc(1_364_821_200_000), "04-01 13:00");
    }
}
