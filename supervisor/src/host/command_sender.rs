//! The command channel of a host.

use super::spawn::SpawnError;
use ipc_channel::ipc::IpcSender;
use serde::Serialize;
use shm_protocol::id::HostId;
use std::io;
use std::sync::mpsc;
use std::thread;

/// Sends commands to a host without waiting for it. A thread of its own does the sending: a host that dies while it
/// receives a command longer than a packet would block the sender for ever.
pub struct CommandSender<C> {
    host: HostId,
    queue: mpsc::Sender<C>,
}

impl<C: Serialize + Send + 'static> CommandSender<C> {
    /// Starts the thread that sends over `channel`.
    pub(super) fn new(host: HostId, channel: IpcSender<C>) -> io::Result<CommandSender<C>> {
        let (queue, commands) = mpsc::channel();
        thread::Builder::new()
            .name(format!("commands {host}"))
            .spawn(move || {
                // Ends with the queue, or with the host, whose death is noticed elsewhere.
                commands
                    .into_iter()
                    .try_for_each(|command| channel.send(command))
            })?;
        Ok(CommandSender { host, queue })
    }

    /// Sends a command. The caller keeps fewer than [`shm_protocol::limit::COMMANDS_OUTSTANDING`] unanswered.
    ///
    /// # Errors
    /// [`SpawnError::Connect`] when the host is known to have ended.
    pub fn send(&self, command: C) -> Result<(), SpawnError> {
        let ended = |_| SpawnError::Connect {
            host: self.host,
            source: io::ErrorKind::BrokenPipe.into(),
        };
        self.queue.send(command).map_err(ended)
    }
}
