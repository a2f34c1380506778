//! A copy of an agent's memory as of the last snapshot, to find the pages that have changed since.

use shm_protocol::agent_state::PAGE_BYTES;

static ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A copy of a memory. Pages that are zero are left out.
#[derive(Default)]
pub(super) struct ShadowMemory {
    pages: Vec<Option<Box<[u8]>>>,
}

fn is_zero(page: &[u8]) -> bool {
    page == ZERO
}

impl ShadowMemory {
    /// Updates the copy to `memory` and passes pages to `changed`: those that differ from the copy, or all that are not
    /// zero if `is_full`. A page that is zero is passed as no bytes. Pages beyond the end of a memory that has become
    /// smaller are dropped.
    ///
    /// # Errors
    /// Those of `changed`.
    ///
    /// # Panics
    /// When the memory does not consist of whole pages.
    pub(super) fn update<E>(
        &mut self,
        memory: &[u8],
        is_full: bool,
        mut changed: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (pages, rest) = memory.as_chunks::<PAGE_BYTES>();
        assert!(rest.is_empty(), "memories have whole pages");
        self.pages.resize_with(pages.len(), || None);
        for ((page, copy), index) in pages.iter().zip(&mut self.pages).zip(0..) {
            let has_changed = update_page(copy, page);
            match copy {
                Some(page) if is_full || has_changed => changed(index, page)?,
                None if has_changed && !is_full => changed(index, &[])?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets the copy of a page. No bytes stand for a page that is zero.
    ///
    /// # Panics
    /// When the page lies beyond the end.
    pub(super) fn set(&mut self, index: usize, page: Vec<u8>) {
        self.pages[index] = (!page.is_empty()).then(|| page.into_boxed_slice());
    }

    /// Resets the copy to a memory of this size that is zero.
    pub(super) fn clear(&mut self, memory_bytes: usize) {
        self.pages.clear();
        self.pages.resize_with(memory_bytes / PAGE_BYTES, || None);
    }
}

/// Updates the copy of a page. True if the page differed from it.
fn update_page(copy: &mut Option<Box<[u8]>>, page: &[u8; PAGE_BYTES]) -> bool {
    match copy {
        Some(old) if old[..] == page[..] => false,
        Some(_) if is_zero(page) => {
            *copy = None;
            true
        }
        Some(old) => {
            old.copy_from_slice(page);
            true
        }
        None if is_zero(page) => false,
        None => {
            *copy = Some(Box::new(*page));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// The pages that an update passes on, each as its number and its first byte.
    fn changes(shadow: &mut ShadowMemory, memory: &[u8], is_full: bool) -> Vec<(u32, Option<u8>)> {
        let mut changes = Vec::new();
        let Ok(()) = shadow.update(memory, is_full, |index, page| {
            assert!(page.is_empty() || page.len() == PAGE_BYTES);
            changes.push((index, page.first().copied()));
            Ok::<(), Infallible>(())
        });
        changes
    }

    fn memory(pages: &[u8]) -> Vec<u8> {
        pages.iter().flat_map(|byte| [*byte; PAGE_BYTES]).collect()
    }

    #[test]
    fn changed_pages_are_passed_on() {
        let mut shadow = ShadowMemory::default();
        let first = memory(&[0, 1, 2, 0]);
        assert_eq!(
            changes(&mut shadow, &first, false),
            [(1, Some(1)), (2, Some(2))]
        );
        assert_eq!(changes(&mut shadow, &first, false), []);
        let second = memory(&[0, 0, 3, 4]);
        assert_eq!(
            changes(&mut shadow, &second, false),
            [(1, None), (2, Some(3)), (3, Some(4))]
        );
        assert_eq!(changes(&mut shadow, &second, false), []);
    }

    #[test]
    fn one_byte_is_a_change() {
        let mut shadow = ShadowMemory::default();
        let mut bytes = memory(&[1, 1]);
        changes(&mut shadow, &bytes, false);
        bytes[2 * PAGE_BYTES - 1] = 2;
        assert_eq!(changes(&mut shadow, &bytes, false), [(1, Some(1))]);
    }

    #[test]
    fn a_full_update_passes_on_every_page_that_is_not_zero() {
        let mut shadow = ShadowMemory::default();
        changes(&mut shadow, &memory(&[1, 2]), false);
        let changed = memory(&[1, 0, 3]);
        assert_eq!(
            changes(&mut shadow, &changed, true),
            [(0, Some(1)), (2, Some(3))]
        );
        assert_eq!(changes(&mut shadow, &changed, false), []);
    }

    #[test]
    fn pages_beyond_a_smaller_memory_are_dropped() {
        let mut shadow = ShadowMemory::default();
        changes(&mut shadow, &memory(&[1, 2]), false);
        assert_eq!(changes(&mut shadow, &memory(&[1]), false), []);
        assert_eq!(
            changes(&mut shadow, &memory(&[1, 2]), false),
            [(1, Some(2))]
        );
    }

    #[test]
    fn a_restored_page_is_not_passed_on_again() {
        let mut shadow = ShadowMemory::default();
        shadow.clear(2 * PAGE_BYTES);
        shadow.set(1, memory(&[7]));
        assert_eq!(changes(&mut shadow, &memory(&[0, 7]), false), []);
    }
}
