//! Which directory a record goes to.

use std::borrow::Cow;
use std::path::{Component, Path};

use super::FileSinkError;
use crate::function::UserFunction;

/// Says which subdirectory a record goes to. Implemented by the engine alone; see
/// [`bucket_by`](super::FileSink::bucket_by).
pub trait BucketAssigner<T>: UserFunction {
    /// A relative path; empty for the directory itself.
    #[doc(hidden)]
    fn bucket_of(&mut self, record: &T) -> Cow<'static, str>;
}

/// All records go to one directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneBucket;

impl<T> BucketAssigner<T> for OneBucket {
    #[inline]
    fn bucket_of(&mut self, _: &T) -> Cow<'static, str> {
        Cow::Borrowed("")
    }
}

/// A function of the record names its subdirectory.
#[derive(Clone, Debug)]
pub struct BucketBy<G>(pub(super) G);

impl<T, G: FnMut(&T) -> String + UserFunction> BucketAssigner<T> for BucketBy<G> {
    fn bucket_of(&mut self, record: &T) -> Cow<'static, str> {
        Cow::Owned((self.0)(record))
    }
}

/// A bucket stays below the sink's directory, and is what it says it is.
pub(super) fn check_bucket(bucket: &str) -> Result<(), FileSinkError> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let problem = if bucket.contains('\0') {
        "has a zero byte"
    } else if Path::new(bucket).components().all(is_plain) && !bucket.ends_with('/') {
        return Ok(());
    } else {
        "is no plain relative path"
    };
    Err(FileSinkError::Bucket { bucket: bucket.to_owned(), problem })
}
