//! Everything about text: no graph, no numbers.
//!
//! * [`words`]: text to tokens and back;
//! * [`stream`]: text that grows token by token;
//! * [`template`]: a chat as one prompt;
//! * [`request`]: what is asked, in JSON;
//! * [`grammar`]: the form that an answer must have;
//! * [`bounds`], [`joins`], [`intersections`]: how large such a form may be;
//! * [`worker`]: the thread for what may go deep.

mod bounds;
pub(super) mod grammar;
mod intersections;
mod joins;
pub(super) mod request;
pub(super) mod stream;
pub(super) mod template;
pub(super) mod words;
pub(super) mod worker;
