//! The lifecycle of a host. One function changes it, so that every transition is on this page.

use thiserror::Error;

/// The state of a host's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// The process was started and has not reported anything.
    Starting,
    /// It has attached its memory, confined itself and reads commands.
    Ready,
    /// Everything is loaded, and it takes work from its ring.
    Serving,
    /// It got the command to finish.
    Draining,
    /// The process has ended and is reaped.
    Ended,
}

/// An event in the life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// It reported that it is ready.
    SaidReady,
    /// It got the command to start.
    ToldStart,
    /// It got the command to drain.
    ToldDrain,
    /// Its process has ended.
    Exited,
}

/// An event that cannot happen in this state.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("internal error: event {event:?} of a host in state {state:?}")]
pub struct IllegalTransition {
    /// The state of the host.
    pub state: Lifecycle,
    /// The event.
    pub event: LifecycleEvent,
}

impl Lifecycle {
    /// The state after an event.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the event cannot happen in this state.
    pub fn after(self, event: LifecycleEvent) -> Result<Lifecycle, IllegalTransition> {
        match (self, event) {
            (Lifecycle::Starting, LifecycleEvent::SaidReady) => Ok(Lifecycle::Ready),
            (Lifecycle::Ready, LifecycleEvent::ToldStart) => Ok(Lifecycle::Serving),
            (Lifecycle::Ready | Lifecycle::Serving, LifecycleEvent::ToldDrain) => {
                Ok(Lifecycle::Draining)
            }
            // A process may die at any instant of its life, but only once.
            (
                Lifecycle::Starting | Lifecycle::Ready | Lifecycle::Serving | Lifecycle::Draining,
                LifecycleEvent::Exited,
            ) => Ok(Lifecycle::Ended),
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }

    /// Whether the process is expected to end.
    #[must_use]
    pub fn may_end(self) -> bool {
        matches!(self, Lifecycle::Draining | Lifecycle::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_goes_through_its_states_in_order() {
        let events = [
            LifecycleEvent::SaidReady,
            LifecycleEvent::ToldStart,
            LifecycleEvent::ToldDrain,
            LifecycleEvent::Exited,
        ];
        let end = events
            .into_iter()
            .try_fold(Lifecycle::Starting, Lifecycle::after);
        assert_eq!(end, Ok(Lifecycle::Ended));
    }

    #[test]
    fn no_state_is_entered_twice() {
        assert!(Lifecycle::Ready.after(LifecycleEvent::SaidReady).is_err());
        assert!(Lifecycle::Ended.after(LifecycleEvent::Exited).is_err());
        assert!(
            Lifecycle::Starting
                .after(LifecycleEvent::ToldStart)
                .is_err()
        );
    }
}
