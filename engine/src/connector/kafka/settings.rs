//! What a client of Kafka is configured with: servers, and properties of librdkafka.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::error::{KafkaError, KafkaErrorKind};

/// Bootstrap servers and properties of librdkafka, shared by source and sink.
///
/// All [properties of librdkafka](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md) may be set but those that a
/// connector owns because its guarantees rest on them; those are refused with what to call instead. TLS and SASL need them compiled in:
/// add `rdkafka = { version = "0.39", features = ["ssl", "sasl"] }` to the program's dependencies.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::KafkaSettings;
///
/// let settings = KafkaSettings::new("kafka-1:9092,kafka-2:9092").property("fetch.wait.max.ms", "50");
/// assert_eq!(settings.bootstrap_servers(), "kafka-1:9092,kafka-2:9092");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    bootstrap_servers: String,
    properties: BTreeMap<String, String>,
}

/// A property that a connector owns, and what to do instead of setting it.
pub(crate) type Owned = (&'static str, &'static str);

/// Owned by all connectors.
const OWNED: [Owned; 5] = [
    ("bootstrap.servers", "the servers are the connector's first argument"),
    ("metadata.broker.list", "the servers are the connector's first argument"),
    ("log_level", "the client's log goes to `tracing`, where it is filtered (target `rdkafka`)"),
    ("plugin.library.paths", "plugins cannot be loaded"),
    ("enable.random.seed", "the connector draws no random numbers"),
];

/// Parts of names of properties whose values are not shown.
const SECRET: [&str; 4] = ["password", "secret", "sasl.jaas", "key.pem"];

impl KafkaSettings {
    /// Brokers to begin with, as `host:port`, comma separated; the others are learned from them.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        let bootstrap_servers = bootstrap_servers.into();
        KafkaSettings { bootstrap_servers, properties: BTreeMap::new() }
    }

    /// Sets a property of librdkafka; the last value of a name counts.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// The brokers to begin with.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The value of a property that was set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// Refuses servers that cannot be, and properties that are owned by all connectors or by this one.
    ///
    /// # Errors
    /// [`KafkaErrorKind::Setting`].
    pub(crate) fn check(&self, owned: &[Owned]) -> Result<(), KafkaError> {
        let servers: Vec<&str> = self.bootstrap_servers.split(',').map(str::trim).collect();
        for server in &servers {
            let address = server.rsplit_once("://").map_or(*server, |(_, address)| address);
            let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
            let is_address = match address.rsplit_once(':') {
                Some((host, port)) => !host.is_empty() && is_port(port),
                // librdkafka's default port.
                None => !address.is_empty(),
            };
            if !is_address {
                let message = format!("the bootstrap server '{server}' is no address");
                let error = KafkaError::new(KafkaErrorKind::Setting, message);
                return Err(error.remedy_is("write host:port, and commas between several"));
            }
        }
        for (name, value) in &self.properties {
            let owned = OWNED.iter().chain(owned).find(|(owned, _)| owned == name);
            if let Some((name, instead)) = owned {
                let message = format!("the property '{name}' (= '{value}') is not to be set");
                return Err(KafkaError::new(KafkaErrorKind::Setting, message).remedy_is(*instead));
            }
        }
        Ok(())
    }

    /// A configuration for a client: these settings, and then `own`, which win.
    pub(crate) fn client_config(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // What is logged goes to `tracing`, which filters.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &self.bootstrap_servers);
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in own {
            config.set(*name, *value);
        }
        config
    }

    /// What the client says of a configuration that it refuses.
    pub(crate) fn refused(error: &rdkafka::error::KafkaError) -> KafkaError {
        let (message, remedy) = match error {
            rdkafka::error::KafkaError::ClientConfig(_, description, name, value) => {
                let value = if is_secret(name) { "(not shown)" } else { value };
                let message = format!("the property '{name}' = '{value}': {description}");
                (message, "see librdkafka's CONFIGURATION.md; TLS and SASL must be compiled in")
            }
            other => (format!("no client can be made: {other}"), "see the client's message"),
        };
        KafkaError::new(KafkaErrorKind::Setting, message).remedy_is(remedy)
    }
}

impl fmt::Debug for KafkaSettings {
    /// Without the values of what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(name, value)| {
            (name, if is_secret(name) { "(not shown)" } else { value.as_str() })
        });
        let shown: BTreeMap<_, _> = shown.collect();
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("properties", &shown)
            .finish()
    }
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &KafkaSettings) -> String {
        let owned = [("group.id", "call `group_id`")];
        settings.check(&owned).map_or_else(|error| error.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn servers_are_addresses() {
        for good in ["localhost:9092", "a:1, b:2", "[::1]:9092", "PLAINTEXT://a:9092", "broker"] {
            assert_eq!(refusal(&KafkaSettings::new(good)), "none", "{good}");
        }
        for bad in ["", "a:1,,b:2", "a:", ":9092", "a:port", "a:0", "a:70000"] {
            assert!(
                refusal(&KafkaSettings::new(bad)).contains("is no address; write host:port"),
                "{bad}"
            );
        }
    }

    #[test]
    fn owned_properties_are_refused_with_what_to_call() {
        let settings = |name: &str| KafkaSettings::new("a:1").property(name, "x");
        assert_eq!(refusal(&settings("fetch.wait.max.ms")), "none");
        assert!(
            refusal(&settings("group.id"))
                .contains("'group.id' (= 'x') is not to be set; call `group_id`")
        );
        assert!(refusal(&settings("bootstrap.servers")).contains("the connector's first argument"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = KafkaSettings::new("a:1").property("sasl.password", "hunter2");
        let shown = format!("{:?}", settings.property("client.id", "me"));
        assert!(shown.contains("\"me\"") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_connectors_own_properties_win() {
        let settings = KafkaSettings::new("a:1").property("client.id", "me").property("acks", "1");
        let config = settings.client_config(&[("acks", "all")]);
        assert_eq!((config.get("acks"), config.get("client.id")), (Some("all"), Some("me")));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
        let unknown = settings.property("no.such", "1").client_config(&[]);
        let error = unknown.create_native_config().err().expect("it is no property");
        let error = KafkaSettings::refused(&error);
        assert!(error.to_string().contains("'no.such' = '1'"), "{error}");
    }
}
