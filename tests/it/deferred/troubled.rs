//! A store in trouble: some of its calls fail as a container's would after its tries, and half of the writes
//! that fail are done all the same.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Which calls fail.
#[derive(Debug)]
pub enum Fails {
    /// One in so many, by chance: a rule that comes round might strike the same call of every pass, and then
    /// what no client can get past is the rule.
    OneIn(u64),
    /// The one of this number, from 1.
    Call(AtomicU64),
    /// All that name this.
    Of(String),
}

/// A store that fails.
#[derive(Debug)]
pub struct Troubled {
    objects: Arc<dyn ObjectStore>,
    fails: Fails,
    /// Calls so far.
    pub calls: AtomicU64,
    /// Of these, those that failed.
    pub failed: AtomicU64,
}

/// How a call goes.
#[derive(PartialEq)]
enum Goes {
    Well,
    Undone,
    Unsaid,
}

impl Troubled {
    /// These objects behind trouble.
    pub fn over(objects: Arc<dyn ObjectStore>, fails: Fails) -> Arc<Troubled> {
        Arc::new(Troubled { objects, fails, calls: AtomicU64::new(0), failed: AtomicU64::new(0) })
    }

    fn goes(&self, at: Option<&Path>) -> Goes {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let fails = match &self.fails {
            Fails::OneIn(n) => scattered(n << 32 | call).is_multiple_of(*n),
            Fails::Call(number) => call == number.load(Ordering::Relaxed),
            Fails::Of(name) => at.is_some_and(|at| at.as_ref().contains(name)),
        };
        if !fails {
            return Goes::Well;
        }
        match self.failed.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Goes::Undone,
            _ => Goes::Unsaid,
        }
    }
}

/// SplitMix64: neighbours have nothing in common.
fn scattered(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn failure() -> Error {
    Error::Generic { store: "troubled", source: "500 InternalError".into() }
}

impl std::fmt::Display for Troubled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("troubled")
    }
}

#[async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        let goes = self.goes(Some(at));
        if goes == Goes::Undone {
            return Err(failure());
        }
        let put = self.objects.put_opts(at, content, options).await;
        if goes == Goes::Unsaid { Err(failure()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if self.goes(Some(at)) != Goes::Well {
            return Err(failure());
        }
        self.objects.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.goes(None) {
            Goes::Well => self.objects.delete_stream(all),
            Goes::Undone => stream::once(async { Err(failure()) }).boxed(),
            Goes::Unsaid => self.objects.delete_stream(all).map(|_| Err(failure())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.goes(prefix) != Goes::Well {
            return stream::once(async { Err(failure()) }).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
