//! Calls of the blob store, as spans of the request that they are made for: one a call, its tries included.
//! A span names what was done and the kind of what it was done to, never a key: keys name tenants.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use facts::key;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

use crate::telemetry::{self, Span};

/// A container whose calls are shown.
#[derive(Clone, Debug)]
pub struct Shown {
    objects: Arc<dyn ObjectStore>,
    host: String,
}

impl Shown {
    /// The container of this URL.
    pub fn new(objects: Arc<dyn ObjectStore>, url: &Url) -> Shown {
        Shown { objects, host: telemetry::target(url) }
    }

    fn begin(&self, operation: &str, at: &Path) -> Span {
        telemetry::blob_call(operation, key::kind(at.as_ref()), &self.host)
    }

    async fn call<T>(&self, operation: &str, at: &Path, call: impl Future<Output = Result<T>>) -> Result<T> {
        let span = self.begin(operation, at);
        let done = call.await;
        match &done {
            Ok(_) => {}
            // Answers that somebody asked for.
            Err(Error::NotModified { .. }) => span.status(304),
            Err(Error::NotFound { .. }) => span.status(404),
            Err(Error::AlreadyExists { .. }) => span.status(409),
            Err(_) => span.failed(),
        }
        done
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Shown {
    async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.call("PUT", at, self.objects.put_opts(at, content, options)).await
    }

    /// Shown as one call from its begin to its end.
    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let span = self.begin("PUT", at);
        let upload = self.objects.put_multipart_opts(at, options).await?;
        Ok(Box::new(ShownUpload { upload, span }))
    }

    /// Until the head of the answer; the content is read by whoever asked.
    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "HEAD" } else { "GET" };
        self.call(operation, at, self.objects.get_opts(at, options)).await
    }

    /// One by one: nobody here deletes several at once.
    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shown = self.clone();
        all.then(move |at| {
            let shown = shown.clone();
            async move {
                let at = at?;
                shown.call("DELETE", &at, shown.objects.delete(&at)).await?;
                Ok(at)
            }
        })
        .boxed()
    }

    /// Shown as one call, however many pages it has.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let span = self.begin("LIST", prefix.unwrap_or(&Path::default()));
        let note = move |found: &Result<ObjectMeta>| {
            if found.is_err() {
                span.failed();
            }
        };
        self.objects.list(prefix).inspect(note).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct ShownUpload {
    upload: Box<dyn MultipartUpload>,
    span: Span,
}

#[async_trait]
impl MultipartUpload for ShownUpload {
    fn put_part(&mut self, part: PutPayload) -> object_store::UploadPart {
        self.upload.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.upload.complete().await;
        if done.is_err() {
            self.span.failed();
        }
        done
    }

    async fn abort(&mut self) -> Result<()> {
        self.span.failed();
        self.upload.abort().await
    }
}
