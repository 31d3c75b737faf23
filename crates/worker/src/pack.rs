//! One pack, member by member in its order.

use std::time::Duration;

use clock::Clock;
use facts::pack::Member;
use facts::{Pack, Store, StoreError, id, key};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, field};

use crate::backend::Backend;
use crate::error::Error;
use crate::gpu;
use crate::member::{self, Report};

/// What a run still gets once it is asked to end, to take back marks: an eviction leaves seconds.
const WIND_UP_MAX: Duration = Duration::from_secs(2);

/// What a run of one pack shares.
pub(crate) struct Run<'a> {
    pub store: &'a Store,
    pub backend: &'a Backend,
    pub pack: &'a Pack,
    pub stop: &'a CancellationToken,
    pub clock: Clock,
    /// Names this process in marks.
    pub by: String,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its members, in order.
    pub members: Vec<Report>,
}

impl Summary {
    /// Chunks that this run computed.
    pub fn chunks(&self) -> u32 {
        self.members.iter().map(|member| member.chunks).sum()
    }
}

/// Reads a pack.
///
/// # Errors
/// When it is not there or makes no sense, or the store fails.
pub async fn read(store: &Store, pack: &str) -> Result<Pack, Error> {
    let at = key::pack(pack);
    let found: Pack = match fact(store, &at).await? {
        Some(found) => found,
        None => return Err(Error::PackMissing(pack.to_owned())),
    };
    let unreadable = |problem: String| Error::Unreadable { key: at.clone(), problem };
    check_version(&at, found.v)?;
    if found.pack != pack {
        return Err(unreadable(format!("it says that it is pack `{}`", found.pack)));
    }
    // Tenants become parts of keys; jobs are checked where they are decoded.
    match found.members.iter().find(|member| !id::is_name(&member.tenant)) {
        Some(member) => Err(unreadable(format!("`{}` is no tenant", member.tenant))),
        None => Ok(found),
    }
}

/// Runs what is to be run of a pack. Cancelling `stop` abandons the open chunk.
///
/// # Errors
/// [`Error`]: after those that concern one member alone the others are run all the same, and the
/// first such error is returned at the end.
pub async fn run(
    store: &Store,
    pack: &Pack,
    backend: &Backend,
    stop: &CancellationToken,
    clock: Clock,
) -> Result<Summary, Error> {
    check_digest("the pack", pack.digest.as_deref(), backend)?;
    let run = Run { store, backend, pack, stop, clock, by: id::random() };
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(WIND_UP_MAX).await;
    };
    tokio::select! {
        done = members(&run) => done,
        never = gpu::tell(&run) => match never {},
        () = late => Err(Error::Interrupted),
    }
}

async fn members(run: &Run<'_>) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut first_error = None;
    for member in &run.pack.members {
        if run.stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        match one(run, member).await {
            Ok(report) => summary.members.push(report),
            Err(error) if error.is_of_one_member() => {
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

/// Runs a member; everything about it is logged under the trace of its request.
async fn one(run: &Run<'_>, member: &Member) -> Result<Report, Error> {
    let Member { tenant, job, shard, .. } = member;
    let pack = &run.pack.pack;
    let span = tracing::info_span!("member", trace_id = field::Empty, tenant, %job, shard, pack);
    let work = async {
        let job = member::job(run, member).await?;
        let traceparent = job.as_ref().and_then(|job| job.traceparent.as_deref());
        Span::current().record("trace_id", trace_id(traceparent.or(run.pack.traceparent.as_deref())));
        member::run(run, member, job).await
    };
    let done = work.instrument(span.clone()).await;
    if let Err(error) = &done {
        span.in_scope(|| tracing::warn!(%error, "member left"));
    }
    done
}

/// Reads a fact; none where it is not there.
pub(crate) async fn fact<T: DeserializeOwned>(store: &Store, key: &str) -> Result<Option<T>, Error> {
    let unreadable = |problem: String| Error::Unreadable { key: key.to_owned(), problem };
    match store.get(key).await {
        Ok(object) => match serde_json::from_slice(&object.content) {
            Ok(fact) => Ok(Some(fact)),
            Err(error) => Err(unreadable(error.to_string())),
        },
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(StoreError::TooLarge(_)) => Err(unreadable("it is too large".to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Refuses facts of a version that this code does not know.
pub(crate) fn check_version(key: &str, v: u32) -> Result<(), Error> {
    if (facts::VERSION.saturating_sub(1)..=facts::VERSION).contains(&v) {
        return Ok(());
    }
    let problem = format!("it has version {v}; this worker reads {}", facts::VERSION);
    Err(Error::Unreadable { key: key.to_owned(), problem })
}

/// Refuses weights other than those that were promised.
pub(crate) fn check_digest(whose: &str, wanted: Option<&str>, backend: &Backend) -> Result<(), Error> {
    match wanted {
        Some(wanted) if backend.digest() != Some(wanted) => Err(Error::WrongModel {
            whose: whose.to_owned(),
            wanted: wanted.to_owned(),
            found: backend.digest().unwrap_or("of an unknown digest (see --digest)").to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The trace of a W3C `traceparent`: `00-{32 hex}-{16 hex}-{2 hex}`; empty where there is none.
pub fn trace_id(traceparent: Option<&str>) -> &str {
    let id = traceparent.and_then(|text| text.split('-').nth(1)).unwrap_or_default();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { id } else { "" }
}
