//! The engine's side of an execution provider: its name, and how a session asks for it.

use ort::ep::{
    CUDA, CoreML, DirectML, ExecutionProvider, MIGraphX, OpenVINO, ROCm, TensorRT, XNNPACK,
};
use ort::session::builder::SessionBuilder;
use shm_protocol::provider::Provider;
use std::collections::BTreeMap;

/// The engine's own name for a provider.
pub(super) fn engine_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "CPUExecutionProvider",
        Provider::Cuda => CUDA::NAME,
        Provider::TensorRt => TensorRT::NAME,
        Provider::MiGraphX => MIGraphX::NAME,
        Provider::Rocm => ROCm::NAME,
        Provider::OpenVino => OpenVINO::NAME,
        Provider::CoreMl => CoreML::NAME,
        Provider::DirectMl => DirectML::NAME,
        Provider::Xnnpack => XNNPACK::NAME,
    }
}

/// Adds a provider to the options of a session. The CPU is always there, as the last.
pub(super) fn register(provider: Provider, builder: &mut SessionBuilder) -> ort::Result<()> {
    let dispatch = match provider {
        Provider::Cpu => return Ok(()),
        Provider::Cuda => CUDA::default().build(),
        Provider::TensorRt => TensorRT::default().build(),
        Provider::MiGraphX => MIGraphX::default().build(),
        Provider::Rocm => ROCm::default().build(),
        Provider::OpenVino => OpenVINO::default().build(),
        Provider::CoreMl => CoreML::default().build(),
        Provider::DirectMl => DirectML::default().build(),
        Provider::Xnnpack => XNNPACK::default().build(),
    };
    dispatch.error_on_failure().register(builder)
}

pub(super) fn format_placement(placement: &BTreeMap<String, usize>) -> String {
    placement
        .iter()
        .map(|(name, nodes)| format!("{name} ({nodes})"))
        .collect::<Vec<_>>()
        .join(", ")
}
