//! Everything about text: no graph, no tensors.
//!
//! * [`tokenizer`]: text to tokens and back;
//! * [`detokenizer`]: text that grows token by token;
//! * [`chat_template`]: from the messages of a chat to a prompt;
//! * [`generation_request`], [`response_format`], [`json_field`]: the request of an agent, in JSON;
//! * [`constrained_decoding`]: the tokens that a `response_format` allows;
//! * [`format_limits`], [`schema_patterns`], [`regex_intersections`]: limits on the size and the cost of a
//!   `response_format`;
//! * [`format_error`]: refusals of a `response_format`;
//! * [`large_stack`]: the thread for deep recursion.

pub(super) mod chat_template;
pub(super) mod constrained_decoding;
pub(super) mod detokenizer;
mod format_error;
mod format_limits;
pub(super) mod generation_request;
mod json_field;
pub(super) mod large_stack;
mod regex_intersections;
pub(super) mod response_format;
mod schema_patterns;
pub(super) mod tokenizer;
