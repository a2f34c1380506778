//! States as a supervisor keeps them, accumulated over snapshots.

use shm_protocol::agent_state::{PAGE_BYTES, Page, SavedInstance, StateRecord};
use shm_protocol::id::AgentId;
use std::collections::BTreeMap;

/// The states of agents.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Images(pub(super) BTreeMap<AgentId, Image>);

/// The state of an agent. No record has pages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    pub(super) rest: StateRecord,
    pub(super) pages: BTreeMap<u32, Vec<u8>>,
}

impl Images {
    /// The states of a full snapshot.
    pub(super) fn of(records: Vec<StateRecord>) -> Images {
        let mut images = Images::default();
        images.add(records);
        images
    }

    /// Adds a snapshot of the changes.
    pub(super) fn add(&mut self, records: Vec<StateRecord>) {
        for mut record in records {
            let pages = std::mem::take(&mut record.pages);
            let bytes = match record.life {
                SavedInstance::Running { memory_bytes, .. } => memory_bytes,
                SavedInstance::Failed | SavedInstance::Halted => 0,
            };
            record.is_last = true;
            let image = self.0.entry(record.agent).or_insert_with(|| Image {
                rest: record.clone(),
                pages: BTreeMap::new(),
            });
            image.rest = record;
            image
                .pages
                .retain(|index, _| u64::from(*index) * (PAGE_BYTES as u64) < bytes);
            for page in pages {
                if page.bytes.is_empty() {
                    let was = image.pages.remove(&page.index);
                    assert!(was.is_some(), "page {} was zero before", page.index);
                } else {
                    assert_ne!(page.bytes, [0; PAGE_BYTES], "page {}", page.index);
                    let was = image.pages.insert(page.index, page.bytes);
                    assert_ne!(was.as_ref(), image.pages.get(&page.index), "no change");
                }
            }
        }
    }

    /// The states as records with so many pages at most.
    pub(super) fn records(&self, max_pages: usize) -> Vec<StateRecord> {
        let mut records = Vec::new();
        for image in self.0.values() {
            let page = |(index, bytes): (&u32, &Vec<u8>)| Page {
                index: *index,
                bytes: bytes.clone(),
            };
            let pages: Vec<Page> = image.pages.iter().map(page).collect();
            let mut of_agent: Vec<StateRecord> = pages
                .chunks(max_pages)
                .map(|pages| StateRecord {
                    pages: pages.to_vec(),
                    is_last: false,
                    ..image.rest.clone()
                })
                .collect();
            if of_agent.is_empty() {
                of_agent.push(image.rest.clone());
            }
            of_agent.last_mut().expect("just pushed").is_last = true;
            records.append(&mut of_agent);
        }
        records
    }
}
