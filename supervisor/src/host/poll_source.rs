//! The descriptors that the pool sleeps over, as keys of a [`crate::sys::Poller`].

/// A kind of descriptor, and the position of its host in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollSource {
    /// The bell of any host.
    Bell,
    /// The process of a host, which is readable once it has ended.
    Process(usize),
    /// The standard error of a host.
    Stderr(usize),
    /// The stop signals.
    Signals,
}

impl PollSource {
    const KINDS: u64 = 4;

    pub(super) fn to_key(self) -> u64 {
        match self {
            PollSource::Bell => 0,
            PollSource::Process(position) => 1 + PollSource::KINDS * position as u64,
            PollSource::Stderr(position) => 2 + PollSource::KINDS * position as u64,
            PollSource::Signals => 3,
        }
    }

    pub(super) fn from_key(key: u64) -> PollSource {
        let position =
            usize::try_from(key / PollSource::KINDS).expect("a position that fitted before");
        match key % PollSource::KINDS {
            1 => PollSource::Process(position),
            2 => PollSource::Stderr(position),
            3 => PollSource::Signals,
            _ => PollSource::Bell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_key_of_its_own() {
        let sources = [PollSource::Bell, PollSource::Signals]
            .into_iter()
            .chain((0..100).flat_map(|at| [PollSource::Process(at), PollSource::Stderr(at)]));
        for source in sources {
            assert_eq!(PollSource::from_key(source.to_key()), source);
        }
    }
}
