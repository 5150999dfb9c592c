use super::*;
use crate::connector::channel::TryRecvError;
use crate::connector::test_support::SinkDriver;

#[test]
fn a_full_channel_holds_the_job_back() {
    let (sink, mut receiver) = sink_channel(2);
    let mut driver = SinkDriver::open(sink, 0, 1).unwrap();
    assert_eq!(driver.write([1, 2]).unwrap(), SinkStatus::Ready);
    assert_eq!(driver.write([3, 4, 5]).unwrap(), SinkStatus::Full);
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(driver.write([]).unwrap(), SinkStatus::Full);
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(2), Ok(3)));
    assert_eq!(driver.write([]).unwrap(), SinkStatus::Ready);
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(4), Ok(5)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    driver.end().unwrap();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn the_end_is_when_all_subtasks_have_finished() {
    let (sink, mut receiver) = sink_channel(8);
    let mut drivers: Vec<_> =
        (0..3).map(|index| SinkDriver::open(sink.clone(), index, 3).unwrap()).collect();
    for driver in &mut drivers {
        driver.write(["x"]).unwrap();
    }
    drivers.pop().unwrap().end().unwrap();
    drivers.pop().unwrap().end().unwrap();
    for _ in 0..3 {
        assert_eq!(receiver.try_recv(), Ok("x"));
    }
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drivers.pop().unwrap().end().unwrap();
    assert_eq!(receiver.blocking_recv(), None);
    let again = SinkDriver::open::<&str>(sink, 0, 1).err().expect("refused");
    assert_eq!(again.downcast_ref(), Some(&ChannelSinkError::Closed));
}

#[test]
fn a_subtask_that_fails_ends_the_channel_unless_it_is_kept_open() {
    let (sink, mut receiver) = sink_channel(8);
    let mut driver = SinkDriver::open(sink, 0, 1).unwrap();
    driver.write([1]).unwrap();
    driver.sink.close().unwrap();
    assert_eq!((receiver.blocking_recv(), receiver.blocking_recv()), (Some(1), None));

    let (sink, mut receiver) = sink_channel(8);
    let sink = sink.keep_open_for_restarts();
    let mut driver = SinkDriver::open(sink.clone(), 0, 1).unwrap();
    driver.sink.close().unwrap();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    let mut driver = SinkDriver::open(sink, 0, 1).unwrap();
    driver.write([2]).unwrap();
    driver.end().unwrap();
    assert_eq!((receiver.blocking_recv(), receiver.blocking_recv()), (Some(2), None));
}

#[test]
fn a_plan_that_is_dropped_ends_the_channel_and_a_dropped_receiver_fails_the_job() {
    let (sink, mut receiver) = sink_channel::<u8>(8);
    drop(sink);
    assert_eq!(receiver.blocking_recv(), None);

    let (sink, receiver) = sink_channel(8);
    let mut driver = SinkDriver::open(sink, 0, 1).unwrap();
    drop(receiver);
    let error = driver.write([1]).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&ChannelSinkError::ReceiverDropped));
    driver.sink.close().unwrap();
}
