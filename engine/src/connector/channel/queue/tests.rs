use super::*;
use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::task::Wake;

/// A waker that counts its calls.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Counted {
    fn calls(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn counted() -> (Arc<Counted>, Waker) {
    let counted = Arc::new(Counted::default());
    (counted.clone(), Waker::from(counted))
}

#[test]
fn a_full_queue_hands_the_record_back() {
    let queue = Queue::new(2);
    assert_eq!(queue.try_push(1), Ok(()));
    assert_eq!(queue.try_push(2), Ok(()));
    assert_eq!(queue.try_push(3), Err(Refused::Full(3)));
    assert_eq!(queue.try_pop(), Ok(1));
    assert_eq!(queue.try_push(3), Ok(()));
    queue.close_consumer();
    assert_eq!(queue.try_push(4), Err(Refused::Closed(4)));
    assert_eq!(queue.push_blocking(5), Err(5));
}

#[test]
fn capacity_zero_counts_as_one() {
    let queue = Queue::new(0);
    assert_eq!((queue.capacity(), queue.try_push(1)), (1, Ok(())));
    assert_eq!(queue.try_push(2), Err(Refused::Full(2)));
}

#[test]
fn a_batch_is_bounded_and_says_what_is_left() {
    let queue = Queue::new(8);
    (0..5).for_each(|n| queue.try_push(n).unwrap());
    let mut batch = VecDeque::new();
    assert_eq!(queue.take_batch(3, &mut batch), Left::More);
    assert_eq!(batch, [0, 1, 2]);
    assert_eq!(queue.take_batch(3, &mut batch), Left::Nothing);
    assert_eq!(batch, [0, 1, 2, 3, 4]);
    queue.try_push(5).unwrap();
    queue.close_producers();
    batch.clear();
    assert_eq!(queue.take_batch(3, &mut batch), Left::Ended);
    assert_eq!(batch, [5]);
    assert_eq!(queue.take_batch(3, &mut batch), Left::Ended);
}

#[test]
fn futures_that_wait_for_room_are_woken_in_order_and_pass_it_on() {
    let queue = Queue::new(1);
    queue.try_push(0).unwrap();
    let wait = |record| {
        let (count, waker) = counted();
        let (mut record, mut ticket) = (Some(record), None);
        let mut context = Context::from_waker(&waker);
        assert!(queue.poll_push(&mut record, &mut ticket, &mut context).is_pending());
        (count, waker, record, ticket)
    };
    let (first, .., first_ticket) = wait(1);
    let (second, second_waker, mut record, mut second_ticket) = wait(2);
    assert_eq!(queue.try_pop(), Ok(0));
    assert_eq!((first.calls(), second.calls()), (1, 0));
    // The first one gives up without using its turn.
    queue.stop_waiting(first_ticket.unwrap());
    assert_eq!(second.calls(), 1);
    let mut context = Context::from_waker(&second_waker);
    let sent = queue.poll_push(&mut record, &mut second_ticket, &mut context);
    assert_eq!(sent, Poll::Ready(Ok(())));
    assert_eq!((record, queue.try_pop()), (None, Ok(2)));
}

/// Leaves first from the middle, then from the ends; a poll again goes to the end of the line.
#[test]
fn futures_leave_the_line_from_anywhere() {
    let queue = Queue::new(1);
    queue.try_push(0).unwrap();
    let mut waiting: Vec<_> = (1..=5).map(|record| (Some(record), None, counted())).collect();
    let poll = |(record, ticket, (_, waker)): &mut (Option<i32>, Option<WaitTicket>, _)| {
        queue.poll_push(record, ticket, &mut Context::from_waker(waker))
    };
    assert!(waiting.iter_mut().all(|future| poll(future).is_pending()));
    for record in [3, 1, 5] {
        queue.stop_waiting(waiting[record - 1].1.unwrap());
    }
    assert!(poll(&mut waiting[1]).is_pending());
    let woken = |waiting: &[(_, _, (Arc<Counted>, _))]| {
        waiting.iter().map(|(_, _, (count, _))| count.calls()).collect::<Vec<_>>()
    };
    queue.try_pop().unwrap();
    assert_eq!(woken(&waiting), [0, 0, 0, 1, 0]);
    assert!(poll(&mut waiting[3]).is_ready());
    queue.try_pop().unwrap();
    assert_eq!(woken(&waiting), [0, 1, 0, 1, 0]);
}

#[test]
fn a_core_that_waits_for_room_is_called_when_half_is_free() {
    let queue = Queue::new(4);
    let core = Arc::new(CoreWaker::new());
    let mut records: VecDeque<_> = (0..6).collect();
    assert!(queue.push_batch(&mut records, &core));
    assert_eq!(records, [4, 5]);
    core.raise();
    queue.try_pop().unwrap();
    assert!(core.is_raised());
    queue.try_pop().unwrap();
    assert!(!core.is_raised(), "two of four are free");
    queue.close_consumer();
    assert!(!queue.push_batch(&mut records, &core));
}

#[test]
fn a_sleeping_core_is_called_for_a_record_and_for_the_end() {
    let queue = Queue::new(4);
    let core = Arc::new(CoreWaker::new());
    queue.set_receiving_core(Some(core.clone()));
    core.raise();
    queue.try_push(1).unwrap();
    assert!(!core.is_raised());
    core.raise();
    queue.close_producers();
    assert!(!core.is_raised());
}

#[test]
fn a_receiving_future_is_woken() {
    let queue = Queue::new(4);
    let (count, waker) = counted();
    let mut context = Context::from_waker(&waker);
    assert!(queue.poll_pop(&mut context).is_pending());
    queue.try_push(7).unwrap();
    assert_eq!((count.calls(), queue.poll_pop(&mut context)), (1, Poll::Ready(Some(7))));
    assert!(queue.poll_pop(&mut context).is_pending());
    queue.close_producers();
    assert_eq!((count.calls(), queue.poll_pop(&mut context)), (2, Poll::Ready(None)));
}

/// Runs a future on this thread.
fn block_on<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Blocking and asynchronous producers against a consumer that takes batches: nothing is lost, nothing twice, each in order.
#[test]
fn many_producers_of_both_kinds_lose_nothing() {
    const EACH: u64 = 3_000;
    const PRODUCERS: u64 = 4;
    let queue = Queue::new(7);
    let mut last = [0; PRODUCERS as usize];
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let queue = &queue;
            scope.spawn(move || {
                for n in 1..=EACH {
                    let record = (producer, n);
                    if producer % 2 == 0 {
                        queue.push_blocking(record).unwrap();
                        continue;
                    }
                    let (mut record, mut ticket) = (Some(record), None);
                    let sent =
                        poll_fn(|context| queue.poll_push(&mut record, &mut ticket, context));
                    block_on(sent).unwrap();
                }
            });
        }
        let mut batch = VecDeque::new();
        while last.iter().any(|n| *n < EACH) {
            queue.take_batch(5, &mut batch);
            for (producer, n) in batch.drain(..) {
                assert_eq!(n, last[producer as usize] + 1);
                last[producer as usize] = n;
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(last, [EACH; PRODUCERS as usize]);
}

#[test]
fn a_blocked_sender_and_a_blocked_receiver_learn_of_the_end() {
    let queue = Queue::new(1);
    queue.try_push(1).unwrap();
    let (sender, outcome) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(queue.push_blocking(2)));
        while lock(&queue.state).blocked_senders == 0 {
            std::thread::yield_now();
        }
        queue.close_consumer();
        assert_eq!(outcome.recv(), Ok(Err(2)));
    });
    let queue = Queue::<u32>::new(1);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| queue.pop_blocking());
        queue.close_producers();
        assert_eq!(receiver.join().unwrap(), None);
    });
}
