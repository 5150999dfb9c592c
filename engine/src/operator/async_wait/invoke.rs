//! How requests are made: by a callback function, or by futures that are polled on the core.
//!
//! A future is polled when its request begins, and again whenever its waker was called: the waker leaves the future's
//! slot in a mailbox and gets the core up. So any executor's channels, handles and timers work, and none is needed here.
//!
//! **Invariants**
//! - A future is polled only after its waker was called since the last poll, or for the first time.
//! - A slot keeps its allocation and its waker for the next future; a stale wake-up costs a poll that finds
//!   nothing new.

use crate::Result;
use crate::function::{
    Answer, AsyncError, AsyncFunction, Message, ResultFuture, RuntimeContext, Ticket,
};
use crate::operator::async_wait::Mailbox;
use crate::state::StateValue;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Makes requests. All of it is user code, but for what is around futures.
pub(crate) trait Invoke: 'static {
    /// Requests in flight are in checkpoints by their records.
    type In: StateValue;
    type Out: Send + 'static;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()>;
    fn close(&mut self) -> Result<()>;
    /// Begins an attempt. Some requests are answered at once.
    fn invoke(
        &mut self,
        record: &Self::In,
        ticket: Ticket,
        answers: &Arc<Mailbox<Message<Self::Out>>>,
    ) -> Result<Option<Answer<Self::Out>>>;
    /// A request has taken too long.
    fn timeout(
        &mut self,
        record: &Self::In,
        ticket: Ticket,
        answers: &Arc<Mailbox<Message<Self::Out>>>,
    ) -> Result<Option<Answer<Self::Out>>>;
    /// Requests whose answers are made on the core and may be ready; to `into`, which is empty. No user code.
    fn take_ready(&mut self, _into: &mut Vec<Ticket>) {}
    /// Looks for the answer of one of them.
    fn poll(&mut self, _ticket: Ticket) -> Option<Answer<Self::Out>> {
        None
    }
    /// Nobody waits for the request's answer any more.
    fn abandon(&mut self, _ticket: Ticket) {}
}

/// An [`AsyncFunction`].
#[derive(Clone)]
pub(crate) struct Callback<F>(pub(crate) F);

impl<F: AsyncFunction<In: StateValue>> Invoke for Callback<F> {
    type In = F::In;
    type Out = F::Out;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    fn invoke(
        &mut self,
        record: &F::In,
        ticket: Ticket,
        answers: &Arc<Mailbox<Message<F::Out>>>,
    ) -> Result<Option<Answer<F::Out>>> {
        self.0.invoke(record, ResultFuture::new(ticket, answers))?;
        Ok(None)
    }
    fn timeout(
        &mut self,
        record: &F::In,
        ticket: Ticket,
        answers: &Arc<Mailbox<Message<F::Out>>>,
    ) -> Result<Option<Answer<F::Out>>> {
        self.0.timeout(record, ResultFuture::new(ticket, answers))?;
        Ok(None)
    }
}

/// A closure that makes a future of each record.
pub(crate) struct Futures<F, Fut, T> {
    function: F,
    slots: Vec<FutureSlot<Fut>>,
    /// Slots whose wakers were called. Made when the first future is.
    ready: Option<Arc<Mailbox<u32>>>,
    taken: Vec<u32>,
    record: PhantomData<fn(T)>,
}

struct FutureSlot<Fut> {
    future: Pin<Box<Option<Fut>>>,
    ticket: Ticket,
    waker: Waker,
    woken: Arc<SlotWaker>,
}

struct SlotWaker {
    slot: u32,
    /// Set by whoever wakes, cleared by the core before it polls: between the two, one message is enough.
    is_woken: AtomicBool,
    ready: Arc<Mailbox<u32>>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the waker's owner did before is seen by the poll, which acquires when it clears the flag.
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.ready.post(self.slot);
        }
    }
}

impl<F, Fut, T> Futures<F, Fut, T> {
    pub(crate) fn new(function: F) -> Self {
        let (slots, taken) = (Vec::new(), Vec::new());
        Futures { function, slots, ready: None, taken, record: PhantomData }
    }
}

impl<F: Clone, Fut, T> Clone for Futures<F, Fut, T> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<Fut> FutureSlot<Fut> {
    fn new(slot: u32, ticket: Ticket, ready: &Arc<Mailbox<u32>>) -> Self {
        let woken = SlotWaker { slot, is_woken: AtomicBool::new(false), ready: ready.clone() };
        let woken = Arc::new(woken);
        FutureSlot { future: Box::pin(None), ticket, waker: woken.clone().into(), woken }
    }
}

impl<Fut: Future> FutureSlot<Fut> {
    /// Polls the future, if there is one; when it is ready, it is dropped.
    fn poll(&mut self) -> Option<Fut::Output> {
        self.woken.is_woken.swap(false, Ordering::AcqRel);
        let future = self.future.as_mut().as_pin_mut()?;
        match future.poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(output) => {
                self.future.set(None);
                Some(output)
            }
            Poll::Pending => None,
        }
    }
}

/// A future's output as an answer.
fn answer_of<U>(output: Result<U>) -> Answer<U> {
    output.map_or_else(Answer::Failed, Answer::One)
}

impl<F, Fut, T, U> Invoke for Futures<F, Fut, T>
where
    F: FnMut(T) -> Fut + 'static,
    Fut: Future<Output = Result<U>> + 'static,
    T: StateValue + Clone,
    U: Send + 'static,
{
    type In = T;
    type Out = U;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.ready = Some(Mailbox::new(context.waker().clone()));
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        // Futures go with the operator, as user code of it.
        self.slots.clear();
        Ok(())
    }
    fn invoke(
        &mut self,
        record: &T,
        ticket: Ticket,
        _: &Arc<Mailbox<Message<U>>>,
    ) -> Result<Option<Answer<U>>> {
        let future = (self.function)(record.clone());
        let ready = self.ready.as_ref().ok_or("futures are made after open")?;
        while self.slots.len() <= ticket.slot as usize {
            self.slots.push(FutureSlot::new(self.slots.len() as u32, ticket, ready));
        }
        let slot = &mut self.slots[ticket.slot as usize];
        slot.future.set(Some(future));
        slot.ticket = ticket;
        Ok(slot.poll().map(answer_of))
    }
    fn timeout(
        &mut self,
        _: &T,
        ticket: Ticket,
        _: &Arc<Mailbox<Message<U>>>,
    ) -> Result<Option<Answer<U>>> {
        self.abandon(ticket);
        Ok(Some(Answer::Failed(AsyncError::TimedOut.into())))
    }
    #[inline]
    fn take_ready(&mut self, into: &mut Vec<Ticket>) {
        let Futures { slots, ready, taken, .. } = self;
        if let Some(ready) = ready {
            ready.take(taken);
            into.extend(taken.drain(..).map(|slot| slots[slot as usize].ticket));
        }
    }
    fn poll(&mut self, ticket: Ticket) -> Option<Answer<U>> {
        self.slots[ticket.slot as usize].poll().map(answer_of)
    }
    fn abandon(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(ticket.slot as usize)
            && slot.ticket.number == ticket.number
        {
            slot.future.set(None);
        }
    }
}
