//! Runs a case on a [`TestDriver`](thalweg::testing::TestDriver), step by step.
//!
//! 1. The interpreter writes the job, with the setup's shell, parallelism and windows.
//! 2. Each step is done; the driver returns when all its effects are complete.
//! 3. What came at each output then carries the step's index.
//!
//! **Invariant**: a case never takes the run down: a failed job, a panic and a hang are errors of that case.

use crate::conformance::bench::{Bench, input_name};
use crate::conformance::case::{Case, Step};
use crate::conformance::event::Output;
use crate::conformance::requests::Requests;
use crate::conformance::row::{Body, Row};
use serde_json::json;
use std::any::Any;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use thalweg::config::{ShellKind, StateBackend, UnknownChoice};
use thalweg::record::StreamStatus;
use thalweg::testing::{OutputEvent, TestDriver};

/// How cases are run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What drives the tasks.
    pub shell: Shell,
    /// Subtasks of what is not at 1 by nature.
    pub parallelism: usize,
    /// Windows are kept one by one, also where slices would do.
    pub is_per_pane: bool,
    /// Where keyed state lives. With the LSM store as little of it as can be stays in memory, so that
    /// state is written and read back all the time.
    pub backend: StateBackend,
    /// When the job is restarted.
    pub restarts: Restarts,
    /// Of the seeded shell.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        let (shell, backend) = (Shell::Seeded, StateBackend::Memory);
        let restarts = Restarts::AsTheCaseSays;
        Setup { shell, parallelism: 1, is_per_pane: false, backend, restarts, seed: 0 }
    }
}

/// When the job of a case takes a checkpoint, fails, and goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// Where a step says so.
    AsTheCaseSays,
    /// Before each step but the first, too. That may change no result, since watermarks are restored.
    BeforeEachStep,
}

impl FromStr for Restarts {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "case" => Ok(Restarts::AsTheCaseSays),
            "each-step" => Ok(Restarts::BeforeEachStep),
            _ => Err("'case' or 'each-step' is wanted".into()),
        }
    }
}

/// What drives the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// One thread, whose turns a seed decides.
    Seeded,
    /// As in production.
    Production(ShellKind),
}

impl FromStr for Shell {
    type Err = UnknownChoice;
    fn from_str(word: &str) -> Result<Self, UnknownChoice> {
        match word {
            "seeded" => Ok(Shell::Seeded),
            _ => word.parse().map(Shell::Production),
        }
    }
}

/// Why a case gave no output that could be compared.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The job could not be started.
    #[error("the job does not start: {0}")]
    Plan(String),
    /// The job failed.
    #[error("the job fails at step {step}: {message}")]
    Job {
        /// Index of the step.
        step: usize,
        /// Why.
        message: String,
    },
    /// The engine or the interpreter panicked.
    #[error("panic: {0}")]
    Panic(String),
    /// A step does not complete.
    #[error("no end within {0:?}")]
    Hang(Duration),
}

/// Flink's.
const INTERVAL_DEFAULT_MS: u64 = 200;

/// A case takes milliseconds.
const CASE_TIME_MAX: Duration = Duration::from_secs(30);

/// What the engine emits for `case`.
///
/// # Errors
/// For a job that does not start, fails, panics or hangs.
pub fn run(case: &Arc<Case>, setup: Setup) -> Result<Vec<Row>, RunError> {
    let (done, result) = channel();
    let case = case.clone();
    #[expect(clippy::disallowed_methods, reason = "a case that hangs is left behind on its thread")]
    let thread = std::thread::spawn(move || {
        let run = AssertUnwindSafe(|| Run::start(&case, setup)?.all());
        let rows = catch_unwind(run).unwrap_or_else(|panic| Err(RunError::Panic(message(&*panic))));
        let _ = done.send(rows);
    });
    match result.recv_timeout(CASE_TIME_MAX) {
        Err(RecvTimeoutError::Timeout) => Err(RunError::Hang(CASE_TIME_MAX)),
        Err(RecvTimeoutError::Disconnected) => Err(RunError::Panic("the thread is gone".into())),
        Ok(rows) => {
            // Its last act was to send; waiting for it keeps what it drops apart from the next case.
            let _ = thread.join();
            rows
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".into()).replace('\n', " ")
}

struct Run<'a> {
    case: &'a Case,
    driver: TestDriver,
    outputs: Vec<String>,
    requests: Requests,
    is_restarted_before_each_step: bool,
    /// The last watermark of each input that came from the script.
    watermarks: Vec<i64>,
    rows: Vec<Row>,
}

impl<'a> Run<'a> {
    fn start(case: &'a Case, setup: Setup) -> Result<Self, RunError> {
        let is_restarted_before_each_step = setup.restarts == Restarts::BeforeEachStep;
        let outputs = RefCell::default();
        let requests = match is_restarted_before_each_step {
            true => Requests::answered_again(),
            false => Requests::default(),
        };
        let Setup { parallelism, is_per_pane, .. } = setup;
        let interval_ms = case.common.auto_watermark_interval_ms.unwrap_or(INTERVAL_DEFAULT_MS);
        let mut builder = TestDriver::builder()
            .parallelism(parallelism)
            .seed(setup.seed)
            .configure(|c| c.auto_watermark_interval(Duration::from_millis(interval_ms)))
            .configure(|c| c.state_backend(setup.backend).slot_memory_mib(0));
        if let Shell::Production(shell) = setup.shell {
            builder = builder.shell(shell);
        }
        if is_restarted_before_each_step || case.steps.contains(&Step::Restore) {
            builder = builder.checkpoints();
        }
        let driver = builder.build(|env| {
            let (requests, outputs) = (requests.clone(), &outputs);
            case.job.build(&Bench { env, parallelism, is_per_pane, requests, outputs });
        });
        let driver = driver.map_err(|error| RunError::Plan(error.to_string()))?;
        let (outputs, watermarks) = (outputs.into_inner(), vec![i64::MIN; case.job.inputs()]);
        Ok(Run {
            case,
            driver,
            outputs,
            requests,
            is_restarted_before_each_step,
            watermarks,
            rows: Vec::new(),
        })
    }

    fn all(mut self) -> Result<Vec<Row>, RunError> {
        for (at, step) in self.case.steps.iter().enumerate() {
            if self.is_restarted_before_each_step && at > 0 && !self.driver.is_finished() {
                self.restore();
            }
            self.step(step);
            self.collect(at);
            if let Some(failure) = self.driver.failure() {
                let message = failure.to_string().replace('\n', " ");
                return Err(RunError::Job { step: at, message });
            }
        }
        Ok(self.rows)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Event { input, timestamp_ms, event } => {
                let (name, event) = (input_name(*input), event.clone());
                match timestamp_ms {
                    Some(timestamp_ms) => self.driver.pipe_at(&name, [(*timestamp_ms, event)]),
                    None => self.driver.pipe(&name, [event]),
                }
            }
            Step::Watermark { input, watermark_ms } => {
                self.on(*input, |driver, name| driver.watermark(name, *watermark_ms));
                let inputs = self.inputs(*input);
                self.watermarks[inputs].iter_mut().for_each(|at| *at = (*at).max(*watermark_ms));
            }
            Step::Status { input, idle: true } => self.on(*input, TestDriver::idle),
            Step::Status { input, idle: false } => self.on(*input, TestDriver::active),
            Step::End { input: Some(input) } => self.driver.end(&input_name(*input)),
            Step::End { input: None } => self.end_all(),
            Step::ProcessingTime { now_ms } => self.driver.set_clock_ms(*now_ms),
            Step::Complete { id, results } => {
                let output = |result| Output::new(&json!({"id": id, "r": result}));
                if self.requests.complete(*id, results.iter().map(output).collect()) {
                    self.driver.settle();
                }
            }
            Step::Restore => {
                self.requests.forget_answers();
                self.restore();
            }
        }
    }

    fn restore(&mut self) {
        self.driver.checkpoint();
        self.driver.restart();
    }

    fn inputs(&self, input: Option<usize>) -> Range<usize> {
        match input {
            Some(input) => input..input + 1,
            None => 0..self.case.job.inputs(),
        }
    }

    /// Does it on one input, or on all in order.
    fn on(&mut self, input: Option<usize>, act: impl Fn(&mut TestDriver, &str)) {
        self.inputs(input).for_each(|input| act(&mut self.driver, &input_name(input)));
    }

    /// Ends all inputs as one: no watermark lies between that of now and the end. The one that holds the others back ends
    /// last.
    fn end_all(&mut self) {
        let mut inputs: Vec<usize> = self.inputs(None).collect();
        inputs.sort_by_key(|input| Reverse(self.watermarks[*input]));
        inputs.into_iter().for_each(|input| self.driver.end(&input_name(input)));
    }

    /// What stands for no timestamp. A process function of Flink gives the records of its side outputs the timestamp that
    /// means none, where those of its main output have none at all.
    fn timestamp_of_none(&self, out: &str) -> Option<i64> {
        let is_side = out != "main" && matches!(self.case.kind.as_str(), "process" | "side");
        is_side.then_some(i64::MIN)
    }

    /// Takes what came since the last step.
    fn collect(&mut self, at: usize) {
        for out in &self.outputs {
            for event in self.driver.events::<Output>(out) {
                let body = match event {
                    OutputEvent::Record { value, timestamp_ms } => {
                        let value = value.value().expect("outputs are made of JSON values");
                        let timestamp_ms = timestamp_ms.or(self.timestamp_of_none(out));
                        Body::Record { timestamp_ms, value }
                    }
                    _ if !self.case.common.record_watermarks => continue,
                    OutputEvent::Watermark(watermark_ms) => Body::Watermark(watermark_ms),
                    OutputEvent::Status(status) => {
                        Body::Status { idle: status == StreamStatus::Idle }
                    }
                };
                self.rows.push(Row { at, out: out.clone(), body });
            }
        }
    }
}
