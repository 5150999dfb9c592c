//! What all clients of librdkafka have in common: where their log and their errors go.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;

/// Sends a client's log to `tracing`, as the operator's.
#[derive(Clone, Debug)]
pub(crate) struct TracingContext {
    /// The operator in the plan.
    pub(crate) operator: String,
}

impl ClientContext for TracingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let operator = &*self.operator;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(target: "rdkafka", operator, facility, "{message}");
            }
            RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "rdkafka", operator, facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "rdkafka", operator, facility, "{message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "rdkafka", operator, facility, "{message}");
            }
        }
    }

    /// Errors that are nobody's in particular, such as a broker that went away: the client goes on by itself.
    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(target: "rdkafka", operator = &*self.operator, "{error}: {reason}");
    }
}

impl ConsumerContext for TracingContext {
    /// Committed offsets are for those who watch the group: the job's positions are in its checkpoints.
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            let operator = &*self.operator;
            tracing::warn!(target: "rdkafka", operator, "offsets were not committed: {error}");
        }
    }
}
