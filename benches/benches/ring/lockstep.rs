//! The link of a supervisor and a host.

use crate::task::{self, Child, End, Pipe, Task};
use command_fds::{CommandFdExt, FdMapping};
use shm_protocol::boot;
use shm_protocol::id::{Incarnation, Tick};
use shm_protocol::link::{HostDescriptors, HostLink, LinkSizes, SupervisorLink};
use shm_protocol::ring::{RecordHeader, SharedProducer};
use shm_protocol::sys::inherited;
use std::hint::spin_loop;
use std::{io, slice};

const INCARNATION: Incarnation = Incarnation(1);

/// The ring down holds about sixteen of the messages, as the peer's buffers do.
fn sizes(task: &Task) -> LinkSizes {
    LinkSizes {
        down_bytes: 8 * task.words() * 16,
        up_bytes: 0,
    }
}

#[inline]
fn send(ring: &mut SharedProducer, words: usize, first: u64, is_shown: bool) {
    let header = RecordHeader::new(1, Tick(first));
    loop {
        if let Some(mut space) = ring
            .try_reserve(&header, 8 * words)
            .expect("an honest peer")
        {
            // SAFETY: the space is as long, and aligned to 64 bytes.
            unsafe { task::fill(space.as_mut_ptr().cast(), words, first) };
            return if is_shown {
                space.publish()
            } else {
                space.stage()
            };
        }
        ring.publish();
        spin_loop();
    }
}

/// The host: reads in place.
struct Host(HostLink);

impl End for Host {
    fn send(&mut self, words: usize, first: u64) {
        send(&mut self.0.up, words, first, true);
    }

    fn ring(&mut self) {
        self.0.up.notify();
    }

    fn receive(&mut self) -> u64 {
        loop {
            if let Some(peeked) = self.0.down.try_peek(0).expect("an honest supervisor") {
                // SAFETY: the payload is as long, aligned, and the supervisor writes nothing there until it is released.
                let words = unsafe {
                    slice::from_raw_parts(peeked.as_ptr().cast(), peeked.payload_bytes() / 8)
                };
                let sum = task::sum(words);
                self.0.down.release(1);
                return sum;
            }
            spin_loop();
        }
    }
}

/// The supervisor: copies, then checks.
struct Supervisor {
    link: SupervisorLink,
    payload: Vec<u8>,
}

impl End for Supervisor {
    fn send(&mut self, words: usize, first: u64) {
        send(&mut self.link.down, words, first, true);
    }

    fn stage(&mut self, words: usize, first: u64) {
        send(&mut self.link.down, words, first, false);
    }

    fn flush(&mut self) {
        self.link.down.publish();
    }

    fn ring(&mut self) {
        self.link.down.notify();
    }

    fn receive(&mut self) -> u64 {
        while self
            .link
            .up
            .try_take(&mut self.payload)
            .expect("an honest host")
            .is_none()
        {
            spin_loop();
        }
        let words = self.payload.chunks_exact(8);
        words.fold(0, |sum, word| {
            sum.wrapping_add(u64::from_le_bytes(word.try_into().expect("eight bytes")))
        })
    }
}

/// The parent with its running child.
pub(crate) struct Lockstep {
    supervisor: Supervisor,
    pipe: Pipe,
}

pub(crate) fn start(task: &Task) -> io::Result<Lockstep> {
    let (link, descriptors) =
        SupervisorLink::create(sizes(task), INCARNATION).map_err(io::Error::other)?;
    let HostDescriptors { down, up, bell } = descriptors;
    let mut pipe = Pipe::start("lockstep", task, |command| {
        let mapping = |parent_fd, child_fd| FdMapping {
            parent_fd,
            child_fd,
        };
        let mappings = vec![
            mapping(down, boot::TO_HOST),
            mapping(up, boot::FROM_HOST),
            mapping(bell, boot::BELL),
        ];
        command.fd_mappings(mappings).expect("distinct descriptors");
    })?;
    pipe.wait()?;
    Ok(Lockstep {
        supervisor: Supervisor {
            link,
            payload: Vec::new(),
        },
        pipe,
    })
}

impl Child for Lockstep {
    fn run(&mut self, task: &Task) -> io::Result<f64> {
        self.pipe.go()?;
        Ok(task::run(&mut self.supervisor, task))
    }
}

/// The child.
pub(crate) fn serve() -> io::Result<()> {
    let (down, up, bell) = (
        inherited::take(boot::TO_HOST)?,
        inherited::take(boot::FROM_HOST)?,
        inherited::take(boot::BELL)?,
    );
    let link = HostLink::attach(down, up, bell, INCARNATION).map_err(io::Error::other)?;
    task::say_ready()?;
    task::serve(&mut Host(link))
}
