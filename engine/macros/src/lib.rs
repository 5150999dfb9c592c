//! The `#[thalweg::record]` attribute.
