//! Operators alone: built in as many subtasks as a test likes, from a checkpoint or anew, and fed by hand.

use crate::checkpoint::snapshot::{RestoredPiece, RestoredState, TaskSnapshot};
use crate::config::CheckpointMode;
use crate::exchange::channel::ChannelOptions;
use crate::exchange::wiring::{LocalLinks, Wiring};
use crate::graph::{NodeId, OperatorId};
use crate::metrics::JobMetrics;
use crate::operator::alignment::AlignmentGroups;
use crate::operator::build::{Blueprint, BuildContext, JobBlueprint};
use crate::operator::pieces::Report;
use crate::operator::{Consume, Flow, OperatorNames, Push, TaskContext};
use crate::record::{Barrier, Block, CheckpointId, Control};
use crate::runtime::{CoreHandle, CoreServices};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_state::{Key, key_group_of, subtask_of};

pub(crate) const NODE: NodeId = NodeId(0);
const MAX_PARALLELISM: u16 = 128;

/// The context in which an operator of one subtask is built.
pub(crate) fn context(
    (subtask, parallelism): (usize, usize),
    core: &CoreHandle,
    restored: Option<Arc<RestoredState>>,
) -> BuildContext {
    let metrics = Arc::new(JobMetrics::new("test"));
    let group = metrics.register_subtask("test", subtask);
    let options = ChannelOptions { page_bytes: 1 << 10, pages_in_flight: 2 };
    let job = JobBlueprint {
        blueprint: Arc::new(Blueprint::default()),
        wiring: Wiring::new(Vec::new(), options, metrics, HashMap::new()),
        names: Arc::new(OperatorNames(vec!["test".to_owned()])),
        parallelism: HashMap::from([(NODE, (parallelism, MAX_PARALLELISM))]),
        metrics: HashMap::from([((NODE, subtask), group)]),
        mailboxes: HashMap::new(),
        state_files: None,
        batch_records: 128,
        seed: 0,
        auto_watermark_interval_ms: 0,
        alignment: AlignmentGroups::default(),
        operator_ids: vec![OperatorId(1)],
        checkpoints: Some(CheckpointMode::ExactlyOnce),
        restored,
    };
    let task = TaskContext::new(core.clone());
    BuildContext::new(Arc::new(job), Rc::new(LocalLinks::default()), task, NODE, subtask)
}

/// What tasks handed over, as they get it back.
pub(crate) fn restored(snapshots: Vec<TaskSnapshot>) -> Arc<RestoredState> {
    let mut state = RestoredState {
        checkpoint: snapshots[0].checkpoint,
        parallelism: HashMap::from([(OperatorId(1), snapshots.len())]),
        pieces: HashMap::new(),
    };
    for (subtask, snapshot) in snapshots.into_iter().enumerate() {
        for piece in snapshot.pieces {
            let of_operator = state.pieces.entry(piece.key.operator).or_default();
            let pieces = of_operator.entry(piece.key.name.to_owned()).or_default();
            pieces.push(RestoredPiece { subtask, bytes: piece.bytes.into_contiguous().into() });
        }
    }
    Arc::new(state)
}

/// What comes out of a subtask, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said<U> {
    Record(U, i64),
    Told(Control),
}

pub(crate) type Heard<U> = Rc<RefCell<Vec<Said<U>>>>;

/// Notes all that comes.
pub(crate) struct Recorder<U>(pub(crate) Heard<U>);

impl<U: 'static> Push<U> for Recorder<U> {
    fn push(&mut self, record: U, timestamp: i64) {
        self.0.borrow_mut().push(Said::Record(record, timestamp));
    }
    fn control(&mut self, control: Control) {
        self.0.borrow_mut().push(Said::Told(control));
    }
    fn drive(&mut self, _: bool) -> Flow {
        Flow::Ready
    }
}

/// One subtask of an operator.
pub(crate) struct Subtask<T, U> {
    pub(crate) head: Box<dyn Consume<T>>,
    task: Rc<TaskContext>,
    heard: Heard<U>,
}

impl<T: 'static, U: 'static> Subtask<T, U> {
    pub(crate) fn feed(&mut self, hash: u32, record: T, timestamp: i64) {
        let mut block = Block::new(1);
        block.push(hash, record, timestamp);
        self.head.consume(block.drain());
    }

    /// As a task's owner does, until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        loop {
            let before = self.task.work.get();
            let flow = self.head.drive(true);
            if flow != Flow::Busy && self.task.work.get() == before {
                break;
            }
        }
        if let Some(failure) = self.task.take_failure() {
            panic!("{failure}");
        }
    }

    /// As between two records: what is due by it has come out.
    pub(crate) fn control(&mut self, control: Control) {
        while self.head.drive(false) != Flow::Ready {}
        self.head.control(control);
        while self.head.drive(false) != Flow::Ready {}
    }

    fn snapshot(&mut self) -> TaskSnapshot {
        match self.task.pieces.take_reports().pop() {
            Some(Report::Ready(snapshot)) => snapshot,
            other => panic!("a snapshot, not {other:?}"),
        }
    }
}

/// All subtasks of a keyed operator; each record goes to that of its key.
pub(crate) struct Subtasks<T, U> {
    subtasks: Vec<Subtask<T, U>>,
}

impl<T: 'static, U: Clone + 'static> Subtasks<T, U> {
    pub(crate) fn build(
        parallelism: usize,
        state: Option<Arc<RestoredState>>,
        make: impl Fn(&mut BuildContext, Recorder<U>) -> crate::Result<Box<dyn Consume<T>>>,
    ) -> crate::Result<Self> {
        let core = CoreHandle::new(CoreServices::default());
        let build = |subtask| {
            let mut context = context((subtask, parallelism), &core, state.clone());
            let (task, heard) = (context.stage.task.clone(), Heard::default());
            let head = make(&mut context, Recorder(heard.clone()))?;
            Ok(Subtask { head, task, heard })
        };
        let subtasks = (0..parallelism).map(build).collect::<crate::Result<_>>()?;
        Ok(Subtasks { subtasks })
    }

    pub(crate) fn feed<K: Key>(&mut self, key: &K, record: T, timestamp: i64) {
        let (hash, parallelism) = (key.key_hash(), self.subtasks.len() as u16);
        let group = key_group_of(hash, MAX_PARALLELISM);
        let subtask = subtask_of(group, MAX_PARALLELISM, parallelism) as usize;
        self.subtasks[subtask].feed(hash.as_u32(), record, timestamp);
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.subtasks.iter_mut().for_each(|subtask| subtask.control(control));
    }

    pub(crate) fn drive(&mut self) {
        self.subtasks.iter_mut().for_each(|subtask| {
            subtask.head.drive(false);
        });
    }

    pub(crate) fn settle(&mut self) {
        self.subtasks.iter_mut().for_each(Subtask::settle);
    }

    pub(crate) fn barrier(&mut self, id: u64) {
        self.control(Control::Barrier(Barrier::periodic(CheckpointId(id))));
    }

    /// The snapshot of each subtask, once it has come to rest.
    pub(crate) fn snapshots(&mut self) -> Vec<TaskSnapshot> {
        self.settle();
        self.subtasks.iter_mut().map(Subtask::snapshot).collect()
    }

    /// What was heard so far, by watermarks: the records between two of them, of all subtasks.
    pub(crate) fn heard(&self) -> Vec<Vec<(U, i64)>> {
        let mut segments: Vec<Vec<(U, i64)>> = vec![Vec::new()];
        for subtask in &self.subtasks {
            let mut at = 0;
            for said in subtask.heard.borrow().iter() {
                match said {
                    Said::Record(record, timestamp) => {
                        segments[at].push((record.clone(), *timestamp))
                    }
                    Said::Told(Control::Watermark(_)) => {
                        at += 1;
                        segments.resize_with(segments.len().max(at + 1), Vec::new);
                    }
                    Said::Told(_) => {}
                }
            }
        }
        segments
    }
}

/// An element of a test's input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<T> {
    Record(T, i64),
    Watermark(i64),
}

/// Feeds events; each is driven once.
pub(crate) fn feed_all<T: Clone + 'static, K: Key, U: Clone + 'static>(
    to: &mut Subtasks<T, U>,
    events: &[Event<T>],
    key: impl Fn(&T) -> K,
) {
    for event in events {
        match event {
            Event::Record(record, timestamp) => {
                to.feed(&key(record), record.clone(), *timestamp);
                to.drive();
            }
            Event::Watermark(watermark) => to.control(Control::Watermark(*watermark)),
        }
    }
}

/// Restarts the operator at every event, from a checkpoint that was written while the rest went on, and compares what
/// comes out with a run that was not disturbed: by watermarks, in any order between two of them.
pub(crate) fn restart_everywhere<T, K, U>(
    (before, after): (usize, usize),
    events: &[Event<T>],
    key: impl Fn(&T) -> K + Copy,
    make: impl Fn(&mut BuildContext, Recorder<U>) -> crate::Result<Box<dyn Consume<T>>> + Copy,
) where
    T: Clone + 'static,
    K: Key,
    U: Clone + Ord + std::fmt::Debug + 'static,
{
    let sorted = |mut segments: Vec<Vec<(U, i64)>>| {
        segments.iter_mut().for_each(|segment| segment.sort());
        segments
    };
    let mut undisturbed = Subtasks::build(before, None, make).unwrap();
    feed_all(&mut undisturbed, events, key);
    undisturbed.settle();
    let expected = sorted(undisturbed.heard());
    assert!(expected.iter().any(|segment| !segment.is_empty()), "something comes out");
    for at in 0..=events.len() {
        let mut first = Subtasks::build(before, None, make).unwrap();
        feed_all(&mut first, &events[..at], key);
        first.settle();
        let mut heard = first.heard();
        first.barrier(1);
        feed_all(&mut first, &events[at..], key);
        let snapshots = first.snapshots();
        assert_eq!(sorted(first.heard()), expected, "with a checkpoint at {at}");
        let mut second = Subtasks::build(after, Some(restored(snapshots)), make).unwrap();
        feed_all(&mut second, &events[at..], key);
        second.settle();
        let mut rest = second.heard().into_iter();
        heard.last_mut().unwrap().extend(rest.next().unwrap());
        heard.extend(rest);
        assert_eq!(sorted(heard), expected, "from {before} to {after} subtasks at {at}");
    }
}
