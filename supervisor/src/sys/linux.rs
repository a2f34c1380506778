//! The calls to Linux.

mod child;
mod errors;
mod machine;
mod memory;
mod poller;
mod process;
mod signals;
mod socket;

pub use child::{
    descriptor_path, duplicate_from, own_executable, pass_descriptors, set_nonblocking,
};
pub use errors::{input_output_error, is_symlink_loop, no_space_error};
pub use machine::{boot_id, free_disk_bytes, kernel_release};
pub use memory::{anonymous_memory, available_memory_bytes};
pub use poller::{Poller, wait_readable};
pub use process::{ProcessHandle, interrupt, is_fault_signal, kill_self, set_process_name};
pub use signals::notify_stop_signals;
pub use socket::{connect_by_name, is_peer_same_user, listen_by_name};
