//! Asynchronous I/O: requests that are answered later, with the stream's order kept.
//!
//! 1. A record becomes a request, unless there are as many as the capacity allows; then it waits, and the operator answers
//!    `Blocked` until it no longer has to.
//! 2. Answers come by mail from any thread, or from futures polled here. An answer may begin a retry; if not, the request
//!    waits for its turn in the queue.
//! 3. What is next in the queue leaves: results with their record's timestamp, controls where they came. Every control but
//!    a barrier waits its turn: watermarks because results must not become late, statuses because watermarks behind an idle
//!    one would be lost.
//! 4. Timeouts and delays of retries are times of the core's clock.
//! 5. A barrier passes at once. The checkpoint has the records whose results have not left, and the controls among them, in
//!    order ([`in_flight`]); after a restart these go first, and every request is made anew: attempts and timeouts begin
//!    again. The barrier of the last checkpoint waits its turn like other controls, since results behind it would be
//!    lost, and ends retries.
//!
//! **Invariants**
//! - There are never more requests (and controls between them) than the capacity, and no more waiting records than the owner
//!   pushes between two drives.
//! - A control leaves only after a drive of what is downstream that answered `Ready`.
//! - A record counts as in flight, and could be asked for again after a failure, until all its results have left.

mod in_flight;
mod invoke;
mod mailbox;
mod queue;
mod requests;

pub(crate) use invoke::{Callback, Futures, Invoke};
pub(crate) use mailbox::Mailbox;

use crate::function::{Answer, AsyncError, Message, Settings, Ticket};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::pieces::Piece;
use crate::operator::{Flow, Push, StageContext};
use crate::record::{CheckpointId, Control};
use crate::{BoxError, Result};
use in_flight::{InFlight, InFlightPiece, Said, StoredInFlight};
use queue::{Next, Queue};
use requests::{Request, Requests, State, Timer, Timers};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Results that leave in one step.
const STEP: usize = 512;

/// The name of the piece.
const PIECE: &str = "requests";

/// What comes after the requests.
enum Waiting<T> {
    /// With timestamp and position.
    Record((T, i64, u64)),
    /// From a checkpoint, where it lay between records.
    Control(Control),
}

/// See the module docs.
pub(crate) struct AsyncWait<I: Invoke, D> {
    function: Opened<I>,
    next: D,
    settings: Settings<I::In, I::Out>,
    requests: Requests<I::In, I::Out>,
    queue: Queue,
    timers: Timers,
    answers: Arc<Mailbox<Message<I::Out>>>,
    /// Kept for its memory, as is `ready`.
    mail: Vec<Message<I::Out>>,
    ready: Vec<Ticket>,
    /// Records beyond the capacity, and what comes from a checkpoint.
    waiting: VecDeque<Waiting<I::In>>,
    /// The results of a request that have not left yet.
    leaving: Option<(std::vec::IntoIter<I::Out>, i64)>,
    /// The end has been taken.
    has_ended: bool,
    /// The last barrier or the end has been taken.
    has_no_retries: bool,
    /// What has left of time.
    said: Said,
    piece: Piece,
    stage: Rc<StageContext>,
}

impl<I: Invoke, D: Push<I::Out>> AsyncWait<I, D> {
    pub(crate) fn open(
        function: I,
        is_ordered: bool,
        settings: Settings<I::In, I::Out>,
        next: D,
        (context, node): (&BuildContext, NodeId),
    ) -> Result<Self> {
        let stage = &context.stage;
        let function = Opened::open(function, stage, node, I::open, I::close)?;
        let mut operator = AsyncWait {
            function,
            next,
            settings,
            requests: Requests::default(),
            queue: Queue::new(is_ordered),
            timers: Timers::default(),
            answers: Mailbox::new(stage.task.core.waker.clone()),
            mail: Vec::new(),
            ready: Vec::new(),
            waiting: VecDeque::new(),
            leaving: None,
            has_ended: false,
            has_no_retries: false,
            said: Said::default(),
            piece: context.piece(node, PIECE),
            stage: stage.clone(),
        };
        operator.restore(context, node)?;
        Ok(operator)
    }

    /// Goes on from a checkpoint, if there is one: what was in flight waits to be begun.
    fn restore(&mut self, context: &BuildContext, node: NodeId) -> Result {
        let (subtask, parallelism) = (context.stage.subtask, context.stage.parallelism);
        let stored = context.restored_values_since(node, PIECE, in_flight::upgraded)?.into_iter();
        let pieces = stored.enumerate().map(|(subtask, stored)| {
            InFlightPiece::from_stored(stored)
                .map_err(|cause| context.piece_error(node, (PIECE, subtask), cause.into()))
        });
        let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
        let Some(piece) = InFlightPiece::share(pieces, subtask, parallelism) else { return Ok(()) };
        self.said = piece.said;
        self.waiting.extend(piece.entries.into_iter().map(|entry| match entry {
            // The record is none of those that this run has read.
            InFlight::Record(record, timestamp) => Waiting::Record((record, timestamp, 0)),
            InFlight::Watermark(ms) => Waiting::Control(Control::Watermark(ms)),
            InFlight::Status(status) => Waiting::Control(Control::Status(status)),
        }));
        Ok(())
    }

    /// What is in flight, in order.
    fn in_flight(&self) -> Result<StoredInFlight> {
        debug_assert!(self.leaving.is_none(), "a barrier comes when no result is ready to leave");
        let mut stored = in_flight::begin::<I::In>(self.said);
        let mut controls = self.queue.controls_in_order().peekable();
        for request in self.requests.in_order() {
            while let Some((_, control)) = controls.next_if(|(at, _)| *at < request.queue_number) {
                in_flight::store_control(control, &mut stored);
            }
            in_flight::store_record(&request.record, request.timestamp, &mut stored)?;
        }
        controls.for_each(|(_, control)| in_flight::store_control(control, &mut stored));
        for waiting in &self.waiting {
            match waiting {
                Waiting::Record((record, timestamp, _)) => {
                    in_flight::store_record(record, *timestamp, &mut stored)?;
                }
                Waiting::Control(control) => in_flight::store_control(*control, &mut stored),
            }
        }
        Ok(stored)
    }

    #[cold]
    fn deliver(&mut self, checkpoint: CheckpointId) {
        match self.in_flight() {
            Ok(stored) => self.piece.deliver_value(checkpoint, &stored),
            Err(error) => self.piece.decline(checkpoint, error),
        }
    }

    /// Hands a control on, downstream being ready.
    fn pass_on(&mut self, control: Control) {
        if let Control::Barrier(barrier) = control {
            self.deliver(barrier.checkpoint);
        }
        self.said.note(control);
        self.next.control(control);
    }

    fn now_ms(&self) -> i64 {
        self.stage.task.core.now_ms.get()
    }

    fn is_full(&self) -> bool {
        let requests = self.requests.len();
        requests > 0 && requests + self.queue.controls() >= self.settings.capacity
    }

    /// Runs user code for a request, which an error or panic names.
    fn call<R>(
        function: &mut Opened<I>,
        position: u64,
        code: impl FnOnce(&mut I) -> Result<R>,
    ) -> Option<R> {
        let stage = function.stage().clone();
        let at_hand = stage.position.replace(position);
        let result = function.call(code);
        stage.position.set(at_hand);
        result
    }

    fn begin(&mut self, record: (I::In, i64, u64)) {
        let queue = &mut self.queue;
        let slot = self.requests.add(record, |slot| queue.add_request(slot));
        if let Some(timeout_ms) = self.settings.timeout_ms {
            let at_ms = self.now_ms().saturating_add(timeout_ms);
            let ticket = self.requests.at(slot).ticket;
            self.timers.set(Timer { at_ms, ticket, is_retry: false }, &self.requests);
        }
        self.attempt(slot);
    }

    fn attempt(&mut self, slot: u32) {
        let request = self.requests.at(slot);
        request.attempts += 1;
        request.ticket.turn += 1;
        request.first_turn = request.ticket.turn;
        request.state = State::Running;
        let (ticket, position, answers) = (request.ticket, request.position, &self.answers);
        let record = &request.record;
        let answer =
            Self::call(&mut self.function, position, |f| f.invoke(record, ticket, answers));
        if let Some(Some(answer)) = answer {
            self.answer(ticket, answer);
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer<I::Out>) {
        let Some(request) = self.requests.of(ticket) else { return };
        let is_awaited = matches!(request.state, State::Running)
            && (request.first_turn..=request.ticket.turn).contains(&ticket.turn);
        let is_outdone = matches!(answer, Answer::Dropped) && ticket.turn < request.ticket.turn;
        if !is_awaited || is_outdone {
            return;
        }
        if let Some(delay_ms) = self.retry_after_ms(ticket, &answer) {
            return self.delay(ticket.slot, delay_ms);
        }
        match answer {
            Answer::Failed(error) => self.fail(ticket.slot, error),
            Answer::Dropped => self.fail(ticket.slot, AsyncError::Dropped.into()),
            Answer::One(_) | Answer::Many(_) => {
                let request = self.requests.at(ticket.slot);
                request.state = State::Answered(answer);
                self.queue.answered(ticket.slot, request.queue_number);
            }
        }
    }

    /// After what time the request is repeated, if it is.
    fn retry_after_ms(&mut self, ticket: Ticket, answer: &Answer<I::Out>) -> Option<i64> {
        let retry = self.settings.retry.as_ref().filter(|_| !self.has_no_retries)?;
        let request = self.requests.at(ticket.slot);
        if request.is_timed_out {
            return None;
        }
        let delay_ms = retry.delay_ms(request.attempts, request.delay_ms)?;
        let is_wanted = Self::call(&mut self.function, request.position, |_| {
            Ok(match answer {
                Answer::One(result) => retry.wants_other_results(std::slice::from_ref(result)),
                Answer::Many(results) => retry.wants_other_results(results),
                Answer::Failed(error) => retry.wants_retry_after(&**error),
                Answer::Dropped => false,
            })
        })?;
        is_wanted.then_some(delay_ms)
    }

    fn delay(&mut self, slot: u32, delay_ms: i64) {
        let at_ms = self.now_ms().saturating_add(delay_ms);
        let request = self.requests.at(slot);
        request.delay_ms = delay_ms;
        request.state = State::Delayed;
        let timer = Timer { at_ms, ticket: request.ticket, is_retry: true };
        self.timers.set(timer, &self.requests);
    }

    #[cold]
    fn fail(&mut self, slot: u32, error: BoxError) {
        let position = self.requests.at(slot).position;
        Self::call::<()>(&mut self.function, position, |_| Err(error));
    }

    fn take_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.mail);
        self.answers.take(&mut mail);
        self.stage.task.worked(mail.len() as u64);
        mail.drain(..).for_each(|message| self.answer(message.ticket, message.answer));
        self.mail = mail;
    }

    /// Polls futures that were woken.
    fn poll_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        self.function.call(|function| {
            function.take_ready(&mut ready);
            Ok(())
        });
        self.stage.task.worked(ready.len() as u64);
        for ticket in ready.drain(..) {
            let Some(request) = self.requests.of(ticket) else { continue };
            let answer = Self::call(&mut self.function, request.position, |f| Ok(f.poll(ticket)));
            if let Some(Some(answer)) = answer {
                self.answer(ticket, answer);
            }
        }
        self.ready = ready;
    }

    fn fire_timers(&mut self) {
        let now_ms = self.now_ms();
        if self.stage.task.core.timers_held.get() {
            return;
        }
        while let Some(timer) = self.timers.pop_due(now_ms, &self.requests) {
            self.stage.task.worked(1);
            match timer.is_retry {
                true => self.attempt(timer.ticket.slot),
                false => self.time_out(timer.ticket.slot),
            }
        }
    }

    fn time_out(&mut self, slot: u32) {
        let request = self.requests.at(slot);
        request.is_timed_out = true;
        request.ticket.turn += 1;
        if matches!(request.state, State::Delayed) {
            // The attempt before was answered; only the answer of the timeout counts now.
            request.first_turn = request.ticket.turn;
            request.state = State::Running;
        }
        let Request { ticket, position, ref record, .. } = *request;
        let (answers, on_timeout) = (&self.answers, &self.settings.on_timeout);
        let answer = Self::call(&mut self.function, position, |function| match on_timeout {
            Some(on_timeout) => {
                let results = on_timeout(record)?;
                function.abandon(ticket);
                Ok(Some(Answer::Many(results)))
            }
            None => function.timeout(record, ticket, answers),
        });
        if let Some(Some(answer)) = answer {
            self.answer(ticket, answer);
        }
    }

    /// Retries that wait for their time begin now, and there will be no others.
    fn end_retries(&mut self) {
        self.has_no_retries = true;
        for ticket in self.requests.delayed() {
            self.attempt(ticket.slot);
        }
    }

    fn has_output(&self) -> bool {
        self.leaving.is_some() || self.queue.next() != Next::Nothing
    }

    /// Lets up to [`STEP`] results leave, or one control; downstream is ready.
    fn leave(&mut self) {
        let mut room = STEP;
        while room > 0 {
            if let Some((results, timestamp)) = &mut self.leaving {
                for result in results.by_ref().take(room) {
                    self.next.push(result, *timestamp);
                    room -= 1;
                }
                if results.len() > 0 {
                    break;
                }
                self.leaving = None;
                continue;
            }
            match self.queue.next() {
                Next::Nothing => break,
                Next::Request(slot) => {
                    self.queue.pop();
                    room -= self.leave_request(slot);
                }
                Next::Control(control) => {
                    if room == STEP {
                        self.queue.pop();
                        self.pass_on(control);
                    }
                    break;
                }
            }
        }
        self.stage.task.worked((STEP - room).max(1) as u64);
    }

    /// Returns how many results have left.
    fn leave_request(&mut self, slot: u32) -> usize {
        let Request { state, timestamp, .. } = self.requests.remove(slot);
        match state {
            State::Answered(Answer::One(result)) => {
                self.next.push(result, timestamp);
                1
            }
            State::Answered(Answer::Many(results)) => {
                self.leaving = Some((results.into_iter(), timestamp));
                0
            }
            _ => unreachable!("a request that leaves has results"),
        }
    }

    /// Begins what waits, as far as there is room.
    fn begin_waiting(&mut self) -> bool {
        let before = self.waiting.len();
        while !self.is_full()
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Record(record) => self.begin(record),
                Waiting::Control(control) => self.queue.add_control(control),
            }
        }
        let begun = before - self.waiting.len();
        self.stage.task.worked(begun as u64);
        begun > 0
    }

    /// The core wakes for the next timer.
    fn set_alarm(&mut self) {
        let next_ms = self.timers.next_ms(&self.requests);
        let core = &self.stage.task.core;
        // What is due already is held, for as long as the clock stands still.
        if next_ms > core.now_ms.get() {
            core.next_timer_ms.set(core.next_timer_ms.get().min(next_ms));
        }
    }
}

impl<I: Invoke, D: Push<I::Out>> Push<I::In> for AsyncWait<I, D> {
    #[inline]
    fn push(&mut self, record: I::In, timestamp: i64) {
        let record = (record, timestamp, self.stage.position.get());
        if self.waiting.is_empty() && !self.is_full() {
            self.begin(record);
        } else {
            self.waiting.push_back(Waiting::Record(record));
        }
    }

    fn control(&mut self, control: Control) {
        debug_assert!(self.waiting.is_empty(), "a control follows a drive that answered Ready");
        let is_last = match control {
            Control::Barrier(barrier) if !barrier.is_final => return self.pass_on(control),
            Control::Barrier(_) | Control::End => true,
            Control::Watermark(_) | Control::Status(_) => false,
        };
        self.has_ended |= control == Control::End;
        if is_last {
            self.end_retries();
        }
        if self.requests.len() == 0 && !self.has_output() {
            return self.pass_on(control);
        }
        self.queue.add_control(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.take_mail();
        self.poll_ready();
        self.fire_timers();
        let has_output = self.has_output();
        let is_held_up = self.is_full() || !self.waiting.is_empty() || self.has_ended;
        // While nothing can come from above, what has left is handed over whole.
        let flow = self.next.drive((dry || is_held_up) && !has_output);
        if flow == Flow::Ready {
            if has_output {
                self.leave();
                return Flow::Busy;
            }
            if self.begin_waiting() {
                return Flow::Busy;
            }
        }
        self.set_alarm();
        match flow {
            Flow::Ready if is_held_up => Flow::Blocked,
            flow => flow,
        }
    }
}
