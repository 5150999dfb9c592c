use super::*;
use crate::connector::channel::{SendError, TrySendError};
use crate::connector::test_support::SourceDriver;

#[test]
fn records_come_in_order_and_end_with_the_last_sender() {
    let (sender, source) = source_channel(4);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!(driver.poll(8).unwrap(), InputStatus::NothingAvailable);
    let other = sender.clone();
    sender.try_send(1).unwrap();
    other.try_send(2).unwrap();
    drop(sender);
    assert_eq!(driver.poll(1).unwrap(), InputStatus::MoreAvailable);
    drop(other);
    assert_eq!(driver.poll(8).unwrap(), InputStatus::EndOfInput);
    assert_eq!(driver.take(), [1, 2]);
}

#[test]
fn senders_on_threads_are_held_back_and_lose_nothing() {
    let (sender, source) = source_channel(16);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    let count = 4 * 5_000;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sender = sender.clone();
            scope.spawn(move || {
                for n in 0..5_000 {
                    sender.blocking_send(thread * 5_000 + n).unwrap();
                }
            });
        }
        drop(sender);
        let mut all = driver.drain(64).unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..count).collect::<Vec<_>>());
    });
}

#[test]
fn senders_learn_that_the_job_is_gone() {
    let (sender, source) = source_channel(1);
    let driver = SourceDriver::start(&source, 1).unwrap();
    assert!(!sender.is_closed());
    drop(driver);
    assert!(sender.is_closed());
    assert_eq!(sender.try_send("x"), Err(TrySendError::Closed("x")));
    assert_eq!(sender.blocking_send("y"), Err(SendError("y")));
    let (sender, source) = source_channel::<u8>(1);
    drop(source);
    assert!(sender.is_closed(), "a plan that never ran");
}

#[test]
fn a_plan_that_is_dropped_while_its_reader_lives_closes_nothing() {
    let (sender, source) = source_channel(1);
    let driver = SourceDriver::start(&source, 1).unwrap();
    drop(source);
    sender.try_send(1).unwrap();
    drop(driver);
    assert!(sender.is_closed());
}

#[test]
fn a_source_has_one_reader_and_one_run() {
    let (_sender, source) = source_channel::<u8>(1);
    let refused = |source: &ChannelSource<u8>| {
        let error = SourceDriver::start(source, 1).err().expect("refused");
        error.downcast::<ChannelSourceError>().map(|error| *error).unwrap()
    };
    let driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!(refused(&source), ChannelSourceError::InUse { reader: "test source".to_owned() });
    drop(driver);
    assert_eq!(refused(&source), ChannelSourceError::Closed);
}

#[test]
fn a_source_kept_open_goes_on_with_the_next_reader() {
    let (sender, source) = source_channel(4);
    let source = source.keep_open_for_restarts();
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    sender.try_send(1).unwrap();
    driver.poll(8).unwrap();
    drop(driver);
    sender.try_send(2).unwrap();
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    driver.poll(8).unwrap();
    assert_eq!(driver.take(), [2]);
    drop((driver, source));
    assert!(sender.is_closed());
}
