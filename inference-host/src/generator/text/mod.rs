//! Everything about text: no graph, no numbers.
//!
//! * [`words`]: text to tokens and back;
//! * [`stream`]: text that grows token by token;
//! * [`template`]: a chat as one prompt;
//! * [`request`]: what is asked, in JSON;
//! * [`grammar`]: the form that an answer must have.

pub(super) mod grammar;
pub(super) mod request;
pub(super) mod stream;
pub(super) mod template;
pub(super) mod words;
