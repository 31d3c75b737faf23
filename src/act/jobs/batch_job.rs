//! Names of the Azure Batch jobs that tasks are added to: `sy-{pool}-{band}-{day}-{round}`. One takes the
//! tasks of a pool, a priority and a day, until the service says that it takes no more.

use facts::key;
use policy::units::{Millis, UnixMs};

/// Priority bands by what is left until the deadline: soon, today, later.
const BANDS: [(Millis, &str, i16); 3] = [
    (Millis::from_secs(3_600), "a", 600),
    (Millis::from_secs(6 * 3_600), "b", 300),
    (Millis(u64::MAX), "c", 0),
];
/// Longest part of a pool's id in the id of an Azure Batch job, which has 64 characters at most.
const POOL_IN_ID: usize = 36;
/// Hexadecimal digits that tell longer ids apart.
const HASH_IN_ID: usize = 8;

/// The series of an instant, and its priority: the Azure Batch jobs of a pool whose names differ in
/// their rounds alone, for work that has this much time left.
pub(super) fn series(pool: &str, left: Millis, now: UnixMs) -> (String, i16) {
    let (_, band, priority) = BANDS.into_iter().find(|(most, ..)| left <= *most).unwrap_or(BANDS[2]);
    (format!("{}{band}-{}", prefix(pool), day(now)), priority)
}

/// What the ids of a pool's Azure Batch jobs begin with. Those of another pool may begin so too:
/// [`day_of`] tells them apart.
pub(super) fn prefix(pool: &str) -> String {
    if pool.len() <= POOL_IN_ID {
        return format!("sy-{pool}-");
    }
    // Long names often differ at their ends only.
    let hash = &key::hex_sha256(pool.as_bytes())[..HASH_IN_ID];
    format!("sy-{}_{hash}-", &pool[..pool.floor_char_boundary(POOL_IN_ID - HASH_IN_ID - 1)])
}

/// The day of an Azure Batch job of the pool with this prefix, `{prefix}{band}-{day}-{round}`; none
/// where it is another's.
pub(super) fn day_of<'a>(prefix: &str, job: &'a str) -> Option<&'a str> {
    let mut parts = job.strip_prefix(prefix)?.split('-');
    let (band, day, round) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = BANDS.iter().any(|(_, known, _)| *known == band) && day.len() == 8 && is_number(day);
    (is_ours && is_number(round) && parts.next().is_none()).then_some(day)
}

/// A day as `20261121`.
pub(super) fn day(at: UnixMs) -> String {
    let instant = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    instant.unwrap_or(jiff::Timestamp::MAX).strftime("%Y%m%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_batch_jobs_of_other_pools_are_not_taken_for_ours() {
        let day = |pool: &str, job: &str| day_of(&prefix(pool), job).map(str::to_owned);
        for pool in ["gpu", "gpu-a", "gpu-a-20261121", &"x".repeat(64)] {
            let job = format!("{}a-20261121-0", prefix(pool));
            assert_eq!(day(pool, &job).as_deref(), Some("20261121"), "{job}");
            assert!(job.len() <= 64, "{job}");
        }
        for (pool, job) in [
            ("gpu", "sy-gpu-a-a-20261121-0"),
            ("gpu", "sy-gpu-spot-a-20261121-0"),
            ("gpu-a", "sy-gpu-a-20261121-0"),
            ("gpu", "sy-gpu-z-20261121-0"),
            ("gpu", "sy-gpu-a-2026-0"),
            ("gpu", "sy-gpu-a-20261121-"),
            ("gpu", "sy-gpu-a-20261121-0-0"),
            ("gpu", "other"),
        ] {
            assert_eq!(day(pool, job), None, "{job} is not of {pool}");
        }
        let (one, other) = (format!("{}1", "x".repeat(40)), format!("{}2", "x".repeat(40)));
        assert_ne!(prefix(&one), prefix(&other));
    }
}
