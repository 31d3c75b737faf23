//! Where the waiting shards of a job go that was accepted for a pool that cannot get a node now.

/// A pool that has what it takes to run a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it has no node and cannot get one now.
    pub starved: bool,
}

/// The pool that takes what waits of a job. `own` is the one that it was accepted for, and `runs` says
/// whether something of the job runs there: what is half done shows that it lives. `able` are the pools that
/// can run it, in the catalogue's order. The job comes back as soon as its own pool gets nodes.
pub fn pool<'a>(own: &'a str, runs: bool, able: &[Pool<'a>]) -> &'a str {
    let is_fed = |pool: &&Pool<'a>| !pool.starved;
    let own_is_fed = able.iter().find(|pool| pool.name == own).is_some_and(|pool| !pool.starved);
    if own_is_fed || runs {
        return own;
    }
    able.iter().find(is_fed).map_or(own, |other| other.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_leaves_a_starved_pool_for_one_that_is_not() {
        let named = |name, starved| Pool { name, starved };
        let (starved, fed) = (named("own", true), named("own", false));
        let cases: [(&[Pool<'_>], bool, &str); 7] = [
            (&[fed, named("b", false)], false, "own"),
            (&[starved, named("b", false)], false, "b"),
            (&[starved, named("b", false)], true, "own"),
            (&[starved, named("b", true)], false, "own"),
            (&[starved, named("b", true), named("c", false), named("d", false)], false, "c"),
            (&[starved], false, "own"),
            // The catalogue does not name it any more.
            (&[named("b", false)], false, "b"),
        ];
        for (able, runs, expected) in cases {
            assert_eq!(pool("own", runs, able), expected, "{able:?} {runs}");
        }
    }
}
