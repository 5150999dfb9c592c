//! Finds partitions, and gives each to a reader. Brokers are asked by a thread of its own: the control thread, which serves all jobs
//! of its engine, waits for none.
//!
//! 1. Each look is a request to the thread; its answer is taken by one of the calls that follow, a hundredth of a second apart.
//! 2. New partitions go to readers by topic and number, as Flink spreads them: a topic's partitions one after the other, topics
//!    beginning at different readers.
//! 3. A look that no broker answers, and that is not the first, is tried again at the next interval.
//!
//! **Invariants**
//! - A partition is known once it was assigned. What is known is the enumerator's state in checkpoints; where readers are is
//!   theirs.
//! - Positions are resolved once, in the look that finds the partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::lookup::{Known, Lookup};
use super::reach::is_passing;
use super::split::KafkaSplit;
use crate::Result;
use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};
use crate::connector::kafka::native::Client;
use crate::function::{ArchivedState, EnumeratorContext, SplitEnumerator};
use crate::runtime::threads::{NamedThread, spawn_named};
use crate::sync::{Condvar, Mutex, lock, wait};

/// How often to look whether an answer has come.
const ANSWER_INTERVAL: Duration = Duration::from_millis(10);

type Answer = Result<Vec<KafkaSplit>, KafkaError>;

pub(super) struct KafkaEnumerator {
    lookup: Lookup,
    discover_every: Option<Duration>,
    known: Known,
    returned: VecDeque<KafkaSplit>,
    phase: Phase,
    desk: Arc<Desk>,
    thread: Option<NamedThread>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A look is due at the next call.
    Due,
    /// An answer is waited for.
    Asked,
    /// There will be no look any more.
    Done,
}

/// Where control thread and asking thread meet.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DeskState {
    request: Option<Known>,
    answer: Option<Answer>,
    is_over: bool,
}

/// The state as it is archived: has it looked, and topic, partition and topic's id of what is known.
type Stored = (bool, Vec<(String, i32, String)>);

impl KafkaEnumerator {
    pub(super) fn new(lookup: Lookup, discover_every: Option<Duration>) -> Self {
        KafkaEnumerator {
            lookup,
            discover_every,
            known: Known::default(),
            returned: VecDeque::new(),
            phase: Phase::Due,
            desk: Arc::default(),
            thread: None,
        }
    }

    fn ask(&mut self) -> Result<()> {
        if self.thread.is_none() {
            let (lookup, desk) = (self.lookup.clone(), self.desk.clone());
            let name = format!("{} lookup", lookup.brokers.operator);
            self.thread = Some(spawn_named(&name, move || answer_requests(&lookup, &desk))?);
        }
        lock(&self.desk.state).request = Some(self.known.clone());
        self.desk.changed.notify_one();
        self.phase = Phase::Asked;
        Ok(())
    }

    fn take(&mut self, answer: Answer, context: &mut EnumeratorContext<KafkaSplit>) -> Result<()> {
        let found = match answer {
            Ok(found) => found,
            Err(error) if self.known.has_looked && is_passing(&error) => {
                tracing::warn!("no new partitions were looked for, this time: {error}");
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        self.known.has_looked = true;
        for split in found {
            let partition = (split.topic.clone(), split.partition);
            self.known.partitions.insert(partition, split.topic_id.clone());
            if !split.is_read() {
                context.assign_split(owner(&split, context.parallelism()), split);
            }
        }
        self.phase = Phase::Due;
        if self.discover_every.is_none() {
            self.finish(context);
        }
        Ok(())
    }

    /// All partitions were found.
    fn finish(&mut self, context: &mut EnumeratorContext<KafkaSplit>) {
        self.phase = Phase::Done;
        self.stop();
        (0..context.parallelism()).for_each(|subtask| context.signal_no_more_splits(subtask));
    }

    /// Tells the thread to end; it may be waiting for a broker, and nobody waits for it.
    fn stop(&mut self) {
        lock(&self.desk.state).is_over = true;
        self.desk.changed.notify_one();
        self.thread = None;
    }
}

impl SplitEnumerator<KafkaSplit> for KafkaEnumerator {
    fn discover(&mut self, context: &mut EnumeratorContext<KafkaSplit>) -> Result<()> {
        for split in self.returned.drain(..) {
            context.assign_split(owner(&split, context.parallelism()), split);
        }
        match self.phase {
            Phase::Due if self.known.has_looked && self.discover_every.is_none() => {
                // It goes on from a checkpoint, and readers have all there is.
                self.finish(context);
                Ok(())
            }
            Phase::Due => self.ask(),
            Phase::Asked => {
                let answer = lock(&self.desk.state).answer.take();
                answer.map_or(Ok(()), |answer| self.take(answer, context))
            }
            Phase::Done => Ok(()),
        }
    }

    fn discovery_interval(&self) -> Option<Duration> {
        match self.phase {
            Phase::Asked => Some(ANSWER_INTERVAL),
            Phase::Due => self.discover_every,
            Phase::Done => None,
        }
    }

    /// Readers do not ask: partitions are few, and are spread as they are found.
    fn handle_split_request(
        &mut self,
        _: usize,
        _: &mut EnumeratorContext<KafkaSplit>,
    ) -> Result<()> {
        Ok(())
    }

    fn add_splits_back(&mut self, splits: Vec<KafkaSplit>, _: usize) {
        self.returned.extend(splits);
    }

    fn snapshot_state(&self) -> Result<ArchivedState> {
        let known = self
            .known
            .partitions
            .iter()
            .map(|((topic, partition), id)| (topic.clone(), *partition, id.clone()));
        let stored: Stored = (self.known.has_looked, known.collect());
        Ok(ArchivedState::of(&stored)?)
    }

    fn restore_state(&mut self, state: &ArchivedState) -> Result<()> {
        let Some((has_looked, known)) = state.get::<Stored>()? else { return Ok(()) };
        let partitions = known.into_iter().map(|(topic, partition, id)| ((topic, partition), id));
        self.known = Known { partitions: partitions.collect(), has_looked };
        Ok(())
    }
}

impl Drop for KafkaEnumerator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The reader of a partition, by Flink's rule: topics begin at readers drawn by their names, and go round.
fn owner(split: &KafkaSplit, readers: usize) -> usize {
    let hash = split
        .topic
        .bytes()
        .fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    let begin = usize::try_from(hash.wrapping_mul(31) & i32::MAX).unwrap_or(0);
    let partition = usize::try_from(split.partition).unwrap_or(0);
    (begin % readers + partition) % readers
}

/// The thread's body: answers one request after the other.
fn answer_requests(lookup: &Lookup, desk: &Arc<Desk>) {
    let is_over = || lock(&desk.state).is_over;
    // A panic below must not leave the control thread waiting for ever.
    let ending = Ending(desk);
    let mut client: Option<Arc<Client>> = None;
    while let Some(known) = next_request(desk) {
        let answer = match &client {
            Some(client) => lookup.look(client, &known, is_over),
            None => lookup.brokers.client().and_then(|new| {
                lookup.brokers.reach(&new, is_over)?;
                let new = client.insert(new);
                lookup.look(new, &known, is_over)
            }),
        };
        lock(&desk.state).answer = Some(answer);
    }
    drop(ending);
}

fn next_request(desk: &Desk) -> Option<Known> {
    let mut state = lock(&desk.state);
    loop {
        if state.is_over {
            return None;
        }
        match state.request.take() {
            Some(request) => return Some(request),
            None => state = wait(&desk.changed, state),
        }
    }
}

/// Says that the thread has panicked, if it has.
struct Ending<'a>(&'a Desk);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = KafkaError::new(KafkaErrorKind::Client, "the asking thread panicked");
            lock(&self.0.state).answer = Some(Err(error.remedy_is("report this as a mistake")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::source::KafkaSource;
    use crate::function::Assignment;

    /// One that is not bounded and looks each minute, unless told otherwise; nothing is asked.
    fn enumerator(every: Option<Duration>) -> KafkaEnumerator {
        let source = KafkaSource::builder("localhost:1").topics(["t"]);
        KafkaEnumerator::new(source.lookup("test").unwrap(), every)
    }

    /// What an answer makes the enumerator assign: partitions, and `None` for "no more".
    fn answer(
        enumerator: &mut KafkaEnumerator,
        answer: Answer,
    ) -> Result<Vec<(usize, Option<i32>)>, String> {
        let mut context = EnumeratorContext::new(2);
        enumerator.take(answer, &mut context).map_err(|error| error.to_string())?;
        let assigned = context.assignments.into_iter().map(|(subtask, assignment)| {
            (
                subtask,
                match assignment {
                    Assignment::Splits(splits) => Some(splits[0].partition),
                    Assignment::NoMore => None,
                },
            )
        });
        Ok(assigned.collect())
    }

    #[test]
    fn what_is_found_is_assigned_and_known_also_after_a_restart() {
        let minute = Some(Duration::from_secs(60));
        let mut first = enumerator(minute);
        assert!(!first.snapshot_state().unwrap().is_none(), "its state is its own from the start");
        let read = KafkaSplit { end: Some(0), ..split("t", 2) };
        let assigned = answer(&mut first, Ok(vec![split("t", 0), split("t", 1), read])).unwrap();
        let mut partitions: Vec<_> = assigned.iter().map(|(_, partition)| *partition).collect();
        partitions.sort();
        // The third is known, and there is nothing to read of it.
        assert_eq!(partitions, [Some(0), Some(1)]);
        assert_ne!(assigned[0].0, assigned[1].0);
        assert_eq!(first.discovery_interval(), minute);

        let mut second = enumerator(minute);
        second.restore_state(&first.snapshot_state().unwrap()).unwrap();
        assert_eq!(second.known, first.known);
        assert!(second.known.has_looked && second.known.partitions.len() == 3);
    }

    #[test]
    fn without_discovery_the_first_answer_is_the_last() {
        let mut once = enumerator(None);
        let assigned = answer(&mut once, Ok(vec![split("t", 0)])).unwrap();
        assert_eq!(assigned[1..], [(0, None), (1, None)]);
        assert_eq!(once.discovery_interval(), None);
        // After a restart nobody is asked.
        let mut again = enumerator(None);
        again.restore_state(&once.snapshot_state().unwrap()).unwrap();
        let mut context = EnumeratorContext::new(2);
        again.discover(&mut context).unwrap();
        assert!(again.thread.is_none() && context.assignments.len() == 2);
    }

    #[test]
    fn a_later_look_may_fail_for_a_while() {
        let unreachable = || KafkaError::new(KafkaErrorKind::Unreachable, "nobody is there");
        let mut every = enumerator(Some(Duration::from_secs(1)));
        assert!(answer(&mut every, Err(unreachable())).unwrap_err().contains("nobody is there"));
        answer(&mut every, Ok(Vec::new())).unwrap();
        assert_eq!(answer(&mut every, Err(unreachable())), Ok(Vec::new()));
        let gone = super::super::bridge::replaced("t");
        assert!(answer(&mut every, Err(gone)).unwrap_err().contains("created again"));
    }

    fn split(topic: &str, partition: i32) -> KafkaSplit {
        let (topic, topic_id) = (topic.to_owned(), "id".to_owned());
        KafkaSplit { topic, topic_id, partition, position: 0, end: None }
    }

    #[test]
    fn partitions_are_spread_evenly_and_topics_begin_elsewhere() {
        let owners = |topic: &str, count: i32, readers: usize| -> Vec<usize> {
            (0..count).map(|partition| owner(&split(topic, partition), readers)).collect()
        };
        assert_eq!(owners("orders", 6, 1), [0; 6]);
        let four = owners("orders", 8, 4);
        assert!(four.windows(2).all(|two| two[1] == (two[0] + 1) % 4), "{four:?}");
        let begins: std::collections::BTreeSet<usize> =
            (0..20).map(|n| owner(&split(&format!("topic-{n}"), 0), 4)).collect();
        assert!(begins.len() > 2, "{begins:?}");
    }
}
