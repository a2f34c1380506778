//! Somebody who changes the models of a simulated run while it goes on.

use super::fleet::{Fleet, MODEL};
use crate::event_loop::{ChangeSource, PendingChange, ProbedVersion};
use crate::record::Verdict;
use shm_protocol::boot::Extent;
use shm_protocol::id::Tick;
use shm_protocol::sys::sealed_memory;
use std::collections::BTreeMap;
use std::sync::mpsc;

/// Asks for one thing after the other, each as soon as its tick has come.
pub(super) struct Wishing<'fleet> {
    fleet: &'fleet Fleet,
    asked: usize,
}

impl<'fleet> Wishing<'fleet> {
    /// Somebody who goes on after these verdicts.
    pub(super) fn after(fleet: &'fleet Fleet, verdicts: &[(Tick, Verdict)]) -> Wishing<'fleet> {
        let is_granted =
            |(_, verdict): &&(Tick, Verdict)| matches!(verdict, Verdict::Changed { .. });
        Wishing {
            fleet,
            asked: verdicts.iter().filter(is_granted).count(),
        }
    }
}

impl ChangeSource for Wishing<'_> {
    fn next(&mut self, open: Tick) -> Option<PendingChange> {
        let wish = self.fleet.wishes.get(self.asked)?;
        if wish.from > open {
            return None;
        }
        self.asked += 1;
        // The length of a simulated memory is its number, and the place of every file in it.
        let number = self.asked;
        let place = Extent {
            offset: number as u64,
            bytes: 0,
        };
        let change = wish.change.map(|pin| {
            Box::new(ProbedVersion {
                refused: Vec::new(),
                pin: pin.clone(),
                memory: sealed_memory("models", &[&vec![0; number]]).expect("memory"),
                files: BTreeMap::from([(*blake3::hash(MODEL).as_bytes(), place)]),
            })
        });
        let (answer, _) = mpsc::channel();
        Some(PendingChange {
            model: wish.model,
            change,
            answer,
        })
    }
}
