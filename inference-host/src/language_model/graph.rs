//! The graph of a decoder: tokens in, logits out; no text.
//!
//! * [`decoder_signature`]: the role of each input and output;
//! * [`decoder`]: one run (a forward pass);
//! * [`kv_block`], [`kv_cache`]: keys and values as the graph takes them, and between runs;
//! * [`prefix_cache`]: keys and values of common prefixes of prompts;
//! * [`decoder_probe`]: which sequences may share a run.

pub(super) mod decoder;
pub(super) mod decoder_probe;
pub(super) mod decoder_signature;
pub(super) mod kv_block;
pub(super) mod kv_cache;
pub(super) mod prefix_cache;
