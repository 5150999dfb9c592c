use super::*;
use crate::connector::source::{SequenceSource, SequenceSplit};
use crate::function::ReaderContext;

struct Made<S: SourceSplit> {
    coordinator: Box<dyn SourceCoordinator>,
    mailboxes: Vec<Arc<SplitMailbox<S>>>,
}

impl<S: SourceSplit> Made<S> {
    fn of(source: impl Source<Split = S>, parallelism: usize) -> Self {
        let factory = SourceCoordinatorFactory::new(NodeId(0), Arc::new(source));
        let poster: RequestPoster = Arc::new(|_, _| {});
        let (coordinator, mailboxes) = factory.make(parallelism, poster).unwrap().unwrap();
        let typed = |mailbox: Box<dyn Any + Send + Sync>| mailbox.downcast_ref::<Arc<_>>().cloned();
        let mailboxes = mailboxes.into_iter().map(|mailbox| typed(mailbox).unwrap()).collect();
        Made { coordinator, mailboxes }
    }

    /// Ids of the splits that each reader has got, and "none" for no more.
    fn mail(&self, barriers: u64) -> Vec<Vec<String>> {
        let text = |assignment| match assignment {
            Assignment::Splits(splits) => splits.iter().map(S::split_id).collect(),
            Assignment::NoMore => vec!["none".to_owned()],
        };
        let all = self.mailboxes.iter().map(|mailbox| mailbox.take(barriers));
        all.map(|mail| mail.into_iter().flat_map(text).collect()).collect()
    }
}

#[test]
fn fixed_splits_are_assigned_once_across_a_restart() {
    let first = &mut Made::of(SequenceSource::new(0..=99), 2);
    let before = first.coordinator.snapshot().unwrap();
    first.coordinator.discover().unwrap();
    assert_eq!(first.mail(0), [["stretch 0", "none"], ["stretch 1", "none"]]);
    let after = first.coordinator.snapshot().unwrap();

    let mut unassigned = Made::of(SequenceSource::new(0..=99), 2);
    unassigned.coordinator.restore(&before).unwrap();
    unassigned.coordinator.discover().unwrap();
    assert_eq!(unassigned.mail(0), [["stretch 0", "none"], ["stretch 1", "none"]]);

    let mut assigned = Made::of(SequenceSource::new(0..=99), 3);
    assigned.coordinator.restore(&after).unwrap();
    assigned.coordinator.discover().unwrap();
    assert_eq!(assigned.mail(0), [[""; 0]; 3]);
    (0..3).for_each(|subtask| assigned.coordinator.on_request(subtask).unwrap());
    assert_eq!(assigned.mail(0), [["none"]; 3]);
}

/// Keeps no state: finds one split more each time.
struct Growing(u64);

impl SplitEnumerator<SequenceSplit> for Growing {
    fn discover(&mut self, context: &mut EnumeratorContext<SequenceSplit>) -> Result<()> {
        let found = self.0;
        self.0 += 1;
        for index in if found == 0 { 0..3 } else { found + 2..found + 3 } {
            context.assign_split(index as usize, SequenceSplit { index, next: 0, last: 9 });
        }
        Ok(())
    }
    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<SequenceSplit>,
    ) -> Result<()> {
        context.signal_no_more_splits(subtask_index);
        Ok(())
    }
    fn add_splits_back(&mut self, _: Vec<SequenceSplit>, _: usize) {}
}

struct GrowingSource;

impl Source for GrowingSource {
    type Out = i64;
    type Split = SequenceSplit;
    type Reader = <SequenceSource as Source>::Reader;
    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<SequenceSplit>>>> {
        Ok(Some(Box::new(Growing(0))))
    }
    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader> {
        SequenceSource::new(0..=0).create_reader(context)
    }
}

#[test]
fn an_enumerator_without_state_assigns_nothing_twice() {
    let first = &mut Made::of(GrowingSource, 1);
    first.coordinator.discover().unwrap();
    first.coordinator.discover().unwrap();
    let found = ["stretch 0", "stretch 1", "stretch 2", "stretch 3"];
    assert_eq!(first.mail(0), [found]);
    let bytes = first.coordinator.snapshot().unwrap();

    let second = &mut Made::of(GrowingSource, 1);
    second.coordinator.restore(&bytes).unwrap();
    second.coordinator.discover().unwrap();
    second.coordinator.discover().unwrap();
    assert_eq!(second.mail(0), [[""; 0]]);
    second.coordinator.discover().unwrap();
    second.coordinator.on_request(0).unwrap();
    assert_eq!(second.mail(0), [["stretch 4", "none"]]);
    // And once more.
    let bytes = second.coordinator.snapshot().unwrap();
    let third = &mut Made::of(GrowingSource, 1);
    third.coordinator.restore(&bytes).unwrap();
    (0..4).for_each(|_| third.coordinator.discover().unwrap());
    assert_eq!(third.mail(0), [["stretch 5"]]);
}

#[test]
fn what_is_assigned_after_a_checkpoint_began_is_read_behind_its_barrier() {
    let made = &mut Made::of(GrowingSource, 1);
    made.coordinator.discover().unwrap();
    made.coordinator.begin_barrier();
    made.coordinator.discover().unwrap();
    assert_eq!(made.mail(0), [["stretch 0", "stretch 1", "stretch 2"]]);
    assert_eq!(made.mail(0), [[""; 0]]);
    assert_eq!(made.mail(1), [["stretch 3"]]);
}

#[test]
fn a_damaged_state_is_refused() {
    let made = &mut Made::of(SequenceSource::new(0..=9), 1);
    let error = made.coordinator.restore(&[1, 2, 3]).unwrap_err().to_string();
    assert!(
        error.starts_with("the state of the split enumerator cannot be restored: it has 3"),
        "{error}"
    );
    let other = to_bytes(&7_u64).unwrap();
    let error = made.coordinator.restore(&other).unwrap_err().to_string();
    assert!(error.contains("and was u64"), "{error}");
}
