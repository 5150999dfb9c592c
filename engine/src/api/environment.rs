//! [`StreamExecutionEnvironment`]: where a job is written and started.

use crate::api::chain::{Chain, FromSource, Plan};
use crate::api::plan_builder::{Mistake, NewNode, PlanBuilder};
use crate::api::stream::DataStream;
use crate::config::{
    Arguments, Configuration, ConfigurationBuilder, DeclaredArguments, LoadError, Profile, load,
};
use crate::error::Error;
use crate::function::{Boundedness, Source};
use crate::graph::{
    Explain, ExplainFormat, JobGraph, NodeKind, PlanError, PlanErrorCause, PlanSettings, PlanSite,
};
use crate::runtime::coordinator::SourceCoordinatorFactory;
use crate::runtime::engine::{EngineAccess, local_options, submit_alone};
use crate::runtime::slot_allocation::choose_slots;
use crate::runtime::submission::{Submission, WrittenJob, check, plan_settings};
use crate::runtime::{AllocationError, Engine, JobHandle, JobResult};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_io::storage::{PosixStorage, Storage};

/// Where a job is written: sources begin streams here, [`execute`](Self::execute) runs what was written.
///
/// [`new`](Self::new) reads nothing; [`from_args`](Self::from_args) reads the command line, the environment and a
/// configuration file. Settings are resolved as default < file < environment < command line < calls here < calls on an
/// operator.
///
/// # Examples
///
/// ```no_run
/// use thalweg::prelude::*;
///
/// fn main() -> thalweg::Result<()> {
///     let env = StreamExecutionEnvironment::from_args()?; // -p 4, --config job.toml, THALWEG_PARALLELISM=4
///     env.set_profile(Profile::Latency).configure(|c| c.page_bytes(65_536));
///     // .. streams ..
///     env.execute("my job")?;
///     Ok(())
/// }
/// ```
pub struct StreamExecutionEnvironment {
    pub(crate) plan: Plan,
    configuration: RefCell<ConfigurationBuilder>,
    /// A parallelism, or max parallelism, that is out of range: reported with the plan's other mistakes.
    out_of_range: Cell<(Option<usize>, Option<usize>)>,
    /// The engine that runs its jobs; without one each job gets its own.
    engine: Option<EngineAccess>,
}

impl Default for StreamExecutionEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StreamExecutionEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamExecutionEnvironment").finish_non_exhaustive()
    }
}

/// Settings.
impl StreamExecutionEnvironment {
    /// An environment with the defaults.
    pub fn new() -> Self {
        Self::over(ConfigurationBuilder::new(), None)
    }

    fn over(configuration: ConfigurationBuilder, engine: Option<EngineAccess>) -> Self {
        StreamExecutionEnvironment {
            plan: Plan(Rc::new(RefCell::default())),
            configuration: RefCell::new(configuration),
            out_of_range: Cell::default(),
            engine,
        }
    }

    /// An environment with the settings of `configuration`.
    pub fn with_configuration(configuration: Configuration) -> Self {
        Self::over(configuration.into_builder(), None)
    }

    /// An environment with the settings of the command line, the environment variables `THALWEG_*`, and the file that
    /// one of them names.
    ///
    /// # Errors
    /// Everything that is wrong in any of them; or [`LoadError::Help`] for `--help`, whose text `main` prints when it
    /// returns the error. [`from_args_or_exit`](Self::from_args_or_exit) ends with success there.
    pub fn from_args() -> Result<Self, Error> {
        Ok(Self::from_args_with(&DeclaredArguments::new(""))?.0)
    }

    /// [`from_args`](Self::from_args) for jobs with arguments of their own.
    ///
    /// # Errors
    /// As [`from_args`](Self::from_args).
    pub fn from_args_with(declared: &DeclaredArguments) -> Result<(Self, Arguments), Error> {
        let (words, variables) = (std::env::args_os(), std::env::vars_os());
        let (configuration, arguments) = load(declared, words, variables, read_file)?;
        Ok((Self::with_configuration(configuration), arguments))
    }

    /// [`from_args_with`](Self::from_args_with) for `main`: **ends the process** on `--help` (text to standard output,
    /// code 0) and where something is wrong (message to standard error, code 2).
    pub fn from_args_or_exit(declared: &DeclaredArguments) -> (Self, Arguments) {
        let code = match Self::from_args_with(declared) {
            Ok(read) => return read,
            Err(Error::Configuration(LoadError::Help(help))) => {
                print_line(&mut std::io::stdout(), &help);
                0
            }
            Err(error) => {
                print_line(&mut std::io::stderr(), &error);
                2
            }
        };
        std::process::exit(code)
    }

    /// Sets options in code, which wins over file, environment and command line:
    /// `env.configure(|c| c.page_bytes(65_536).chaining(false))`.
    pub fn configure(
        &self,
        set: impl FnOnce(&mut ConfigurationBuilder) -> &mut ConfigurationBuilder,
    ) -> &Self {
        set(&mut self.configuration.borrow_mut());
        self
    }

    /// Subtasks of each operator that does not say otherwise. Default: one for each core the process may use.
    #[track_caller]
    pub fn set_parallelism(&self, parallelism: usize) -> &Self {
        let (_, max) = self.out_of_range.get();
        if is_in_range(parallelism) {
            self.out_of_range.set((None, max));
            self.configuration.borrow_mut().parallelism(parallelism);
        } else {
            self.out_of_range.set((Some(parallelism), max));
        }
        self
    }

    /// Key groups of each operator that does not say otherwise: the most it can be rescaled to. Default: derived from
    /// the parallelism.
    #[track_caller]
    pub fn set_max_parallelism(&self, max_parallelism: usize) -> &Self {
        let (parallelism, _) = self.out_of_range.get();
        if is_in_range(max_parallelism) {
            self.out_of_range.set((parallelism, None));
            self.configuration.borrow_mut().max_parallelism(max_parallelism);
        } else {
            self.out_of_range.set((parallelism, Some(max_parallelism)));
        }
        self
    }

    /// What an idle core does. Default: balanced.
    #[track_caller]
    pub fn set_profile(&self, profile: Profile) -> &Self {
        self.configuration.borrow_mut().profile(profile);
        self
    }

    /// The settings as they resolve now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn configuration(&self) -> Result<Configuration, Error> {
        Ok(self.configuration.borrow().build()?)
    }
}

/// Sources.
impl StreamExecutionEnvironment {
    /// Begins a stream at `source`.
    #[track_caller]
    pub fn from_source<S: Source, N: Into<String>>(
        &self,
        source: S,
        name: N,
    ) -> DataStream<S::Out, impl Chain<S::Out> + use<S, N>> {
        let stream = self.add_source(source, "source", Location::caller());
        stream.name(name)
    }

    pub(crate) fn add_source<S: Source>(
        &self,
        source: S,
        operator: &'static str,
        location: &'static Location<'static>,
    ) -> DataStream<S::Out, FromSource<S>> {
        let source = Arc::new(source);
        let kind = NodeKind::Source {
            bounded: source.boundedness() == Boundedness::Bounded,
            non_parallel: source.is_non_parallel(),
            is_replayable: source.is_replayable(),
        };
        let node = self.plan.with(|plan| {
            let inputs = Vec::new();
            let node = plan.add_node(NewNode { kind, operator, inputs, keyed: false, location });
            let coordinator = SourceCoordinatorFactory::new(node, source.clone());
            plan.coordinators.insert(node, coordinator);
            node
        });
        DataStream::new(self.plan.clone(), node, FromSource { source, node })
    }
}

/// Running what was written.
impl StreamExecutionEnvironment {
    /// Runs the job that was written, and waits for its end. Without an engine the job gets one of its own, with the
    /// slots it needs (or as many as the option `slots` says), spread over the cores.
    ///
    /// The environment is empty afterwards, whatever the result, and may be used for the next job; streams of this one
    /// may not.
    ///
    /// # Errors
    /// All mistakes in the plan at once; slots or cores that cannot be had; the first failure of the job.
    pub fn execute(&self, name: &str) -> Result<JobResult, Error> {
        self.execute_async(name)?.wait()
    }

    /// [`execute`](Self::execute) without waiting for the end. The job goes on when the handle is dropped.
    ///
    /// # Errors
    /// All mistakes in the plan at once; slots or cores that cannot be had.
    pub fn execute_async(&self, name: &str) -> Result<JobHandle, Error> {
        let submission = self.submission(name)?;
        match &self.engine {
            Some(engine) => engine.submit(submission),
            None => submit_alone(submission),
        }
    }

    /// Checks what was written; the environment is empty afterwards.
    pub(crate) fn submission(&self, name: &str) -> Result<Submission, Error> {
        let builder = self.plan.with(std::mem::take);
        let configuration = self.configuration()?;
        let settings = self.plan_settings(name, &configuration);
        Ok(Submission::new(written(builder), &settings, configuration)?)
    }

    /// What would run: operators, vertices, subtasks, and, without an engine, slots and cores. Runs nothing and leaves
    /// the environment as it is. (Inside an engine the slots are known once the job has them: see
    /// [`JobHandle::explain`].)
    ///
    /// # Errors
    /// All mistakes in the plan at once; fewer slots than the job needs.
    pub fn explain(&self, format: ExplainFormat) -> Result<String, Error> {
        let configuration = self.configuration()?;
        let settings = self.plan_settings("job", &configuration);
        let stream_graph = self.plan.with(|plan| check(&plan.plan, &mistakes(plan), &settings))?;
        let demand = JobGraph::new(&stream_graph).slot_demand();
        let slots = match &self.engine {
            Some(engine) => engine.slots().to_vec(),
            None => local_options(&configuration, &demand)?.slots(),
        };
        let (needed, total) = (demand.slot_count(), slots.len());
        let allocation =
            choose_slots(&demand, &slots, &[]).ok_or(AllocationError::EngineTooSmall {
                parallelism: demand.parallelism_max(),
                group_count: demand.groups.len(),
                needed,
                total,
            })?;
        let allocation = if self.engine.is_some() { None } else { Some(&allocation) };
        let explain = Explain::new(stream_graph, allocation);
        Ok(explain.expect("slots were chosen by the job's demand").render(format))
    }

    fn plan_settings(&self, name: &str, configuration: &Configuration) -> PlanSettings {
        let mut settings = plan_settings(name, configuration);
        let (parallelism, max_parallelism) = self.out_of_range.get();
        settings.parallelism = parallelism.unwrap_or(settings.parallelism);
        settings.max_parallelism = max_parallelism.or(settings.max_parallelism);
        settings
    }
}

/// Jobs of an engine.
impl Engine {
    /// An environment whose jobs run in this engine, with the engine's settings to begin with. It may not outlive the
    /// engine: afterwards executing fails with [`Error::EngineGone`].
    pub fn environment(&self) -> StreamExecutionEnvironment {
        let access = self.access().clone();
        let configuration = access.configuration().clone().into_builder();
        StreamExecutionEnvironment::over(configuration, Some(access))
    }

    /// Runs the job that `write` writes. It waits for slots, or is refused, as the option `when_slots_are_taken` says.
    ///
    /// # Errors
    /// All mistakes in the plan at once; more slots than the engine has, or, for a job that does not wait, than are free.
    pub fn submit(
        &self,
        name: &str,
        write: impl FnOnce(&StreamExecutionEnvironment),
    ) -> Result<JobHandle, Error> {
        let env = self.environment();
        write(&env);
        env.execute_async(name)
    }
}

fn is_in_range(parallelism: usize) -> bool {
    (1..=crate::graph::MAX_PARALLELISM_BOUND).contains(&parallelism)
}

fn written(builder: PlanBuilder) -> WrittenJob {
    let mistakes = mistakes(&builder);
    let PlanBuilder { plan, blueprint, coordinators, .. } = builder;
    WrittenJob { plan, mistakes, blueprint, coordinators }
}

/// The mistakes noted while the plan was written, as plan errors.
fn mistakes(builder: &PlanBuilder) -> Vec<PlanError> {
    let plan_error = |mistake: &Mistake| {
        let node = mistake.node.and_then(|id| builder.plan.transformations.get(id.0 as usize));
        let site = node.map_or(PlanSite::Plan, |node| PlanSite::Operator {
            node: node.id,
            name: node.display_name().to_owned(),
            location: mistake.location,
        });
        PlanError { site, cause: PlanErrorCause::Misuse { message: mistake.message.clone() } }
    };
    builder.mistakes.iter().map(plan_error).collect()
}

/// Larger files are no configurations.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn read_file(path: &Path) -> Result<String, crate::BoxError> {
    let file = PosixStorage::new().open_read(path)?;
    let length_bytes = file.length_bytes()?;
    if length_bytes > CONFIGURATION_BYTES_MAX {
        return Err(
            format!("it has {length_bytes} bytes; name a TOML file of at most 1 MiB").into()
        );
    }
    let mut bytes = vec![0; usize::try_from(length_bytes)?];
    file.read_exact_at(0, &mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

/// Who is gone needs no message.
fn print_line(out: &mut dyn std::io::Write, text: &dyn fmt::Display) {
    let _ = writeln!(out, "{text}");
}
