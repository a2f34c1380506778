//! Where a host is in its life. One function changes it, so that every way
//! from one state to another is on this page.

use thiserror::Error;

/// Where a host is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// The process was started and has not said anything.
    Starting,
    /// It has attached its memory, confined itself and reads commands.
    Ready,
    /// It was told that nothing more will be loaded and takes work from its ring.
    Serving,
    /// It was told to finish.
    Draining,
    /// The process is gone and reaped.
    Ended,
}

/// Something that happens to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// It said that it is ready.
    SaidReady,
    /// It was told to start.
    ToldStart,
    /// It was told to drain.
    ToldDrain,
    /// Its process is gone.
    Exited,
}

/// Something happened that cannot happen in this state.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a host that is {state:?} cannot see {moment:?}")]
pub struct IllegalTransition {
    /// Where the host was.
    pub state: Lifecycle,
    /// What happened.
    pub moment: LifecycleEvent,
}

impl Lifecycle {
    /// The state after a moment.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the moment cannot happen in this state.
    pub fn after(self, moment: LifecycleEvent) -> Result<Lifecycle, IllegalTransition> {
        match (self, moment) {
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
            (state, moment) => Err(IllegalTransition { state, moment }),
        }
    }

    /// Whether the end of the process is what was asked for.
    #[must_use]
    pub fn may_end(self) -> bool {
        matches!(self, Lifecycle::Draining | Lifecycle::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_in_good_order() {
        let moments = [
            LifecycleEvent::SaidReady,
            LifecycleEvent::ToldStart,
            LifecycleEvent::ToldDrain,
            LifecycleEvent::Exited,
        ];
        let end = moments
            .into_iter()
            .try_fold(Lifecycle::Starting, Lifecycle::after);
        assert_eq!(end, Ok(Lifecycle::Ended));
    }

    #[test]
    fn nobody_is_ready_twice_and_nobody_dies_twice() {
        assert!(Lifecycle::Ready.after(LifecycleEvent::SaidReady).is_err());
        assert!(Lifecycle::Ended.after(LifecycleEvent::Exited).is_err());
        assert!(
            Lifecycle::Starting
                .after(LifecycleEvent::ToldStart)
                .is_err()
        );
    }
}
