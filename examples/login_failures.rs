//! Login failures: users for whom three logins in a row failed within five seconds.
//!
//! ```sh
//! cargo run --release --example login_failures
//! ```
//!
//! 1. The source makes the logins of an hour: people who mistype, and now and then a program that guesses passwords.
//! 2. Each user is a key, with a list of the times of the last failures. A success clears it.
//! 3. Each failure that is the third or more, and not more than five seconds after the third last, is an alarm. So a long
//!    attack gives an alarm with every guess.
//!
//! "In a row" is the order of arrival. Up to the `key_by` there is one subtask, so a user's logins stay in order; where a
//! stream comes out of order, sort it by event time first, as `hot_items` does with its windows.
//!
//! It costs at most three numbers for each user whose last login failed; a success frees them.

use std::collections::BTreeMap;
use std::time::Duration;
use thalweg::config::DeclaredArguments;
use thalweg::prelude::*;
use thalweg::time::duration_ms;

const FAILURES: usize = 3;
const WITHIN: Duration = seconds(5);
const LOGINS: u64 = 14_400;

/// Somebody tried to log in.
#[thalweg::record]
#[derive(Clone, Debug)]
struct Login {
    user: String,
    succeeded: bool,
    at_ms: i64,
}

/// Several logins failed in a row: the first and the last of them.
#[thalweg::record]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    first_ms: i64,
    last_ms: i64,
    user: String,
}

/// The job: alarms about all users.
fn login_failures(logins: DataStream<Login, impl Chain<Login>>) -> DataStream<Alarm> {
    logins
        .key_by_ref(|login| &login.user)
        .process(FailuresInARow::default())
        .name("failures in a row")
        .boxed()
}

/// Emits an alarm for each failure that follows too many others.
#[derive(Clone, Default)]
struct FailuresInARow {
    failed_at_ms: ListState<i64>,
}

impl KeyedProcessFunction for FailuresInARow {
    type Key = String;
    type In = Login;
    type Out = Alarm;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.failed_at_ms = context.list_state(ListStateDescriptor::new("failed at"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        Login { user, succeeded, at_ms }: Login,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Alarm>,
    ) -> thalweg::Result<()> {
        if succeeded {
            return Ok(self.failed_at_ms.clear(context)?);
        }
        let mut failed_at_ms = self.failed_at_ms.get(context)?;
        failed_at_ms.push(at_ms);
        if failed_at_ms.len() > FAILURES {
            failed_at_ms.remove(0);
        }
        let first_ms = failed_at_ms[0];
        if failed_at_ms.len() == FAILURES && at_ms - first_ms <= duration_ms(WITHIN) {
            out.collect(Alarm { first_ms, last_ms: at_ms, user });
        }
        Ok(self.failed_at_ms.update(context, failed_at_ms)?)
    }
}

/// Login `n` of the hour, four a second. Every tenth fails; every ten minutes somebody guesses six times.
fn login(n: u64) -> Login {
    let chance = mixed(n);
    let is_attack = n % 2_400 >= 2_394;
    let user = if is_attack { 7 + n / 2_400 } else { chance % 200 };
    let mistyped = (chance >> 32).is_multiple_of(10);
    Login {
        user: format!("user {user:03}"),
        succeeded: !is_attack && !mistyped,
        at_ms: n as i64 * 250,
    }
}

/// Looks random, and is the same in each run: the mixer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn main() -> thalweg::Result<()> {
    let declared = DeclaredArguments::new("Tells of users whose logins fail in a row.");
    let (env, _) = StreamExecutionEnvironment::from_args_or_exit(&declared);

    let alarms = login_failures(env.from_iter((0..LOGINS).map(login))).collect();
    let result = env.execute("login failures")?;

    let mut attacks: BTreeMap<_, Vec<Alarm>> = BTreeMap::new();
    for alarm in alarms.take_sorted() {
        attacks.entry(alarm.user.clone()).or_default().push(alarm);
    }
    for (user, alarms) in &attacks {
        let (first, last) = (&alarms[0], &alarms[alarms.len() - 1]);
        let (minute, second) = (first.first_ms / 60_000, first.first_ms / 1_000 % 60);
        let lasted_s = (last.last_ms - first.first_ms) as f64 / 1_000.0;
        println!(
            "{user}: {} alarms from {minute:02}:{second:02} on, {lasted_s:.2} s long",
            alarms.len()
        );
    }
    println!("{LOGINS} logins, {} users attacked; {:.1?}", attacks.len(), result.runtime);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::testing::{self, TestDriver};

    #[test]
    fn the_third_failure_in_a_row_and_each_after_it_is_an_alarm() {
        let mut test = TestDriver::new(|env| {
            let logins = env.from_source(testing::input::<Login>(), "logins");
            login_failures(logins).sink_to(testing::output()).name("alarms");
        });
        let mut alarms_after = |at_ms, user: &str, succeeded| {
            test.pipe("logins", [Login { user: user.to_owned(), succeeded, at_ms }]);
            let alarms = test.outputs::<Alarm>("alarms").into_iter();
            alarms.map(|alarm| (alarm.user, alarm.first_ms, alarm.last_ms)).collect::<Vec<_>>()
        };
        assert_eq!(alarms_after(1_000, "ann", false), []);
        assert_eq!(alarms_after(2_000, "ann", false), []);
        assert_eq!(alarms_after(2_500, "bob", false), []);
        assert_eq!(alarms_after(3_000, "ann", false), [("ann".to_owned(), 1_000, 3_000)]);
        assert_eq!(alarms_after(4_000, "ann", false), [("ann".to_owned(), 2_000, 4_000)]);
        assert_eq!(alarms_after(5_000, "bob", true), []);
        assert_eq!(alarms_after(6_000, "bob", false), []);
        assert_eq!(alarms_after(7_000, "bob", false), []);
        assert_eq!(alarms_after(9_000, "ann", true), []);
        assert_eq!(alarms_after(9_100, "ann", false), []);
    }

    #[test]
    fn failures_far_apart_are_none() {
        let mut test = TestDriver::new(|env| {
            let logins = env.from_source(testing::input::<Login>(), "logins");
            login_failures(logins).sink_to(testing::output()).name("alarms");
        });
        let failure = |at_ms| Login { user: "ann".to_owned(), succeeded: false, at_ms };
        test.pipe("logins", [0, 3_000, 5_001].map(failure));
        assert_eq!(test.outputs::<Alarm>("alarms"), []);
        test.pipe("logins", [8_000].map(failure));
        let alarm = Alarm { first_ms: 3_000, last_ms: 8_000, user: "ann".to_owned() };
        assert_eq!(test.outputs::<Alarm>("alarms"), [alarm]);
    }

    #[test]
    fn the_attacks_of_the_hour_are_found_at_any_parallelism() {
        for parallelism in [1, 4] {
            let env = StreamExecutionEnvironment::new();
            env.set_parallelism(parallelism);
            let alarms = login_failures(env.from_iter((0..LOGINS).map(login))).collect();
            env.execute("login failures").unwrap();
            let alarms = alarms.take_sorted();
            let users = alarms.iter().map(|alarm| alarm.user.as_str()).collect::<Vec<_>>();
            // Four alarms for six guesses; who mistypes twice a day is left alone.
            let attacked = (7..13).map(|user| format!("user {user:03}"));
            let expected = attacked.flat_map(|user| vec![user; 4]).collect::<Vec<_>>();
            assert_eq!(users, expected);
        }
    }
}
