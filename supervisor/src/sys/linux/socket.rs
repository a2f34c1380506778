//! Stream sockets in the abstract namespace: they have a name and no file, so nothing is left behind.

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// Listens under a name of at most 107 bytes, which every process of the machine can connect to.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another socket has the name.
pub fn listen_by_name(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Connects to the socket that listens under a name.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] when none does.
pub fn connect_by_name(name: &str) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Whether the process at the other end belongs to the user of this process. Every user can connect to a name in the
/// abstract namespace.
///
/// # Errors
/// When the system does not tell.
pub fn is_peer_same_user(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, PeerCredentials)?;
    Ok(peer.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_by_its_name_until_it_is_dropped() {
        let name = format!("lockstep-test/{}", std::process::id());
        let listener = listen_by_name(&name).expect("the name is free");
        let taken = listen_by_name(&name).expect_err("the name is taken");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let _client = connect_by_name(&name).expect("it listens");
        let (stream, _) = listener.accept().expect("a client");
        assert!(is_peer_same_user(&stream).expect("it has credentials"));
        drop(listener);
        assert!(connect_by_name(&name).is_err());
    }
}
