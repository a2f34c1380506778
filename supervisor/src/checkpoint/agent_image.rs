//! What is known of an agent's state, out of what its host has said of it.
//!
//! Nothing that a host says is believed before it is checked: a record is taken
//! whole or refused. What it says is a difference to what it said before, unless
//! everything was asked for; so whoever misses one difference needs everything.

use crate::checkpoint::manifest::{AgentImage, PageLocation};
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::id::{RequestId, Tick};
use std::collections::BTreeMap;

/// What is known of an agent.
#[derive(Clone, Debug)]
pub(super) struct AgentImageBuilder {
    life: SavedInstance,
    next_request: RequestId,
    pages: BTreeMap<u32, PageLocation>,
    /// The tick of the records that came last, or of what it began with.
    tick: Tick,
    /// The least number that the next page may have; none when the last record has come.
    next_page: Option<u64>,
    /// What it said could not be kept: only a full state helps.
    is_lost: bool,
}

/// What is known of an agent's state with a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImagePart {
    /// More of it comes.
    More,
    /// All of it.
    Whole,
    /// All of it, but something was lost before.
    Useless,
}

impl AgentImageBuilder {
    /// An agent of which nothing was said: all its pages are zero.
    pub(super) fn nothing() -> AgentImageBuilder {
        AgentImageBuilder {
            life: SavedInstance::Halted,
            next_request: RequestId(0),
            pages: BTreeMap::new(),
            tick: Tick::ZERO,
            next_page: None,
            is_lost: false,
        }
    }

    /// An agent that has begun with the state of a checkpoint.
    pub(super) fn of(image: &AgentImage, tick: Tick) -> AgentImageBuilder {
        AgentImageBuilder {
            life: image.life.clone(),
            next_request: image.next_request,
            pages: image.pages.iter().copied().collect(),
            tick,
            next_page: None,
            is_lost: false,
        }
    }

    /// The state after a tick, if all of it is known.
    pub(super) fn image(&self, tick: Tick) -> Option<AgentImage> {
        let is_whole = self.tick == tick && self.next_page.is_none() && !self.is_lost;
        is_whole.then(|| AgentImage {
            life: self.life.clone(),
            next_request: self.next_request,
            pages: self.pages.iter().map(|(index, at)| (*index, *at)).collect(),
        })
    }

    /// What is said from now on is a difference to something that is not kept.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        self.pages.clear();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Where its pages are.
    pub(super) fn pages_mut(&mut self) -> impl Iterator<Item = &mut PageLocation> {
        self.pages.values_mut()
    }

    /// Takes in a record after a tick, and keeps its pages with `put`.
    ///
    /// # Errors
    /// Why it cannot be the next record of this agent, whose memory has at most so many bytes. Nothing has changed then.
    pub(super) fn take(
        &mut self,
        tick: Tick,
        is_full: bool,
        record: StateRecord,
        most_bytes: u64,
        mut put: impl FnMut(&[u8]) -> PageLocation,
    ) -> Result<ImagePart, String> {
        let is_first = self.tick != tick;
        self.check_place(tick, &record)?;
        let memory_pages = memory_pages(&record.life, most_bytes)?;
        let from = if is_first {
            0
        } else {
            self.next_page.unwrap_or(0)
        };
        let next_page = check_pages(&record.pages, from, memory_pages)?;
        if is_first {
            self.begin(tick, is_full, &record);
        }
        for Page { index, bytes } in record.pages {
            // A host gives a page of zeros as none; one that gives its bytes says the same.
            if bytes.iter().all(|byte| *byte == 0) {
                self.pages.remove(&index);
            } else {
                self.pages.insert(index, put(&bytes));
            }
        }
        self.next_page = (!record.is_last).then_some(next_page);
        Ok(match (record.is_last, self.is_lost) {
            (false, _) => ImagePart::More,
            (true, true) => ImagePart::Useless,
            (true, false) => {
                self.forget_beyond(memory_pages);
                ImagePart::Whole
            }
        })
    }

    /// Whether a record may come now.
    fn check_place(&self, tick: Tick, record: &StateRecord) -> Result<(), String> {
        if tick < self.tick {
            return Err(format!("that after tick {} was told", self.tick));
        }
        if tick > self.tick {
            return Ok(());
        }
        if self.next_page.is_none() {
            return Err("it was whole".to_owned());
        }
        if record.life != self.life || record.next_request != self.next_request {
            return Err(
                "two of its records differ in what all of them must have in common".to_owned(),
            );
        }
        Ok(())
    }

    /// The first record after a tick.
    fn begin(&mut self, tick: Tick, is_full: bool, record: &StateRecord) {
        if self.next_page.is_some() {
            // The end of the last state never came.
            self.lose();
        }
        self.tick = tick;
        (self.life, self.next_request) = (record.life.clone(), record.next_request);
        if is_full {
            self.pages.clear();
            self.is_lost = false;
        }
    }

    /// A host forgets what a smaller memory had, and everything without one.
    fn forget_beyond(&mut self, memory_pages: u64) {
        if let Ok(end) = u32::try_from(memory_pages) {
            drop(self.pages.split_off(&end));
        }
    }
}

/// The pages of the memory of an agent that lives so.
fn memory_pages(life: &SavedInstance, most_bytes: u64) -> Result<u64, String> {
    match life {
        SavedInstance::Running { memory_bytes, .. } if *memory_bytes > most_bytes => Err(format!(
            "it has a memory of {memory_bytes} bytes, where it may have {most_bytes}"
        )),
        SavedInstance::Running { memory_bytes, .. }
            if !memory_bytes.is_multiple_of(PAGE_BYTES as u64) =>
        {
            Err(format!(
                "its memory of {memory_bytes} bytes has no whole pages"
            ))
        }
        SavedInstance::Running { memory_bytes, .. } => Ok(memory_bytes / PAGE_BYTES as u64),
        SavedInstance::Failed | SavedInstance::Halted => Ok(0),
    }
}

/// Checks pages that go on at a number, and gives the number at which the next ones go on.
fn check_pages(pages: &[Page], from: u64, memory_pages: u64) -> Result<u64, String> {
    if pages.len() > PAGES_PER_RECORD {
        return Err(format!(
            "a record has {} pages, where it may have {PAGES_PER_RECORD}",
            pages.len()
        ));
    }
    pages.iter().try_fold(from, |next, Page { index, bytes }| {
        if u64::from(*index) < next {
            Err(format!("its page {index} is out of order"))
        } else if u64::from(*index) >= memory_pages {
            Err(format!(
                "its page {index} is outside of its memory of {memory_pages} pages"
            ))
        } else if !matches!(bytes.len(), 0 | PAGE_BYTES) {
            Err(format!(
                "its page {index} has {} bytes, where a page has {PAGE_BYTES} or none",
                bytes.len()
            ))
        } else {
            Ok(u64::from(*index) + 1)
        }
    })
}
