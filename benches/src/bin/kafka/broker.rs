//! The broker that is measured with: one that is there, or one of this run.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Ample: the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/services/kafka.sh");

/// A broker; one that was started is stopped at the end.
pub(crate) struct Broker {
    servers: String,
    folder: Option<PathBuf>,
}

impl Broker {
    /// One that is there.
    pub(crate) fn at(servers: &str) -> Self {
        Broker { servers: servers.to_owned(), folder: None }
    }

    /// One of this run, in a folder and on a port of its own.
    pub(crate) fn start() -> thalweg::Result<Self> {
        let name = format!("thalweg-bench-kafka-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // The controller takes the port behind.
        let port = (20_000..30_000).step_by(2).find(|port| {
            [*port, port + 1].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        });
        let port = port.ok_or("no free port")?;
        script("start", &folder, &[&port.to_string()])?;
        Ok(Broker { servers: format!("127.0.0.1:{port}"), folder: Some(folder) })
    }

    /// Where it is.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Makes a topic.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> thalweg::Result {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &self.servers).create()?;
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let made = block_on(admin.create_topics([&topic], &options))?;
        made.into_iter()
            .next()
            .ok_or("no answer")?
            .map_err(|(topic, code)| format!("{topic}: {code}"))?;
        Ok(())
    }

    /// Fills a topic with records of one size, spread over its partitions; the first eight bytes are their number.
    pub(crate) fn fill(
        &self,
        topic: &str,
        partitions: i32,
        records: u64,
        bytes: usize,
    ) -> thalweg::Result {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("linger.ms", "50");
        let config = config.set("batch.size", "262144").set("queue.buffering.max.kbytes", "65536");
        let producer: BaseProducer = config.create()?;
        let mut value = vec![b'x'; bytes.max(8)];
        for n in 0..records {
            value[..8].copy_from_slice(&n.to_be_bytes());
            let partition = i32::try_from(n % u64::from(partitions.unsigned_abs()))?;
            let mut record: BaseRecord<'_, (), _> =
                BaseRecord::to(topic).partition(partition).payload(&value);
            while let Err((error, refused)) = producer.send(record) {
                let is_full =
                    error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
                if !is_full {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(10));
                record = refused;
            }
        }
        Ok(producer.flush(LIMIT)?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = script("stop", folder, &[]) {
            eprintln!("the broker in {} was not stopped: {error}", folder.display());
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn script(verb: &str, folder: &std::path::Path, arguments: &[&str]) -> thalweg::Result {
    let status = Command::new("bash").args([SCRIPT, verb]).arg(folder).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("{SCRIPT} {verb}: {status}").into()) }
}

/// Waits for a future that threads of the client's complete.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
