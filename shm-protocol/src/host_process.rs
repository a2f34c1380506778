//! The start of a host process, the same for both kinds of host.
//!
//! The order is [`InheritedDescriptors::take`], [`die_with`], [`CommandServer::announce`], then confinement, then
//! [`CommandServer::listen`]. The server is created before confinement because it needs a folder, and listens after it
//! on a thread of its own: the supervisor may connect at once or after the host is ready, and both must work.

use crate::boot;
use crate::planted::{Bug, planted};
use crate::sys::{inherited, parent};
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use thiserror::Error;

/// An error at the start of a host.
#[derive(Debug, Error)]
pub enum BeginError {
    /// A descriptor of [`boot`] is not open.
    #[error("descriptor {number} is not open: {source}; hosts are started by the supervisor only")]
    Descriptor {
        /// Its number.
        number: i32,
        /// The system's error.
        source: io::Error,
    },
    /// The parent is not the supervisor.
    #[error("the supervisor {supervisor} is not the parent of this host (any more)")]
    Orphan {
        /// Process number of the expected parent.
        supervisor: i32,
    },
    /// The kernel refuses the parent-death signal.
    #[error("cannot set the parent-death signal: {0}")]
    ParentDeath(io::Error),
    /// The control server could not be created or announced.
    #[error(
        "cannot create the control channel: {0}; check that the temporary folder (TMPDIR) exists and is writable"
    )]
    Server(io::Error),
    /// The control thread could not be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

/// The descriptors that a host inherits.
#[derive(Debug)]
pub struct InheritedDescriptors {
    /// [`boot::TO_HOST`].
    pub down: OwnedFd,
    /// [`boot::FROM_HOST`].
    pub up: OwnedFd,
    /// [`boot::BELL`].
    pub bell: OwnedFd,
    /// [`boot::CONTROL_NAME_PIPE`].
    pub control_name_pipe: OwnedFd,
    /// [`boot::ARTIFACTS`].
    pub artifacts: OwnedFd,
}

impl InheritedDescriptors {
    /// Takes the descriptors. Succeeds once in a process.
    ///
    /// # Errors
    /// [`BeginError::Descriptor`] when one is not open, or was taken before.
    pub fn take() -> Result<InheritedDescriptors, BeginError> {
        Ok(InheritedDescriptors {
            down: inherit(boot::TO_HOST)?,
            up: inherit(boot::FROM_HOST)?,
            bell: inherit(boot::BELL)?,
            control_name_pipe: inherit(boot::CONTROL_NAME_PIPE)?,
            artifacts: inherit(boot::ARTIFACTS)?,
        })
    }
}

/// Takes one inherited descriptor, before any other is opened. Succeeds once for each.
///
/// # Errors
/// [`BeginError::Descriptor`] when it is not open, or was taken before.
pub fn inherit(number: i32) -> Result<OwnedFd, BeginError> {
    inherited::take(number).map_err(|source| BeginError::Descriptor { number, source })
}

/// Makes the kernel kill this process when the thread that started it ends.
///
/// # Errors
/// [`BeginError::Orphan`] when `supervisor` is not the parent. It is compared after the signal is set, so that
/// the death of the supervisor in between is detected.
pub fn die_with(supervisor: i32) -> Result<(), BeginError> {
    parent::die_with_parent().map_err(BeginError::ParentDeath)?;
    let is_parent = u32::try_from(supervisor) == Ok(parent_id());
    if is_parent || planted(Bug::ForgetParent) {
        Ok(())
    } else {
        Err(BeginError::Orphan { supervisor })
    }
}

/// The host's end of the control channel, announced but not yet connected.
pub struct CommandServer<C> {
    server: IpcOneShotServer<C>,
}

impl<C> CommandServer<C>
where
    C: Serialize + DeserializeOwned + Send + 'static,
{
    /// Creates the server, writes its name to `control_name_pipe`, and closes the pipe.
    ///
    /// # Errors
    /// [`BeginError::Server`].
    pub fn announce(control_name_pipe: OwnedFd) -> Result<CommandServer<C>, BeginError> {
        let (server, name) = IpcOneShotServer::new().map_err(BeginError::Server)?;
        File::from(control_name_pipe)
            .write_all(name.as_bytes())
            .map_err(BeginError::Server)?;
        Ok(CommandServer { server })
    }

    /// Reads commands on a thread of its own, up to one for which `is_last` holds.
    ///
    /// If the channel ends before it, the supervisor has died, and the process exits at once with [`ORPHANED`].
    ///
    /// # Errors
    /// [`BeginError::Thread`].
    pub fn listen(self, is_last: fn(&C) -> bool) -> Result<CommandReceiver<C>, BeginError> {
        listen(move || self.accept(), is_last)
    }

    /// Waits for the supervisor and its first command on the calling thread. For a host that must not have a second
    /// thread yet.
    ///
    /// # Errors
    /// When the channel ends, or carries something else.
    pub fn accept(self) -> Result<ControlChannel<C>, ChannelClosed> {
        let (receiver, first) = self.server.accept().map_err(|_| ChannelClosed)?;
        Ok(ControlChannel {
            receiver,
            first: Some(first),
        })
    }
}

/// The channel ended before the last command, or carried something else.
#[derive(Debug, Error)]
#[error("the control channel ended before the last command")]
pub struct ChannelClosed;

/// The host's end of the control channel, connected, and read on the calling thread.
pub struct ControlChannel<C> {
    receiver: IpcReceiver<C>,
    first: Option<C>,
}

impl<C> ControlChannel<C>
where
    C: Serialize + DeserializeOwned + Send + 'static,
{
    /// Waits for the next command.
    ///
    /// # Errors
    /// When the channel ends, or carries something else.
    pub fn receive(&mut self) -> Result<C, ChannelClosed> {
        match self.first.take() {
            Some(first) => Ok(first),
            None => self.receiver.recv().map_err(|_| ChannelClosed),
        }
    }

    /// Reads the remaining commands as [`CommandServer::listen`] does.
    ///
    /// # Errors
    /// [`BeginError::Thread`].
    pub fn listen(self, is_last: fn(&C) -> bool) -> Result<CommandReceiver<C>, BeginError> {
        listen(move || Ok(self), is_last)
    }
}

/// Exit code of a host whose supervisor has died.
pub const ORPHANED: i32 = 70;

fn listen<C>(
    control: impl FnOnce() -> Result<ControlChannel<C>, ChannelClosed> + Send + 'static,
    is_last: fn(&C) -> bool,
) -> Result<CommandReceiver<C>, BeginError>
where
    C: Serialize + DeserializeOwned + Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let control = move || {
        // The channel's library panics on unexpected packets.
        let forward = AssertUnwindSafe(|| forward(control()?, &sender, is_last));
        if !matches!(catch_unwind(forward), Ok(Ok(()))) {
            exit_at_once();
        }
    };
    thread::Builder::new()
        .name("control".into())
        .spawn(control)
        .map_err(BeginError::Thread)?;
    Ok(CommandReceiver { receiver })
}

fn forward<C>(
    mut control: ControlChannel<C>,
    sender: &mpsc::Sender<C>,
    is_last: fn(&C) -> bool,
) -> Result<(), ChannelClosed>
where
    C: Serialize + DeserializeOwned + Send + 'static,
{
    loop {
        let command = control.receive()?;
        let last = is_last(&command);
        // The main thread has dropped its end because it is exiting.
        if sender.send(command).is_err() || last {
            return Ok(());
        }
    }
}

#[allow(
    clippy::exit,
    reason = "the supervisor, to which an error would be reported, has died"
)]
fn exit_at_once() {
    std::process::exit(ORPHANED);
}

/// The commands of the supervisor, in order.
pub struct CommandReceiver<C> {
    receiver: mpsc::Receiver<C>,
}

impl<C> CommandReceiver<C> {
    /// Waits for the next command. `None` after the last one.
    #[must_use]
    pub fn next(&self) -> Option<C> {
        self.receiver.recv().ok()
    }

    /// The next command, if it has arrived.
    #[must_use]
    pub fn try_next(&self) -> Option<C> {
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_channel::ipc::IpcSender;
    use std::io::Read;

    fn announced() -> (CommandServer<u32>, String) {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let server = CommandServer::announce(writer.into()).expect("a server");
        let mut name = String::new();
        reader
            .read_to_string(&mut name)
            .expect("the name, and its end");
        (server, name)
    }

    #[test]
    fn commands_arrive_in_order_up_to_the_last() {
        let (server, name) = announced();
        let commands = server.listen(|command| *command == 3).expect("a thread");
        assert_eq!(commands.try_next(), None);
        let sender = IpcSender::connect(name).expect("the server is there");
        for command in 1..=3_u32 {
            sender.send(command).expect("the host reads");
        }
        // The end after the last command must not end this process.
        drop(sender);
        assert_eq!(
            [commands.next(), commands.next(), commands.next()],
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(commands.next(), None);
    }

    #[test]
    fn commands_can_be_read_directly_first_and_on_a_thread_later() {
        let (server, name) = announced();
        let sender = IpcSender::connect(name).expect("the server is there");
        for command in 1..=3_u32 {
            sender.send(command).expect("the host reads");
        }
        let mut control = server.accept().expect("a first command");
        assert_eq!(control.receive().expect("the first"), 1);
        assert_eq!(control.receive().expect("the second"), 2);
        let commands = control.listen(|command| *command == 3).expect("a thread");
        assert_eq!(commands.next(), Some(3));
        assert_eq!(commands.next(), None);
    }

    #[test]
    fn the_end_of_the_channel_is_an_error_for_a_direct_reader() {
        let (server, name) = announced();
        let sender = IpcSender::connect(name).expect("the server is there");
        sender.send(1_u32).expect("the host reads");
        drop(sender);
        let mut control = server.accept().expect("a first command");
        assert_eq!(control.receive().expect("the first"), 1);
        assert!(control.receive().is_err());
    }

    #[test]
    fn somebody_elses_child_is_an_orphan() {
        let error = die_with(i32::MAX).expect_err("no process has this number");
        assert!(matches!(
            error,
            BeginError::Orphan {
                supervisor: i32::MAX
            }
        ));
        parent::outlive_parent().expect("the test goes on");
    }

    #[test]
    fn a_closed_descriptor_is_named() {
        let error = inherited::take(987_654).expect_err("it is not open");
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::BADF.raw_os_error())
        );
    }
}
