//! `connect_broadcast`: a stream and a broadcast one that meet in one operator.
//!
//! The broadcast is an exchange of its own in front of the operator, subtask i to subtask i, so its parallelism must be the
//! operator's: whoever sets the one sets the other (`PlanBuilder::set_on_stage`), and planning refuses what differs.

use crate::Result;
use crate::api::chain::Chain;
use crate::api::connected::{ConnectedStreams, TwoHead, TwoHeadFactory};
use crate::api::keyed::KeyedStream;
use crate::api::stream::DataStream;
use crate::exchange::gate::ConsumeTwo;
use crate::function::{
    BroadcastProcessFunction, CoFlatMapFunction, CoMapFunction, KeySelector,
    KeyedBroadcastProcessFunction, UserFunction,
};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::broadcast::BesideBroadcast;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedOperator, KeyedOperatorTwo};
use crate::operator::keyed_process::KeyedProcess;
use std::panic::Location;

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Brings the stream together with one that was [`broadcast`](DataStream::broadcast): every subtask sees its part of
    /// this stream and all of the other.
    ///
    /// A second stream that is not broadcast is a mistake that `execute` reports. See [`BroadcastProcessFunction`] for an
    /// example.
    #[track_caller]
    pub fn connect_broadcast<B, C2>(
        self,
        other: DataStream<B, C2>,
    ) -> BroadcastConnectedStreams<T, B>
    where
        B: Send + 'static,
        C2: Chain<B>,
    {
        expect_broadcast(&other, Location::caller());
        BroadcastConnectedStreams { streams: self.connect(other) }
    }
}

impl<A: Send + 'static, S: KeySelector<A>> KeyedStream<A, S> {
    /// Brings a keyed stream together with one that was [`broadcast`](DataStream::broadcast): every subtask sees its own
    /// keys of this stream and all of the other.
    ///
    /// A second stream that is not broadcast is a mistake that `execute` reports. See [`KeyedBroadcastProcessFunction`] for
    /// an example.
    #[track_caller]
    pub fn connect_broadcast<B, C2>(
        self,
        other: DataStream<B, C2>,
    ) -> KeyedBroadcastConnectedStreams<A, B, S>
    where
        B: Send + 'static,
        C2: Chain<B>,
    {
        expect_broadcast(&other, Location::caller());
        let (first, selector, plan) = self.connect_to(0);
        let streams = ConnectedStreams { plan, first, second: other.connect_to(1) };
        KeyedBroadcastConnectedStreams { streams, selector }
    }
}

fn expect_broadcast<B, C2>(other: &DataStream<B, C2>, location: &'static Location<'static>) {
    other.plan.with(|plan| plan.expect_broadcast(other.node, location));
}

/// A stream without keys and a broadcast one that meet in one operator.
#[must_use = "connected streams need an operator"]
pub struct BroadcastConnectedStreams<A, B> {
    streams: ConnectedStreams<A, B>,
}

/// A keyed stream and a broadcast one that meet in one operator.
#[must_use = "connected streams need an operator"]
pub struct KeyedBroadcastConnectedStreams<A, B, S> {
    streams: ConnectedStreams<A, B>,
    selector: S,
}

macro_rules! stateless_verbs {
    () => {
        /// One record in, one record out, a closure for each side.
        ///
        /// As [`ConnectedStreams::map`], where there is an example.
        #[track_caller]
        pub fn map<U, F, G>(self, first: F, second: G) -> DataStream<U, impl Chain<U>>
        where
            U: Send + 'static,
            F: FnMut(A) -> U + UserFunction,
            G: FnMut(B) -> U + UserFunction,
        {
            self.streams.map(first, second)
        }

        /// One record in, one record out, with a rich function.
        ///
        /// An example is at [`CoMapFunction`].
        #[track_caller]
        pub fn map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
        where
            F: CoMapFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
        {
            self.streams.map_with(function)
        }

        /// One record in, any number out, with a rich function.
        ///
        /// An example is at [`CoFlatMapFunction`].
        #[track_caller]
        pub fn flat_map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
        where
            F: CoFlatMapFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
        {
            self.streams.flat_map_with(function)
        }
    };
}

impl<A: Send + 'static, B: Send + 'static> BroadcastConnectedStreams<A, B> {
    /// Processes both streams with broadcast state. See [`BroadcastProcessFunction`].
    ///
    /// That trait has an example. Cost: one copy of each broadcast record, and of the state made from it, for each subtask.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: BroadcastProcessFunction<In = A, Broadcast = B, Out: Send + 'static> + UserFunction,
    {
        let function = BesideBroadcast(function);
        self.streams.process_as("broadcast_process", function, Location::caller())
    }

    stateless_verbs!();
}

impl<A, B, S> KeyedBroadcastConnectedStreams<A, B, S>
where
    A: Send + 'static,
    B: Send + 'static,
    S: KeySelector<A>,
{
    /// Processes both streams with keyed state, timers and broadcast state. See [`KeyedBroadcastProcessFunction`].
    ///
    /// That trait has an example. Cost: one row for each key with state or timers; one copy of each broadcast record, and of the
    /// broadcast state, for each subtask.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: KeyedBroadcastProcessFunction<Key = S::Key, In = A, Broadcast = B, Out: Send + 'static>
            + UserFunction,
    {
        let KeyedBroadcastConnectedStreams { streams, selector } = self;
        let location = Location::caller();
        let (plan, node, first, second) = streams.add_node("broadcast_process", true, location);
        plan.with(|plan| plan.allow_side_outputs(node));
        let factory = KeyedBroadcastFactory { function, selector, node };
        DataStream::new(plan, node, TwoHead { node, first, second, factory })
    }

    stateless_verbs!();
}

#[derive(Clone)]
struct KeyedBroadcastFactory<P, S> {
    function: P,
    selector: S,
    node: NodeId,
}

impl<P, S> TwoHeadFactory<P::In, P::Broadcast> for KeyedBroadcastFactory<P, S>
where
    P: KeyedBroadcastProcessFunction<Out: Send + 'static> + UserFunction,
    S: KeySelector<P::In, Key = P::Key>,
{
    type Out = P::Out;
    fn build<D: Push<P::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<P::In, P::Broadcast>>> {
        let KeyedBroadcastFactory { function, selector, node } = self;
        let logic = KeyedProcess::open_beside_broadcast(function, selector, context, node)?;
        Ok(Box::new(KeyedOperatorTwo(KeyedOperator::new(logic, next, context.stage.clone()))))
    }
}
