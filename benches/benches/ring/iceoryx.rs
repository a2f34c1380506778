//! `iceoryx2` publish-subscribe: one service each way, messages of fixed length,
//! loaned and filled in place, nothing lost.

use crate::task::{self, Child, End, Pipe, Task};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use std::hint::spin_loop;
use std::io;

/// Messages that wait for their reader. The default of 2 would make the writer wait all the time.
fn buffer(words: usize) -> usize {
    if words == 8 { 1024 } else { 16 }
}

type Node = iceoryx2::node::Node<ipc::Service>;

fn node() -> io::Result<Node> {
    set_log_level(LogLevel::Error);
    NodeBuilder::new()
        .create::<ipc::Service>()
        .map_err(io::Error::other)
}

/// The name of a service, the same in parent and child.
fn name(direction: &str, parent: u32) -> io::Result<ServiceName> {
    ServiceName::new(&format!("lockstep/bench/{parent}/{direction}")).map_err(io::Error::other)
}

fn publisher<const WORDS: usize>(
    node: &Node,
    name: &ServiceName,
) -> io::Result<Publisher<ipc::Service, [u64; WORDS], ()>> {
    let service = node
        .service_builder(name)
        .publish_subscribe::<[u64; WORDS]>();
    let service = service
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(buffer(WORDS));
    let service = service
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .map_err(io::Error::other)?;
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
    publisher.create().map_err(io::Error::other)
}

fn subscriber<const WORDS: usize>(
    node: &Node,
    name: &ServiceName,
) -> io::Result<Subscriber<ipc::Service, [u64; WORDS], ()>> {
    let service = node
        .service_builder(name)
        .publish_subscribe::<[u64; WORDS]>();
    let service = service
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(buffer(WORDS));
    let service = service
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .map_err(io::Error::other)?;
    service
        .subscriber_builder()
        .create()
        .map_err(io::Error::other)
}

/// One end: sends messages of `OUT` words and receives those of `IN`.
struct Iceoryx<const OUT: usize, const IN: usize> {
    _node: Node,
    out: Publisher<ipc::Service, [u64; OUT], ()>,
    into: Subscriber<ipc::Service, [u64; IN], ()>,
}

impl<const OUT: usize, const IN: usize> Iceoryx<OUT, IN> {
    fn new(out: &str, into: &str, parent: u32) -> io::Result<Self> {
        let node = node()?;
        let out = publisher(&node, &name(out, parent)?)?;
        let into = subscriber(&node, &name(into, parent)?)?;
        Ok(Iceoryx {
            _node: node,
            out,
            into,
        })
    }
}

impl<const OUT: usize, const IN: usize> End for Iceoryx<OUT, IN> {
    fn send(&mut self, words: usize, first: u64) {
        assert_eq!(words, OUT);
        let mut sample = self.out.loan_uninit().expect("a sample");
        // SAFETY: the sample is an array of so many words, and initialised by the filling.
        let sample = unsafe {
            task::fill(sample.payload_mut().as_mut_ptr().cast(), OUT, first);
            sample.assume_init()
        };
        sample.send().expect("a reader");
    }

    fn receive(&mut self) -> u64 {
        loop {
            if let Some(sample) = self.into.receive().expect("a writer") {
                return task::sum(sample.payload());
            }
            spin_loop();
        }
    }
}

/// The parent with its running child.
pub(crate) struct Peer<const WORDS: usize> {
    end: Iceoryx<WORDS, 8>,
    pipe: Pipe,
}

impl<const WORDS: usize> Child for Peer<WORDS> {
    fn run(&mut self, task: &Task) -> io::Result<f64> {
        self.pipe.go()?;
        Ok(task::run(&mut self.end, task))
    }
}

fn start_sized<const WORDS: usize>(task: &Task) -> io::Result<Box<dyn Child>> {
    let end = Iceoryx::<WORDS, 8>::new("down", "up", std::process::id())?;
    let mut pipe = Pipe::start("iceoryx", task, |_| {})?;
    pipe.wait()?;
    Ok(Box::new(Peer { end, pipe }))
}

/// The lengths are part of the types, so each has its own code.
pub(crate) fn start(task: &Task) -> io::Result<Box<dyn Child>> {
    match task.words() {
        8 => start_sized::<8>(task),
        8_192 => start_sized::<8_192>(task),
        _ => start_sized::<131_072>(task),
    }
}

fn serve_sized<const WORDS: usize>() -> io::Result<()> {
    let mut end = Iceoryx::<8, WORDS>::new("up", "down", std::os::unix::process::parent_id())?;
    task::say_ready()?;
    task::serve(&mut end)
}

/// The child.
pub(crate) fn serve() -> io::Result<()> {
    match task::task_of_child().words() {
        8 => serve_sized::<8>(),
        8_192 => serve_sized::<8_192>(),
        _ => serve_sized::<131_072>(),
    }
}
