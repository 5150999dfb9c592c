//! Functions whose results come later: requests to services and databases.

mod options;
mod result_future;

pub(crate) use options::Settings;
pub use options::{AsyncOptions, AsyncRetry};
pub use result_future::ResultFuture;
pub(crate) use result_future::{Answer, Message, Ticket};

use crate::Result;
use crate::function::RuntimeContext;

/// Begins a request for each record and goes on; the results come later, from whatever thread.
///
/// `invoke` runs on the operator's core and must not block: it hands the request and the [`ResultFuture`] to a client,
/// a pool of threads or an async runtime of yours. For Rust futures that need no such thing there is
/// [`DataStream::async_map_ordered`](crate::api::DataStream::async_map_ordered).
///
/// # Examples
/// A lookup on a thread of its own:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Lookup;
///
/// impl AsyncFunction for Lookup {
///     type In = u64;
///     type Out = (u64, String);
///     fn invoke(&mut self, id: &u64, result: ResultFuture<(u64, String)>) -> thalweg::Result<()> {
///         let id = *id;
///         std::thread::spawn(move || result.complete(vec![(id, format!("user {id}"))]));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let users = env
///     .from_elements([7, 8, 9])
///     .async_ordered(Lookup, AsyncOptions::timeout(seconds(60)).capacity(2))
///     .collect();
/// env.execute("lookup")?;
/// assert_eq!(users.take(), [(7, "user 7".into()), (8, "user 8".into()), (9, "user 9".into())]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not an AsyncFunction")]
pub trait AsyncFunction: 'static {
    /// Records taken.
    type In: 'static;
    /// Records given.
    type Out: Send + 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Begins the request of a record, also again when a retry is due.
    ///
    /// # Errors
    /// Any error fails the job, also where there are retries: those are for errors that the `result` is completed with.
    fn invoke(&mut self, record: &Self::In, result: ResultFuture<Self::Out>) -> Result<()>;
    /// Called when a request has taken too long, all its retries included; completes it by another result, or fails it.
    /// Without an implementation the job fails with [`AsyncError::TimedOut`]. There is no retry after it. Should the
    /// request be answered before `result` is, that answer is taken.
    ///
    /// # Errors
    /// Any error fails the job.
    fn timeout(&mut self, _record: &Self::In, result: ResultFuture<Self::Out>) -> Result<()> {
        result.fail(AsyncError::TimedOut);
        Ok(())
    }
    /// Called once, after the last result.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Why an asynchronous request failed its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AsyncError {
    /// No answer within the timeout.
    #[error(
        "a request was not answered within its timeout; raise the timeout, or say what takes the place of its result \
         (AsyncFunction::timeout, AsyncOptions::on_timeout)"
    )]
    TimedOut,
    /// The request's [`ResultFuture`] was dropped.
    #[error(
        "the ResultFuture of a request was dropped without a result; call complete (with an empty vector for no result) \
         or fail on every path, also where a client or a thread gives up"
    )]
    Dropped,
}
