//! A step that may wait: it runs on a stack of its own (a fiber), and is left
//! where it is until the answer has come.
//!
//! The call owns the instance while it lasts, so nothing else can be done with it.
//! A call that is dropped before its end unwinds its stack, and with it goes the instance.

use super::instance::Instance;
use crate::bindings::Event;
use crate::waits::{self, Asked, Exchange};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::pin::Pin;
use std::sync::Arc;
use wasmtime::component::TypedFunc;

/// The step of an agent that may wait. It owns its events, because it may outlive the record that they came in.
pub(super) type StepOnFiber = TypedFunc<(Vec<Event>,), ()>;

type Ended = (Instance, wasmtime::Result<()>);

/// A step that is under way.
pub(super) struct Waiting {
    call: Pin<Box<dyn Future<Output = Ended>>>,
    exchange: Exchange,
    /// How many waits were before the one that it is in.
    pub(super) number: u32,
}

/// How far a step has come.
pub(super) enum Progress {
    Ended(Instance, wasmtime::Result<()>),
    Waits(Waiting, Asked),
}

impl Waiting {
    /// Begins a step.
    pub(super) fn begin(mut instance: Instance, step: StepOnFiber, events: Vec<Event>) -> Progress {
        let exchange = instance.guest.data_mut().waits.exchange();
        let call = Box::pin(async move {
            let ended = step.call_async(instance.guest.context(), (events,)).await;
            (instance, ended)
        });
        let waiting = Waiting {
            call,
            exchange,
            number: 0,
        };
        waiting.go_on()
    }

    /// Goes on with the answer.
    pub(super) fn resume(self, answer: Arc<RequestResult>) -> Progress {
        self.exchange.answer(answer);
        self.go_on()
    }

    fn go_on(mut self) -> Progress {
        match waits::go_on(self.call.as_mut()) {
            Some((instance, ended)) => Progress::Ended(instance, ended),
            None => {
                let asked = self.exchange.take_asked();
                let asked = asked.expect("a step stops for nothing but what it waits for");
                self.number = asked.number();
                Progress::Waits(self, asked)
            }
        }
    }
}
