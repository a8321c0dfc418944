//! The blocks of a segment's deltas, one behind the other, in pages of bytes: whoever lags is handed all that it lacks of a page as one
//! slice, whatever number of blocks that is, and nothing is copied for it.
//!
//! The page that is still written cannot be shared yet. What is read of it is a copy of its end, made once for all who ask before the
//! next block comes: thousands of readers who keep up cost one copy a delta, of that delta.

use bytes::{Bytes, BytesMut};

/// When a page is full, in bytes: also the most that a reader is handed at once, but for the block that fills it.
const PAGE: usize = 16 * 1024;

/// How much room is taken at once for the copies to come: one allocation serves dozens of deltas.
const ROOM: usize = 4 * 1024;

#[derive(Default)]
pub(super) struct Pages {
    /// Where each block ends, counted over all pages; that of the delta with number `n` is at `n - 1`.
    ends: Vec<usize>,
    /// The full pages, each with the place where it ends.
    full: Vec<(usize, Bytes)>,
    /// The page that is being written.
    page: Vec<u8>,
    /// The newest copy of the page's end, and where it begins and ends.
    copy: Bytes,
    copied: std::ops::Range<usize>,
    /// Where copies are made.
    room: BytesMut,
}

impl Pages {
    /// How many blocks there are.
    pub(super) fn count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Appends the block that is written.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.page);
        let end = self.begin() + self.page.len();
        self.ends.push(end);
        if self.page.len() >= PAGE {
            let page = std::mem::replace(&mut self.page, Vec::with_capacity(PAGE + ROOM));
            self.full.push((end, page.into()));
            self.copy = Bytes::new();
            self.room = BytesMut::new();
        }
    }

    /// The blocks after number `n` that stand on the same page, and the number of the last one; `None` if there is none.
    pub(super) fn after(&mut self, n: u64) -> Option<(Bytes, u64)> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let end = *self.ends.last()?;
        let start = match n.checked_sub(1) {
            Some(last) => *self.ends.get(last)?,
            None => 0,
        };
        if start == end {
            return None;
        }
        if start >= self.begin() {
            return Some((self.copied(start, end), self.count()));
        }
        let at = self.full.partition_point(|(end, _)| *end <= start);
        let (end, page) = self.full.get(at)?;
        let last = n + self.ends.get(n..)?.partition_point(|each| each <= end);
        // A page ends with its block: `start` is that far before its end.
        let from = page.len() - (end - start);
        Some((page.slice(from..), last as u64))
    }

    /// Where the page that is being written begins.
    fn begin(&self) -> usize {
        self.full.last().map_or(0, |(end, _)| *end)
    }

    fn copied(&mut self, start: usize, end: usize) -> Bytes {
        if self.copied.end != end || self.copied.start > start {
            let fresh = &self.page[start - self.begin()..];
            if self.room.capacity() < fresh.len() {
                self.room.reserve(fresh.len().max(ROOM));
            }
            self.room.extend_from_slice(fresh);
            self.copy = self.room.split().freeze();
            self.copied = start..end;
        }
        self.copy.slice(start - self.copied.start..)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(size: usize, n: usize) -> Vec<u8> {
        (0..size).map(|at| (n * 31 + at) as u8).collect()
    }

    /// All blocks after number `n`, as a reader takes them.
    fn rest(pages: &mut Pages, mut n: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some((bytes, last)) = pages.after(n) {
            assert!(!bytes.is_empty() && last > n);
            all.extend_from_slice(&bytes);
            n = last;
        }
        assert_eq!(n, pages.count());
        all
    }

    #[test]
    fn who_keeps_up_shares_a_copy() {
        let mut pages = Pages::default();
        pages.push(|page| page.extend_from_slice(b"one "));
        pages.push(|page| page.extend_from_slice(b"two "));
        let (all, _) = pages.after(0).unwrap();
        let (second, last) = pages.after(1).unwrap();
        assert_eq!(
            (&all[..], &second[..], last),
            (&b"one two "[..], &b"two "[..], 2)
        );
        assert_eq!(all[4..].as_ptr(), second.as_ptr());
        assert!(pages.after(2).is_none());
    }

    #[test]
    fn a_full_page_is_shared_as_it_is() {
        let mut pages = Pages::default();
        for n in 0..40 {
            pages.push(|page| page.extend(block(1024, n)));
        }
        let (from_start, last) = pages.after(0).unwrap();
        assert_eq!((from_start.len(), last), (16 * 1024, 16));
        let (from_middle, last) = pages.after(3).unwrap();
        assert_eq!((from_middle.len(), last), (13 * 1024, 16));
        assert_eq!(from_start[3 * 1024..].as_ptr(), from_middle.as_ptr());
        assert_eq!(pages.after(16).unwrap().1, 32);
    }

    #[test]
    fn a_number_that_never_was_has_nothing_after_it() {
        let mut pages = Pages::default();
        assert!(pages.after(0).is_none());
        pages.push(|page| page.push(b'x'));
        for n in [1, 2, u64::MAX] {
            assert!(pages.after(n).is_none(), "{n}");
        }
    }

    proptest! {
        /// From whatever block it is read, and whenever: the same bytes.
        #[test]
        fn any_reader_gets_the_same_bytes(
            sizes in prop::collection::vec(1usize..6000, 1..40),
            looks in prop::collection::vec(0u64..40, 0..40),
        ) {
            let (mut pages, mut blocks) = (Pages::default(), Vec::new());
            for (n, size) in sizes.iter().enumerate() {
                pages.push(|page| page.extend(block(*size, n)));
                blocks.push(block(*size, n));
                if let Some(look) = looks.get(n) {
                    let look = (*look).min(pages.count());
                    let expected = blocks[usize::try_from(look).unwrap()..].concat();
                    prop_assert_eq!(rest(&mut pages, look), expected);
                }
            }
            prop_assert_eq!(rest(&mut pages, 0), blocks.concat());
        }
    }
}
