//! The exported functions of the interface, mapped to the methods of one value.

use crate::{Config, Event, LogLevel, host};
use std::cell::RefCell;

/// An agent: made once, then stepped in every tick in which it is due.
///
/// Everything it remembers must be in the value itself (or elsewhere in its
/// memory): the runtime saves and restores the memory as a whole.
pub trait Agent: Sized + 'static {
    /// Makes the agent. An error refuses the fleet and is shown to its author.
    fn init(config: &Config) -> Result<Self, String>;

    /// Handles what arrived since the last step, in schedule order.
    ///
    /// A panic stops the agent for good; its message is logged first.
    fn step(&mut self, events: Vec<Event>);
}

/// The storage of a component's one value, for [`agent!`](crate::agent).
pub struct Slot<A>(RefCell<Option<A>>);

impl<A: Agent> Slot<A> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    pub fn init(&self, config: &Config) -> Result<(), String> {
        // Without this a panic would be an `unreachable` trap without a word.
        std::panic::set_hook(Box::new(|panic| {
            host::log(LogLevel::Error, &panic.to_string())
        }));
        self.0.replace(Some(A::init(config)?));
        Ok(())
    }

    pub fn step(&self, events: Vec<Event>) {
        self.0
            .borrow_mut()
            .as_mut()
            .expect("the runtime calls init before the first step")
            .step(events);
    }
}

/// Makes a type that implements [`Agent`] the agent of this component.
#[macro_export]
macro_rules! agent {
    ($agent:ty) => {
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static AGENT: $crate::Slot<$agent> = const { $crate::Slot::new() };
            }

            impl $crate::bindings::Guest for Component {
                fn init(
                    config: $crate::Config,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    AGENT.with(|slot| slot.init(&config))
                }
                fn step(events: ::std::vec::Vec<$crate::Event>) {
                    AGENT.with(|slot| slot.step(events))
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(Component with_types_in $crate::bindings);

            // Native builds are for tests and export nothing; this keeps the
            // compiler from calling the whole agent unused.
            #[cfg(not(target_arch = "wasm32"))]
            const _: (
                fn($crate::Config) -> ::core::result::Result<(), ::std::string::String>,
                fn(::std::vec::Vec<$crate::Event>),
            ) = (
                <Component as $crate::bindings::Guest>::init,
                <Component as $crate::bindings::Guest>::step,
            );
        };
    };
}
