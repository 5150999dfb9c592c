//! Shared pieces of this package.
