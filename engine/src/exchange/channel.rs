//! One edge between two subtasks: a queue of buffers forth, a queue of empty buffers back.
//!
//! ```text
//!  Writer ── page, page, watermark, page, barrier ──► Reader
//!         ◄── empty page, empty page ──────────────
//! ```
//!
//! 1. The writer fills a buffer and hands it over when it is full, when its own input has run dry, before a control,
//!    or when it has been waiting for [`STALE_DRIVES`] drives; never by a timer.
//! 2. A buffer in flight costs one credit; it comes back with the buffer. What one record or one timer emits beyond
//!    the credit goes to an overflow queue, and [`Writer::drive`] says `Blocked` until that is empty: nobody feeds.
//! 3. Controls need no credit and have ring entries of their own, so a barrier never waits for a consumer's memory.
//!    Watermarks that wait behind one another in the overflow coalesce. Whoever takes an entry wakes the writer.
//! 4. Subtasks on one core are linked by a plain queue (by value, no archive, no atomics); on different cores by
//!    two `rtrb` SPSC rings. glommio's own channels are not used: one is unsound in 0.9, the other costs
//!    27 to 138 ns a record.
//!
//! **Invariants**
//! - Elements arrive in the order they were written.
//! - In flight plus overflow is at most `pages_in_flight` plus what one batch or one firing step emits.
//! - Each half is owned by one task; the halves are not `Clone`.

use crate::metrics::EdgeMetrics;
use crate::operator::Flow;
use crate::record::{ArchivePage, Block, Codec, Control, PageError, larger_page};
use crate::runtime::wake::CoreWaker;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_io::{Fault, planted};

/// Ring entries beyond the credit, for controls.
const CONTROL_ENTRIES: usize = 16;
/// A partial buffer is handed over after this many drives of a producer that never runs dry (each follows up to 512
/// records, so some hundred microseconds at most).
const STALE_DRIVES: u32 = 16;

/// A buffer of records.
pub(crate) enum Buffer<T> {
    Block(Block<T>),
    Page(ArchivePage),
}

enum Message<T> {
    Data(Buffer<T>),
    Control(Control),
}

/// What both halves of a channel must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelOptions {
    /// Bytes of a buffer.
    pub(crate) page_bytes: usize,
    /// Buffers in flight: the credit.
    pub(crate) pages_in_flight: usize,
}

struct LocalQueue<T> {
    forth: VecDeque<Message<T>>,
    back: Vec<Buffer<T>>,
}

enum Sender<T> {
    Local(Rc<RefCell<LocalQueue<T>>>),
    Ring {
        forth: rtrb::Producer<Message<T>>,
        back: rtrb::Consumer<Buffer<T>>,
        consumer: Arc<CoreWaker>,
    },
}

enum Receiver<T> {
    Local(Rc<RefCell<LocalQueue<T>>>),
    Ring {
        forth: rtrb::Consumer<Message<T>>,
        back: rtrb::Producer<Buffer<T>>,
        producer: Arc<CoreWaker>,
    },
}

/// The producer's half of a cross-core channel before it has reached its core.
pub(crate) struct RingWriter<T> {
    forth: rtrb::Producer<Message<T>>,
    back: rtrb::Consumer<Buffer<T>>,
}

/// The consumer's half of a cross-core channel before it has reached its core.
pub(crate) struct RingReader<T> {
    forth: rtrb::Consumer<Message<T>>,
    back: rtrb::Producer<Buffer<T>>,
}

/// The two halves of a channel between cores.
pub(crate) fn ring<T: Send>(options: ChannelOptions) -> (RingWriter<T>, RingReader<T>) {
    let (forth, forth_reader) = rtrb::RingBuffer::new(options.pages_in_flight + CONTROL_ENTRIES);
    // Every buffer that is in flight must find room on its way back.
    let (back_writer, back) = rtrb::RingBuffer::new(options.pages_in_flight);
    (RingWriter { forth, back }, RingReader { forth: forth_reader, back: back_writer })
}

/// The two halves of a channel within a core.
pub(crate) fn local<T>(
    options: ChannelOptions,
    metrics: Arc<EdgeMetrics>,
) -> (Writer<T>, Reader<T>) {
    let queue = Rc::new(RefCell::new(LocalQueue { forth: VecDeque::new(), back: Vec::new() }));
    let writer = Writer::new(Sender::Local(queue.clone()), None, options, metrics);
    (writer, Reader { receiver: Receiver::Local(queue) })
}

impl<T> RingWriter<T> {
    /// Opens the half on its core. `consumer` wakes the other core.
    pub(crate) fn open(
        self,
        codec: Option<Codec<T>>,
        options: ChannelOptions,
        consumer: Arc<CoreWaker>,
        metrics: Arc<EdgeMetrics>,
    ) -> Writer<T> {
        let sender = Sender::Ring { forth: self.forth, back: self.back, consumer };
        Writer::new(sender, codec, options, metrics)
    }
}

impl<T> RingReader<T> {
    /// Opens the half on its core. `producer` wakes the other core.
    pub(crate) fn open(self, producer: Arc<CoreWaker>) -> Reader<T> {
        Reader { receiver: Receiver::Ring { forth: self.forth, back: self.back, producer } }
    }
}

/// What a writer has handed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentCounts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Buffers and controls that have reached the consumer's end.
    pub(crate) messages: u64,
    /// The most buffers that ever waited in the overflow.
    pub(crate) overflow_max: u64,
}

/// The producer's half.
pub(crate) struct Writer<T> {
    /// Being filled; unused where records are archived.
    block: Block<T>,
    /// Being filled; only where records are archived.
    page: Option<ArchivePage>,
    codec: Option<Codec<T>>,
    sender: Sender<T>,
    credits: usize,
    spare: Vec<Buffer<T>>,
    overflow: VecDeque<Message<T>>,
    stale_drives: u32,
    sent: SentCounts,
    /// The first record that could not be archived; reported by `drive`.
    refused: Option<PageError>,
    options: ChannelOptions,
    metrics: Arc<EdgeMetrics>,
}

impl<T> Writer<T> {
    fn new(
        sender: Sender<T>,
        codec: Option<Codec<T>>,
        options: ChannelOptions,
        metrics: Arc<EdgeMetrics>,
    ) -> Self {
        let rows = if codec.is_some() { 1 } else { Block::<T>::rows_for(options.page_bytes) };
        Writer {
            block: Block::new(rows),
            page: codec.map(|_| ArchivePage::new(options.page_bytes)),
            codec,
            sender,
            credits: options.pages_in_flight,
            spare: Vec::new(),
            overflow: VecDeque::new(),
            stale_drives: 0,
            sent: SentCounts::default(),
            refused: None,
            options,
            metrics,
        }
    }

    /// Appends a record; never fails, never waits.
    #[inline(always)]
    pub(crate) fn write(&mut self, hash: u32, value: T, timestamp: i64) {
        if std::mem::needs_drop::<T>()
            && let Some(codec) = self.codec
        {
            return self.write_archive(codec, hash, &value, timestamp);
        }
        if self.block.push(hash, value, timestamp) {
            self.hand_over();
        }
    }

    #[inline(never)]
    fn write_archive(&mut self, codec: Codec<T>, hash: u32, value: &T, timestamp: i64) {
        loop {
            let page = self.page.as_mut().expect("an edge with a codec has a page");
            match page.append(codec, hash, value, timestamp) {
                Ok(()) => return,
                Err(PageError::Full) if page.len() > 0 => self.hand_over(),
                Err(PageError::Full) => match larger_page(page.capacity()) {
                    Some(bytes) => *page = ArchivePage::new(bytes),
                    None => return self.refuse(PageError::Full),
                },
                Err(refused) => return self.refuse(refused),
            }
        }
    }

    #[cold]
    fn refuse(&mut self, error: PageError) {
        self.refused.get_or_insert(error);
    }

    /// What was handed over since the last call.
    pub(crate) fn take_counts(&mut self) -> SentCounts {
        let overflow_max = self.sent.overflow_max;
        std::mem::replace(&mut self.sent, SentCounts { overflow_max, ..Default::default() })
    }

    /// A record that could not be archived: the job must fail with it.
    pub(crate) fn take_refused(&mut self) -> Option<PageError> {
        self.refused.take()
    }

    fn is_empty(&self) -> bool {
        match &self.page {
            Some(page) => page.len() == 0,
            None => self.block.is_empty(),
        }
    }

    /// Sends the current buffer, full or not, and takes an empty one.
    #[inline(never)]
    fn hand_over(&mut self) {
        self.stale_drives = 0;
        if self.is_empty() {
            return;
        }
        self.reclaim();
        let (buffer, bytes) = self.replace_current();
        self.metrics.producer.pages_sent.increment();
        self.sent.bytes += bytes as u64;
        self.send(Message::Data(buffer));
    }

    fn replace_current(&mut self) -> (Buffer<T>, usize) {
        let spare = self.spare.pop();
        if let Some(page) = &mut self.page {
            let fresh = match spare {
                Some(Buffer::Page(page)) => page,
                _ => ArchivePage::new(self.options.page_bytes),
            };
            let full = std::mem::replace(page, fresh);
            let bytes = full.bytes();
            self.sent.records += full.len() as u64;
            return (Buffer::Page(full), bytes);
        }
        let fresh = match spare {
            Some(Buffer::Block(block)) => block,
            _ => Block::new(Block::<T>::rows_for(self.options.page_bytes)),
        };
        let full = std::mem::replace(&mut self.block, fresh);
        let bytes = full.len() * Block::<T>::ROW_BYTES;
        self.sent.records += full.len() as u64;
        (Buffer::Block(full), bytes)
    }

    /// Takes back the buffers that the consumer has emptied, and their credits.
    fn reclaim(&mut self) {
        loop {
            let returned = match &mut self.sender {
                Sender::Local(queue) => queue.borrow_mut().back.pop(),
                Sender::Ring { back, .. } => back.pop().ok(),
            };
            let Some(buffer) = returned else { return };
            self.credits += 1;
            self.keep(buffer);
        }
    }

    fn keep(&mut self, buffer: Buffer<T>) {
        // A page that grew for one giant record is not kept.
        let oversized =
            matches!(&buffer, Buffer::Page(p) if p.capacity() > self.options.page_bytes);
        if !oversized && self.spare.len() < self.options.pages_in_flight {
            self.spare.push(buffer);
        }
    }

    fn send(&mut self, message: Message<T>) {
        if !self.overflow.is_empty() {
            return self.defer(message);
        }
        if let Err(message) = self.try_send(message) {
            self.defer(message);
        }
    }

    fn try_send(&mut self, message: Message<T>) -> Result<(), Message<T>> {
        let is_data = matches!(message, Message::Data(_));
        if is_data && self.credits == 0 {
            return Err(message);
        }
        match &mut self.sender {
            Sender::Local(queue) => queue.borrow_mut().forth.push_back(message),
            Sender::Ring { forth, consumer, .. } => {
                if let Err(rtrb::PushError::Full(message)) = forth.push(message) {
                    return Err(message);
                }
                consumer.wake_if_sleeping();
            }
        }
        self.sent.messages += 1;
        self.credits -= usize::from(is_data);
        self.metrics.producer.ring_fill.set((self.options.pages_in_flight - self.credits) as i64);
        Ok(())
    }

    #[cold]
    fn defer(&mut self, message: Message<T>) {
        if let (Message::Control(Control::Watermark(_)), Some(Message::Control(last))) =
            (&message, self.overflow.back_mut())
            && matches!(last, Control::Watermark(_))
        {
            let Message::Control(newer) = message else { unreachable!("matched above") };
            *last = newer;
            return;
        }
        self.overflow.push_back(message);
        self.metrics.producer.spilled_pages.increment();
        self.sent.overflow_max = self.sent.overflow_max.max(self.overflow.len() as u64);
    }

    /// Sends what is open, then the control.
    pub(crate) fn control(&mut self, control: Control) {
        if matches!(control, Control::Barrier(_)) && planted(Fault::BarrierOvertakes) {
            self.send(Message::Control(control));
            return self.hand_over();
        }
        self.hand_over();
        self.send(Message::Control(control));
    }

    /// Hands over partial buffers if the producer has run dry, and the overflow as far as there is credit.
    /// `Ready` or `Blocked`, the latter also after a record that could not be archived.
    #[inline]
    pub(crate) fn drive(&mut self, dry: bool) -> Flow {
        if !self.is_empty() {
            self.stale_drives += 1;
            if dry || self.stale_drives >= STALE_DRIVES {
                self.hand_over();
            }
        }
        if self.overflow.is_empty() && self.refused.is_none() {
            Flow::Ready
        } else {
            self.drain_overflow()
        }
    }

    #[cold]
    fn drain_overflow(&mut self) -> Flow {
        self.reclaim();
        while let Some(message) = self.overflow.pop_front() {
            if let Err(message) = self.try_send(message) {
                self.overflow.push_front(message);
                return Flow::Blocked;
            }
        }
        if self.refused.is_some() { Flow::Blocked } else { Flow::Ready }
    }
}

/// What a look at a channel brought.
pub(crate) enum Polled<T> {
    Empty,
    Data(Buffer<T>),
    Control(Control),
}

/// The consumer's half.
pub(crate) struct Reader<T> {
    receiver: Receiver<T>,
}

impl<T> Reader<T> {
    /// Takes at most one buffer or control. Give the buffer back with [`recycle`](Self::recycle).
    #[inline]
    pub(crate) fn poll(&mut self) -> Polled<T> {
        let message = match &mut self.receiver {
            Receiver::Local(queue) => queue.borrow_mut().forth.pop_front(),
            Receiver::Ring { forth, .. } => forth.pop().ok(),
        };
        match message {
            None => Polled::Empty,
            Some(Message::Data(buffer)) => Polled::Data(buffer),
            Some(Message::Control(control)) => {
                // A ring may be full of controls alone: no buffer comes back that would wake a producer that waits for room.
                if let Receiver::Ring { producer, .. } = &self.receiver {
                    producer.wake_if_sleeping();
                }
                Polled::Control(control)
            }
        }
    }

    /// Returns an emptied buffer, and with it the credit.
    pub(crate) fn recycle(&mut self, mut buffer: Buffer<T>) {
        match &mut buffer {
            Buffer::Block(block) => debug_assert!(block.is_empty(), "an emptied buffer"),
            Buffer::Page(page) => page.clear(),
        }
        match &mut self.receiver {
            Receiver::Local(queue) => queue.borrow_mut().back.push(buffer),
            Receiver::Ring { back, producer, .. } => {
                let returned = back.push(buffer).is_ok();
                assert!(returned, "the way back has room for all buffers in flight");
                producer.wake_if_sleeping();
            }
        }
    }
}
