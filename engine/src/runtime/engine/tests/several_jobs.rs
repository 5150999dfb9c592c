//! Jobs side by side: slots, turns, engines.

use super::super::test_jobs::{Numbers, Seen};
use super::*;
use crate::config::WhenSlotsAreTaken;

fn endless(engine: &Engine, name: &str) -> (JobHandle, Seen) {
    let seen = Seen::default();
    let sink = seen.clone();
    let job = engine.submit(name, |env| {
        env.from_source(Numbers(None), "numbers").sink_to(sink);
    });
    (job.unwrap(), seen)
}

fn finite(engine: &Engine, name: &str, choice: WhenSlotsAreTaken) -> Result<JobHandle, Error> {
    engine.submit(name, |env| {
        env.configure(|c| c.when_slots_are_taken(choice));
        env.from_source(Numbers(Some(100)), "numbers").for_each(|_| ());
    })
}

/// Waits until more records have come than now.
fn await_more(seen: &Seen) {
    let before = seen.both().0;
    while seen.both().0 == before {
        std::thread::yield_now();
    }
}

#[test]
fn the_second_job_waits_its_turn() {
    let engine = engine(1);
    let (first, seen) = endless(&engine, "first");
    let second = finite(&engine, "second", WhenSlotsAreTaken::Wait).unwrap();
    let third = finite(&engine, "third", WhenSlotsAreTaken::Wait).unwrap();
    seen.await_some();
    assert_eq!((second.status(), second.is_finished()), (JobStatus::Created, false));
    // One that waits may be cancelled; the others keep their turns.
    third.cancel();
    assert!(matches!(third.wait(), Err(Error::Cancelled(_))));
    first.cancel();
    assert!(first.wait().is_err());
    assert_eq!(second.wait().unwrap().name, "second");
}

#[test]
fn the_second_job_is_refused_if_it_chose_so() {
    let engine = engine(1);
    let (first, _) = endless(&engine, "first");
    let refused = finite(&engine, "second", WhenSlotsAreTaken::Refuse).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the job needs 1 slots, 0 of the engine's 1 are free; stop another job, or submit with the choice to wait"
    );
    first.cancel();
    assert!(first.wait().is_err());
    // The slots are free before anybody learns that the job has ended.
    let second = finite(&engine, "second", WhenSlotsAreTaken::Refuse).unwrap();
    second.wait().unwrap();
}

#[test]
fn two_jobs_share_an_engine_with_slots_for_both() {
    let engine = engine(2);
    let jobs = [endless(&engine, "first"), endless(&engine, "second")];
    for (job, seen) in &jobs {
        seen.await_some();
        assert_eq!(job.status(), JobStatus::Running);
    }
    assert_ne!(jobs[0].0.id(), jobs[1].0.id());
}

#[test]
fn an_engine_that_is_dropped_takes_its_jobs_along() {
    let engine = engine(1);
    let (running, seen) = endless(&engine, "running");
    let waiting = finite(&engine, "waiting", WhenSlotsAreTaken::Wait).unwrap();
    let env = engine.environment();
    seen.await_some();
    drop(engine);
    assert!(running.is_finished() && waiting.is_finished() && seen.is_closed());
    for (job, name) in [(&running, "running"), (&waiting, "waiting")] {
        let error = job.wait().unwrap_err();
        assert!(matches!(&error, Error::EngineGone(gone) if gone == name), "{error}");
        assert_eq!(job.status(), JobStatus::Canceled);
    }
    env.from_source(Numbers(Some(1)), "numbers").for_each(|_| ());
    assert!(matches!(env.execute("late"), Err(Error::EngineGone(_))));
}

#[test]
fn several_engines_live_in_one_process() {
    let engines = [engine(1), engine(2), engine(1)];
    let mut jobs: Vec<_> = engines.iter().map(|engine| endless(engine, "endless")).collect();
    jobs.iter().for_each(|(_, seen)| seen.await_some());
    let [first, second, third] = engines;
    first.shutdown();
    assert!(jobs.remove(0).0.is_finished());
    // The others go on, on the same cores.
    for (job, seen) in &jobs {
        await_more(seen);
        assert_eq!(job.status(), JobStatus::Running);
    }
    drop((second, third));
    assert!(jobs.iter().all(|(job, seen)| job.is_finished() && seen.is_closed()));
}

#[test]
fn failing_jobs_do_not_disturb_their_neighbours() {
    let engine = engine(2);
    let (neighbour, seen) = endless(&engine, "neighbour");
    for round in 0..20 {
        let job = engine.submit("failing", |env| {
            let numbers = env.from_source(Numbers(None), "numbers");
            numbers.for_each(move |n| assert!(n < 100 * round, "enough"));
        });
        let error = job.unwrap().wait().unwrap_err();
        assert!(matches!(error, Error::Job(_)), "{error}");
    }
    await_more(&seen);
    assert_eq!(neighbour.status(), JobStatus::Running);
}

#[test]
fn an_engine_has_the_slots_and_cores_it_was_given() {
    let core = allowed_cores().unwrap()[0];
    let builder = Engine::builder().shell(ShellKind::Threads).cores([core]).slot_memory_mib(64);
    let engine = builder.slots(3).name("small").build().unwrap();
    assert_eq!((engine.name(), engine.slots().len()), ("small", 3));
    assert!(engine.slots().iter().all(|s| s.core.0 == core && s.memory_bytes == 64 << 20));
    let seen = Seen::default();
    let sink = seen.clone();
    let job = engine.submit("pinned", |env| {
        env.set_parallelism(3);
        env.from_source(Numbers(Some(1_000)), "numbers").rebalance().sink_to(sink);
    });
    job.unwrap().wait().unwrap();
    assert_eq!(seen.both().0, 1_000);
    let threads = seen.threads.lock().unwrap();
    assert_eq!(*threads, vec![format!("thalweg-{core}"); 3]);

    let far = Engine::builder().cores([4_095]).build().unwrap_err();
    assert!(matches!(far, Error::Executor(ExecutorError::CoreNotAllowed { .. })), "{far}");
    let wrong = Engine::builder().cores([1, 1]).slots(0).build().unwrap_err();
    assert!(wrong.to_string().starts_with("2 errors in the configuration"), "{wrong}");
}
