//! A host as a process, for the tests of what processes do.

use crate::ARGUMENTS;
use crate::common::floats;
use shm_protocol::agent_to_supervisor::{FAILURE, Failure};
use shm_protocol::boot::Extent;
use shm_protocol::codec;
use shm_protocol::fault::FaultSlot;
use shm_protocol::id::{BatchId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{ModelInfo, ModelLoaded};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{self, BatchHead, EngineSetup, INPUT, LoadModel, RUN};
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::Tensor;
use std::process::{Command, ExitStatus};
use test_support::host_process::{HostProcess, host_arguments};

/// A host process, and this side of it.
pub(crate) struct Host(pub(crate) HostProcess<supervisor_to_inference::InferenceCommand>);

impl Host {
    /// Starts a host with these artifacts, which believes `supervisor` to be its parent.
    pub(crate) fn start(artifacts: &[&[u8]], supervisor: i32) -> Host {
        Host::start_with(artifacts, supervisor, &[])
    }

    /// As [`Host::start`], and these faults wait in it.
    pub(crate) fn start_with(artifacts: &[&[u8]], supervisor: i32, faults: &[FaultSlot]) -> Host {
        let mut program = Command::new(std::env::current_exe().expect("a path"));
        program
            .args(["host", "--exact", "--nocapture"])
            .env(ARGUMENTS, host_arguments(supervisor).join(" "));
        let artifacts = sealed_memory("artifacts", artifacts).expect("memory");
        Host(HostProcess::start(program, artifacts, faults))
    }

    pub(crate) fn send(&mut self, command: supervisor_to_inference::InferenceCommand) {
        self.0.send(command);
    }

    /// The next record, which must be of this kind.
    pub(crate) fn next<T: bincode::Decode<()>>(&mut self, kind: u16) -> T {
        let (header, data) = self.0.record();
        if header.kind == FAILURE && kind != FAILURE {
            let failure: Failure = codec::decode_record(&data).expect("a failure");
            panic!("{}", failure.message);
        }
        assert_eq!(header.kind, kind);
        codec::decode_record(&data).expect("a message")
    }

    pub(crate) fn end(self) -> (ExitStatus, String) {
        self.0.end()
    }

    /// Whether the thread on which the host lives has given up new privileges. Here it is not the first thread of
    /// the process, because that is the test runner's.
    pub(crate) fn has_no_new_privileges(&self) -> bool {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.0.child.id())).expect("its threads");
        let statuses =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        statuses
            .into_iter()
            .any(|status| status.contains("NoNewPrivs:\t1"))
    }
}

pub(crate) fn setup(
    library: Option<&str>,
    intra_op_threads: u32,
) -> supervisor_to_inference::InferenceCommand {
    supervisor_to_inference::InferenceCommand::Setup(EngineSetup {
        library: library.map(str::to_owned),
        intra_op_threads,
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
    host.0
        .push(&RecordHeader::new(RUN, Tick(1)), &codec::encode(&run));
    let header = RecordHeader {
        tensor: Some((input.dtype, input.shape)),
        ..RecordHeader::new(INPUT, Tick(1))
    };
    host.0.push(&header, &input.data);
    input
}
