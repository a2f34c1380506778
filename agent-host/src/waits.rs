//! What a step waits for, between the function that it calls and whoever has
//! the answers.
//!
//! A step that waits runs on a stack of its own, which is left where it is until
//! the answer has come. Its store goes with it, so the two sides meet in an
//! [`Exchange`], which both hold.

use shm_protocol::agent_to_supervisor::AwaitRequest;
use shm_protocol::id::{AgentId, ModelId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a step has waited for so far, and how much longer it may.
#[derive(Default)]
pub(crate) struct Waits {
    made: u32,
    /// Answers that are there before they are asked for.
    known: VecDeque<Arc<RequestResult>>,
    exchange: Exchange,
}

/// Where a wait and its answer change hands.
#[derive(Clone, Default)]
pub(crate) struct Exchange(Arc<Mutex<Exchanged>>);

#[derive(Default)]
struct Exchanged {
    asked: Option<Asked>,
    answer: Option<Arc<RequestResult>>,
}

/// What a step waits for.
pub(crate) struct Asked {
    number: u32,
    model: ModelId,
    inputs: Arc<Vec<Tensor>>,
}

impl Waits {
    /// Begins a new step, of which these answers are known.
    pub(crate) fn begin(&mut self, known: VecDeque<Arc<RequestResult>>) {
        *self = Waits {
            made: 0,
            known,
            exchange: std::mem::take(&mut self.exchange),
        };
    }

    /// Where the step's waits can be had.
    pub(crate) fn exchange(&self) -> Exchange {
        self.exchange.clone()
    }

    /// Whether the step may wait once more.
    pub(crate) fn are_admitted(&self) -> bool {
        (self.made as usize) < limit::ROUNDS_PER_TICK
    }

    /// Waits for the answer to a request. An answer that is known is there at once.
    pub(crate) fn ask(&mut self, model: ModelId, inputs: Arc<Vec<Tensor>>) -> Answering {
        let number = self.made;
        self.made += 1;
        let mut exchanged = self.exchange.lock();
        match self.known.pop_front() {
            Some(answer) => exchanged.answer = Some(answer),
            None => {
                exchanged.asked = Some(Asked {
                    number,
                    model,
                    inputs,
                });
            }
        }
        drop(exchanged);
        Answering(self.exchange())
    }
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, Exchanged> {
        // Nobody panics with it, and both sides are in one thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the step waits for now, if nobody has taken note of it.
    pub(crate) fn take_asked(&self) -> Option<Asked> {
        self.lock().asked.take()
    }

    /// Gives the answer for which the step waits.
    pub(crate) fn answer(&self, answer: Arc<RequestResult>) {
        self.lock().answer = Some(answer);
    }
}

impl Asked {
    /// How many waits of the same step were before it.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// As the supervisor gets it.
    pub(crate) fn of(self, agent: AgentId) -> AwaitRequest {
        let Asked {
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

/// Waits for an answer. Nobody is woken when it comes: who gives it also goes on with the step.
pub(crate) struct Answering(Exchange);

impl Future for Answering {
    type Output = Arc<RequestResult>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Arc<RequestResult>> {
        self.0
            .lock()
            .answer
            .take()
            .map_or(Poll::Pending, Poll::Ready)
    }
}

/// Goes on with a call until it ends or waits; none in the second case.
pub(crate) fn go_on<F: Future + ?Sized>(call: Pin<&mut F>) -> Option<F::Output> {
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => None,
    }
}

/// The end of a call that cannot wait, because it is no step.
///
/// # Panics
/// When it waits.
pub(crate) fn at_once<T>(call: impl Future<Output = T>) -> T {
    go_on(std::pin::pin!(call)).expect("outside of a step every wait is refused")
}
