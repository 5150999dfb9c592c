//! Whether a broker answers, and asking again where none does yet.
//!
//! No clock is read: time is counted in attempts, each of which waits for [`ATTEMPT`] at most.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::Consumer as _;

use crate::connector::kafka::client::TracingContext;
use crate::connector::kafka::error::{KafkaError, KafkaErrorKind};
use crate::connector::kafka::native::{Client, fetch_brokers};
use crate::connector::kafka::settings::KafkaSettings;

/// How long one request to a broker may take.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);

/// The same in milliseconds.
pub(super) const ATTEMPT_MS: i32 = 2_000;

/// What is to be known to reach the brokers.
#[derive(Clone, Debug)]
pub(super) struct Brokers {
    pub(super) servers: String,
    pub(super) config: ClientConfig,
    pub(super) operator: String,
    /// How often to ask before nobody is there.
    pub(super) attempts: u32,
}

impl Brokers {
    /// A client of these brokers. Nothing is sent yet.
    pub(super) fn client(&self) -> Result<Arc<Client>, KafkaError> {
        let context = TracingContext { operator: self.operator.clone() };
        let client = Client::from_config_and_context(&self.config, context);
        client.map(Arc::new).map_err(|error| KafkaSettings::refused(&error))
    }

    /// Waits until a broker answers.
    ///
    /// # Errors
    /// [`KafkaErrorKind::Unreachable`].
    pub(super) fn reach(
        &self,
        client: &Client,
        is_over: impl Fn() -> bool,
    ) -> Result<(), KafkaError> {
        for _ in 0..self.attempts {
            // Log and errors of the client, which say why nobody answers, are events.
            serve(client)?;
            if fetch_brokers(client.client(), ATTEMPT_MS).is_ok() || is_over() {
                return Ok(());
            }
        }
        let waited_s = ATTEMPT.as_secs() * u64::from(self.attempts);
        let message = format!("no broker answered at '{}' within {waited_s} s", self.servers);
        Err(KafkaError::new(KafkaErrorKind::Unreachable, message))
    }

    /// Asks again as long as nobody answers.
    ///
    /// # Errors
    /// The last attempt's.
    pub(super) fn patiently<T>(
        &self,
        is_over: impl Fn() -> bool,
        mut ask: impl FnMut() -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let mut attempts = self.attempts;
        loop {
            match ask() {
                Err(error) if is_passing(&error) && attempts > 1 && !is_over() => attempts -= 1,
                other => return other,
            }
        }
    }
}

/// Will it pass when a broker is back?
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    let is_moving = matches!(
        error.code(),
        Some(
            Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::WaitingForCoordinator
                | Code::OffsetNotAvailable
                | Code::NetworkException
        )
    );
    is_moving || matches!(error.kind(), KafkaErrorKind::Unreachable | KafkaErrorKind::TimedOut)
}

/// Lets a client do what it has to between messages.
///
/// # Errors
/// What will not pass by itself: the broker refuses this user, or the client cannot go on.
pub(super) fn serve(client: &Client) -> Result<(), KafkaError> {
    while let Some(answer) = client.poll(Duration::ZERO) {
        let error = match answer {
            Err(error) => error,
            Ok(message) => {
                use rdkafka::message::Message as _;
                let text = "a record came outside its queue and would be lost";
                let error = KafkaError::new(KafkaErrorKind::Client, text);
                let error = error.at(message.topic(), message.partition());
                return Err(error
                    .at_offset(message.offset())
                    .remedy_is("report this as a mistake"));
            }
        };
        let is_fatal = matches!(error, rdkafka::error::KafkaError::MessageConsumptionFatal(_));
        let error = KafkaError::of_client("the client cannot go on", &error);
        let is_refused = matches!(
            error.code(),
            Some(
                rdkafka::types::RDKafkaErrorCode::SaslAuthenticationFailed
                    | rdkafka::types::RDKafkaErrorCode::Authentication
                    | rdkafka::types::RDKafkaErrorCode::TopicAuthorizationFailed
            )
        );
        if is_fatal || is_refused {
            return Err(error);
        }
        tracing::debug!(target: "rdkafka", "{error}");
    }
    Ok(())
}
