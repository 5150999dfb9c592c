//! Descriptors: the name and the types of a state, as a user writes them; plain data that any
//! number of operators may use.
//!
//! A descriptor becomes a handle through [`StateRegistrar`](crate::StateRegistrar), once for each
//! operator.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::{Key, StateValue};

macro_rules! descriptor {
    ($(#[$docs:meta])* $name:ident<$($parameter:ident: $bound:path),+>) => {
        $(#[$docs])*
        pub struct $name<$($parameter),+> {
            name: Cow<'static, str>,
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
                $name { name: name.into(), types: PhantomData }
            }

            /// The state's name.
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                $name { name: self.name.clone(), types: PhantomData }
            }
        }

        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($name)).field("name", &self.name).finish()
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
    /// A list of values a key, in the order in which they were added.
    ListStateDescriptor<V: StateValue>
}

descriptor! {
    /// A map a key, from user keys to user values.
    MapStateDescriptor<UK: Key, UV: StateValue>
}
