//! What functions without keys are told when they ask for what belongs to a key.

use thalweg_state::RowCursor;

/// Why a context refused something. Fails the job if it is passed on with `?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A timer belongs to a key, and the stream has none.
    #[error(
        "operator '{operator}' calls {verb}() and its stream has no keys; timers need a keyed stream: call key_by before '{operator}'"
    )]
    TimerWithoutKey {
        /// The operator.
        operator: Box<str>,
        /// What was called.
        verb: &'static str,
    },
}

/// Time as an operator without keys sees it. It may be read; timers are refused, because a timer belongs to a key.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// Says what happens to who wants a timer without a key.
/// #[derive(Clone)]
/// struct Hopeful;
///
/// impl ProcessFunction for Hopeful {
///     type In = i64;
///     type Out = String;
///     fn process_element(
///         &mut self,
///         at_ms: i64,
///         context: &mut ProcessContext<'_>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         if let Err(error) = context.timer_service().register_event_time_timer(at_ms) {
///             out.collect(error.to_string());
///         }
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let said = env.from_elements([1]).process(Hopeful).name("hopeful").collect();
/// env.execute("a timer without a key")?;
/// assert_eq!(
///     said.take(),
///     ["operator 'hopeful' calls register_event_time_timer() and its stream has no keys; \
///       timers need a keyed stream: call key_by before 'hopeful'"]
/// );
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct UnkeyedTimerService<'a> {
    pub(crate) operator: &'a str,
    pub(crate) watermark: i64,
    pub(crate) now_ms: i64,
}

impl UnkeyedTimerService<'_> {
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.now_ms
    }
    /// Refused.
    ///
    /// # Errors
    /// Always [`ContextError::TimerWithoutKey`].
    pub fn register_event_time_timer(&mut self, _at_ms: i64) -> Result<(), ContextError> {
        self.refuse("register_event_time_timer")
    }
    /// Refused.
    ///
    /// # Errors
    /// Always [`ContextError::TimerWithoutKey`].
    pub fn delete_event_time_timer(&mut self, _at_ms: i64) -> Result<(), ContextError> {
        self.refuse("delete_event_time_timer")
    }
    /// Refused.
    ///
    /// # Errors
    /// Always [`ContextError::TimerWithoutKey`].
    pub fn register_processing_time_timer(&mut self, _at_ms: i64) -> Result<(), ContextError> {
        self.refuse("register_processing_time_timer")
    }
    /// Refused.
    ///
    /// # Errors
    /// Always [`ContextError::TimerWithoutKey`].
    pub fn delete_processing_time_timer(&mut self, _at_ms: i64) -> Result<(), ContextError> {
        self.refuse("delete_processing_time_timer")
    }

    #[cold]
    fn refuse(&self, verb: &'static str) -> Result<(), ContextError> {
        Err(ContextError::TimerWithoutKey { operator: self.operator.into(), verb })
    }
}

/// The cursor of a context without a key: handles of keyed state answer it with a typed error.
pub(crate) fn no_key() -> &'static RowCursor<'static> {
    const NO_KEY: RowCursor<'static> = RowCursor::detached();
    &NO_KEY
}

macro_rules! without_key {
    ($($context:ty),* $(,)?) => {
        $(
            /// There is no key here: keyed state answers with
            /// [`StateError::NoKeyContext`](thalweg_state::StateError::NoKeyContext).
            impl thalweg_state::KeyedContext for $context {
                fn cursor(&self) -> &thalweg_state::RowCursor<'_> {
                    $crate::function::unkeyed::no_key()
                }
                fn cursor_mut(&mut self) -> thalweg_state::RowCursor<'_> {
                    thalweg_state::RowCursor::detached()
                }
            }
        )*
    };
}
pub(crate) use without_key;

without_key!(super::ProcessContext<'_>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_can_be_read_and_timers_are_refused() {
        let mut service = UnkeyedTimerService { operator: "op", watermark: 5, now_ms: 7 };
        assert_eq!((service.current_watermark(), service.current_processing_time()), (5, 7));
        for (refused, verb) in [
            (service.register_event_time_timer(1), "register_event_time_timer"),
            (service.delete_event_time_timer(1), "delete_event_time_timer"),
            (service.register_processing_time_timer(1), "register_processing_time_timer"),
            (service.delete_processing_time_timer(1), "delete_processing_time_timer"),
        ] {
            assert_eq!(refused, Err(ContextError::TimerWithoutKey { operator: "op".into(), verb }));
        }
        assert_eq!(no_key().row_id(), None);
    }
}
