//! The machines, image and agent of a pool, judged by tables with the days on which support ends.

use wire::doctor::Finding;

use super::check::Check;
use crate::azure::batch::{Machine, Pool};

/// What is wrong with a pool's machines on this day.
pub fn judge(machine: &Machine, _pool: &Pool, _now_ms: u64) -> Vec<Finding> {
    let image = machine.image.as_ref().map_or_else(String::new, |image| format!("{}/{}/{}", image.publisher, image.offer, image.sku));
    vec![Check::Machine.ok(format!("{}, {image}, {}", machine.size, machine.agent))]
}
