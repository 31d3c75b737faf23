//! Where everything lies. No key is a folder of another, so that a folder of files can hold them.

mod dead;
mod kind;

use sha2::{Digest, Sha256};

pub use dead::{
    DEAD, Dead, dead_letter, dead_letter_of, dead_marks, dead_replayed, dead_returned, is_dead_letter_id,
    read_dead,
};

pub use kind::kind;

use crate::JobId;

/// The catalogue.
pub const CATALOGUE: &str = "config/catalogue.json";
/// The last merged observation.
pub const VIEW: &str = "state/view.json";
/// The last good knobs.
pub const KNOBS: &str = "state/knobs.json";
/// The knobs before the last change that was made through the handler.
pub const KNOBS_PREVIOUS: &str = "state/knobs-previous.json";
/// States of the processes that call backends.
pub const PROCESS_STATES: &str = "state/http/";
/// What the rebalancer made of pools.
pub const POOL_STATES: &str = "state/pools/";
/// Alerts.
pub const ALERTS: &str = "alerts/";
/// Markers: look at this job at that minute.
pub const DUE: &str = "due/";
/// The minute of a job that is to be looked at as soon as possible.
pub const NOW: u64 = 0;
/// Markers: this job has shards to dispatch.
pub const READY: &str = "ready/";
/// Markers: this job ended so long ago that it may go on that day.
pub const OLD: &str = "old/";
/// Markers: the end of this job is to be told to this webhook in that minute.
pub const HOOKS: &str = "hooks/";
/// Markers: look at this file or upload at that minute.
pub const EXPIRING: &str = "expiring/";
/// Packs.
pub const PACKS: &str = "packs/";
/// Everything of tenants.
pub const TENANTS: &str = "t/";
/// What was paid for and who used it.
pub const LEDGER: &str = "ledger/";
/// Prices in force, as they were last taken.
pub const PRICES: &str = "state/prices.json";

/// Times count down in listings, so that the newest comes first: 10^13 ms is the year 2286.
const TIME_END: u64 = 9_999_999_999_999;

const MINUTES_PER_DAY: u64 = 24 * 60;

/// State of one process that calls backends.
pub fn process_state(instance: &str) -> String {
    format!("{PROCESS_STATES}{instance}.json")
}

/// The process of a [`process_state`]; none where the key is none.
pub fn read_process_state(key: &str) -> Option<&str> {
    key.strip_prefix(PROCESS_STATES)?.strip_suffix(".json")
}

/// An alert, by what it calls itself and whether it says that it is over: told twice, it is one.
pub fn alert(id: &str, is_over: bool) -> String {
    let said = if is_over { "resolved" } else { "fired" };
    format!("{ALERTS}{}-{said}.json", hex_sha256(id.as_bytes()))
}

/// The hash in the key of an [`alert`], and whether it says that it is over; none where the key is
/// no such key.
pub fn read_alert(key: &str) -> Option<(&str, bool)> {
    let (id, said) = key.strip_prefix(ALERTS)?.strip_suffix(".json")?.split_once('-')?;
    match said {
        "fired" => Some((id, false)),
        "resolved" => Some((id, true)),
        _ => None,
    }
}

/// What the rebalancer made of a pool.
pub fn pool_state(pool: &str) -> String {
    format!("{POOL_STATES}{pool}.json")
}

/// What a worker of a pool saw last of its GPU.
pub fn gpu(pool: &str) -> String {
    format!("state/gpu/{pool}.json")
}

/// The formula of a pool that was not ours and that ours replaced: the newest one.
pub fn replaced_formula(pool: &str) -> String {
    format!("state/replaced/{pool}.txt")
}

/// Decisions of one process; `hour` as `2026-11-01/12`.
pub fn decisions(hour: &str, process: &str, n: u64) -> String {
    format!("audit/{hour}/{process}-{n}.jsonl")
}

/// The entries of the ledger in a Unix hour.
pub fn ledger_entries(unix_hour: u64) -> String {
    format!("{LEDGER}entries/{:06}/{:02}/", unix_hour / 24, unix_hour % 24)
}

/// Machines as they were seen in a minute of a Unix hour: whoever looks first writes it.
pub fn ledger_minute(unix_hour: u64, minute: u32) -> String {
    format!("{}minute-{minute:02}.json", ledger_entries(unix_hour))
}

/// Requests of one process.
pub fn ledger_requests(unix_hour: u64, process: &str, n: u64) -> String {
    format!("{}requests-{process}-{n}.json", ledger_entries(unix_hour))
}

/// What a job came to, in the hour of its summary.
pub fn ledger_job(unix_hour: u64, tenant: &str, job: &JobId) -> String {
    format!("{}job-{tenant}.{job}.json", ledger_entries(unix_hour))
}

/// Tenant and job of a [`ledger_job`]; none where the key is no such key.
pub fn read_ledger_job(key: &str) -> Option<(&str, JobId)> {
    read_owner(key.rsplit_once("/job-")?.1.strip_suffix(".json")?)
}

/// The sums of the hours of a Unix day that are closed.
pub fn ledger_hours(unix_day: u64) -> String {
    format!("{LEDGER}hours/{unix_day:06}/")
}

/// The sums of a Unix hour that is closed.
pub fn ledger_hour(unix_hour: u64) -> String {
    format!("{}{:02}.json", ledger_hours(unix_hour / 24), unix_hour % 24)
}

/// The sums of a Unix day that is closed.
pub fn ledger_day(unix_day: u64) -> String {
    format!("{LEDGER}days/{unix_day:06}.json")
}

/// A pack.
pub fn pack(pack: &str) -> String {
    format!("{PACKS}{pack}.json")
}

/// Marker: look at this job in that minute (Unix minutes; [`NOW`]: at once).
pub fn due(minute: u64, tenant: &str, job: &JobId) -> String {
    format!("{DUE}{minute:010}/{tenant}.{job}")
}

/// Minute, tenant and job of a [`due`] marker; none where the key is no such marker.
pub fn read_due(key: &str) -> Option<(u64, &str, JobId)> {
    let (minute, rest) = key.strip_prefix(DUE)?.split_once('/')?;
    let (tenant, job) = read_owner(rest)?;
    Some((minute.parse().ok()?, tenant, job))
}

/// Marker: this job has shards to dispatch to `pool`, the nearest deadline first in a listing.
pub fn ready(pool: &str, model: &str, deadline_minute: u64, tenant: &str, job: &JobId) -> String {
    format!("{READY}{pool}/{}/{deadline_minute:010}/{tenant}.{job}", segment(model))
}

/// A pool's [`ready`] markers.
pub fn ready_of(pool: &str) -> String {
    format!("{READY}{pool}/")
}

/// Deadline minute, tenant and job of a [`ready`] marker; none where the key is no such marker.
pub fn read_ready(key: &str) -> Option<(u64, &str, JobId)> {
    let mut parts = key.strip_prefix(READY)?.splitn(4, '/').skip(2);
    let minute = parts.next()?.parse().ok()?;
    let (tenant, job) = read_owner(parts.next()?)?;
    Some((minute, tenant, job))
}

/// Marker: this ended job may go on that Unix day.
pub fn old(day: u64, tenant: &str, job: &JobId) -> String {
    format!("{}{tenant}.{job}", old_of(day))
}

/// The [`old`] markers of one Unix day.
pub fn old_of(day: u64) -> String {
    format!("{OLD}{day:06}/")
}

/// Tenant and job of an [`old`] marker; none where the key is no such marker.
pub fn read_old(key: &str) -> Option<(&str, JobId)> {
    read_owner(key.strip_prefix(OLD)?.split_once('/')?.1)
}

/// Marker: the end of this job is to be told to this endpoint in that minute (Unix minutes; [`NOW`]:
/// at once).
pub fn hook(minute: u64, tenant: &str, job: &JobId, endpoint: &str) -> String {
    format!("{HOOKS}{minute:010}/{tenant}.{job}.{endpoint}")
}

/// Minute, tenant, job and endpoint of a [`hook`] marker; none where the key is no such marker.
pub fn read_hook(key: &str) -> Option<(u64, &str, JobId, &str)> {
    let (minute, rest) = key.strip_prefix(HOOKS)?.split_once('/')?;
    let (owner, endpoint) = rest.rsplit_once('.')?;
    let (tenant, job) = read_owner(owner)?;
    Some((minute.parse().ok()?, tenant, job, endpoint))
}

/// What goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Perishable {
    /// A file.
    File,
    /// An upload in parts.
    Upload,
}

/// Marker: look at this file or upload in that minute (Unix minutes).
pub fn expiring(minute: u64, tenant: &str, what: Perishable, id: &str) -> String {
    let what = match what {
        Perishable::File => "file",
        Perishable::Upload => "upload",
    };
    format!("{}{minute:010}.{tenant}.{what}.{id}", expiring_of(minute / MINUTES_PER_DAY))
}

/// The [`expiring`] markers of one Unix day, the earliest first.
pub fn expiring_of(day: u64) -> String {
    format!("{EXPIRING}{day:06}/")
}

/// Minute, tenant, kind and id of an [`expiring`] marker; none where the key is no such marker.
pub fn read_expiring(key: &str) -> Option<(u64, &str, Perishable, &str)> {
    let (_, name) = key.strip_prefix(EXPIRING)?.split_once('/')?;
    let mut parts = name.split('.');
    let (minute, tenant) = (parts.next()?.parse().ok()?, parts.next()?);
    let what = match parts.next()? {
        "file" => Perishable::File,
        "upload" => Perishable::Upload,
        _ => return None,
    };
    let id = parts.next().filter(|id| crate::id::is_id(id))?;
    parts.next().is_none().then_some((minute, tenant, what, id))
}

fn read_owner(text: &str) -> Option<(&str, JobId)> {
    let (tenant, job) = text.split_once('.')?;
    Some((tenant, JobId::parse(job)?))
}

/// A model's id as one segment: ids such as `org/name` hold slashes.
fn segment(model: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    model.chars().map(safe).collect()
}

/// A tenant's listing of jobs, the newest first.
pub fn index_of(tenant: &str) -> String {
    format!("{TENANTS}{tenant}/index/")
}

/// A job in its tenant's listing.
pub fn index(tenant: &str, created_ms: u64, job: &JobId) -> String {
    format!("{}{:013}-{job}", index_of(tenant), TIME_END.saturating_sub(created_ms))
}

/// The job of an [`index`] key.
pub fn read_index(key: &str) -> Option<JobId> {
    JobId::parse(key.rsplit_once('-')?.1)
}

/// When the job of an [`index`] or [`batch`] key was made, Unix ms.
pub fn read_index_time(key: &str) -> Option<u64> {
    let (time, _) = key.rsplit_once('/')?.1.split_once('-')?;
    TIME_END.checked_sub(time.parse().ok()?)
}

/// A tenant's listing of OpenAI batches, the newest first: single requests may be many times as many.
pub fn batches_of(tenant: &str) -> String {
    format!("{TENANTS}{tenant}/batches/")
}

/// A batch in its tenant's listing of batches; [`read_index`] reads it.
pub fn batch(tenant: &str, created_ms: u64, job: &JobId) -> String {
    format!("{}{:013}-{job}", batches_of(tenant), TIME_END.saturating_sub(created_ms))
}

/// Marker: this tenant sent a request with this hash; a marked repeat joins its job.
pub fn recent(tenant: &str, hash: &str, at_ms: u64, job: &JobId) -> String {
    format!("{}{:013}-{job}", recent_of(tenant, hash), TIME_END.saturating_sub(at_ms))
}

/// The [`recent`] markers of one hash, the newest first.
pub fn recent_of(tenant: &str, hash: &str) -> String {
    format!("{TENANTS}{tenant}/recent/{hash}/")
}

/// Time and job of a [`recent`] marker.
pub fn read_recent(key: &str) -> Option<(u64, JobId)> {
    let (time, job) = key.rsplit_once('/')?.1.split_once('-')?;
    Some((TIME_END.checked_sub(time.parse().ok()?)?, JobId::parse(job)?))
}

/// The facts of one job.
#[derive(Clone, Debug)]
pub struct JobKeys {
    folder: String,
}

impl JobKeys {
    /// Keys of this job. `tenant` must be a name that the catalogue accepted.
    pub fn new(tenant: &str, job: &JobId) -> JobKeys {
        JobKeys { folder: format!("{TENANTS}{tenant}/jobs/{job}/") }
    }

    /// The folder of all of them, with its last slash.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The claim and the commit point.
    pub fn job(&self) -> String {
        format!("{}job.json", self.folder)
    }

    /// An input that is too large for `job.json`.
    pub fn input(&self, sha256: &str) -> String {
        format!("{}input-{sha256}.jsonl", self.folder)
    }

    /// Try `k` (from 1) of a shard.
    pub fn try_(&self, shard: u32, k: u32) -> String {
        format!("{}tries/{shard:06}-{k:03}.json", self.folder)
    }

    /// Chunk `c` of a shard: its result.
    pub fn chunk(&self, shard: u32, c: u32) -> String {
        format!("{}out/{shard:06}-{c:04}.jsonl", self.folder)
    }

    /// Mark: an item is about to be run alone, after tries died in its chunk.
    pub fn trying(&self, line: u64, by: &str) -> String {
        format!("{}trying/{line:08}-{by}", self.folder)
    }

    /// Mark: its owner asked for the realtime lane.
    pub fn promote(&self) -> String {
        format!("{}promote", self.folder)
    }

    /// What the check of its first chunk found.
    pub fn canary(&self) -> String {
        format!("{}canary.json", self.folder)
    }

    /// Mark: its result file of this name is gone.
    pub fn result_deleted(&self, name: &str) -> String {
        format!("{}deleted-{name}", self.folder)
    }

    /// Asked to stop.
    pub fn stop(&self) -> String {
        format!("{}stop.json", self.folder)
    }

    /// Every [`JobKeys::attempt`].
    pub fn attempts(&self) -> String {
        format!("{}hooks/", self.folder)
    }

    /// The [`JobKeys::attempt`]s at one endpoint.
    pub fn attempts_at(&self, endpoint: &str) -> String {
        format!("{}hooks/{endpoint}/", self.folder)
    }

    /// Attempt `n` (from 1) to tell a webhook of the job's end.
    pub fn attempt(&self, endpoint: &str, n: u32) -> String {
        format!("{}{n:03}.json", self.attempts_at(endpoint))
    }

    /// The summary.
    pub fn end(&self) -> String {
        format!("{}end.json", self.folder)
    }
}

/// Tenant and job of a [`JobKeys::folder`]; none where it is none.
pub fn read_job_folder(folder: &str) -> Option<(&str, JobId)> {
    let (tenant, rest) = folder.strip_prefix(TENANTS)?.split_once("/jobs/")?;
    Some((tenant, JobId::parse(rest.strip_suffix('/')?)?))
}

/// A tenant's files.
pub fn files_of(tenant: &str) -> String {
    format!("{TENANTS}{tenant}/files/")
}

/// The facts of one file of a tenant; `file` must be an id.
#[derive(Clone, Debug)]
pub struct FileKeys {
    folder: String,
}

impl FileKeys {
    /// Keys of this file.
    pub fn new(tenant: &str, file: &str) -> FileKeys {
        FileKeys { folder: format!("{}{file}/", files_of(tenant)) }
    }

    /// The content, written in parts.
    pub fn content(&self) -> String {
        format!("{}content", self.folder)
    }

    /// What commits it.
    pub fn meta(&self) -> String {
        format!("{}meta.json", self.folder)
    }

    /// Mark: gone.
    pub fn deleted(&self) -> String {
        format!("{}deleted.json", self.folder)
    }

    /// Mark: this job reads it, until it has ended.
    pub fn used(&self, job: &JobId) -> String {
        format!("{}used/{job}", self.folder)
    }

    /// The folder of all of them, with its last slash.
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

/// The job of a [`FileKeys::used`] mark; none where the key is no such mark.
pub fn read_used(key: &str) -> Option<JobId> {
    let (folder, job) = key.rsplit_once('/')?;
    folder.ends_with("/used").then(|| JobId::parse(job))?
}

/// Endpoint and number of a [`JobKeys::attempt`]; none where the key is none.
pub fn read_attempt(key: &str) -> Option<(&str, u32)> {
    let (folder, name) = key.rsplit_once('/')?;
    let (folder, endpoint) = folder.rsplit_once('/')?;
    let n = name.strip_suffix(".json")?.parse().ok()?;
    folder.ends_with("/hooks").then_some((endpoint, n))
}

/// A tenant's uploads in parts.
pub fn uploads_of(tenant: &str) -> String {
    format!("{TENANTS}{tenant}/uploads/")
}

/// The facts of one upload of a tenant; `upload` and parts must be ids.
#[derive(Clone, Debug)]
pub struct UploadKeys {
    folder: String,
}

impl UploadKeys {
    /// Keys of this upload.
    pub fn new(tenant: &str, upload: &str) -> UploadKeys {
        UploadKeys { folder: format!("{}{upload}/", uploads_of(tenant)) }
    }

    /// What it is to become.
    pub fn upload(&self) -> String {
        format!("{}upload.json", self.folder)
    }

    /// A part's content.
    pub fn part(&self, part: &str) -> String {
        format!("{}{part}", self.parts())
    }

    /// The folder of its parts, with its last slash.
    pub fn parts(&self) -> String {
        format!("{}parts/", self.folder)
    }

    /// How it ended.
    pub fn end(&self) -> String {
        format!("{}end.json", self.folder)
    }
}

/// Lower-case hex of SHA-256.
pub fn hex_sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String succeeds");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_design() {
        let job = JobId::of_key("t", "o", "k");
        let keys = JobKeys::new("dev", &job);
        assert_eq!(keys.try_(3, 2), format!("t/dev/jobs/{job}/tries/000003-002.json"));
        assert_eq!(keys.chunk(3, 2), format!("t/dev/jobs/{job}/out/000003-0002.jsonl"));
        assert_eq!(read_alert(&alert("a", true)), Some((hex_sha256(b"a").as_str(), true)));
        assert_eq!(read_alert(&alert("a", false)).map(|(_, is_over)| is_over), Some(false));
        assert_eq!(read_alert("alerts/x.json"), None);
        assert_eq!(process_state("abc"), "state/http/abc.json");
        assert_eq!(decisions("2026-11-01/12", "abc", 7), "audit/2026-11-01/12/abc-7.jsonl");
    }

    #[test]
    fn markers_are_read_back() {
        let job = JobId::random();
        assert_eq!(read_due(&due(7, "dev", &job)), Some((7, "dev", job.clone())));
        assert_eq!(read_ready(&ready("pool", "org/m.1", 9, "dev", &job)), Some((9, "dev", job.clone())));
        assert_eq!(read_hook(&hook(7, "dev", &job, "0a")), Some((7, "dev", job.clone(), "0a")));
        assert_eq!(read_attempt(&JobKeys::new("dev", &job).attempt("0a", 3)), Some(("0a", 3)));
        assert_eq!(read_recent(&recent("dev", "aa", 12, &job)), Some((12, job.clone())));
        assert_eq!(read_job_folder(JobKeys::new("dev", &job).folder()), Some(("dev", job.clone())));
        assert_eq!(read_process_state(&process_state("a-1")), Some("a-1"));
        assert_eq!(read_ledger_job(&ledger_job(5, "dev", &job)), Some(("dev", job.clone())));
        assert_eq!(read_ledger_job(&ledger_requests(5, "job-1", 2)), None);
        assert_eq!(read_index_time(&batch("dev", 12, &job)), Some(12));
        assert_eq!(read_index(&index("dev", 12, &job)), Some(job));
        let id = crate::id::random();
        for what in [Perishable::File, Perishable::Upload] {
            let key = expiring(1_441, "dev", what, &id);
            assert!(key.starts_with("expiring/000001/"), "{key}");
            assert_eq!(read_expiring(&key), Some((1_441, "dev", what, id.as_str())));
        }
        for wrong in ["expiring/000001/0000001441.dev.file.x", "expiring/000001/1.dev", "due/1/1.dev.file.x"]
        {
            assert!(read_expiring(wrong).is_none(), "{wrong}");
        }
        for wrong in ["due/x/dev.abc", "due/0000000001/dev", "ready/a/b", "state/view.json"] {
            assert!(read_due(wrong).is_none() && read_ready(wrong).is_none(), "{wrong}");
            assert!(read_hook(wrong).is_none() && read_attempt(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_stands_first_in_a_listing() {
        let job = JobId::random();
        assert!(index("dev", 2_000, &job) < index("dev", 1_000, &job));
        assert!(recent("dev", "aa", 2_000, &job) < recent("dev", "aa", 1_000, &job));
    }
}
