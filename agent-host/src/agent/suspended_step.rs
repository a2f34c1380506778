//! A step that can await: it runs on a stack of its own (a fiber), which is kept until the result arrives.
//!
//! The call owns the instance while it lasts, so nothing else can use it. Dropping an unfinished call unwinds its stack
//! and drops the instance.

use super::instance::{AgentInstance, StepOnFiber};
use crate::awaits::{AwaitCall, AwaitSlot, poll_once};
use crate::bindings::Event;
use shm_protocol::supervisor_to_agent::RequestResult;
use std::pin::Pin;
use std::sync::Arc;

type StepCall = dyn Future<Output = (AgentInstance, wasmtime::Result<()>)>;

/// A step whose call has not returned.
pub(super) struct SuspendedStep {
    call: Pin<Box<StepCall>>,
    slot: AwaitSlot,
    /// Number of earlier awaits of the same step.
    pub(super) number: u32,
}

/// Progress of the call of a step.
pub(super) enum CallProgress {
    Returned(AgentInstance, wasmtime::Result<()>),
    Awaiting(SuspendedStep, AwaitCall),
}

impl SuspendedStep {
    /// Begins a step and runs it to its end or its first await.
    pub(super) fn begin(
        mut instance: AgentInstance,
        step: StepOnFiber,
        events: Vec<Event>,
    ) -> CallProgress {
        let slot = instance.store.data_mut().awaits.slot();
        let call = Box::pin(async move {
            let result = step.call_async(instance.store.context(), (events,)).await;
            (instance, result)
        });
        let step = SuspendedStep {
            call,
            slot,
            number: 0,
        };
        step.run()
    }

    /// Continues with the result of the await.
    pub(super) fn resume(self, result: Arc<RequestResult>) -> CallProgress {
        self.slot.put_result(result);
        self.run()
    }

    fn run(mut self) -> CallProgress {
        match poll_once(self.call.as_mut()) {
            Some((instance, result)) => CallProgress::Returned(instance, result),
            None => {
                let pending = self.slot.take_request();
                let pending = pending.expect("a step is suspended by its awaits only");
                self.number = pending.number();
                CallProgress::Awaiting(self, pending)
            }
        }
    }
}
