//! The bytes of a piece on their way into a checkpoint.
//!
//! Most pieces are small and of their own. A sink that writes ahead has all records since its last commit in each checkpoint,
//! hundreds of megabytes: it shares the memory in which it keeps them, and they are copied when the file is written, never on a
//! core.

use std::fmt;
use std::sync::Arc;

/// Memory that somebody else keeps too, and that does not change any more.
pub(crate) type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Bytes of its own, and shared ones behind them.
#[derive(Clone, Default)]
pub(crate) struct PieceBytes {
    own: Vec<u8>,
    shared: Vec<SharedBytes>,
}

impl PieceBytes {
    #[cfg(any(feature = "kafka", test))]
    pub(crate) fn with_shared(own: Vec<u8>, shared: Vec<SharedBytes>) -> Self {
        PieceBytes { own, shared }
    }

    /// All of them, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let shared = self.shared.iter().map(|part| (**part).as_ref());
        std::iter::once(self.own.as_slice()).chain(shared)
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length_bytes() == 0
    }

    /// In one go; copies if something is shared.
    pub(crate) fn into_contiguous(self) -> Vec<u8> {
        match self.shared.is_empty() {
            true => self.own,
            false => self.parts().collect::<Vec<_>>().concat(),
        }
    }
}

impl From<Vec<u8>> for PieceBytes {
    fn from(own: Vec<u8>) -> Self {
        PieceBytes { own, shared: Vec::new() }
    }
}

/// By what they are, however they are kept.
impl PartialEq for PieceBytes {
    fn eq(&self, other: &Self) -> bool {
        self.length_bytes() == other.length_bytes()
            && self.parts().flatten().eq(other.parts().flatten())
    }
}

impl Eq for PieceBytes {}

impl fmt::Debug for PieceBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} parts shared", self.length_bytes(), self.shared.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_behind_what_is_not() {
        let shared: SharedBytes = Arc::new(vec![3_u8, 4]);
        let bytes = PieceBytes::with_shared(vec![1, 2], vec![shared.clone(), shared]);
        assert_eq!(bytes.length_bytes(), 6);
        assert_eq!(bytes, PieceBytes::from(vec![1, 2, 3, 4, 3, 4]));
        assert_ne!(bytes, PieceBytes::from(vec![1, 2, 3, 4, 3, 5]));
        assert_eq!(bytes.into_contiguous(), [1, 2, 3, 4, 3, 4]);
        assert!(PieceBytes::default().is_empty());
    }
}
