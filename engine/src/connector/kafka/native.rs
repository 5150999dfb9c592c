//! The calls of librdkafka that the crate `rdkafka` has no safe form of: messages by the batch, and the ids of topics.
//!
//! - [`MessageQueue`] gathers the messages of all partitions that are led to it, and gives as many as there are in one call, with
//!   topic, partition and offset also for errors and ends of partitions. The crate's `poll` costs an event and a reference
//!   count a message, and says of an end of a partition only its number, not its topic.
//! - [`describe_topics`] tells a topic that was deleted and created again from the one before.
//!
//! **Invariants**
//! - A queue lives no longer than its client: it holds it.
//! - Messages belong to the [`Messages`] that they were taken into, until that is emptied or dropped, by one thread.
//! - Names of topics are UTF-8 without zeros: Kafka allows ASCII letters, digits, `.`, `_` and `-`.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::client::TracingContext;
use super::error::{KafkaError, KafkaErrorKind};
use super::record::HeaderWriter;

/// A consumer whose log goes to `tracing`.
pub(super) type Client = BaseConsumer<TracingContext>;

/// A queue of messages; see the module docs.
pub(super) struct MessageQueue {
    queue: NonNull<native::rd_kafka_queue_t>,
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for MessageQueue {}

impl MessageQueue {
    pub(super) fn new(client: Arc<Client>) -> Self {
        // SAFETY: the client is alive, and the queue keeps it so.
        let queue = unsafe { native::rd_kafka_queue_new(client.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka ends the process if it has no memory");
        MessageQueue { queue, client }
    }

    /// Gathers the messages of a partition here; to be called before it is assigned.
    pub(super) fn gather(&self, topic: &str, partition: i32) -> Result<(), KafkaError> {
        let unknown =
            || KafkaError::of_code("no such partition", RDKafkaErrorCode::UnknownPartition);
        let unknown = || unknown().at(topic, partition);
        let name = CString::new(topic).map_err(|_| unknown())?;
        let client = self.client.client().native_ptr();
        // SAFETY: the client is alive, the name ends with a zero.
        let from =
            unsafe { native::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        let from = NonNull::new(from).ok_or_else(unknown)?;
        // SAFETY: both queues are alive.
        unsafe { native::rd_kafka_queue_forward(from.as_ptr(), self.queue.as_ptr()) };
        // SAFETY: it was got above and is not used any more; librdkafka counts references.
        unsafe { native::rd_kafka_queue_destroy(from.as_ptr()) };
        Ok(())
    }

    /// Fills `messages`, which is emptied before: waits up to `wait_ms` for the first one, and not at all for others.
    pub(super) fn take(&self, wait_ms: i32, messages: &mut Messages) {
        messages.clear();
        if self.append(wait_ms, 1, messages) {
            self.append(0, messages.capacity - 1, messages);
        }
    }

    fn append(&self, wait_ms: i32, count: usize, messages: &mut Messages) -> bool {
        let pointers = &mut messages.pointers;
        pointers.reserve(count);
        let spare = pointers.spare_capacity_mut().as_mut_ptr().cast();
        let queue = self.queue.as_ptr();
        // SAFETY: the queue is alive, and `spare` has room for `count` pointers at least.
        let taken = unsafe { native::rd_kafka_consume_batch_queue(queue, wait_ms, spare, count) };
        let taken = usize::try_from(taken).unwrap_or(0);
        // SAFETY: so many pointers were written, at most `count`.
        unsafe { pointers.set_len(pointers.len() + taken) };
        taken > 0
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`, and the client is alive still.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages that were taken together.
#[derive(Default)]
pub(super) struct Messages {
    pointers: Vec<*mut native::rd_kafka_message_t>,
    capacity: usize,
}

impl Messages {
    /// At most so many, 2 at least.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(2);
        Messages { pointers: Vec::with_capacity(capacity), capacity }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = NativeMessage<'_>> {
        // SAFETY: the pointers are of messages that this owns until it is emptied, which its borrow forbids.
        self.pointers.iter().map(|pointer| NativeMessage(unsafe { &**pointer }))
    }

    pub(super) fn clear(&mut self) {
        for message in self.pointers.drain(..) {
            // SAFETY: it was given by `take`, and nobody else has it.
            unsafe { native::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A message, or what is said of a partition instead of one.
#[derive(Clone, Copy)]
pub(super) struct NativeMessage<'a>(&'a native::rd_kafka_message_t);

impl<'a> NativeMessage<'a> {
    /// The error that it is instead of a record.
    pub(super) fn error(self) -> Option<RDKafkaErrorCode> {
        let code = RDKafkaErrorCode::from(self.0.err);
        (code != RDKafkaErrorCode::NoError).then_some(code)
    }

    /// What librdkafka says of the error.
    pub(super) fn error_text(self) -> String {
        let message = ptr::from_ref(self.0);
        // SAFETY: the message is alive.
        let text = unsafe { native::rd_kafka_message_errstr(message) };
        text_of(text)
    }

    /// Tells topics apart as long as their partitions are assigned.
    pub(super) fn topic_address(self) -> usize {
        self.0.rkt.addr()
    }

    pub(super) fn topic(self) -> &'a str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic lives as long as the message.
        let name = unsafe { native::rd_kafka_topic_name(self.0.rkt) };
        // SAFETY: a name ends with a zero, and lives as long as its topic.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_str().unwrap_or_default()
    }

    pub(super) fn partition(self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(self) -> i64 {
        self.0.offset
    }

    pub(super) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive.
        unsafe { bytes_of(self.0.key.cast(), self.0.key_len) }
    }

    /// The value. Of an error it would be its text.
    pub(super) fn value(self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive.
        unsafe { bytes_of(self.0.payload.cast(), self.0.len) }
    }

    pub(super) fn timestamp_ms(self) -> Option<i64> {
        let message = ptr::from_ref(self.0);
        // SAFETY: the message is alive, and what kind of time it is need not be said.
        let timestamp = unsafe { native::rd_kafka_message_timestamp(message, ptr::null_mut()) };
        (timestamp >= 0).then_some(timestamp)
    }

    /// Appends its headers, packed.
    pub(super) fn write_headers(self, out: &mut Vec<u8>) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; `headers` is written where there are some, and belongs to it.
        let code =
            unsafe { native::rd_kafka_message_headers(ptr::from_ref(self.0), &raw mut headers) };
        if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
            return;
        }
        let mut writer = HeaderWriter(out);
        for index in 0.. {
            let (mut name, mut value, mut value_bytes) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; an index beyond the last gives an error.
            let code = unsafe {
                native::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut value_bytes,
                )
            };
            if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
                return;
            }
            // SAFETY: a name ends with a zero and lives as long as its message.
            let name = unsafe { CStr::from_ptr(name) };
            // SAFETY: as many bytes are there, or the value is null.
            let value = unsafe { bytes_of(value.cast(), value_bytes) };
            writer.push(&name.to_string_lossy(), value);
        }
    }
}

/// # Safety
/// `bytes` is null, or has that many bytes for as long as `'a`.
unsafe fn bytes_of<'a>(bytes: *const u8, length: usize) -> Option<&'a [u8]> {
    if bytes.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { slice::from_raw_parts(bytes, length) })
}

/// A text of the library's; empty if it has none.
fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: texts of the library end with a zero, and are copied while what they are of is alive.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Asks any broker for the brokers and the topics that the client has met, and waits for the answer: without topics it is a
/// short one. This opens a client's first connection at once; most other requests leave that to a timer of a second.
pub(super) fn fetch_brokers<C: ClientContext>(
    client: &rdkafka::client::Client<C>,
    timeout_ms: i32,
) -> Result<(), KafkaError> {
    let mut metadata = ptr::null();
    // SAFETY: the client is alive, and `metadata` is written where the call succeeds.
    let code = unsafe {
        native::rd_kafka_metadata(
            client.native_ptr(),
            0,
            ptr::null_mut(),
            &raw mut metadata,
            timeout_ms,
        )
    };
    let code = RDKafkaErrorCode::from(code);
    if code != RDKafkaErrorCode::NoError {
        return Err(KafkaError::of_code("cannot ask for the brokers", code));
    }
    // SAFETY: it was given by the call above, and is not used any more.
    unsafe { native::rd_kafka_metadata_destroy(metadata) };
    Ok(())
}

/// What a broker says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicDescription {
    pub(super) name: String,
    /// Unlike those of all topics before and after it.
    pub(super) id: String,
    pub(super) partition_count: usize,
}

/// Asks for topics by name; a topic that is not there is an error of its own.
pub(super) fn describe_topics(
    client: &Client,
    names: &[String],
    timeout_ms: i32,
) -> Result<Vec<Result<TopicDescription, KafkaError>>, KafkaError> {
    if names.is_empty() {
        // librdkafka refuses to ask for none.
        return Ok(Vec::new());
    }
    let unknown = |name: &String| {
        KafkaError::new(KafkaErrorKind::UnknownTopic, "the name has a zero byte").of_topic(name)
    };
    let texts = names.iter().map(|name| CString::new(name.as_str()).map_err(|_| unknown(name)));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let event = request(client, &texts, timeout_ms).ok_or_else(|| {
        KafkaError::of_code("cannot describe topics", RDKafkaErrorCode::OperationTimedOut)
    })?;
    // SAFETY: the event is alive until it is dropped below.
    let code = RDKafkaErrorCode::from(unsafe { native::rd_kafka_event_error(event.0.as_ptr()) });
    if code != RDKafkaErrorCode::NoError {
        return Err(KafkaError::of_code("cannot describe topics", code));
    }
    Ok(descriptions(&event))
}

/// An event of librdkafka.
struct Event(NonNull<native::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was taken from a queue, and is dropped once.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Sends the request and waits for the answer.
fn request(client: &Client, names: &[CString], timeout_ms: i32) -> Option<Event> {
    let client = client.client().native_ptr();
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client is alive.
    let options = unsafe { native::rd_kafka_AdminOptions_new(client, operation) };
    // SAFETY: the options were made above; there is no room for a text, and a time that cannot be leaves the default.
    unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0)
    };
    // SAFETY: there are as many names, which are copied.
    let topics =
        unsafe { native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) };
    // SAFETY: the client is alive.
    let queue = unsafe { native::rd_kafka_queue_new(client) };
    // SAFETY: all four were made above; the request copies what it needs of topics and options.
    unsafe { native::rd_kafka_DescribeTopics(client, topics, options, queue) };
    // SAFETY: the queue is alive. The request ends by its own timeout; a second more is for its way.
    let event = unsafe { native::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000)) };
    // SAFETY: made above and not used any more; so for the other two. The event holds what it needs.
    unsafe { native::rd_kafka_queue_destroy(queue) };
    // SAFETY: see above.
    unsafe { native::rd_kafka_TopicCollection_destroy(topics) };
    // SAFETY: see above.
    unsafe { native::rd_kafka_AdminOptions_destroy(options) };
    NonNull::new(event).map(Event)
}

fn descriptions(event: &Event) -> Vec<Result<TopicDescription, KafkaError>> {
    // SAFETY: the event is alive. Of an event of another kind the result is null.
    let result = unsafe { native::rd_kafka_event_DescribeTopics_result(event.0.as_ptr()) };
    if result.is_null() {
        return Vec::new();
    }
    let mut count = 0;
    // SAFETY: the result lives as long as the event.
    let topics = unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
    if topics.is_null() {
        return Vec::new();
    }
    // SAFETY: there are as many topics, which live as long as the event.
    let topics = unsafe { slice::from_raw_parts(topics, count) };
    topics.iter().map(|topic| description(*topic)).collect()
}

/// `topic` is alive: it was just taken out of an event that is.
fn description(
    topic: *const native::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, KafkaError> {
    // SAFETY: the topic is alive, and so for the calls below.
    let name = text_of(unsafe { native::rd_kafka_TopicDescription_name(topic) });
    // SAFETY: see above.
    let error = unsafe { native::rd_kafka_TopicDescription_error(topic) };
    // SAFETY: the error is the topic's own; null is none.
    let code = RDKafkaErrorCode::from(unsafe { native::rd_kafka_error_code(error) });
    if code != RDKafkaErrorCode::NoError {
        return Err(KafkaError::of_code("it is not there", code).of_topic(&name));
    }
    // SAFETY: see above.
    let id = unsafe { native::rd_kafka_TopicDescription_topic_id(topic) };
    // SAFETY: the id is the topic's own.
    let id = text_of(unsafe { native::rd_kafka_Uuid_base64str(id) });
    let mut partition_count = 0;
    // SAFETY: see above.
    unsafe { native::rd_kafka_TopicDescription_partitions(topic, &raw mut partition_count) };
    Ok(TopicDescription { name, id, partition_count })
}
