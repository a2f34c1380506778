//! The awaits of a step: requests whose results the step needs before it goes on.
//!
//! A step that awaits runs on a stack of its own, which owns the store until the result has arrived. The step and the
//! host therefore exchange requests and results through an [`AwaitSlot`], which both hold.

use shm_protocol::agent_to_supervisor::AwaitRequest;
use shm_protocol::id::{AgentId, ModelId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The awaits of the current step.
#[derive(Default)]
pub(crate) struct Awaits {
    count: u32,
    /// Results received before the step awaits them.
    early_results: VecDeque<Arc<RequestResult>>,
    slot: AwaitSlot,
}

/// The exchange of one pending await and its result, shared by the step and the host.
#[derive(Clone, Default)]
pub(crate) struct AwaitSlot(Arc<Mutex<SlotContents>>);

#[derive(Default)]
struct SlotContents {
    pending: Option<AwaitCall>,
    result: Option<Arc<RequestResult>>,
}

/// A request whose result a step awaits.
pub(crate) struct AwaitCall {
    number: u32,
    model: ModelId,
    inputs: Arc<Vec<Tensor>>,
}

impl Awaits {
    /// Begins a new step with the results that were received before it.
    pub(crate) fn begin_step(&mut self, early_results: VecDeque<Arc<RequestResult>>) {
        *self = Awaits {
            count: 0,
            early_results,
            slot: std::mem::take(&mut self.slot),
        };
    }

    /// The slot of the step's awaits.
    pub(crate) fn slot(&self) -> AwaitSlot {
        self.slot.clone()
    }

    /// True if the step may await once more.
    pub(crate) fn are_within_limit(&self) -> bool {
        (self.count as usize) < limit::ROUNDS_PER_TICK
    }

    /// Awaits the result of a request. A result that was received early is ready at once.
    pub(crate) fn request(&mut self, model: ModelId, inputs: Arc<Vec<Tensor>>) -> ResultFuture {
        let number = self.count;
        self.count += 1;
        let mut contents = self.slot.lock();
        match self.early_results.pop_front() {
            Some(result) => contents.result = Some(result),
            None => {
                contents.pending = Some(AwaitCall {
                    number,
                    model,
                    inputs,
                });
            }
        }
        drop(contents);
        ResultFuture(self.slot())
    }
}

impl AwaitSlot {
    fn lock(&self) -> MutexGuard<'_, SlotContents> {
        // Nothing panics while it holds the lock, and both sides are in one thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the pending await, if the host has not taken it yet.
    pub(crate) fn take_request(&self) -> Option<AwaitCall> {
        self.lock().pending.take()
    }

    /// Provides the awaited result.
    pub(crate) fn put_result(&self, result: Arc<RequestResult>) {
        self.lock().result = Some(result);
    }
}

impl AwaitCall {
    /// Number of earlier awaits of the same step.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The await as a message to the supervisor.
    pub(crate) fn into_request(self, agent: AgentId) -> AwaitRequest {
        let AwaitCall {
            number,
            model,
            inputs,
        } = self;
        AwaitRequest {
            agent,
            number,
            model,
            inputs,
        }
    }
}

/// The future of an awaited result. It wakes nobody: the host that provides the result also continues the step.
pub(crate) struct ResultFuture(AwaitSlot);

impl Future for ResultFuture {
    type Output = Arc<RequestResult>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Arc<RequestResult>> {
        self.0
            .lock()
            .result
            .take()
            .map_or(Poll::Pending, Poll::Ready)
    }
}

/// Runs a call until it returns or awaits. `None` in the second case.
pub(crate) fn poll_once<F: Future + ?Sized>(call: Pin<&mut F>) -> Option<F::Output> {
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The output of a call that cannot await, because it is not a step.
///
/// # Panics
/// When the call awaits.
pub(crate) fn expect_ready<T>(call: impl Future<Output = T>) -> T {
    poll_once(std::pin::pin!(call)).expect("awaits outside of a step are refused")
}
