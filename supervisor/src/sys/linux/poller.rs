//! Waiting for descriptors.

use crate::sys::clock::now;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Ready descriptors that one wait reports at most; the next wait reports the others.
const MAX_EVENTS: usize = 16;

/// A set of descriptors that one thread waits for at once (`epoll`).
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poller { epoll })
    }

    /// Adds a descriptor. Each wait reports `key` for as long as it is readable or its other end is closed.
    ///
    /// # Errors
    /// When the descriptor is in the set already or cannot be waited for.
    pub fn add(&self, descriptor: impl AsFd, key: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    /// When it is not in the set.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, descriptor)?)
    }

    /// Waits until a descriptor is ready, for at most `timeout`, and gives the keys of those that are. None are ready
    /// when the time is over or a signal interrupts the wait.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn wait(&self, timeout: Duration) -> io::Result<Vec<u64>> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) => Ok(events.into_iter().map(|event| event.data.u64()).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits until one of the descriptors is readable or its other end is closed. `false` when `timeout` is over before;
/// without a timeout the wait has no end. A signal does not interrupt it.
///
/// # Errors
/// When the system refuses to wait.
pub fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut watched: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    let start = now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_poller_reports_the_keys_of_readable_descriptors() {
        let poller = Poller::new().expect("a poller");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let (other, _other_writer) = io::pipe().expect("a pipe");
        poller.add(&reader, 7).expect("added");
        poller.add(&other, 8).expect("added");
        let ready = || poller.wait(Duration::ZERO).expect("waited");
        assert!(ready().is_empty());
        writer.write_all(b"x").expect("written");
        assert_eq!(ready(), [7]);
        poller.remove(&reader).expect("removed");
        assert!(ready().is_empty());
        assert!(poller.remove(&reader).is_err());
    }

    #[test]
    fn a_closed_end_is_readable_and_an_open_one_times_out() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let wait = || wait_readable(&[reader.as_fd()], Some(Duration::from_millis(1)));
        assert!(!wait().expect("waited"));
        drop(writer);
        assert!(wait().expect("waited"));
        assert!(wait_readable(&[reader.as_fd()], None).expect("waited"));
    }
}
