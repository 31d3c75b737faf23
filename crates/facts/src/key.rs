//! Where everything lies. No key is a folder of another, so that a folder of files can hold them.

use sha2::{Digest, Sha256};

use crate::JobId;

/// The catalogue.
pub const CATALOGUE: &str = "config/catalogue.json";
/// The last merged observation.
pub const VIEW: &str = "state/view.json";
/// States of the processes that call backends.
pub const PROCESS_STATES: &str = "state/http/";
/// Markers: look at this job at that minute.
pub const DUE: &str = "due/";
/// The minute of a job that is to be looked at as soon as possible.
pub const NOW: u64 = 0;
/// Markers: this job has shards to dispatch.
pub const READY: &str = "ready/";
/// Markers: this job ended so long ago that it may go on that day.
pub const OLD: &str = "old/";
/// Packs.
pub const PACKS: &str = "packs/";
/// Everything of tenants.
pub const TENANTS: &str = "t/";
/// Dead letters.
pub const DEAD: &str = "dead/";

/// Times count down in listings, so that the newest comes first: 10^13 ms is the year 2286.
const TIME_END: u64 = 9_999_999_999_999;

/// State of one process that calls backends.
pub fn process_state(instance: &str) -> String {
    format!("{PROCESS_STATES}{instance}.json")
}

/// The process of a [`process_state`]; none where the key is none.
pub fn read_process_state(key: &str) -> Option<&str> {
    key.strip_prefix(PROCESS_STATES)?.strip_suffix(".json")
}

/// A dead letter, by the hash of its body: delivered twice, it is one.
pub fn dead_letter(body: &[u8]) -> String {
    format!("{DEAD}{}.json", hex_sha256(body))
}

/// An alert, by the hash of its body.
pub fn alert(body: &[u8]) -> String {
    format!("alerts/{}.json", hex_sha256(body))
}

/// Decisions of one process; `hour` as `2026-11-01/12`.
pub fn decisions(hour: &str, process: &str, n: u64) -> String {
    format!("audit/{hour}/{process}-{n}.jsonl")
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

    /// Asked to stop.
    pub fn stop(&self) -> String {
        format!("{}stop.json", self.folder)
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
        let empty = "dead/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json";
        assert_eq!(dead_letter(b""), empty);
        assert_eq!(process_state("abc"), "state/http/abc.json");
        assert_eq!(decisions("2026-11-01/12", "abc", 7), "audit/2026-11-01/12/abc-7.jsonl");
    }

    #[test]
    fn markers_are_read_back() {
        let job = JobId::random();
        assert_eq!(read_due(&due(7, "dev", &job)), Some((7, "dev", job.clone())));
        assert_eq!(read_ready(&ready("pool", "org/m.1", 9, "dev", &job)), Some((9, "dev", job.clone())));
        assert_eq!(read_recent(&recent("dev", "aa", 12, &job)), Some((12, job.clone())));
        assert_eq!(read_job_folder(JobKeys::new("dev", &job).folder()), Some(("dev", job.clone())));
        assert_eq!(read_process_state(&process_state("a-1")), Some("a-1"));
        assert_eq!(read_index(&index("dev", 12, &job)), Some(job));
        for wrong in ["due/x/dev.abc", "due/0000000001/dev", "ready/a/b", "state/view.json"] {
            assert!(read_due(wrong).is_none() && read_ready(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_stands_first_in_a_listing() {
        let job = JobId::random();
        assert!(index("dev", 2_000, &job) < index("dev", 1_000, &job));
        assert!(recent("dev", "aa", 2_000, &job) < recent("dev", "aa", 1_000, &job));
    }
}
