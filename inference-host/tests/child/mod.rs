//! A host as a process, for the tests of what processes do.

use crate::ARGUMENTS;
use crate::common::floats;
use command_fds::{CommandFdExt, FdMapping};
use ipc_channel::ipc::IpcSender;
use shm_protocol::agent_to_supervisor::{FAILURE, Failure};
use shm_protocol::boot::{self, Extent, HostArguments};
use shm_protocol::codec;
use shm_protocol::fault::FaultSlot;
use shm_protocol::id::{BatchId, HostId, Incarnation, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{ModelInfo, ModelLoaded};
use shm_protocol::link::{LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{self, BatchHead, EngineSetup, INPUT, LoadModel, RUN};
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::Tensor;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use tempfile::TempDir;

/// A host process, and this side of it.
pub(crate) struct Host {
    pub(crate) child: Child,
    pub(crate) link: SupervisorLink,
    pub(crate) commands: Option<IpcSender<supervisor_to_inference::InferenceCommand>>,
    _folder: TempDir,
}

impl Host {
    /// Starts a host with these artifacts, which believes `supervisor` to be its parent.
    pub(crate) fn start(artifacts: &[&[u8]], supervisor: u32) -> Host {
        Host::start_with(artifacts, supervisor, &[])
    }

    /// As [`Host::start`], and these faults wait in it.
    pub(crate) fn start_with(artifacts: &[&[u8]], supervisor: u32, faults: &[FaultSlot]) -> Host {
        let sizes = LinkSizes {
            down_bytes: 1 << 20,
            up_bytes: 1 << 20,
        };
        let may_fault = !faults.is_empty();
        let (mut link, descriptors) =
            SupervisorLink::create_with(sizes, Incarnation(3), may_fault).expect("a link");
        for slot in faults {
            assert!(link.faults().expect("faults may be").arm(slot));
        }
        let (mut hello, hello_host) = std::io::pipe().expect("a pipe");
        let artifacts = sealed_memory("artifacts", artifacts).expect("memory");
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = i32::try_from(supervisor).expect("a process number");
        let arguments = HostArguments {
            host: HostId(0),
            incarnation: Incarnation(3),
            supervisor,
        };
        let mapping = |parent_fd, child_fd| FdMapping {
            parent_fd,
            child_fd,
        };
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command
            .args(["host", "--exact", "--nocapture"])
            .env(ARGUMENTS, arguments.to_arguments().join(" "))
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .fd_mappings(vec![
                mapping(descriptors.down, boot::TO_HOST),
                mapping(descriptors.up, boot::FROM_HOST),
                mapping(descriptors.bell, boot::BELL),
                mapping(hello_host.into(), boot::CONTROL_NAME_PIPE),
                mapping(artifacts, boot::ARTIFACTS),
            ])
            .expect("distinct descriptors");
        let child = command.spawn().expect("a process");
        drop(command);
        let mut name = String::new();
        hello.read_to_string(&mut name).expect("a name or the end");
        let commands = (!name.is_empty()).then(|| IpcSender::connect(name).expect("its server"));
        Host {
            child,
            link,
            commands,
            _folder: folder,
        }
    }

    pub(crate) fn send(&self, command: supervisor_to_inference::InferenceCommand) {
        self.commands
            .as_ref()
            .expect("the host is there")
            .send(command)
            .expect("the host reads");
    }

    /// The next record, which must be of this kind. The end of the host is a failed test.
    pub(crate) fn next<T: bincode::Decode<()>>(&mut self, kind: u16) -> T {
        let mut data = Vec::new();
        let header = loop {
            if let Some(header) = self.link.up.try_take(&mut data).expect("a ring in order") {
                break header;
            }
            if let Some(status) = self.child.try_wait().expect("a child")
                && self.link.up.is_empty()
            {
                panic!("the host ended with {status}: {}", self.words());
            }
            thread::yield_now();
        };
        if header.kind == FAILURE && kind != FAILURE {
            let failure: Failure = codec::decode_record(&data).expect("a failure");
            panic!("{}", failure.message);
        }
        assert_eq!(header.kind, kind);
        codec::decode_record(&data).expect("a message")
    }

    pub(crate) fn words(&mut self) -> String {
        let mut words = String::new();
        let _ = self
            .child
            .stderr
            .as_mut()
            .expect("piped")
            .read_to_string(&mut words);
        words
    }

    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let words = self.words();
        (self.child.wait().expect("a child"), words)
    }

    /// Whether the thread on which the host lives has given up new privileges. Here it is not the first thread of
    /// the process, because that is the test runner's.
    pub(crate) fn has_no_new_privileges(&self) -> bool {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        let statuses =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        statuses
            .into_iter()
            .any(|status| status.contains("NoNewPrivs:\t1"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn setup(
    library: Option<&str>,
    intra_threads: u32,
) -> supervisor_to_inference::InferenceCommand {
    supervisor_to_inference::InferenceCommand::Setup(EngineSetup {
        library: library.map(str::to_owned),
        intra_threads,
        loads_drivers_later: false,
    })
}

pub(crate) fn load_command(
    model: u32,
    offset: usize,
    bytes: usize,
    providers: &[&str],
) -> supervisor_to_inference::InferenceCommand {
    supervisor_to_inference::InferenceCommand::Load(LoadModel {
        version: VersionId(model),
        model: ModelId(model),
        keep: true,
        name: format!("model-{model}"),
        artifact: Extent {
            offset: offset as u64,
            bytes: bytes as u64,
        },
        providers: providers.iter().map(|name| (*name).to_owned()).collect(),
        strict_providers: false,
        memory_bytes: 0,
        generator: None,
        may_batch: true,
    })
}

pub(crate) fn facts(loaded: ModelLoaded) -> ModelInfo {
    loaded
        .result
        .unwrap_or_else(|refused| panic!("{}", refused.message))
}

/// Sends a batch for model 0, and gives its input.
pub(crate) fn push_batch(host: &mut Host) -> Tensor {
    let input = floats(&[3, 4], |n| if n % 2 == 0 { 0.1 } else { -0.2 });
    let run = BatchHead {
        batch: BatchId(0),
        version: VersionId(0),
        model: ModelId(0),
        inputs: 1,
    };
    assert!(
        host.link
            .down
            .try_push(&RecordHeader::new(RUN, Tick(1)), &codec::encode(&run))
            .expect("room")
    );
    let header = RecordHeader {
        tensor: Some((input.dtype, input.shape)),
        ..RecordHeader::new(INPUT, Tick(1))
    };
    assert!(host.link.down.try_push(&header, &input.data).expect("room"));
    host.link.down.notify();
    input
}
