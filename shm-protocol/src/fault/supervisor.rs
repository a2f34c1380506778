//! The supervisor's side: arms faults in a host, and learns which have fired.

use super::slot::{self, FaultSlot};
use crate::limit::FAULT_SLOTS;
use crate::sys::SharedMemory;

/// The faults that are armed in one incarnation of a host.
#[derive(Debug)]
pub struct ArmedFaults {
    down: SharedMemory,
    up: SharedMemory,
    slots: [Option<ArmedFault>; FAULT_SLOTS],
    armings: u16,
}

#[derive(Clone, Copy, Debug)]
struct ArmedFault {
    rule: u32,
    mark: u64,
    /// True if it was disarmed. The host may have seen it before.
    is_withdrawn: bool,
}

impl ArmedFaults {
    pub(crate) fn new(down: SharedMemory, up: SharedMemory) -> Self {
        ArmedFaults {
            down,
            up,
            slots: [None; FAULT_SLOTS],
            armings: 0,
        }
    }

    /// Arms a fault. `false` if all slots are in use.
    ///
    /// # Panics
    /// When the number of the rule is zero.
    pub fn arm(&mut self, slot: &FaultSlot) -> bool {
        assert_ne!(slot.rule, 0, "rules count from 1");
        let free = self.slots.iter().position(Option::is_none);
        let is_withdrawn =
            |armed: &Option<ArmedFault>| armed.is_some_and(|armed| armed.is_withdrawn);
        let Some(position) = free.or_else(|| self.slots.iter().position(is_withdrawn)) else {
            return false;
        };
        self.armings = self.armings.wrapping_add(1);
        let mark = slot.mark(self.armings);
        slot::write(&self.down, position, slot, mark);
        self.slots[position] = Some(ArmedFault {
            rule: slot.rule,
            mark,
            is_withdrawn: false,
        });
        true
    }

    /// Disarms the faults of a rule that have not fired.
    pub fn disarm(&mut self, rule: u32) {
        for (position, armed) in self.slots.iter_mut().enumerate() {
            if let Some(armed) = armed.as_mut().filter(|armed| armed.rule == rule) {
                armed.is_withdrawn = true;
                slot::clear(&self.down, position);
            }
        }
    }

    /// True if a fault of the rule is armed.
    #[must_use]
    pub fn is_armed(&self, rule: u32) -> bool {
        let mut armed = self.slots.iter().flatten();
        armed.any(|armed| armed.rule == rule && !armed.is_withdrawn)
    }

    /// A rule whose fault has fired since the last call. Acknowledgements of faults that were not armed are ignored.
    #[must_use]
    pub fn fired(&mut self) -> Option<u32> {
        for (position, armed) in self.slots.iter_mut().enumerate() {
            let fired = armed.take_if(|armed| slot::echoed(&self.up, position) == armed.mark);
            if let Some(fired) = fired {
                slot::clear(&self.down, position);
                return Some(fired.rule);
            }
        }
        None
    }
}
