//! The state of an agent, built from the records of its host.
//!
//! A record of a host is checked before it is used, and taken whole or refused. It is a difference to the records
//! before, unless a full state was requested; so after one missed difference only a full state helps.

use crate::checkpoint::manifest::{AgentImage, PageLocation};
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::id::{RequestId, Tick};
use std::collections::BTreeMap;

/// Builds the image of an agent.
#[derive(Clone, Debug)]
pub(super) struct AgentImageBuilder {
    instance: SavedInstance,
    next_request: RequestId,
    pages: BTreeMap<u32, PageLocation>,
    /// The tick of the last records, or of the checkpoint with which the agent began.
    tick: Tick,
    /// The least number that the next page may have; none when the last record has come.
    next_page: Option<u64>,
    /// A record could not be kept: only a full state helps.
    is_incomplete: bool,
}

/// Progress of an image after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImagePart {
    /// More records follow.
    More,
    /// The image is complete.
    Whole,
    /// The last record has come, but an earlier one was lost.
    Unusable,
}

impl AgentImageBuilder {
    /// The image before the first record: all pages are zero.
    pub(super) fn empty() -> AgentImageBuilder {
        AgentImageBuilder {
            instance: SavedInstance::Halted,
            next_request: RequestId(0),
            pages: BTreeMap::new(),
            tick: Tick::ZERO,
            next_page: None,
            is_incomplete: false,
        }
    }

    /// The image of an agent that began with the state of a checkpoint.
    pub(super) fn of(image: &AgentImage, tick: Tick) -> AgentImageBuilder {
        AgentImageBuilder {
            instance: image.instance.clone(),
            next_request: image.next_request,
            pages: image.pages.iter().copied().collect(),
            tick,
            next_page: None,
            is_incomplete: false,
        }
    }

    /// The image after a tick, if it is complete.
    pub(super) fn image(&self, tick: Tick) -> Option<AgentImage> {
        let is_whole = self.tick == tick && self.next_page.is_none() && !self.is_incomplete;
        is_whole.then(|| AgentImage {
            instance: self.instance.clone(),
            next_request: self.next_request,
            pages: self.pages.iter().map(|(index, at)| (*index, *at)).collect(),
        })
    }

    /// Discards the pages: the records that follow are differences to a state that is not kept.
    pub(super) fn discard(&mut self) {
        self.is_incomplete = true;
        self.pages.clear();
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// The locations of its pages.
    pub(super) fn pages_mut(&mut self) -> impl Iterator<Item = &mut PageLocation> {
        self.pages.values_mut()
    }

    /// Applies a record after a tick, and stores its pages with `put`.
    ///
    /// # Errors
    /// The reason for which it cannot be the next record of this agent, whose memory has at most `max_bytes`. The image
    /// is unchanged then.
    pub(super) fn take(
        &mut self,
        tick: Tick,
        is_full: bool,
        record: StateRecord,
        max_bytes: u64,
        mut put: impl FnMut(&[u8]) -> PageLocation,
    ) -> Result<ImagePart, String> {
        let is_first = self.tick != tick;
        self.check_order(tick, &record)?;
        let memory_pages = memory_pages(&record.life, max_bytes)?;
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
            // A host leaves out the bytes of a zero page; bytes of zeros mean the same.
            if bytes.iter().all(|byte| *byte == 0) {
                self.pages.remove(&index);
            } else {
                self.pages.insert(index, put(&bytes));
            }
        }
        self.next_page = (!record.is_last).then_some(next_page);
        Ok(match (record.is_last, self.is_incomplete) {
            (false, _) => ImagePart::More,
            (true, true) => ImagePart::Unusable,
            (true, false) => {
                self.forget_beyond(memory_pages);
                ImagePart::Whole
            }
        })
    }

    /// Checks that a record may come now.
    fn check_order(&self, tick: Tick, record: &StateRecord) -> Result<(), String> {
        if tick < self.tick {
            return Err(format!(
                "the state after tick {} is already known",
                self.tick
            ));
        }
        if tick > self.tick {
            return Ok(());
        }
        if self.next_page.is_none() {
            return Err("it is already complete".to_owned());
        }
        if record.life != self.instance || record.next_request != self.next_request {
            return Err("two of its records disagree".to_owned());
        }
        Ok(())
    }

    /// Begins the state of a tick with its first record.
    fn begin(&mut self, tick: Tick, is_full: bool, record: &StateRecord) {
        if self.next_page.is_some() {
            // The end of the last state never came.
            self.discard();
        }
        self.tick = tick;
        (self.instance, self.next_request) = (record.life.clone(), record.next_request);
        if is_full {
            self.pages.clear();
            self.is_incomplete = false;
        }
    }

    /// A host drops the pages beyond a smaller memory, and all pages without one.
    fn forget_beyond(&mut self, memory_pages: u64) {
        if let Ok(end) = u32::try_from(memory_pages) {
            drop(self.pages.split_off(&end));
        }
    }
}

/// The number of pages of an agent's memory.
fn memory_pages(instance: &SavedInstance, max_bytes: u64) -> Result<u64, String> {
    match instance {
        SavedInstance::Running { memory_bytes, .. } if *memory_bytes > max_bytes => Err(format!(
            "its memory of {memory_bytes} bytes is over the limit of {max_bytes}"
        )),
        SavedInstance::Running { memory_bytes, .. }
            if !memory_bytes.is_multiple_of(PAGE_BYTES as u64) =>
        {
            Err(format!(
                "its memory of {memory_bytes} bytes is not a multiple of the page size"
            ))
        }
        SavedInstance::Running { memory_bytes, .. } => Ok(memory_bytes / PAGE_BYTES as u64),
        SavedInstance::Failed | SavedInstance::Halted => Ok(0),
    }
}

/// Checks pages whose numbers begin at `from`, and gives the number at which the next ones begin.
fn check_pages(pages: &[Page], from: u64, memory_pages: u64) -> Result<u64, String> {
    if pages.len() > PAGES_PER_RECORD {
        return Err(format!(
            "a record has {} pages, over the limit of {PAGES_PER_RECORD}",
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
                "its page {index} has {} bytes instead of {PAGE_BYTES} or none",
                bytes.len()
            ))
        } else {
            Ok(u64::from(*index) + 1)
        }
    })
}
