//! The registry of executors: leases, sharing, and what its cores answer.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::runtime::deployment::{CoreEvent, JobId, SlotId, TaskDeployment};
use crate::runtime::task::{CoreHandle, Progress, Task};

const PATIENCE: Duration = Duration::from_secs(20);

/// A task of one engine that hands its thread's id out and finishes after a few runs.
struct WhoAmI {
    runs: usize,
    tell: std::sync::mpsc::Sender<std::thread::ThreadId>,
}

impl Task for WhoAmI {
    fn run(&mut self, _budget: usize) -> Progress {
        self.runs += 1;
        let _ = self.tell.send(std::thread::current().id());
        if self.runs == 100 { Progress::Done } else { Progress::Worked }
    }
}

fn submit(core: &CoreHandleRemote) -> (Receiver<CoreEvent>, Receiver<std::thread::ThreadId>) {
    let (events, received) = channel();
    let (tell, told) = channel();
    let job = JobId::allocate();
    let sink = Arc::new(move |event| drop(events.send(event)));
    let build = move |_: &CoreHandle| Ok(Box::new(WhoAmI { runs: 0, tell }) as Box<dyn Task>);
    let deployment = TaskDeployment::new(job, SlotId(0), "who", sink, Box::new(build));
    core.send(CoreCommand::Deploy(Box::new(deployment))).unwrap();
    core.send(CoreCommand::Start(job)).unwrap();
    (received, told)
}

fn await_disposed(events: &Receiver<CoreEvent>) -> bool {
    let mut finished = false;
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            CoreEvent::TaskFinished(_) => finished = true,
            CoreEvent::TaskDisposed(_) => return finished,
            _ => {}
        }
    }
}

fn two_engines_on_one_core(kind: ShellKind) {
    let core = allowed_cores().unwrap()[0];
    let first = Executors::core(kind, core, IdlePolicy::EFFICIENT).unwrap();
    let second = Executors::core(kind, core, IdlePolicy::BALANCED).unwrap();
    let (events_of_first, threads_of_first) = submit(&first);
    let (events_of_second, threads_of_second) = submit(&second);
    assert!(await_disposed(&events_of_first) && await_disposed(&events_of_second));
    let threads: std::collections::HashSet<_> =
        threads_of_first.iter().chain(threads_of_second.iter()).collect();
    assert_eq!(threads.len(), 1);

    // The first engine goes; its executor serves the second, and a third that comes later.
    drop(first);
    assert!(await_disposed(&submit(&second).0));
    drop(second);
    let third = Executors::core(kind, core, IdlePolicy::EFFICIENT).unwrap();
    let (events, told) = submit(&third);
    assert!(await_disposed(&events));
    assert!(told.iter().all(|thread| threads.contains(&thread)));
}

#[test]
fn two_engines_share_a_thread() {
    two_engines_on_one_core(ShellKind::Threads);
}

#[test]
fn two_engines_share_a_glommio_executor() {
    if io_uring_refused().is_none() {
        two_engines_on_one_core(ShellKind::Glommio);
    }
}

#[test]
fn a_core_outside_the_mask_is_refused_by_name() {
    let error = Executors::core(ShellKind::Threads, 4_095, IdlePolicy::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("core 4095 is not one of"), "{text}");
    assert!(text.contains(&format!("{:?}", allowed_cores().unwrap())), "{text}");
}

#[test]
fn kinds_resolve_by_the_probe() {
    let refused = || Some("seccomp".to_owned());
    assert_eq!(resolve(ShellKind::Auto, || None).unwrap(), Shell::Glommio);
    assert_eq!(resolve(ShellKind::Auto, refused).unwrap(), Shell::Threads);
    assert_eq!(resolve(ShellKind::Glommio, || None).unwrap(), Shell::Glommio);
    assert_eq!(resolve(ShellKind::Threads, || unreachable!()).unwrap(), Shell::Threads);
    let error = resolve(ShellKind::Glommio, refused).unwrap_err();
    assert!(matches!(error, ExecutorError::UringRefused { reason } if reason == "seccomp"));
}
