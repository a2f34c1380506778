//! Requests of agents to language models.

/// Reads a request as the model's host does. What is accepted can be sampled by.
pub fn generation_request(bytes: &[u8]) -> bool {
    match inference_host::read_sampling(bytes) {
        Ok([temperature, top_p, min_p, repetition_penalty]) => {
            assert!((0.0..=100.0).contains(&temperature), "{temperature}");
            assert!(top_p > 0.0 && top_p <= 1.0, "{top_p}");
            assert!((0.0..=1.0).contains(&min_p), "{min_p}");
            assert!(
                repetition_penalty > 0.0 && repetition_penalty <= 100.0,
                "{repetition_penalty}"
            );
            true
        }
        Err(message) => {
            assert!(!message.is_empty());
            false
        }
    }
}
