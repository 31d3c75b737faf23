//! Names of the Azure Batch jobs that tasks are added to: `sy-{pool}-{band}-{day}-{round}`. One takes the
//! tasks of a pool, a priority and a day, until the service says that it takes no more.

use facts::key;
use policy::dispatch::Band;
use policy::units::UnixMs;

/// The bands of priority, with their names in ids and their priorities, which go from -1,000 to 1,000.
const BANDS: [(Band, &str, i16); 3] = [(Band::High, "a", 600), (Band::Middle, "b", 300), (Band::Low, "c", 0)];
/// Longest part of a pool's id in the id of an Azure Batch job, which has 64 characters at most.
const POOL_IN_ID: usize = 36;
/// Hexadecimal digits that tell longer ids apart.
const HASH_IN_ID: usize = 8;

/// The series of a band at an instant, and its priority: the Azure Batch jobs of a pool whose names differ
/// in their rounds alone.
pub(super) fn series(pool: &str, band: Band, now: UnixMs) -> (String, i16) {
    let (_, name, priority) = BANDS.into_iter().find(|(known, ..)| *known == band).unwrap_or(BANDS[2]);
    (format!("{}{name}-{}", prefix(pool), day(now)), priority)
}

/// The band of an Azure Batch job of the pool with this prefix; none where it is another's.
pub(super) fn band_of(prefix: &str, job: &str) -> Option<Band> {
    day_of(prefix, job)?;
    let name = job.strip_prefix(prefix)?.split('-').next()?;
    BANDS.into_iter().find(|(_, known, _)| *known == name).map(|(band, ..)| band)
}

/// The priority of an Azure Batch job of this pool, by its id; the lowest where it is another's.
pub(super) fn priority_of(pool: &str, job: &str) -> i16 {
    let band = band_of(&prefix(pool), job);
    BANDS.into_iter().find(|(known, ..)| Some(*known) == band).map_or(0, |(_, _, priority)| priority)
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
    fn an_id_tells_its_band() {
        for (band, name, priority) in BANDS {
            let (series, told) = series("gpu", band, UnixMs(1_795_219_200_000));
            let job = format!("{series}-0");
            assert_eq!(job, format!("sy-gpu-{name}-20261121-0"));
            assert_eq!((told, priority_of("gpu", &job)), (priority, priority));
            assert_eq!(band_of(&prefix("gpu"), &job), Some(band));
        }
        assert_eq!((band_of("sy-gpu-", "other"), priority_of("gpu", "other")), (None, 0));
    }

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
