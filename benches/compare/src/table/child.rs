//! One run in a process of its own: this program again.

use crate::Error;
use crate::case::{Case, Measured, Until};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a run may take beyond the seconds it was asked for: start-up, the queues of a system that has no backpressure, the end.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs it and reads its line.
pub(crate) fn measure(case: &Case) -> Result<Measured, Error> {
    let words = case.arguments();
    let mut child = Command::new(std::env::current_exe()?)
        .args(&words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let asked = match case.until {
        Until::Seconds(seconds) => Duration::from_secs(seconds),
        Until::Events(_) => Duration::ZERO,
    };
    let in_words = || format!("compare {}", words.join(" "));
    if !wait(&mut child, asked + PATIENCE)? {
        return Err(format!("'{}' was ended: it had not in {PATIENCE:?}", in_words()).into());
    }
    let mut line = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut line)?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("'{}' has failed: {status}", in_words()).into());
    }
    Measured::from_line(&line).map_err(|error| format!("'{}': {error}", in_words()).into())
}

/// `false` if it was killed because it took too long.
fn wait(child: &mut Child, limit: Duration) -> Result<bool, Error> {
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}
