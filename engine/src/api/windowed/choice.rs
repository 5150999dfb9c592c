//! What a windowed stream was told about triggers and evictors, as types: so that what it was not told costs nothing, not even
//! to compile.

use crate::function::UserFunction;
use crate::operator::window::body::{Body, Evicting};
use crate::state::StateValue;
use crate::window::{Evictor, Trigger, Window, WindowAssigner};
use std::marker::PhantomData;

/// The trigger is the assigner's own.
#[derive(Clone, Copy, Debug)]
pub struct ByDefault;

/// The trigger was chosen by the job.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<R>(pub(crate) R);

/// Nothing is evicted.
#[derive(Clone, Copy, Debug)]
pub struct NoEvictor;

/// An evictor was chosen by the job.
#[derive(Clone, Copy, Debug)]
pub struct EvictedBy<V>(pub(crate) V);

/// [`ByDefault`] or [`Chosen`].
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not hold a trigger for the windows of `{A}` and records of type `{T}`"
)]
#[expect(private_bounds, reason = "closed: jobs choose by methods")]
pub trait ChooseTrigger<T, A: WindowAssigner<T>>: UserFunction + Closed {
    /// The trigger is the assigner's own.
    const IS_DEFAULT: bool;
    /// The trigger.
    type Trigger: Trigger<T, A::Window> + UserFunction;
    /// Makes it.
    fn make(self, assigner: &A) -> Self::Trigger;
}

/// [`NoEvictor`] or [`EvictedBy`].
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not hold an evictor for windows of type `{W}` and records of type `{T}`"
)]
#[expect(private_bounds, reason = "closed: jobs choose by methods")]
pub trait ChooseEvictor<T, W: Window>: UserFunction + Closed + Wrap<T, W> {}

/// What the choice makes of a function.
pub(crate) trait Wrap<T, W: Window>: Sized {
    /// Nothing is evicted.
    const IS_NONE: bool;
    type Body<K: 'static, B: Body<T, K, W> + UserFunction>: Body<T, K, W, Out = B::Out>
        + UserFunction;
    fn wrap<K: 'static, B: Body<T, K, W> + UserFunction>(self, body: B) -> Self::Body<K, B>;
}

pub(crate) trait Closed {}
impl Closed for ByDefault {}
impl<R> Closed for Chosen<R> {}
impl Closed for NoEvictor {}
impl<V> Closed for EvictedBy<V> {}

impl<T, A: WindowAssigner<T>> ChooseTrigger<T, A> for ByDefault {
    const IS_DEFAULT: bool = true;
    type Trigger = A::DefaultTrigger;
    fn make(self, assigner: &A) -> A::DefaultTrigger {
        assigner.default_trigger()
    }
}

impl<T, A, R> ChooseTrigger<T, A> for Chosen<R>
where
    A: WindowAssigner<T>,
    R: Trigger<T, A::Window> + UserFunction,
{
    const IS_DEFAULT: bool = false;
    type Trigger = R;
    fn make(self, _: &A) -> R {
        self.0
    }
}

impl<T, W: Window> ChooseEvictor<T, W> for NoEvictor {}
impl<T, W: Window> Wrap<T, W> for NoEvictor {
    const IS_NONE: bool = true;
    type Body<K: 'static, B: Body<T, K, W> + UserFunction> = B;
    fn wrap<K: 'static, B: Body<T, K, W> + UserFunction>(self, body: B) -> B {
        body
    }
}

impl<T, W, V> ChooseEvictor<T, W> for EvictedBy<V>
where
    T: StateValue + Clone,
    W: Window,
    V: Evictor<T, W> + UserFunction,
{
}
impl<T, W, V> Wrap<T, W> for EvictedBy<V>
where
    T: StateValue + Clone,
    W: Window,
    V: Evictor<T, W> + UserFunction,
{
    const IS_NONE: bool = false;
    type Body<K: 'static, B: Body<T, K, W> + UserFunction> = Evicting<V, B, T>;
    fn wrap<K: 'static, B: Body<T, K, W> + UserFunction>(self, body: B) -> Evicting<V, B, T> {
        Evicting { evictor: self.0, body, types: PhantomData }
    }
}
