use super::*;
use crate::buffer::BufferPool;
use crate::ring::{Wake, WriteBytes};
use crate::storage::uring::file::{Descriptors, WriterLink};
use crate::storage::uring::staging::{Staging, TailLayout};

fn lane() -> Lane {
    let plain = Arc::new(tempfile::tempfile().unwrap());
    let descriptors = Descriptors { plain, direct: None };
    let queue = Arc::new(CommandQueue::new(Wake::new().unwrap()));
    let link = WriterLink { queue, pool: Arc::new(BufferPool::new(1, 4096).unwrap()) };
    let staging = Staging::new(TailLayout::Exact, 0, Vec::new());
    let path = std::path::Path::new("a");
    Lane::new(&Arc::new(OpenFile::new(1, path, descriptors, link, staging, u64::MAX)))
}

fn job(sequence: u64) -> WriteJob {
    let bytes = WriteBytes::Small([7; 8].into());
    WriteJob {
        sequence,
        bytes,
        part: 0..8,
        offset: sequence * 8,
        is_aligned: false,
        ends_in_tail: false,
        attempt_count: 0,
    }
}

#[test]
fn decides_what_comes_next() {
    use LaneSync::{InFlight, None, Wanted};

    let check = |job_count, in_flight_count, sync, room, expected| {
        let mut lane = lane();
        (0..job_count).for_each(|sequence| lane.queue(job(sequence)));
        (lane.in_flight_count, lane.sync) = (in_flight_count, sync);
        assert_eq!(lane.next_step(room), expected, "{job_count} {in_flight_count} {sync:?} {room}");
        lane.tail_in_flight = true;
        assert_eq!(lane.next_step(room), Step::Rest, "the next job may write the tail's block");
    };
    check(0, 0, None, 8, Step::Rest);
    check(1, 0, None, 8, Step::Write);
    check(1, 3, None, 8, Step::Write);
    check(1, 0, None, 0, Step::Rest);
    check(1, 0, InFlight, 8, Step::Rest);
    check(0, 0, Wanted, 1, Step::Chain);
    check(0, 0, Wanted, 0, Step::Rest);
    check(2, 0, Wanted, 3, Step::Chain);
    check(2, 0, Wanted, 2, Step::Rest);
    check(3, 0, Wanted, 8, Step::Write);
    check(2, 1, Wanted, 8, Step::Write);
    check(0, 1, Wanted, 8, Step::Rest);
}

#[test]
fn a_sync_is_dropped_once_nothing_of_its_lane_is_with_the_kernel() {
    let mut lane = lane();
    lane.sync = LaneSync::Wanted;
    lane.has_failed = true;
    lane.in_flight_count = 1;
    assert_eq!(lane.next_step(8), Step::Rest);
    lane.in_flight_count = 0;
    assert_eq!(lane.next_step(0), Step::DropSync);
}

#[test]
fn jobs_that_come_back_keep_their_order() {
    let mut lane = lane();
    for sequence in [3, 1, 4, 2] {
        lane.queue(job(sequence));
    }
    let sequences: Vec<_> = lane.jobs.iter().map(|job| job.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}
