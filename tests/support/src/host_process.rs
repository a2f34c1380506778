//! A host process and the supervisor's end of its link, without a supervisor.

use bincode::Encode;
use command_fds::{CommandFdExt, FdMapping};
use ipc_channel::ipc::IpcSender;
use serde::Serialize;
use shm_protocol::boot::{self, HostArguments};
use shm_protocol::codec;
use shm_protocol::fault::FaultSlot;
use shm_protocol::id::{HostId, Incarnation, Tick};
use shm_protocol::link::{HostDescriptors, LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Sizes of the rings, large enough for everything that a test sends.
const SIZES: LinkSizes = LinkSizes {
    down_bytes: 1 << 20,
    up_bytes: 8 << 20,
};

/// The incarnation of every host.
pub const INCARNATION: Incarnation = Incarnation(3);

/// A descriptor of this process and its number in a child.
pub fn mapping(parent_fd: OwnedFd, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd,
        child_fd,
    }
}

/// The host's end of a link, as a child takes it.
pub fn link_mappings(descriptors: HostDescriptors) -> [FdMapping; 3] {
    let HostDescriptors { down, up, bell } = descriptors;
    [
        mapping(down, boot::TO_HOST),
        mapping(up, boot::FROM_HOST),
        mapping(bell, boot::BELL),
    ]
}

/// The arguments of a host that is told that its supervisor is this process.
pub fn host_arguments(supervisor: i32) -> [String; 3] {
    let arguments = HostArguments {
        host: HostId(0),
        incarnation: INCARNATION,
        supervisor,
    };
    arguments.to_arguments()
}

/// The number of this process.
pub fn own_process() -> i32 {
    i32::try_from(std::process::id()).expect("a process number")
}

/// A host process that takes commands of this type. It is killed when the test forgets it.
pub struct HostProcess<C> {
    /// The process.
    pub child: Child,
    /// The supervisor's end of the link.
    pub link: SupervisorLink,
    name: PipeReader,
    commands: Option<IpcSender<C>>,
    // The folder of the control channel; removed with this.
    _folder: TempDir,
}

impl<C: Serialize + Send + 'static> HostProcess<C> {
    /// Starts a program that becomes a host, with these artifacts, and with faults that wait in it.
    pub fn start(mut program: Command, artifacts: OwnedFd, faults: &[FaultSlot]) -> HostProcess<C> {
        let may_fault = !faults.is_empty();
        let (mut link, descriptors) =
            SupervisorLink::create_with(SIZES, INCARNATION, may_fault).expect("memory for a link");
        for slot in faults {
            assert!(link.faults().expect("faults may be").arm(slot));
        }
        let (name, name_of_host) = io::pipe().expect("a pipe");
        let folder = tempfile::tempdir().expect("a folder");
        let mut mappings = Vec::from(link_mappings(descriptors));
        mappings.push(mapping(name_of_host.into(), boot::CONTROL_NAME_PIPE));
        mappings.push(mapping(artifacts, boot::ARTIFACTS));
        program
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .fd_mappings(mappings)
            .expect("distinct descriptors");
        let child = program.spawn().expect("a process");
        HostProcess {
            child,
            link,
            name,
            commands: None,
            _folder: folder,
        }
    }

    /// Sends a command. The end of the host is a failed test.
    pub fn send(&mut self, command: C) {
        let sender = self.commands.clone().unwrap_or_else(|| {
            let name = self.announced_name();
            IpcSender::connect(name).expect("the host listens")
        });
        self.commands = Some(sender.clone());
        // A command of several packets is sent to a host that is gone for ever, so somebody else must watch.
        let sending = thread::spawn(move || sender.send(command).expect("the host reads"));
        while !sending.is_finished() {
            if let Some(status) = self.status() {
                // Its last command may have ended it while the sender had no time to return.
                thread::sleep(Duration::from_secs(1));
                assert!(sending.is_finished(), "{}", self.last_words(status));
            }
            thread::yield_now();
        }
        sending.join().expect("the host reads");
    }

    /// What the host says where it takes commands: nothing when it ends before.
    pub fn announced_name(&mut self) -> String {
        let mut name = String::new();
        self.name
            .read_to_string(&mut name)
            .expect("a name or the end");
        name
    }

    /// Closes the channel of commands.
    pub fn hang_up(&mut self) {
        self.commands = None;
    }

    /// Pushes a record and wakes the host.
    pub fn push(&mut self, header: &RecordHeader, payload: &[u8]) {
        assert_eq!(self.link.down.try_push(header, payload), Ok(true));
        self.link.down.notify();
    }

    /// Pushes a record with a message.
    pub fn push_message(&mut self, kind: u16, tick: u64, message: &impl Encode) {
        self.push(
            &RecordHeader::new(kind, Tick(tick)),
            &codec::encode(message),
        );
    }

    /// The next record. The end of the host is a failed test.
    pub fn record(&mut self) -> (RecordHeader, Vec<u8>) {
        let mut payload = Vec::new();
        loop {
            // Asked before the ring is looked at: a host may push a record and end.
            let status = self.status();
            if let Some(header) = self.link.up.try_take(&mut payload).expect("a sound ring") {
                return (header, payload);
            }
            if let Some(status) = status {
                panic!("{}", self.last_words(status));
            }
            thread::yield_now();
        }
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    fn last_words(&mut self, status: ExitStatus) -> String {
        format!("the host has ended: {status}; {}", self.words())
    }

    /// Waits until a fault has fired, and gives its rule.
    pub fn fired(&mut self) -> u32 {
        loop {
            if let Some(rule) = self.link.faults().expect("faults may be").fired() {
                return rule;
            }
            thread::yield_now();
        }
    }

    /// All that the host says on standard error until it ends.
    fn words(&mut self) -> String {
        let mut words = Vec::new();
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_end(&mut words).expect("readable");
        String::from_utf8_lossy(&words).into_owned()
    }

    /// Waits for the end: how it ended, and what it said.
    pub fn end(mut self) -> (ExitStatus, String) {
        let words = self.words();
        (self.child.wait().expect("our child"), words)
    }
}

impl<C> Drop for HostProcess<C> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
