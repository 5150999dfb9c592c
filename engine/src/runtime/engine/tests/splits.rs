//! Enumerators on the control thread: splits on request, discovery while the job runs, failures.

use super::super::test_jobs::Seen;
use super::*;
use crate::Result;
use crate::function::{
    EnumeratorContext, InputStatus, ReaderContext, Source, SourceCollector, SourceReader,
    SourceSplit, SplitEnumerator,
};

/// A range of numbers.
#[thalweg::record]
#[derive(Clone)]
struct Range(u64, u64);
impl SourceSplit for Range {
    fn split_id(&self) -> String {
        format!("{}..{}", self.0, self.1)
    }
}

#[derive(Clone, Copy, Default)]
struct Ranges {
    /// How many ranges of a hundred there are at the start.
    known: u64,
    /// How many are found later, one a look.
    found_later: u64,
    /// Where the enumerator breaks.
    breaks_in: &'static str,
    panics: bool,
}

struct Enumerator {
    ranges: Ranges,
    next: u64,
    looks: u64,
    hungry: Vec<usize>,
}

impl Ranges {
    fn break_in(&self, place: &str) -> Result<()> {
        match (self.breaks_in == place, self.panics) {
            (true, true) => panic!("broken in {place}"),
            (true, false) => Err(format!("broken in {place}").into()),
            _ => Ok(()),
        }
    }
}

impl Enumerator {
    /// Serves who is hungry with what is known; the end comes when everything was found.
    fn serve(&mut self, context: &mut EnumeratorContext<Range>) {
        let found = (self.looks - 1).min(self.ranges.found_later);
        while let Some(reader) = self.hungry.pop() {
            if self.next < self.ranges.known + found {
                let first = self.next * 100;
                self.next += 1;
                context.assign_split(reader, Range(first, first + 100));
            } else if found == self.ranges.found_later {
                context.signal_no_more_splits(reader);
            } else {
                self.hungry.push(reader);
                return;
            }
        }
    }
}

impl SplitEnumerator<Range> for Enumerator {
    fn discover(&mut self, context: &mut EnumeratorContext<Range>) -> Result<()> {
        self.ranges.break_in("discover")?;
        self.looks += 1;
        self.serve(context);
        Ok(())
    }
    fn discovery_interval(&self) -> Option<Duration> {
        (self.ranges.found_later > 0).then_some(Duration::from_millis(2))
    }
    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<Range>,
    ) -> Result<()> {
        self.ranges.break_in("request")?;
        self.hungry.push(subtask_index);
        self.serve(context);
        Ok(())
    }
    fn add_splits_back(&mut self, _: Vec<Range>, _: usize) {}
}

#[derive(Default)]
struct Reader {
    current: Option<std::ops::Range<u64>>,
    ended: bool,
}

impl Source for Ranges {
    type Out = u64;
    type Split = Range;
    type Reader = Reader;
    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<Range>>>> {
        self.break_in("create")?;
        let (ranges, hungry) = (*self, Vec::new());
        Ok(Some(Box::new(Enumerator { ranges, next: 0, looks: 0, hungry })))
    }
    fn create_reader(&self, _: &ReaderContext) -> Result<Reader> {
        Ok(Reader::default())
    }
}

impl SourceReader for Reader {
    type Out = u64;
    type Split = Range;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, u64>,
    ) -> Result<InputStatus> {
        let Some(range) = &mut self.current else {
            return Ok(match self.ended {
                true => InputStatus::EndOfInput,
                false => InputStatus::NothingAvailable,
            });
        };
        range.by_ref().take(max).for_each(|number| out.collect(number));
        if range.is_empty() {
            self.current = None;
        }
        Ok(InputStatus::MoreAvailable)
    }
    fn add_splits(&mut self, mut splits: Vec<Range>) {
        assert!(self.current.is_none() && splits.len() == 1);
        self.current = splits.pop().map(|range| range.0..range.1);
    }
    fn no_more_splits(&mut self) {
        self.ended = true;
    }
    fn wants_split(&self) -> bool {
        self.current.is_none() && !self.ended
    }
}

fn all_ranges_are_read(shell: ShellKind, ranges: Ranges, parallelism: usize) {
    let (env, seen) = (environment(shell, parallelism), Seen::default());
    env.from_source(ranges, "ranges").rebalance().sink_to(seen.clone());
    env.execute("ranges").unwrap();
    let n = (ranges.known + ranges.found_later) * 100;
    assert_eq!(seen.both(), (n, n * n.saturating_sub(1) / 2));
}

#[test]
fn splits_are_assigned_on_request() {
    for parallelism in [1, 2, 3] {
        for known in [0, 1, 20] {
            let ranges = Ranges { known, ..Ranges::default() };
            all_ranges_are_read(ShellKind::Threads, ranges, parallelism);
        }
    }
}

#[test]
fn splits_found_later_wake_readers_that_sleep() {
    // The efficient profile parks at once, so every split has to get its reader's core up.
    let ranges = Ranges { known: 1, found_later: 5, ..Ranges::default() };
    all_ranges_are_read(ShellKind::Threads, ranges, 2);
    all_ranges_are_read(ShellKind::Auto, ranges, 2);
}

#[test]
fn an_enumerator_that_breaks_fails_its_job_and_nothing_else() {
    let engine = engine(1);
    for breaks_in in ["create", "discover", "request"] {
        for panics in [false, true] {
            let job = engine.submit("broken", |env| {
                let ranges = Ranges { known: 1, breaks_in, panics, ..Ranges::default() };
                env.from_source(ranges, "ranges").for_each(|_| ());
            });
            let Error::Job(failure) = job.unwrap().wait().unwrap_err() else { panic!("a failure") };
            assert_eq!(failure.operator, "ranges (split enumerator)");
            assert_eq!((failure.panicked, failure.cause.is_some()), (panics, !panics));
            let said = if panics { "panicked" } else { "failed" };
            let expected = format!(
                "job 'broken': operator 'ranges (split enumerator)' {said}: broken in {breaks_in}"
            );
            assert_eq!(failure.to_string(), expected);
        }
    }
    let seen = Seen::default();
    let sink = seen.clone();
    let job = engine.submit("whole", |env| {
        let ranges = Ranges { known: 3, ..Ranges::default() };
        env.from_source(ranges, "ranges").sink_to(sink);
    });
    job.unwrap().wait().unwrap();
    assert_eq!(seen.both().0, 300);
}
