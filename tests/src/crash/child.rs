//! The process that is killed.

use super::event::Script;
use super::job::{Place, Topic, environment, write_job};
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use thalweg::runtime::SavepointError;

/// The first argument of a child.
pub const CHILD_ARGUMENT: &str = "child";

/// How a child has ended its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// All input is read.
    Finished,
    /// With a savepoint.
    Savepoint,
}

impl ChildEnd {
    /// The code that its process ends with.
    pub const fn code(self) -> u8 {
        match self {
            ChildEnd::Finished => 0,
            ChildEnd::Savepoint => 3,
        }
    }
}

/// How often a child writes down how many checkpoints it has completed.
const TELL_INTERVAL: Duration = Duration::from_millis(4);

/// Runs the job from where its directory says, until it has finished.
///
/// The arguments are directory, interval in ms, the script (seed, sources, records, keys), parallelism, the moves that the job has
/// made, and after how many ms it is to end with a savepoint, 0 for never; and, if the sums go to Kafka, servers and topic.
///
/// # Errors
/// What the job says, or what is wrong with the arguments.
pub fn run_child(arguments: &[String]) -> thalweg::Result<ChildEnd> {
    let [directory, interval_ms, seed, sources, count, keys, more @ ..] = arguments else {
        return Err("a child takes nine arguments".into());
    };
    let [parallelism, moves, stop_after_ms, topic @ ..] = more else {
        return Err("a child takes nine arguments".into());
    };
    let script = Script {
        seed: number(seed)?,
        sources: number(sources)?,
        count: number(count)?,
        keys: number(keys)?,
    };
    let topic = match topic {
        [] => None,
        [servers, name] => Some(Topic { servers: servers.clone(), name: name.clone() }),
        _ => return Err("a topic has servers and a name".into()),
    };
    let place = Place { topic, moves: number(moves)?, ..Place::from(Path::new(directory)) };
    let interval = Duration::from_millis(number(interval_ms)?);
    let env = environment(&place, interval, number(parallelism)?);
    write_job(&env, script, &place)?;
    let job = env.execute_async("killed")?;
    let mut told = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(place.directory.join("completed"))?;
    let stop_after_ms: u64 = number(stop_after_ms)?;
    let stop_after = (stop_after_ms > 0).then(|| Duration::from_millis(stop_after_ms));
    let mut slept = Duration::ZERO;
    let (mut completed, mut last) = (0, None);
    loop {
        let has_ended = job.is_finished();
        let now = job.checkpoints().completed;
        if now > completed {
            // A byte a checkpoint: what was written before a kill stays.
            told.write_all(&vec![b'.'; (now - completed) as usize])?;
            completed = now;
        }
        if has_ended {
            break;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a test's own thread that looks now and then"
        )]
        std::thread::sleep(TELL_INTERVAL);
        slept += TELL_INTERVAL;
        if last.is_none() && stop_after.is_some_and(|after| slept >= after) {
            last = Some(job.stop_with_savepoint(place.next_savepoint()));
        }
    }
    let savepoint = last.map(|handle| handle.wait());
    job.wait()?;
    match savepoint {
        // All input was read before.
        None | Some(Err(SavepointError::JobOver { .. })) => Ok(ChildEnd::Finished),
        Some(Ok(_)) => Ok(ChildEnd::Savepoint),
        Some(Err(error)) => Err(error.into()),
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}
