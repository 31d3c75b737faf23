//! The machines, image and agent of a pool, judged by the tables of `machines` with the days on which their
//! support ends.

use machines::pool as table;
use machines::{Date, Severity};
use wire::doctor::Finding;

use super::check::Check;
use crate::azure::batch::{Machine, Pool};

/// What is wrong with a pool's machines on the day of this instant.
pub fn judge(machine: &Machine, pool: &Pool, now_ms: u64) -> Vec<Finding> {
    let found = machines::findings(&described(machine, pool), Date::of_unix_ms(now_ms));
    let told = found.into_iter().filter_map(|finding| {
        let found = format!("{}: {}", finding.rule, finding.what);
        match finding.severity {
            Severity::Error => Some(Check::Machine.broken(found, finding.remedy)),
            Severity::Warning => Some(Check::Machine.warning(found, finding.remedy)),
            Severity::Note => None,
        }
    });
    let told: Vec<Finding> = told.collect();
    if told.is_empty() { vec![Check::Machine.ok(shown(machine))] } else { told }
}

/// The pool as the tables take it. What sets its size is a check of its own, so a formula is pretended.
fn described(machine: &Machine, pool: &Pool) -> machines::Pool {
    let image = machine.image.as_ref().map(|image| match &image.virtual_machine_image_id {
        Some(id) => table::Image::Own(id.clone()),
        None => table::Image::Market {
            publisher: image.publisher.clone(),
            offer: image.offer.clone(),
            sku: image.sku.clone(),
        },
    });
    let extensions = machine.extensions.iter().map(|extension| table::Extension {
        publisher: extension.publisher.clone(),
        kind: extension.kind.clone(),
        version: extension.type_handler_version.clone(),
    });
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    machines::Pool {
        vm_size: said(&machine.size),
        image,
        agent: said(&machine.agent),
        extensions: extensions.collect(),
        containers: machine.containers.clone(),
        scale: table::Scale { is_auto: true, has_formula: true, ..table::Scale::default() },
        slots: Some(u64::from(pool.task_slots_per_node)),
        ..machines::Pool::default()
    }
}

fn shown(machine: &Machine) -> String {
    let image =
        machine.image.as_ref().map_or_else(String::new, |image| match &image.virtual_machine_image_id {
            Some(id) => id.clone(),
            None => format!("{}/{}/{}", image.publisher, image.offer, image.sku),
        });
    let gpu = machines::size::find(&machine.size).map_or_else(String::new, |(series, size)| {
        format!(" ({} {}, {} vCPUs)", size.gpus, series.gpu, size.vcpus)
    });
    format!(
        "{}{gpu}, {image}, {}: none of them ends within {} months",
        machine.size,
        machine.agent,
        machines::ENDING_MONTHS
    )
}
