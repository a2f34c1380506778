//! The first steps of a host process, the same for both kinds of host.
//!
//! In this order: [`Inherited::take`], [`die_with`], [`Server::announce`], then
//! confinement, then [`Server::listen`]. The server is made before confinement
//! because it needs a folder, and listens after it, on a thread of its own: the
//! supervisor may wait for the host to say that it is ready before it connects,
//! or connect at once, and either must work.

use crate::boot;
use crate::planted::{Bug, planted};
use crate::sys::inherited;
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use thiserror::Error;

/// Why a host cannot begin.
#[derive(Debug, Error)]
pub enum BeginError {
    /// A descriptor of [`boot`] is not open.
    #[error("descriptor {number} is not open: {source}; hosts are started by the supervisor only")]
    Descriptor {
        /// Its number.
        number: i32,
        /// What the system said.
        source: io::Error,
    },
    /// The parent is not the supervisor, or the system does not tie this process to it.
    #[error("the supervisor {supervisor} is not the parent of this host (any more)")]
    Orphan {
        /// The process that should be the parent.
        supervisor: i32,
    },
    /// The kernel refuses the parent-death signal.
    #[error("cannot ask to die with the supervisor: {0}")]
    ParentDeath(io::Error),
    /// The control server could not be made or announced.
    #[error(
        "cannot offer the control channel: {0}; is the temporary folder (TMPDIR) there and writable?"
    )]
    Server(io::Error),
    /// The control thread could not be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

/// The descriptors that a host is born with.
#[derive(Debug)]
pub struct InheritedDescriptors {
    /// [`boot::DOWN`].
    pub down: OwnedFd,
    /// [`boot::UP`].
    pub up: OwnedFd,
    /// [`boot::BELL`].
    pub bell: OwnedFd,
    /// [`boot::HELLO`].
    pub hello: OwnedFd,
    /// [`boot::ARTIFACTS`].
    pub artifacts: OwnedFd,
}

impl InheritedDescriptors {
    /// Takes the descriptors. Works once in a process.
    ///
    /// # Errors
    /// [`BeginError::Descriptor`] when one is not open, or was taken before.
    pub fn take() -> Result<InheritedDescriptors, BeginError> {
        Ok(InheritedDescriptors {
            down: inherit(boot::TO_HOST)?,
            up: inherit(boot::FROM_HOST)?,
            bell: inherit(boot::BELL)?,
            hello: inherit(boot::CONTROL_NAME_PIPE)?,
            artifacts: inherit(boot::ARTIFACTS)?,
        })
    }
}

/// Takes one descriptor that the parent has promised, before anything else is opened. Works once for each.
///
/// # Errors
/// [`BeginError::Descriptor`] when it is not open, or was taken before.
pub fn inherit(number: i32) -> Result<OwnedFd, BeginError> {
    inherited::take(number).map_err(|source| BeginError::Descriptor { number, source })
}

/// Makes the kernel kill this process when the thread that started it ends.
///
/// # Errors
/// [`BeginError::Orphan`] when `supervisor` is not the parent. It is compared after the signal is armed, so a
/// supervisor that dies in between is noticed.
pub fn die_with(supervisor: i32) -> Result<(), BeginError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| BeginError::ParentDeath(error.into()))?;
    let is_parent = getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == supervisor);
    if is_parent || planted(Bug::ForgetParent) {
        Ok(())
    } else {
        Err(BeginError::Orphan { supervisor })
    }
}

/// The host's end of the control channel, announced but not yet connected.
pub struct ControlServer<C> {
    server: IpcOneShotServer<C>,
}

impl<C> ControlServer<C>
where
    C: Serialize + DeserializeOwned + Send + 'static,
{
    /// Makes the server, writes its name to `hello` and closes that.
    ///
    /// # Errors
    /// [`BeginError::Server`].
    pub fn announce(hello: OwnedFd) -> Result<ControlServer<C>, BeginError> {
        let (server, name) = IpcOneShotServer::new().map_err(BeginError::Server)?;
        File::from(hello)
            .write_all(name.as_bytes())
            .map_err(BeginError::Server)?;
        Ok(ControlServer { server })
    }

    /// Reads commands on a thread of its own, until one for which `is_last` holds.
    ///
    /// The end of the channel before that means that the supervisor is gone: the process exits at once with
    /// [`ORPHANED`].
    ///
    /// # Errors
    /// [`BeginError::Thread`].
    pub fn listen(self, is_last: fn(&C) -> bool) -> Result<CommandReceiver<C>, BeginError> {
        listen(move || self.accept(), is_last)
    }

    /// Waits for the supervisor and its first command on the calling thread, for a host that must not have a second
    /// thread yet.
    ///
    /// # Errors
    /// [`Ended`] when the channel ends or carries something else.
    pub fn accept(self) -> Result<ControlChannel<C>, ChannelClosed> {
        let (receiver, first) = self.server.accept().map_err(|_| ChannelClosed)?;
        Ok(ControlChannel {
            receiver,
            first: Some(first),
        })
    }
}

/// The channel has ended before the last command, or carried something else.
#[derive(Debug, Error)]
#[error("the control channel has ended before the last command")]
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
    /// [`Ended`] when the channel ends or carries something else.
    pub fn receive(&mut self) -> Result<C, ChannelClosed> {
        match self.first.take() {
            Some(first) => Ok(first),
            None => self.receiver.recv().map_err(|_| ChannelClosed),
        }
    }

    /// Reads the rest of the commands as [`Server::listen`] does.
    ///
    /// # Errors
    /// [`BeginError::Thread`].
    pub fn listen(self, is_last: fn(&C) -> bool) -> Result<CommandReceiver<C>, BeginError> {
        listen(move || Ok(self), is_last)
    }
}

/// Exit code of a host whose supervisor is gone.
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
        // The channel's library panics at packets that it does not expect.
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
        // The main thread has let go of its end: it is on its way out.
        if sender.send(command).is_err() || last {
            return Ok(());
        }
    }
}

#[allow(
    clippy::exit,
    reason = "nothing is left to say, and nobody to say it to"
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

    /// The next command, if it is there already.
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

    fn announced() -> (ControlServer<u32>, String) {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let server = ControlServer::announce(writer.into()).expect("a server");
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
    fn commands_can_be_read_here_first_and_on_a_thread_later() {
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
    fn the_end_of_the_channel_is_told_to_who_reads_here() {
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
        set_parent_process_death_signal(None).expect("the test goes on");
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
