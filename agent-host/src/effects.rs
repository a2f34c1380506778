//! The effects of the current step, and their limits.

use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine};
use shm_protocol::limit;

/// A call with an effect. The number of each in one step is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostCall {
    Send,
    Submit,
    Emit,
    Log,
    Infer,
    Finish,
}

/// The effects of the current step.
#[derive(Default)]
pub(crate) struct Effects {
    list: Vec<Effect>,
    /// Number of calls, by [`HostCall`].
    calls: [usize; 6],
    bytes: usize,
    max_bytes: usize,
}

impl Effects {
    /// No effects, with a limit on the bytes of a step.
    pub(crate) fn new(max_bytes: usize) -> Effects {
        Effects {
            max_bytes,
            ..Effects::default()
        }
    }

    /// Begins a new step. The allocation of `list` is reused, and the lines of `logs` do not count towards the limits.
    pub(crate) fn begin(&mut self, mut list: Vec<Effect>, logs: Vec<LogLine>) {
        list.clear();
        list.extend(logs.into_iter().map(Effect::Log));
        *self = Effects {
            list,
            ..Effects::new(self.max_bytes)
        };
    }

    /// Takes the effects of the step.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }

    /// Counts a call, also one that is refused afterwards, so that no call can be repeated without limit. False when
    /// the step has used up its number of such calls.
    pub(crate) fn count(&mut self, call: HostCall) -> bool {
        let calls = &mut self.calls[call as usize];
        let is_within_limit = *calls < limit::EFFECTS_PER_STEP;
        *calls += usize::from(is_within_limit);
        is_within_limit
    }

    /// True if the step has room for that many more bytes.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        bytes <= self.max_bytes - self.bytes
    }

    /// Adds an effect of that many bytes.
    ///
    /// # Panics
    /// When the step has no room for it.
    pub(crate) fn push(&mut self, effect: Effect, bytes: usize) {
        assert!(self.admits(bytes), "the caller checks for room first");
        self.bytes += bytes;
        self.list.push(effect);
    }

    /// Adds a log line. It is truncated to its limit, and dropped when the step has no room: logging never returns
    /// an error to an agent.
    pub(crate) fn log(&mut self, level: LogLevel, text: &str) {
        let text = truncate(text, limit::PAYLOAD_BYTES);
        if self.admits(text.len()) {
            self.push(
                Effect::Log(LogLine {
                    level,
                    text: text.to_owned(),
                }),
                text.len(),
            );
        }
    }
}

/// The longest prefix of `text` that has at most `bytes` bytes and ends between characters.
fn truncate(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The log lines among effects.
pub(crate) fn logs(effects: Vec<Effect>) -> Vec<LogLine> {
    let line = |effect| {
        if let Effect::Log(line) = effect {
            Some(line)
        } else {
            None
        }
    };
    effects.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_call_has_its_own_limit() {
        let mut effects = Effects::new(limit::STEP_BYTES);
        assert!((0..limit::EFFECTS_PER_STEP).all(|_| effects.count(HostCall::Send)));
        assert!(!effects.count(HostCall::Send));
        assert!(effects.count(HostCall::Emit));
        effects.begin(Vec::new(), Vec::new());
        assert!(effects.count(HostCall::Send));
    }

    #[test]
    fn a_log_line_is_truncated_between_characters() {
        assert_eq!(truncate("aé", 2), "a");
        assert_eq!(truncate("aé", 3), "aé");
        let mut effects = Effects::new(limit::STEP_BYTES);
        effects.log(LogLevel::Info, &"x".repeat(limit::PAYLOAD_BYTES + 1));
        let lines = logs(effects.take());
        assert_eq!(lines[0].text.len(), limit::PAYLOAD_BYTES);
    }

    #[test]
    fn log_lines_beyond_the_limit_of_the_step_are_dropped() {
        let mut effects = Effects::new(limit::STEP_BYTES);
        let line = "x".repeat(limit::PAYLOAD_BYTES);
        let fit = limit::STEP_BYTES / limit::PAYLOAD_BYTES;
        for _ in 0..fit + 1 {
            effects.log(LogLevel::Info, &line);
        }
        assert_eq!(effects.take().len(), fit);
        assert!(!effects.admits(1));
    }
}
