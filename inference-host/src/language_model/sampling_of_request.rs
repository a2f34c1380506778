//! The sampling parameters of a generation request, for fuzz targets.

use super::model_config::SamplingParams;
use super::text::generation_request::GenerationRequest;

/// Temperature, top-p, min-p and repetition penalty of a generation request, which is read as a host reads it. For fuzz
/// targets.
///
/// # Errors
/// The reason for which the request is refused.
pub fn read_sampling(request: &[u8]) -> Result<[f32; 4], String> {
    let defaults = SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };
    let sampling = GenerationRequest::read(request, &defaults)?.sampling;
    Ok([
        sampling.temperature,
        sampling.top_p,
        sampling.min_p,
        sampling.repetition_penalty,
    ])
}
