//! The bytes that were read and not yet consumed, contiguous.
//!
//! ```text
//!   0        start            end          bytes.len() <= bytes_max
//!   │consumed │ unread data    │ free space  │
//! ```
//!
//! Room is made by moving the unread data to the front, then by growing up to `bytes_max`.
//!
//! # Invariants
//!
//! - `start <= end <= bytes.len() <= bytes_max`.

#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    bytes_max: usize,
}

impl Window {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, bytes_max }
    }

    pub(super) fn raise_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = self.bytes_max.max(bytes_max);
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn consume(&mut self, byte_count: usize) {
        assert!(byte_count <= self.end - self.start, "only unread bytes can be consumed");
        self.start += byte_count;
    }

    pub(super) fn consume_and_borrow(&mut self, byte_count: usize) -> &[u8] {
        let start = self.start;
        self.consume(byte_count);
        &self.bytes[start..self.start]
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Free space after the unread data: `wanted_bytes`, or less when the limit is near; empty
    /// when the unread data has reached it.
    pub(super) fn free_space(&mut self, wanted_bytes: usize) -> &mut [u8] {
        if self.start == self.end {
            self.clear();
        }
        if self.bytes.len() - self.end < wanted_bytes {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let needed = self.end.saturating_add(wanted_bytes).min(self.bytes_max);
            if needed > self.bytes.len() {
                // Doubling keeps the copying of a slowly growing line linear.
                let grown = needed.max(self.bytes.len() * 2).min(self.bytes_max);
                self.bytes.resize(grown, 0);
            }
        }
        let free_end = self.end.saturating_add(wanted_bytes).min(self.bytes.len());
        &mut self.bytes[self.end..free_end]
    }

    /// Counts bytes that were written into the free space as unread data.
    pub(super) fn advance(&mut self, byte_count: usize) {
        assert!(byte_count <= self.bytes.len() - self.end, "advance stays within the free space");
        self.end += byte_count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(window: &mut Window, bytes: &[u8]) -> usize {
        let space = window.free_space(bytes.len());
        let byte_count = space.len();
        space.copy_from_slice(&bytes[..byte_count]);
        window.advance(byte_count);
        byte_count
    }

    #[test]
    fn keeps_unread_bytes_together_up_to_the_limit() {
        let mut window = Window::new(8);
        assert_eq!(push(&mut window, b"abcdef"), 6);
        window.consume(4);
        assert_eq!(push(&mut window, b"ghij"), 4);
        assert_eq!(window.unread(), b"efghij");
        assert_eq!(push(&mut window, b"klmn"), 2);
        assert_eq!(push(&mut window, b"mn"), 0);
        assert_eq!(window.unread(), b"efghijkl");
        window.raise_bytes_max(10);
        assert_eq!(push(&mut window, b"mnop"), 2);
        window.consume(10);
        assert_eq!(push(&mut window, b"0123456789"), 10);
        assert_eq!(window.unread(), b"0123456789");
    }
}
