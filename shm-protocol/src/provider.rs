//! The execution providers, by their names in fleet files.

/// An execution provider of ONNX Runtime. Whether the library and the machine support it is checked when it is
/// requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// The processor.
    Cpu,
    /// NVIDIA graphics processors.
    Cuda,
    /// NVIDIA graphics processors, with graphs compiled for them.
    TensorRt,
    /// AMD graphics processors, with graphs compiled for them.
    MiGraphX,
    /// AMD graphics processors. Newer releases of the engine have `MIGraphX` in its place.
    Rocm,
    /// Processors and graphics of Intel.
    OpenVino,
    /// Apple's processors, graphics and neural engines.
    CoreMl,
    /// Graphics processors under Windows.
    DirectMl,
    /// The processor, with kernels for small devices.
    Xnnpack,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Provider; 9] = [
        Provider::Cpu,
        Provider::Cuda,
        Provider::TensorRt,
        Provider::MiGraphX,
        Provider::Rocm,
        Provider::OpenVino,
        Provider::CoreMl,
        Provider::DirectMl,
        Provider::Xnnpack,
    ];

    /// Its name in a fleet file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
            Provider::MiGraphX => "migraphx",
            Provider::Rocm => "rocm",
            Provider::OpenVino => "openvino",
            Provider::CoreMl => "coreml",
            Provider::DirectMl => "directml",
            Provider::Xnnpack => "xnnpack",
        }
    }

    /// The provider of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Provider> {
        Provider::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_identifies_its_provider() {
        for provider in Provider::ALL {
            assert_eq!(Provider::named(provider.name()), Some(provider));
        }
        assert_eq!(Provider::named("gpu"), None);
    }
}
