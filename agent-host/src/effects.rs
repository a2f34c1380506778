//! What a step has done so far, and how much more it may do.

use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine};
use shm_protocol::limit;

/// A kind of call whose number in one step is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Send,
    Submit,
    Emit,
    Log,
    Infer,
}

/// What a step has done so far.
#[derive(Default)]
pub(crate) struct Effects {
    list: Vec<Effect>,
    calls: [usize; 5],
    bytes: usize,
    most_bytes: usize,
}

impl Effects {
    /// Nothing yet, in steps that may hold this many bytes.
    pub(crate) fn new(most_bytes: usize) -> Effects {
        Effects {
            most_bytes,
            ..Effects::default()
        }
    }

    /// Begins a new step with what is left of `list`'s memory, and with these lines, which count for nothing.
    pub(crate) fn begin(&mut self, mut list: Vec<Effect>, logs: Vec<LogLine>) {
        list.clear();
        list.extend(logs.into_iter().map(Effect::Log));
        *self = Effects {
            list,
            ..Effects::new(self.most_bytes)
        };
    }

    /// Takes what the step has done.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }

    /// Counts a call, refused ones too, so that nothing can be tried without end. False when the step has used up
    /// its number of such calls.
    pub(crate) fn count(&mut self, call: Call) -> bool {
        let calls = &mut self.calls[call as usize];
        let within = *calls < limit::EFFECTS_PER_STEP;
        *calls += usize::from(within);
        within
    }

    /// Whether the step may hold that many bytes more.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        bytes <= self.most_bytes - self.bytes
    }

    /// Adds an effect of that many bytes, which must be admitted.
    pub(crate) fn push(&mut self, effect: Effect, bytes: usize) {
        assert!(self.admits(bytes), "the caller asks first");
        self.bytes += bytes;
        self.list.push(effect);
    }

    /// Adds a log line. It is cut to its limit, and dropped when the step can hold no more: a log line never
    /// changes what an agent sees.
    pub(crate) fn log(&mut self, level: LogLevel, text: &str) {
        let text = cut(text, limit::PAYLOAD_BYTES);
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

/// The longest beginning of `text` that has at most `bytes` bytes and ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
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
    fn each_kind_of_call_is_counted_alone() {
        let mut effects = Effects::new(limit::STEP_BYTES);
        assert!((0..limit::EFFECTS_PER_STEP).all(|_| effects.count(Call::Send)));
        assert!(!effects.count(Call::Send));
        assert!(effects.count(Call::Emit));
        effects.begin(Vec::new(), Vec::new());
        assert!(effects.count(Call::Send));
    }

    #[test]
    fn a_log_line_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        let mut effects = Effects::new(limit::STEP_BYTES);
        effects.log(LogLevel::Info, &"x".repeat(limit::PAYLOAD_BYTES + 1));
        let lines = logs(effects.take());
        assert_eq!(lines[0].text.len(), limit::PAYLOAD_BYTES);
    }

    #[test]
    fn what_does_not_fit_the_step_is_dropped() {
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
