//! The process that is killed.

use super::event::Script;
use super::job::{Place, Topic, environment, write_job};
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// The first argument of a child.
pub const CHILD_ARGUMENT: &str = "child";

/// How often a child writes down how many checkpoints it has completed.
const TELL_INTERVAL: Duration = Duration::from_millis(4);

/// Runs the job from where its directory says, until it has finished.
///
/// The arguments are directory, interval in ms, and the script: seed, sources, records, keys; and, if the sums go to Kafka,
/// servers and topic.
///
/// # Errors
/// What the job says, or what is wrong with the arguments.
pub fn run_child(arguments: &[String]) -> thalweg::Result<()> {
    let [directory, interval_ms, seed, sources, count, keys, topic @ ..] = arguments else {
        return Err("a child takes six arguments".into());
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
    let place = Place { topic, ..Place::from(Path::new(directory)) };
    let env = environment(&place, Duration::from_millis(number(interval_ms)?));
    write_job(&env, script, &place)?;
    let job = env.execute_async("killed")?;
    let mut told = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(place.directory.join("completed"))?;
    let mut completed = 0;
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
    }
    job.wait()?;
    Ok(())
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}
