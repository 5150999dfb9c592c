//! [`Broker`]: a broker's process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

/// A broker of Kafka on this machine, killed when it is dropped.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    port: u16,
    /// Removed with the broker; that of the shared one by its watcher.
    _folder: Option<TempDir>,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/services/kafka.sh");

impl Broker {
    /// The broker that all tests of this binary share. It is started by the first one, and not to be harmed.
    ///
    /// # Panics
    /// If it cannot be started; the message says why.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// A broker for one test.
    ///
    /// # Panics
    /// If it cannot be started; the message says why.
    pub fn start() -> Broker {
        let folder = tempfile::Builder::new().prefix("thalweg-kafka-").tempdir();
        let folder = folder.expect("a temporary folder");
        let port = free_ports();
        let path = folder.path().to_owned();
        watch(&path);
        let broker = Broker { folder: path, port, _folder: Some(folder) };
        broker.start_again();
        broker
    }

    /// Its address, as a client wants it.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does, in the midst of what it does.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        let pid = self.pid();
        wait_until("the broker's process is gone", || !is_alive(pid));
    }

    /// Stops it in its tracks: its connections stay, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Starts it, with the data it has.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_again(&self) {
        script(&["start", self.path(), &self.port.to_string()]);
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.folder.join("kafka.pid")).expect("the process id");
        text.trim().parse().expect("a number")
    }

    fn path(&self) -> &str {
        self.folder.to_str().expect("temporary folders are text")
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill has no preconditions; the process is the broker's, which this test has started.
        let sent = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(sent, 0, "signal {signal} to the broker: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.folder.join("kafka.pid").exists() && is_alive(self.pid()) {
            self.kill();
        }
    }
}

fn script(arguments: &[&str]) {
    let output = Command::new("bash").arg(SCRIPT).args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("bash runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{SCRIPT} {}: {text}", arguments.join(" "));
}

/// Ends the broker of `folder` when this process is gone, and removes the folder.
fn watch(folder: &Path) {
    const WATCH: &str = r#"
        while kill -0 "$1" 2>/dev/null; do sleep 0.5; done
        [ -s "$2/kafka.pid" ] && kill -KILL "$(cat "$2/kafka.pid")" 2>/dev/null
        sleep 0.5; rm -rf "$2""#;
    let own = std::process::id().to_string();
    let mut watcher = Command::new("setsid");
    watcher.args(["-f", "bash", "-c", WATCH, "watch"]).arg(own).arg(folder);
    watcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(watcher.status().expect("setsid runs").success());
}

/// A free port with a free one behind it. Both are below the range from which the system gives ports to connections, and each
/// process begins to look somewhere else.
fn free_ports() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static LOOKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOOKING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let begin = std::process::id().wrapping_mul(2_654_435_761) >> 8;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(2, Ordering::Relaxed);
        let port = FIRST + (begin.wrapping_add(step) % COUNT);
        let port = u16::try_from(port).expect("below 22,000");
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports in {FIRST}..{}", FIRST + COUNT);
}

fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 only asks whether the process is there.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0
}

/// Waits for a condition, two minutes at most.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("waited two minutes until {what}");
}
