//! What the supervisor has of an agent's memory, kept to tell what has changed.

use shm_protocol::agent_state::PAGE_BYTES;

static ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A copy of a memory, without its pages that are zero.
#[derive(Default)]
pub(super) struct Mirror {
    pages: Vec<Option<Box<[u8]>>>,
}

/// Whether a page is zero.
fn is_zero(page: &[u8]) -> bool {
    page == ZERO
}

impl Mirror {
    /// Takes over a memory, and calls `give` with each page that is not as it was, or with each that is not zero if
    /// `is_full`. A page that is zero is given as no bytes. What lies beyond a memory that has become smaller is
    /// forgotten.
    ///
    /// # Errors
    /// Those of `give`.
    ///
    /// # Panics
    /// When the memory does not consist of whole pages.
    pub(super) fn update<E>(
        &mut self,
        memory: &[u8],
        is_full: bool,
        mut give: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (pages, rest) = memory.as_chunks::<PAGE_BYTES>();
        assert!(rest.is_empty(), "memories have whole pages");
        self.pages.resize_with(pages.len(), || None);
        for ((now, then), index) in pages.iter().zip(&mut self.pages).zip(0..) {
            let has_changed = follow(then, now);
            match then {
                Some(page) if is_full || has_changed => give(index, page)?,
                None if has_changed && !is_full => give(index, &[])?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets a page to what the supervisor has of it.
    ///
    /// # Panics
    /// When the page lies beyond the end.
    pub(super) fn set(&mut self, index: usize, page: Vec<u8>) {
        self.pages[index] = (!page.is_empty()).then(|| page.into_boxed_slice());
    }

    /// Becomes a copy of a memory of this size that is zero.
    pub(super) fn clear(&mut self, memory_bytes: usize) {
        self.pages.clear();
        self.pages.resize_with(memory_bytes / PAGE_BYTES, || None);
    }
}

/// Makes the copy of a page what the page is now. Gives whether it was something else.
fn follow(then: &mut Option<Box<[u8]>>, now: &[u8; PAGE_BYTES]) -> bool {
    match then {
        Some(page) if page[..] == now[..] => false,
        Some(_) if is_zero(now) => {
            *then = None;
            true
        }
        Some(page) => {
            page.copy_from_slice(now);
            true
        }
        None if is_zero(now) => false,
        None => {
            *then = Some(Box::new(*now));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// What is given, each page as its number and its first byte.
    fn given(mirror: &mut Mirror, memory: &[u8], is_full: bool) -> Vec<(u32, Option<u8>)> {
        let mut given = Vec::new();
        let Ok(()) = mirror.update(memory, is_full, |index, page| {
            assert!(page.is_empty() || page.len() == PAGE_BYTES);
            given.push((index, page.first().copied()));
            Ok::<(), Infallible>(())
        });
        given
    }

    fn memory(pages: &[u8]) -> Vec<u8> {
        pages.iter().flat_map(|byte| [*byte; PAGE_BYTES]).collect()
    }

    #[test]
    fn pages_are_given_when_they_have_changed() {
        let mut mirror = Mirror::default();
        let first = memory(&[0, 1, 2, 0]);
        assert_eq!(
            given(&mut mirror, &first, false),
            [(1, Some(1)), (2, Some(2))]
        );
        assert_eq!(given(&mut mirror, &first, false), []);
        let second = memory(&[0, 0, 3, 4]);
        assert_eq!(
            given(&mut mirror, &second, false),
            [(1, None), (2, Some(3)), (3, Some(4))]
        );
        assert_eq!(given(&mut mirror, &second, false), []);
    }

    #[test]
    fn one_byte_is_a_change() {
        let mut mirror = Mirror::default();
        let mut bytes = memory(&[1, 1]);
        given(&mut mirror, &bytes, false);
        bytes[2 * PAGE_BYTES - 1] = 2;
        assert_eq!(given(&mut mirror, &bytes, false), [(1, Some(1))]);
    }

    #[test]
    fn a_full_one_has_every_page_that_is_not_zero_and_no_other() {
        let mut mirror = Mirror::default();
        given(&mut mirror, &memory(&[1, 2]), false);
        let changed = memory(&[1, 0, 3]);
        assert_eq!(
            given(&mut mirror, &changed, true),
            [(0, Some(1)), (2, Some(3))]
        );
        assert_eq!(given(&mut mirror, &changed, false), []);
    }

    #[test]
    fn what_a_smaller_memory_had_is_forgotten() {
        let mut mirror = Mirror::default();
        given(&mut mirror, &memory(&[1, 2]), false);
        assert_eq!(given(&mut mirror, &memory(&[1]), false), []);
        assert_eq!(given(&mut mirror, &memory(&[1, 2]), false), [(1, Some(2))]);
    }

    #[test]
    fn what_was_restored_is_not_given_again() {
        let mut mirror = Mirror::default();
        mirror.clear(2 * PAGE_BYTES);
        mirror.set(1, memory(&[7]));
        assert_eq!(given(&mut mirror, &memory(&[0, 7]), false), []);
    }
}
