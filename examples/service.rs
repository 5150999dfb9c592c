//! Thalweg inside a service: requests go into a job over a channel, responses come back over another.
//!
//! ```sh
//! cargo run --release --example service
//! ```
//!
//! ```text
//! clients ─► ScoreService::score ─► channel ─► key_by(user) ─► Scorer (state per user) ─► channel ─► by id to its client
//! ```
//!
//! 1. The engine has a slot of its own; tokio runs everything else. Neither blocks the other.
//! 2. A payment is scored by how far it is from what its user pays otherwise, which the job remembers.
//! 3. A full channel means that the job is behind: `try_send` hands the request back, and the service decides
//!    (here: it counts, and waits for room).
//! 4. The last sender gone ends the input; the job answers what it has, and ends.
//!
//! The program is its own clients: four that wait for each answer, and then all at once with more than fits.

use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thalweg::prelude::*;
use thalweg::sink::ChannelReceiver;
use thalweg::source::{ChannelSender, TrySendError};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

const CLIENTS: u64 = 4;
const CALLS_PER_CLIENT: u64 = 4_000;
const BURST: u64 = 4_000;
const USERS: u64 = 500;
/// How many requests, and how many responses, may wait between job and service.
const CHANNEL_CAPACITY: usize = 256;
/// Whatever happens, the program ends.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A payment to be scored.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Request {
    id: u64,
    user: u64,
    cents: u32,
}

/// The answer to the request with the same id.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Score {
    id: u64,
    /// Which payment of its user this is, from 1.
    ordinal: u64,
    /// How many times the user's mean it is; 1 for the first.
    ratio: f64,
}

/// What is remembered of a user.
#[thalweg::record]
#[derive(Clone, Copy, Debug, Default)]
struct History {
    count: u64,
    cents: u64,
}

/// Scores a payment against the user's earlier ones.
#[derive(Clone, Default)]
struct Scorer {
    history: ValueState<History>,
}

impl KeyedProcessFunction for Scorer {
    type Key = u64;
    type In = Request;
    type Out = Score;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.history = context.value_state(ValueStateDescriptor::new("history"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        Request { id, cents, .. }: Request,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, Score>,
    ) -> thalweg::Result<()> {
        let before = self.history.modify(context, |history| {
            let before = *history;
            history.count += 1;
            history.cents += u64::from(cents);
            before
        })?;
        let mean = before.cents as f64 / before.count as f64;
        let ratio = if before.cents == 0 { 1.0 } else { f64::from(cents) / mean };
        out.collect(Score { id, ordinal: before.count + 1, ratio });
        Ok(())
    }
}

/// Who waits for which answer; `None` once no answer will come any more, so that nobody begins to wait then.
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Score>>>>);

impl Waiting {
    fn with<R>(
        &self,
        change: impl FnOnce(&mut Option<HashMap<u64, oneshot::Sender<Score>>>) -> R,
    ) -> R {
        // Every change is whole or has not happened.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn expect(&self, id: u64) -> thalweg::Result<oneshot::Receiver<Score>> {
        let (answer, answered) = oneshot::channel();
        self.with(|waiting| waiting.as_mut().map(|waiting| waiting.insert(id, answer)))
            .ok_or("the scoring job has ended")?;
        Ok(answered)
    }

    fn answer(&self, score: Score) {
        let waiter = self.with(|waiting| waiting.as_mut()?.remove(&score.id));
        // A client that has given up is no longer there.
        let _ = waiter.map(|waiter| waiter.send(score));
    }

    fn close(&self) {
        self.with(Option::take);
    }
}

/// What the rest of the program sees of the job.
struct ScoreService {
    input: ChannelSender<Request>,
    waiting: Arc<Waiting>,
    next_id: AtomicU64,
    full_count: AtomicU64,
}

impl ScoreService {
    /// Scores a payment: sends a request, and waits for the response with its id.
    async fn score(&self, user: u64, cents: u32) -> thalweg::Result<Score> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let answered = self.waiting.expect(id)?;
        match self.input.try_send(Request { id, user, cents }) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => {
                // Another service might shed load here: answer "try again later".
                self.full_count.fetch_add(1, Ordering::Relaxed);
                self.input.send(request).await?;
            }
            Err(closed) => return Err(closed.into()),
        }
        Ok(answered.await?)
    }
}

/// Hands each response to the client that waits for it, until the job has ended.
async fn deliver(mut output: ChannelReceiver<Score>, waiting: Arc<Waiting>) {
    while let Some(score) = output.recv().await {
        waiting.answer(score);
    }
    waiting.close();
}

/// A client: makes `count` calls, each after the answer to the one before. Gives the microseconds from call to answer.
async fn client(service: Arc<ScoreService>, client: u64, count: u64) -> thalweg::Result<Vec<u64>> {
    let mut latencies_us = Vec::new();
    for n in 0..count {
        let user = (client + n * 7) % USERS;
        let cents = 100 + (n * 37 % 900) as u32;
        let called = Instant::now();
        let score = service.score(user, cents).await?;
        latencies_us.push(called.elapsed().as_micros() as u64);
        assert!(score.ordinal > 0 && score.ratio > 0.0, "every payment gets a score: {score:?}");
    }
    Ok(latencies_us)
}

/// Runs `count` clients side by side, and prints how long their calls took.
async fn run_clients(
    what: &str,
    service: &Arc<ScoreService>,
    count: u64,
    calls_each: u64,
) -> thalweg::Result<()> {
    let clients = (0..count).map(|number| client(service.clone(), number, calls_each));
    let mut clients: JoinSet<_> = clients.collect();
    let mut latencies_us = Histogram::<u64>::new(3)?;
    while let Some(finished) = clients.join_next().await {
        finished??.into_iter().try_for_each(|latency_us| latencies_us.record(latency_us))?;
    }
    let [p50, p99] = [0.5, 0.99].map(|q| latencies_us.value_at_quantile(q));
    let (count, max) = (latencies_us.len(), latencies_us.max());
    println!(
        "{what:<20} {count:>6} requests   p50 {p50:>5} µs   p99 {p99:>5} µs   max {max:>6} µs"
    );
    Ok(())
}

/// Starts the job. The task ends when the job has ended and its last response is delivered.
fn start(engine: &Engine) -> thalweg::Result<(ScoreService, JobHandle, JoinHandle<()>)> {
    let (input, requests) = source::channel::<Request>(CHANNEL_CAPACITY);
    let (scores, output) = sink::channel::<Score>(CHANNEL_CAPACITY);
    let job = engine.submit("scores", |env| {
        env.from_source(requests, "requests")
            .key_by(|request| request.user)
            .process(Scorer::default())
            .name("scorer")
            .sink_to(scores);
    })?;
    let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
    let delivery = tokio::spawn(deliver(output, waiting.clone()));
    let (next_id, full_count) = Default::default();
    Ok((ScoreService { input, waiting, next_id, full_count }, job, delivery))
}

/// Starts the job, is its clients, and ends it.
async fn serve(engine: &Engine) -> thalweg::Result<()> {
    let (service, job, delivery) = start(engine)?;
    let service = Arc::new(service);
    run_clients("one after another", &service, CLIENTS, CALLS_PER_CLIENT).await?;
    run_clients("all at once", &service, BURST, 1).await?;
    let full_count = service.full_count.load(Ordering::Relaxed);
    println!("the channel was full {full_count} times; these requests waited for room");

    drop(service); // and with it the only sender
    delivery.await?;
    let result = job.wait_async().await?;
    println!("the job ended after {:.1?} with every request answered", result.runtime);
    Ok(())
}

/// One slot, and so one core, for the job. With `Profile::Latency` it would never sleep, and answer sooner still.
fn engine() -> Result<Engine, thalweg::Error> {
    let engine = Engine::builder().name("scores").slots(1).profile(Profile::Balanced);
    engine.configure(|c| c.parallelism(1)).build()
}

fn main() -> thalweg::Result<()> {
    let engine = engine()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    runtime.block_on(async { timeout(TIME_MAX, serve(&engine)).await })??;
    engine.shutdown(); // waits, so not within tokio
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn scores_know_the_payments_before() {
        let engine = engine().unwrap();
        let (service, job, delivery) = start(&engine).unwrap();
        let mut scores = Vec::new();
        for (user, cents) in [(1, 100), (2, 50), (1, 100), (1, 200), (2, 25)] {
            let score = service.score(user, cents).await.unwrap();
            scores.push((user, score.ordinal, score.ratio));
        }
        assert_eq!(scores, [(1, 1, 1.0), (2, 1, 1.0), (1, 2, 1.0), (1, 3, 2.0), (2, 2, 0.5)]);
        drop(service);
        delivery.await.unwrap();
        job.wait_async().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cancelled_job_leaves_no_client_waiting() {
        let engine = engine().unwrap();
        let (service, job, delivery) = start(&engine).unwrap();
        service.score(1, 100).await.unwrap();
        job.cancel();
        assert!(matches!(job.wait_async().await, Err(thalweg::Error::Cancelled(_))));
        delivery.await.unwrap();
        timeout(TIME_MAX, service.score(1, 100)).await.expect("an answer").unwrap_err();
    }
}
