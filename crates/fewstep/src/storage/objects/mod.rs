//! Files in object storage. What is written is there whole or not at all: a store shows an object
//! only once all of it has arrived.

mod connect;
mod plain;
#[cfg(test)]
mod tests;

use super::{Files, Found, NamedBytes};
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output;
use fewstep_data::StoredFile;
use fewstep_formats::write_atomically_with;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Small objects on their way at the same time.
const AT_ONCE: usize = 16;

/// Bytes of a part of a large object, in which it is sent.
const PART: u64 = 16 << 20;

/// Parts of an object on their way at the same time.
const PARTS_AT_ONCE: usize = 4;

/// The most parts of an object, as S3 counts.
const MOST_PARTS: u64 = 10_000;

/// A place in object storage: all objects whose names begin with a prefix and a slash.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// As it was given, in messages.
    url: String,
    /// Whether a large object can be sent in parts.
    in_parts: bool,
    runtime: Runtime,
}

impl Objects {
    /// A client for the place of a URL. Nothing is sent yet.
    ///
    /// # Errors
    /// When the URL or the environment's settings of the store cannot be used.
    pub(super) fn connect(url: &str) -> CliResult<Self> {
        let (store, prefix) = connect::connect(url)?;
        Self::new(store, prefix, url)
    }

    fn new(store: Arc<dyn ObjectStore>, prefix: ObjectPath, url: &str) -> CliResult<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            store,
            prefix,
            url: url.into(),
            in_parts: !url.starts_with("http"),
            runtime: runtime.work_error()?,
        })
    }

    fn path(&self, name: &str) -> CliResult<ObjectPath> {
        let path = match self.prefix.as_ref() {
            "" => ObjectPath::parse(name),
            prefix => ObjectPath::parse(format!("{prefix}/{name}")),
        };
        path.map_err(|error| CliError::input(format!("{}: {error}", self.shown(name))))
    }

    fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    fn failed(&self, what: &str, name: &str, error: Error) -> CliError {
        plain::explain(&self.url, what, &self.shown(name), error)
    }

    async fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> CliResult {
        let length = bytes.len() as u64;
        match length <= PART || !self.in_parts {
            true => {
                let put = self.store.put(&self.path(name)?, bytes.into()).await;
                put.map_err(|error| self.failed("write", name, error))?;
                Ok(())
            }
            false => self.put_parts(name, length, &mut &*bytes).await,
        }
    }

    /// Sends an object in parts. Nothing of it is seen before the last.
    async fn put_parts(&self, name: &str, length: u64, from: &mut dyn Read) -> CliResult {
        let failed = |error| self.failed("write", name, error);
        let part = PART.max(length.div_ceil(MOST_PARTS)) as usize;
        let upload = self.store.put_multipart(&self.path(name)?).await;
        let mut upload = WriteMultipart::new_with_chunk_size(upload.map_err(failed)?, part);
        let sent = self.send_parts(name, &mut upload, part, from).await;
        match sent {
            Ok(()) => upload.finish().await.map(drop).map_err(failed),
            Err(error) => {
                // What was sent is not seen, and some stores forget it by themselves.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    async fn send_parts(
        &self,
        name: &str,
        upload: &mut WriteMultipart,
        part: usize,
        from: &mut dyn Read,
    ) -> CliResult {
        loop {
            let mut buffer = Vec::with_capacity(part);
            let read = Read::take(&mut *from, part as u64).read_to_end(&mut buffer);
            if read.work_error()? == 0 {
                return Ok(());
            }
            upload.put(buffer.into());
            let sent = upload.wait_for_capacity(PARTS_AT_ONCE).await;
            sent.map_err(|error| self.failed("write", name, error))?;
        }
    }

    async fn find_bytes(&self, name: &str) -> Found {
        let found = self.store.get(&self.path(name)?).await;
        let bytes = match found {
            Ok(found) => found.bytes().await,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| self.failed("read", name, error))?;
        Ok(Some(bytes.into()))
    }

    /// Writes what arrives, piece by piece.
    fn receive(&self, name: &str, found: object_store::GetResult, to: &Path) -> CliResult {
        let mut pieces = found.into_stream();
        let mut refused = None;
        let written = write_atomically_with(to, |file| {
            while let Some(piece) = self.runtime.block_on(pieces.next()) {
                let piece = piece.map_err(|error| {
                    refused = Some(error);
                    io::Error::other("the transfer broke off")
                })?;
                file.write_all(&piece)?;
            }
            Ok(())
        });
        match refused {
            Some(error) => Err(self.failed("read", name, error)),
            None => output::written(to, written),
        }
    }
}

impl Files for Objects {
    fn put(&self, name: &str, bytes: Vec<u8>) -> CliResult {
        self.runtime.block_on(self.put_bytes(name, bytes))
    }

    fn put_all(&self, files: &mut dyn Iterator<Item = NamedBytes>) -> CliResult {
        let puts = futures_util::stream::iter(files).map(|file| async move {
            let (name, bytes) = file?;
            self.put_bytes(&name, bytes).await
        });
        let all = puts.buffered(AT_ONCE).try_collect::<()>();
        self.runtime.block_on(all)
    }

    fn put_file(&self, name: &str, file: &Path) -> CliResult {
        let reading = |error| CliError::input(format!("cannot read {}: {error}", file.display()));
        let mut from = File::open(file).map_err(reading)?;
        let length = from.metadata().map_err(reading)?.len();
        self.runtime.block_on(async {
            if length > PART && self.in_parts {
                return self.put_parts(name, length, &mut from).await;
            }
            let mut bytes = vec![];
            from.read_to_end(&mut bytes).map_err(reading)?;
            self.put_bytes(name, bytes).await
        })
    }

    fn find(&self, name: &str) -> Found {
        self.runtime.block_on(self.find_bytes(name))
    }

    fn find_all(
        &self,
        names: &[String],
        each: &mut dyn FnMut(usize, Found) -> CliResult,
    ) -> CliResult {
        let names = futures_util::stream::iter(names.iter().enumerate());
        let found = names
            .map(|(index, name)| async move { (index, self.find_bytes(name).await) })
            .buffered(AT_ONCE);
        let mut found = std::pin::pin!(found);
        self.runtime.block_on(async {
            while let Some((index, bytes)) = found.next().await {
                each(index, bytes)?;
            }
            Ok(())
        })
    }

    fn fetch(&self, name: &str, to: &Path) -> CliResult<bool> {
        let path = self.path(name)?;
        match self.runtime.block_on(self.store.get(&path)) {
            Ok(found) => self.receive(name, found, to).map(|()| true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    fn list(&self, start: &str, ending: &str) -> CliResult<Vec<String>> {
        let below = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self.runtime.block_on(self.store.list_with_delimiter(below));
        let objects = match listed {
            Ok(listed) => listed.objects,
            // A server with folders has none of this name yet.
            Err(Error::NotFound { .. }) => vec![],
            Err(error) => {
                return Err(plain::explain(&self.url, "list", &self.url, error));
            }
        };
        let names = objects
            .iter()
            .filter_map(|object| object.location.filename());
        let names = names.filter(|name| name.starts_with(start) && name.ends_with(ending));
        Ok(names.map(String::from).collect())
    }

    fn list_below(&self) -> CliResult<Vec<StoredFile>> {
        let below = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self.store.list(below).try_collect::<Vec<_>>();
        let objects = match self.runtime.block_on(listed) {
            Ok(objects) => objects,
            Err(Error::NotFound { .. }) => vec![],
            Err(error) => {
                return Err(plain::explain(&self.url, "list", &self.url, error));
            }
        };
        let files = objects.into_iter().filter_map(|object| {
            let name: Vec<_> = object.location.prefix_match(&self.prefix)?.collect();
            let name: Vec<&str> = name.iter().map(AsRef::as_ref).collect();
            let changed = object.last_modified.timestamp_millis();
            Some(StoredFile {
                name: name.join("/"),
                // Not every server has tags.
                identity: object
                    .e_tag
                    .unwrap_or_else(|| format!("{} bytes at {changed}", object.size)),
            })
        });
        Ok(files.collect())
    }

    fn remove(&self, name: &str) -> CliResult {
        let path = self.path(name)?;
        match self.runtime.block_on(self.store.delete(&path)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    fn identity(&self) -> String {
        self.url.clone()
    }

    fn folder(&self) -> Option<&Path> {
        None
    }
}
