//! [`Objects`] by the crate `object_store`: a directory, or a server that speaks S3.
//!
//! All calls run on a runtime of one thread, the caller's: nothing goes on between calls. Files and names of hosts are looked
//! up by at most [`BLOCKING_THREADS`] threads of that runtime.
//!
//! Each request is tried again a few times, with growing pauses, by `object_store`; whoever asks tries again later.

use super::objects::{Object, Objects};
use super::{Interrupt, RemoteError, RemoteSettings};
use crate::BoxError;
use crate::sync::{Mutex, lock};
use futures_util::future::{Either, select, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreFailure, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::storage::{PosixStorage, Storage, create_durable_dir_all};
use tokio::runtime::Runtime;

const BLOCKING_THREADS: usize = 4;
/// Times that a request is tried again, and how long in all.
const RETRIES_MAX: usize = 4;
const RETRY_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A part of 8 MiB in this time is 140 KB/s.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// What `object_store` has between the name of a file and a number while it writes it.
const UNFINISHED_MARK: char = '#';

/// See the module docs.
pub(super) struct ObjectPlace {
    url: String,
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    interrupt: Interrupt,
    /// Of each call.
    patience: Mutex<Option<Duration>>,
}

impl ObjectPlace {
    /// The place that a URL names. Makes the directory of a `file://`; a server is not asked yet.
    ///
    /// # Errors
    /// [`RemoteError::Url`], or what the file system says.
    pub(super) fn open(
        settings: &RemoteSettings,
        interrupt: Interrupt,
    ) -> Result<Self, RemoteError> {
        let url = settings.url.trim_end_matches('/').to_owned();
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| malformed(&url, "it has no scheme"))?;
        let (store, prefix): (Arc<dyn ObjectStore>, ObjectPath) = match scheme {
            "file" => (Arc::new(directory(&url, rest)?), ObjectPath::default()),
            "s3" | "s3a" => bucket(&url, rest, settings)?,
            other => return Err(malformed(&url, &format!("'{other}' is no scheme known here"))),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("thalweg-remote")
            .build()
            .map_err(|source| RemoteError::Thread { source: source.into() })?;
        Ok(ObjectPlace {
            url,
            store,
            prefix,
            runtime: Some(runtime),
            interrupt,
            patience: Mutex::new(None),
        })
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// The name below the prefix.
    fn name(&self, path: &ObjectPath) -> Option<String> {
        let parts = path.prefix_match(&self.prefix)?;
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// Waits for an answer, or for the end.
    fn wait<T>(
        &self,
        action: &'static str,
        object: &str,
        answer: impl Future<Output = Result<T, StoreFailure>>,
    ) -> Result<T, RemoteError> {
        let cut_short = || RemoteError::CutShort { url: self.url.clone() };
        let runtime = self.runtime.as_ref().ok_or_else(cut_short)?;
        let patience = *lock(&self.patience);
        let answer = async {
            match patience {
                None => answer.await,
                Some(patience) => {
                    let late = |_| StoreFailure::Generic {
                        store: "the store",
                        source: format!("no answer within {} ms", patience.as_millis()).into(),
                    };
                    tokio::time::timeout(patience, answer).await.map_err(late)?
                }
            }
        };
        let answered = runtime.block_on(async {
            let interrupted = std::pin::pin!(self.interrupt.wait());
            // The first is asked first.
            match select(interrupted, std::pin::pin!(answer)).await {
                Either::Left(_) => None,
                Either::Right((answer, _)) => Some(answer),
            }
        });
        match answered {
            None => Err(cut_short()),
            Some(answer) => answer.map_err(|failure| self.failed(action, object, failure)),
        }
    }

    fn failed(&self, action: &'static str, object: &str, failure: StoreFailure) -> RemoteError {
        let remedy = match &failure {
            StoreFailure::NotFound { .. } => {
                "see that the bucket or directory is there, and that the URL names it"
            }
            StoreFailure::PermissionDenied { .. } | StoreFailure::Unauthenticated { .. } => {
                "give the keys of somebody who may list, read, write and remove there \
                 (`checkpoint_remote_access_key` and `checkpoint_remote_secret_key`)"
            }
            StoreFailure::NotImplemented { .. } | StoreFailure::NotSupported { .. } => {
                "the store must be able to write an object only if there is none (If-None-Match)"
            }
            _ => "see that the server is there and answers (`checkpoint_remote_endpoint`)",
        };
        let (url, object) = (self.url.clone(), object.to_owned());
        RemoteError::Store { url, action, object, source: failure.into(), remedy }
    }
}

/// What stands for several objects in a message.
fn first_of<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let first = names.next().unwrap_or("nothing").to_owned();
    match names.count() {
        0 => first,
        others => format!("{first} and {others} more"),
    }
}

impl Objects for ObjectPlace {
    fn url(&self) -> &str {
        &self.url
    }

    fn put_all(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), RemoteError> {
        let what = first_of(objects.iter().map(|(name, _)| name.as_str()));
        let puts = objects.into_iter().map(|(name, bytes)| {
            let path = self.path(&name);
            async move { self.store.put(&path, PutPayload::from(bytes)).await }
        });
        self.wait("write", &what, try_join_all(puts)).map(drop)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, RemoteError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let (path, payload) = (self.path(name), PutPayload::from(bytes.to_vec()));
        self.wait("write", name, async {
            match self.store.put_opts(&path, payload, options).await {
                Ok(_) => Ok(true),
                Err(StoreFailure::AlreadyExists { .. } | StoreFailure::Precondition { .. }) => {
                    Ok(false)
                }
                Err(failure) => Err(failure),
            }
        })
    }

    fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        let gets = names.iter().map(|name| {
            let path = self.path(name);
            async move {
                match self.store.get(&path).await {
                    Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
                    Err(StoreFailure::NotFound { .. }) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        });
        self.wait("read", &first_of(names.iter().map(String::as_str)), try_join_all(gets))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, RemoteError> {
        let path = self.path(folder);
        let listed = self.store.list(Some(&path)).try_collect::<Vec<_>>();
        let listed = self.wait("list", folder, listed)?;
        let named = listed.into_iter().filter_map(|found| {
            Some(Object { name: self.name(&found.location)?, length_bytes: found.size })
        });
        let mut objects: Vec<Object> = named.collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn remove_all(&self, names: &[String]) -> Result<(), RemoteError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let removed = self.store.delete_stream(stream::iter(paths).boxed());
        let removed = removed.try_for_each(|_| async { Ok(()) });
        let what = first_of(names.iter().map(String::as_str));
        match self.wait("remove", &what, async { Ok(removed.await) })? {
            Ok(()) => Ok(()),
            // The others are asked for one by one: the stream has ended at the first that was not there.
            Err(StoreFailure::NotFound { .. }) => names.iter().try_for_each(|name| {
                let path = self.path(name);
                self.wait("remove", name, async {
                    match self.store.delete(&path).await {
                        Err(StoreFailure::NotFound { .. }) => Ok(()),
                        other => other,
                    }
                })
            }),
            Err(failure) => Err(self.failed("remove", &what, failure)),
        }
    }

    fn set_patience(&self, patience: Option<Duration>) {
        *lock(&self.patience) = patience;
    }

    fn cut_short(&self) {
        self.interrupt.interrupt();
    }
}

impl Drop for ObjectPlace {
    fn drop(&mut self) {
        // A thread that looks for the name of a host may take long; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPlace").field("url", &self.url).finish_non_exhaustive()
    }
}

fn malformed(url: &str, what: &str) -> RemoteError {
    RemoteError::Url { url: url.to_owned(), what: what.to_owned() }
}

/// A directory as a store, with what an interrupted process has left there removed.
fn directory(url: &str, path: &str) -> Result<LocalFileSystem, RemoteError> {
    if !path.starts_with('/') {
        return Err(malformed(url, "the path of a directory begins with '/'"));
    }
    let (directory, storage) = (Path::new(path), PosixStorage::new());
    let local = |source| RemoteError::Local {
        directory: directory.to_path_buf(),
        source: Box::new(source),
    };
    for folder in ["owners", "indexes", super::part::FOLDER] {
        let folder = directory.join(folder);
        create_durable_dir_all(&storage, &folder).map_err(local)?;
        for file in storage.list(&folder).map_err(local)? {
            let name = file.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.contains(UNFINISHED_MARK)) {
                storage.remove(&file).map_err(local)?;
            }
        }
    }
    let store = LocalFileSystem::new_with_prefix(directory);
    Ok(store.map_err(|error| malformed(url, &error.to_string()))?.with_fsync(true))
}

/// A bucket, and the prefix in it.
fn bucket(
    url: &str,
    rest: &str,
    settings: &RemoteSettings,
) -> Result<(Arc<dyn ObjectStore>, ObjectPath), RemoteError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(malformed(url, "it names no bucket"));
    }
    let prefix = ObjectPath::parse(prefix).map_err(|error| malformed(url, &error.to_string()))?;
    // The TLS of reqwest takes the process's provider, and there may be one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let given = [
        (AmazonS3ConfigKey::Endpoint, settings.endpoint.as_deref()),
        (AmazonS3ConfigKey::Region, settings.region.as_deref()),
        (AmazonS3ConfigKey::AccessKeyId, settings.access_key.as_deref()),
        (AmazonS3ConfigKey::SecretAccessKey, settings.secret_key.as_ref().map(|key| key.expose())),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    // Who writes http:// means it.
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_connect_timeout(CONNECT_WITHIN)
        .with_timeout(ANSWER_WITHIN);
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_WITHIN };
    let store = builder.with_client_options(client).with_retry(retry).build();
    let store = store.map_err(|error| malformed(url, &BoxError::from(error).to_string()))?;
    Ok((Arc::new(store), prefix))
}
