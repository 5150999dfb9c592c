//! Descriptors: name, types, time to live and function of a state, as a user writes them; plain data
//! that any number of operators may use.
//!
//! A descriptor becomes a handle through [`StateRegistrar`](crate::StateRegistrar) (keyed state) or
//! [`OperatorStateStore`](crate::OperatorStateStore) (operator state), once for each operator.
//!
//! **Invariants**
//! - Name, kind, types and TTL are the identity of a state: equal ones give the same state, and a
//!   name that comes with others is refused. Functions cannot be compared and are no part of it:
//!   each handle uses that of the descriptor it was made from.

mod folding;

pub use folding::{AggregatingStateDescriptor, ReducingStateDescriptor};
pub(crate) use folding::{Fold, Reduce};

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::{Key, StateTtl, StateValue};

macro_rules! descriptor {
    ($(#[$docs:meta])* $name:ident<$($parameter:ident: $bound:path),+>) => {
        $(#[$docs])*
        pub struct $name<$($parameter),+> {
            name: Cow<'static, str>,
            ttl: Option<StateTtl>,
            /// A descriptor holds no value, so it is `Send` and `Sync` whatever its types are.
            types: PhantomData<fn($($parameter),+) -> ($($parameter,)+)>,
        }

        impl<$($parameter),+> $name<$($parameter),+> {
            /// Describes the state of this name; names are unique within an operator.
            // The bounds stand here and not on the impl, so that a type that lacks them is told
            // what to do (E0277).
            pub fn new(name: impl Into<Cow<'static, str>>) -> Self
            where
                $($parameter: $bound),+
            {
                $name { name: name.into(), ttl: None, types: PhantomData }
            }

            /// Lets the state expire. Keyed state only: other state with a TTL is refused.
            #[must_use]
            pub fn with_ttl(self, ttl: StateTtl) -> Self {
                $name { ttl: Some(ttl), ..self }
            }

            /// The state's name.
            pub fn name(&self) -> &str {
                &self.name
            }

            /// How long the state lives; `None` for ever.
            pub fn ttl(&self) -> Option<StateTtl> {
                self.ttl
            }
        }

        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                $name { name: self.name.clone(), ttl: self.ttl, types: PhantomData }
            }
        }

        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter
                    .debug_struct(stringify!($name))
                    .field("name", &self.name)
                    .field("ttl", &self.ttl)
                    .finish()
            }
        }
    };
}

descriptor! {
    /// One value a key.
    ///
    /// ```
    /// use thalweg_state::ValueStateDescriptor;
    /// assert_eq!(ValueStateDescriptor::<f64>::new("last").name(), "last");
    /// ```
    ValueStateDescriptor<V: StateValue>
}

descriptor! {
    /// A list of values a key, in the order in which they were added; or a list of an operator.
    ListStateDescriptor<V: StateValue>
}

descriptor! {
    /// A map a key, from user keys to user values; or the map of a broadcast state.
    MapStateDescriptor<UK: Key, UV: StateValue>
}
