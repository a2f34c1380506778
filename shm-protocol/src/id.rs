//! Identifiers. Each has its own type, so that no raw integer crosses a public interface and a tick cannot be passed
//! for an agent.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident($raw:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
        )]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

identifier! {
    /// One step of logical time. The first tick of a run is 1; 0 means "before the first".
    Tick(u64)
}
identifier! {
    /// Position of an agent in the fleet, counted from zero.
    AgentId(u32)
}
identifier! {
    /// Position of a model in the fleet, counted from zero.
    ModelId(u32)
}
identifier! {
    /// One version of a model: its files and its provider. The first versions of all models have the numbers of the
    /// models; later ones follow in the order in which they were added.
    VersionId(u32)
}
identifier! {
    /// Position of a host process among the hosts of a run, counted from zero.
    HostId(u32)
}
identifier! {
    /// One incarnation of a host, counted from 1 over the whole run. Memory of another incarnation is never read.
    Incarnation(u32)
}
identifier! {
    /// Number of an inference request, unique within its agent, counted from zero.
    RequestId(u64)
}
identifier! {
    /// Number of an inference batch, unique within a run, counted from zero in the order of submission.
    BatchId(u64)
}

impl Tick {
    /// The tick before the first one.
    pub const ZERO: Tick = Tick(0);

    /// The tick after this one.
    ///
    /// # Panics
    /// When 2^64 ticks have passed.
    #[must_use]
    pub fn next(self) -> Tick {
        self.plus(1)
    }

    /// The tick `count` ticks later.
    ///
    /// # Panics
    /// When 2^64 ticks have passed.
    #[must_use]
    pub fn plus(self, count: u64) -> Tick {
        Tick(self.0.checked_add(count).expect("logical time has ended"))
    }
}

macro_rules! index {
    ($name:ident) => {
        impl $name {
            /// The identifier as a position in a table.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The identifier of a position in a table.
            ///
            /// # Panics
            /// When the table has 2^32 entries; [`crate::limit`] keeps every table far below.
            #[must_use]
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("a table of more than 2^32 entries"))
            }
        }
    };
}

index!(AgentId);
index!(ModelId);
index!(HostId);
index!(VersionId);
