//! Window operators before they reach their cores, and the choice of how windows are kept.

use super::choice::{ChooseEvictor, ChooseTrigger};
use super::{Evaluation, WindowedStream};
use crate::Result;
use crate::api::chain::{Chain, HeadFactory};
use crate::api::keyed::boxed_head;
use crate::api::stream::DataStream;
use crate::function::{AggregateFunction, KeySelector, OutputTag, UserFunction};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::window::body::{Body, Incremental};
use crate::operator::window::emit::{EmitPlain, OfTime, Plainly};
use crate::operator::window::general::{GeneralSettings, GeneralWindows};
use crate::operator::window::pane::PaneWindows;
use crate::operator::window::sessions::{SessionSettings, SessionWindows};
use crate::operator::window::sliced::SlicedWindows;
use crate::operator::window::{WindowCore, WindowSettings};
use crate::operator::{Consume, Push};
use crate::window::WindowAssigner;
use std::marker::PhantomData;
use std::panic::Location;

/// The window operators that are not specialised.
struct GeneralFactory<T, S, A, R, B> {
    selector: S,
    assigner: A,
    trigger: R,
    body: B,
    lateness_ms: i64,
    late: Option<OutputTag<T>>,
    node: NodeId,
}

impl<T, S: Clone, A: Clone, R: Clone, B: Clone> Clone for GeneralFactory<T, S, A, R, B> {
    fn clone(&self) -> Self {
        GeneralFactory {
            selector: self.selector.clone(),
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            body: self.body.clone(),
            lateness_ms: self.lateness_ms,
            late: self.late.clone(),
            node: self.node,
        }
    }
}

impl<T, S, A, R, B> HeadFactory<T> for GeneralFactory<T, S, A, R, B>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    B: Body<T, S::Key, A::Window, Out: Send + 'static> + UserFunction,
{
    type Out = B::Out;

    fn build<D: Push<B::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        let GeneralFactory { selector, assigner, trigger, body, lateness_ms, late, node } = self;
        let trigger = trigger.make(&assigner);
        let settings =
            GeneralSettings { selector, assigner, trigger, body, lateness_ms, late, node };
        Ok(boxed_head(GeneralWindows::open(settings, context)?, next, context))
    }
}

/// Incremental functions without state of their own: specialised where assigner, trigger and evictor allow it.
struct IncrementalFactory<T, S, A, R, V, G, E> {
    settings: (S, A, i64, Option<OutputTag<T>>, NodeId),
    choices: (R, V),
    aggregate: G,
    emit: E,
    evaluation: Evaluation,
}

impl<T, S, A, R, V, G, E> Clone for IncrementalFactory<T, S, A, R, V, G, E>
where
    S: Clone,
    A: Clone,
    R: Clone,
    V: Clone,
    G: Clone,
    E: Clone,
{
    fn clone(&self) -> Self {
        IncrementalFactory {
            settings: self.settings.clone(),
            choices: self.choices.clone(),
            aggregate: self.aggregate.clone(),
            emit: self.emit.clone(),
            evaluation: self.evaluation,
        }
    }
}

impl<T, S, A, R, V, G, E> IncrementalFactory<T, S, A, R, V, G, E>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
    G: AggregateFunction<T>,
    E: EmitPlain<S::Key, A::Window, G::Result, Out: Send + 'static> + UserFunction,
{
    /// Constants, so that only the operator that is chosen gets compiled.
    const IS_PLAIN: bool = R::IS_DEFAULT && V::IS_NONE;
    const IS_ALIGNED: bool = Self::IS_PLAIN && A::IS_ALIGNED;
    const IS_FIXED_SESSION: bool = Self::IS_PLAIN && A::IS_FIXED_SESSION;

    fn build_aligned<D: Push<E::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        let (selector, assigner, lateness_ms, late, node) = self.settings;
        let windows = assigner.aligned().ok_or("an aligned assigner does not tell its windows")?;
        let is_sliced =
            self.evaluation == Evaluation::Automatic && G::SLICEABLE && windows.overlap();
        let emit = OfTime { emit: self.emit, types: PhantomData };
        let emit = Opened::open(emit, &context.stage, node, |_, _| Ok(()), |_| Ok(()))?;
        let aggregate = self.aggregate;
        let settings = WindowSettings { selector, aggregate, windows, lateness_ms, late, node };
        let core = WindowCore::open(settings, emit, context)?;
        Ok(match is_sliced {
            true => boxed_head(SlicedWindows::open(core, context)?, next, context),
            false => boxed_head(PaneWindows::open(core, context)?, next, context),
        })
    }

    fn build_sessions<D: Push<E::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        let (selector, assigner, lateness_ms, late, node) = self.settings;
        let gap_ms = assigner.fixed_gap_ms().ok_or("a session assigner does not tell its gap")?;
        let emit = OfTime { emit: self.emit, types: PhantomData };
        let emit = Opened::open(emit, &context.stage, node, |_, _| Ok(()), |_| Ok(()))?;
        let aggregate = self.aggregate;
        let settings = SessionSettings { selector, aggregate, gap_ms, lateness_ms, late, node };
        Ok(boxed_head(SessionWindows::open(settings, emit, context)?, next, context))
    }

    fn build_general<D: Push<E::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        let (selector, assigner, lateness_ms, late, node) = self.settings;
        let (trigger, evictor) = self.choices;
        let body = Incremental { aggregate: self.aggregate, emit: Plainly(self.emit) };
        let body = evictor.wrap::<S::Key, _>(body);
        let factory = GeneralFactory { selector, assigner, trigger, body, lateness_ms, late, node };
        factory.build(context, next)
    }
}

impl<T, S, A, R, V, G, E> HeadFactory<T> for IncrementalFactory<T, S, A, R, V, G, E>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
    G: AggregateFunction<T>,
    E: EmitPlain<S::Key, A::Window, G::Result, Out: Send + 'static> + UserFunction,
{
    type Out = E::Out;

    fn build<D: Push<E::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        if Self::IS_ALIGNED {
            self.build_aligned(context, next)
        } else if Self::IS_FIXED_SESSION && self.evaluation == Evaluation::Automatic {
            self.build_sessions(context, next)
        } else {
            self.build_general(context, next)
        }
    }
}

impl<T, S, A, R, V> WindowedStream<T, S, A, R, V>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    /// Ends with an incremental function that has no state of its own.
    pub(super) fn end_incremental<G, E>(
        self,
        aggregate: G,
        emit: E,
        location: &'static Location<'static>,
    ) -> DataStream<E::Out, impl Chain<E::Out> + use<T, S, A, R, V, G, E>>
    where
        G: AggregateFunction<T>,
        E: EmitPlain<S::Key, A::Window, G::Result, Out: Send + 'static> + UserFunction,
    {
        let WindowedStream { keyed, assigner, trigger, evictor, lateness_ms, late, .. } = self;
        let (evaluation, mistakes) = (self.evaluation, self.mistakes);
        let plan = keyed.plan.clone();
        let stream = keyed.head("window", location, |node, selector| IncrementalFactory {
            settings: (selector, assigner, lateness_ms, late, node),
            choices: (trigger, evictor),
            aggregate,
            emit,
            evaluation,
        });
        plan.with(|plan| plan.allow_side_outputs(stream.operator));
        Self::report(&plan, stream.operator, mistakes);
        stream
    }

    /// Ends with any function.
    pub(super) fn end_general<B>(
        self,
        body: B,
        location: &'static Location<'static>,
    ) -> DataStream<B::Out, impl Chain<B::Out> + use<T, S, A, R, V, B>>
    where
        B: Body<T, S::Key, A::Window, Out: Send + 'static> + UserFunction,
    {
        let WindowedStream { keyed, assigner, trigger, evictor, lateness_ms, late, .. } = self;
        let mistakes = self.mistakes;
        let body = evictor.wrap::<S::Key, B>(body);
        let plan = keyed.plan.clone();
        let stream = keyed.head("window", location, |node, selector| GeneralFactory {
            selector,
            assigner,
            trigger,
            body,
            lateness_ms,
            late,
            node,
        });
        plan.with(|plan| plan.allow_side_outputs(stream.operator));
        Self::report(&plan, stream.operator, mistakes);
        stream
    }
}
