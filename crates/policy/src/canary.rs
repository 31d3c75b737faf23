//! Whether a large job's first part must be checked before the rest of it leaves for a pool, and whether
//! that part is sound: a broken node or driver then costs one shard and not the whole job.

use crate::rescue::RESCUE_WITHIN;
use crate::units::{Millis, UnixMs};

/// Jobs of fewer shards are released whole: they are under eight minutes of one slot, and waiting for a
/// check would cost them more time than a broken node could waste.
pub const SHARDS_MIN: usize = 8;
/// Lines that are asked of the realtime lane too.
pub const COMPARED: usize = 4;
/// The same weights on another device class give at least this cosine (measured, `docs/measurements.md`).
pub const COSINE_MIN: f64 = 0.9999;
/// Vectors of the two lanes differ in length by this share at most.
pub const NORM_SHARE_MAX: f64 = 0.01;
/// No embedding model's vectors are shorter or longer, whether it normalises them or not.
const NORMS: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

/// What is known of a job that has shards to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its shards.
    pub shards: usize,
    /// Whether its results are vectors: of others nothing can be checked.
    pub has_vectors: bool,
    /// Whether the check was made.
    pub checked: bool,
    /// Its deadline.
    pub deadline: UnixMs,
    /// What is left of it, on one slot.
    pub left: Millis,
    /// What is left of it in the realtime lane; zero where nothing serves it there.
    pub realtime: Millis,
    /// Slots of all nodes that its pool may have.
    pub slots: u64,
    /// Time until a node that is bought runs its first task, p95.
    pub boot: Millis,
}

/// What may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// All of it.
    #[default]
    Open,
    /// Its first shard; the rest once that is checked, or then at the latest.
    Held {
        /// When the deadline does not let it wait any longer.
        until: UnixMs,
    },
    /// All of it although nothing was checked: the deadline does not let it wait.
    Hurried,
}

/// What may leave of a job.
pub fn gate(job: &Job, now: UnixMs) -> Gate {
    if job.checked || !job.has_vectors || job.shards < SHARDS_MIN {
        return Gate::Open;
    }
    // Twice its work, so that an eviction of everything can still be made up for.
    let run = job.left.scaled(2, job.slots.max(1));
    let until = job.deadline - (job.boot + run + RESCUE_WITHIN + job.realtime);
    if now < until { Gate::Held { until } } else { Gate::Hurried }
}

/// What is wrong with a vector by itself; none: nothing. `length` is what it must have, where that is known.
pub fn wrong(vector: &[f32], length: Option<usize>) -> Option<String> {
    if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
        return Some(format!("value {at} of a vector is {}", vector[at]));
    }
    if let Some(length) = length.filter(|length| *length != vector.len()) {
        return Some(format!("a vector has {} values instead of {length}", vector.len()));
    }
    let norm = norm(vector);
    (!NORMS.contains(&norm)).then(|| format!("a vector has the norm {norm:.3e}"))
}

/// The cosine of a pool's vector and the realtime lane's for the same text.
///
/// # Errors
/// Why the two are not the same model's: then the cosine is below [`COSINE_MIN`], or the lengths differ.
pub fn parity(pool: &[f32], realtime: &[f32]) -> Result<f64, String> {
    if pool.len() != realtime.len() {
        return Err(format!("a vector has {} values, in the realtime lane {}", pool.len(), realtime.len()));
    }
    let (a, b) = (norm(pool), norm(realtime));
    let dot: f64 = pool.iter().zip(realtime).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let cosine = dot / (a * b).max(f64::MIN_POSITIVE);
    if cosine < COSINE_MIN {
        return Err(format!("the cosine with the realtime lane's vector is {cosine:.6}, below {COSINE_MIN}"));
    }
    if (a - b).abs() > NORM_SHARE_MAX * b {
        return Err(format!("a vector has the norm {a:.4}, in the realtime lane {b:.4}"));
    }
    Ok(cosine)
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Job = Job {
        shards: SHARDS_MIN,
        has_vectors: true,
        checked: false,
        deadline: UnixMs(10_000_000),
        left: Millis(480_000),
        realtime: Millis(60_000),
        slots: 4,
        boot: Millis(300_000),
    };

    #[test]
    fn large_unchecked_jobs_are_held_until_their_deadline_presses() {
        // 300 s boot, 240 s for twice the work on four slots, 240 s of a rescue, 60 s of realtime.
        let until = UnixMs(10_000_000 - 840_000);
        assert_eq!(gate(&LARGE, UnixMs(0)), Gate::Held { until });
        assert_eq!(gate(&LARGE, until - Millis(1)), Gate::Held { until });
        assert_eq!(gate(&LARGE, until), Gate::Hurried);
        let open = [
            Job { shards: SHARDS_MIN - 1, ..LARGE },
            Job { checked: true, ..LARGE },
            Job { has_vectors: false, ..LARGE },
        ];
        for job in open {
            assert_eq!(gate(&job, UnixMs(0)), Gate::Open, "{job:?}");
        }
    }

    #[test]
    fn unsound_vectors_are_told() {
        assert_eq!(wrong(&[0.6, 0.8], Some(2)), None);
        assert_eq!(wrong(&[3.0, 4.0], None), None, "not every model normalises");
        let cases: [(&[f32], &str); 5] = [
            (&[0.6, f32::NAN], "value 1 of a vector is NaN"),
            (&[f32::INFINITY, 0.0], "value 0 of a vector is inf"),
            (&[0.6], "has 1 values instead of 2"),
            (&[0.0, 0.0], "norm 0.000e0"),
            (&[1e6, 0.0], "norm 1.000e6"),
        ];
        for (vector, told) in cases {
            let found = wrong(vector, Some(2)).unwrap();
            assert!(found.contains(told), "{found}");
        }
    }

    #[test]
    fn parity_is_a_matter_of_direction_and_length() {
        assert!(parity(&[0.6, 0.8], &[0.6, 0.8]).unwrap() > 0.999_999);
        assert!(parity(&[0.6, 0.8], &[0.6, 0.803]).is_ok());
        assert!(parity(&[0.6, 0.8], &[0.8, 0.6]).unwrap_err().contains("cosine"));
        assert!(parity(&[0.6, 0.8], &[1.2, 1.6]).unwrap_err().contains("norm"));
        assert!(parity(&[0.6], &[0.6, 0.8]).unwrap_err().contains("1 values"));
        assert!(parity(&[0.0, 0.0], &[0.6, 0.8]).unwrap_err().contains("cosine"));
    }
}
