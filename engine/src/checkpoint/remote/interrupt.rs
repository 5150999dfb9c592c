//! A wish that what is under way with a store ends now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by who wishes and who waits; the wish stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Set once, before `told`; publishes nothing else.
    has_come: AtomicBool,
    #[cfg(feature = "object-store")]
    told: tokio::sync::Notify,
}

impl Interrupt {
    pub(crate) fn interrupt(&self) {
        self.0.has_come.store(true, Ordering::Release);
        #[cfg(feature = "object-store")]
        self.0.told.notify_waiters();
    }

    #[cfg(feature = "object-store")]
    pub(super) fn has_come(&self) -> bool {
        self.0.has_come.load(Ordering::Acquire)
    }

    /// Ends when the wish has come. The wish is heard from the moment at which this is first polled.
    #[cfg(feature = "object-store")]
    pub(super) async fn wait(&self) {
        // Listens from here on; whoever wished before has set the flag.
        let told = self.0.told.notified();
        if !self.has_come() {
            told.await;
        }
    }
}
