//! Prices of a catalogue: given, or the built-in one of the machine's class; how old they are; and a leap of
//! a price, which is taken only once somebody confirmed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use facts::job::{COST_LABEL_CHARS_MAX, COST_LABELS};
use machines::Date;
use policy::price::{self, Unit};
use policy::units::{MicroUsd, UnixMs};
use serde::{Deserialize, Serialize};
use wire::catalogue as file;

use super::{Backend, Catalogue, Pool};
use crate::knobs::micro_usd;

/// A price older than this is flagged.
pub const PRICE_AGE_DAYS_MAX: u64 = 90;

/// Whole days since the day on which a price was read, as `2026-11-01`; none where the text is no day. A day to
/// come is today.
pub fn age_days(read_on: &str, now: UnixMs) -> Option<u64> {
    let age = Date::of_unix_ms(now.0).days() - Date::parse(read_on)?.days();
    Some(u64::try_from(age).unwrap_or(0))
}

/// Whether a price is to be looked up again: it is older than [`PRICE_AGE_DAYS_MAX`], or nobody knows.
pub fn is_old(read_on: &str, now: UnixMs) -> bool {
    age_days(read_on, now).is_none_or(|days| days > PRICE_AGE_DAYS_MAX)
}

/// What a catalogue's entry says of its price.
struct Given<'a> {
    /// The field, for the problem.
    field: &'static str,
    /// US dollars an hour.
    usd: Option<f64>,
    /// When it was read.
    date: Option<&'a str>,
    /// The class or size of the machine.
    class: Option<&'a str>,
}

/// A price as it is used.
pub(super) struct Found {
    /// For an hour.
    pub(super) per_hour: MicroUsd,
    /// When it was read.
    pub(super) read_on: String,
    /// Whether it is the built-in one.
    pub(super) assumed: bool,
}

/// The price of a backend's replica: the one given, else the built-in one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn of_replica(spec: &file::Backend) -> Result<Found, String> {
    let (usd, date) = (spec.usd_per_replica_hour, spec.price_date.as_deref());
    let given = Given { field: "usd_per_replica_hour", usd, date, class: spec.gpu_class.as_deref() };
    given.price(Unit::Replica)
}

/// The price of a pool's spot node: the one given, else the built-in one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn of_node(spec: &file::Pool) -> Result<Found, String> {
    let (usd, date) = (spec.usd_per_node_hour, spec.price_date.as_deref());
    let given = Given { field: "usd_per_node_hour", usd, date, class: spec.gpu_class.as_deref() };
    given.price(Unit::SpotNode)
}

impl Given<'_> {
    fn price(&self, unit: Unit) -> Result<Found, String> {
        let Given { field, usd, date, class } = *self;
        let Some(usd) = usd else {
            let known = class.and_then(|class| price::price(class, unit));
            let known = known.ok_or_else(|| {
                format!("give {field}: there is no built-in price for gpu_class `{}`", class.unwrap_or("?"))
            })?;
            return Ok(Found { per_hour: known.per_hour, read_on: known.read_on.to_owned(), assumed: true });
        };
        let per_hour = micro_usd(usd).ok_or_else(|| format!("{field} is no price"))?;
        let read_on = date.ok_or_else(|| format!("give price_date, the day on which {field} was read"))?;
        if !read_on.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("price_date must be visible ASCII, as 2026-11-01".to_owned());
        }
        Ok(Found { per_hour, read_on: read_on.to_owned(), assumed: false })
    }
}

/// What is wrong with a tenant's labels.
pub(super) fn label_problem(labels: &BTreeMap<String, String>) -> Option<String> {
    let known = |name: &str| COST_LABELS.contains(&name);
    let is_name = |value: &str| !value.trim().is_empty() && value.chars().count() <= COST_LABEL_CHARS_MAX;
    let wrong = labels.iter().find(|(name, value)| !known(name) || !is_name(value));
    wrong.map(|(name, _)| {
        format!(
            "label `{name}`: labels are {}, each with 1 to {COST_LABEL_CHARS_MAX} characters",
            COST_LABELS.join(", ")
        )
    })
}

/// `state/prices.json`: prices in force, for a process that begins. It is overwritten whenever a catalogue
/// with other prices is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct InForce {
    backends: BTreeMap<String, Held>,
    pools: BTreeMap<String, Held>,
}

/// A place's price in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct Held {
    micro_usd_per_hour: u64,
    dedicated_micro_usd_per_hour: Option<u64>,
    read_on: String,
    assumed: bool,
}

impl InForce {
    /// Those of a catalogue.
    pub fn of(catalogue: &Catalogue) -> InForce {
        let backends =
            catalogue.backends.iter().map(|backend| (backend.name.clone(), Held::of_backend(backend)));
        let pools = catalogue.pools.iter().map(|pool| (pool.facts.name.clone(), Held::of_pool(pool)));
        InForce { backends: backends.collect(), pools: pools.collect() }
    }
}

impl Held {
    fn of_backend(backend: &Backend) -> Held {
        Held {
            micro_usd_per_hour: backend.facts.price_per_replica_hour.0,
            dedicated_micro_usd_per_hour: None,
            read_on: backend.price_date.clone(),
            assumed: backend.price_assumed,
        }
    }

    fn of_pool(pool: &Pool) -> Held {
        Held {
            micro_usd_per_hour: pool.facts.price_per_node_hour.0,
            dedicated_micro_usd_per_hour: pool.dedicated_price.map(|price| price.0),
            read_on: pool.price_date.clone(),
            assumed: pool.price_assumed,
        }
    }

    /// Whether a new price is a leap from this one.
    fn leaps_to(&self, new: &Held) -> bool {
        let leap = |old: u64, new: u64| price::must_be_confirmed(MicroUsd(old), MicroUsd(new));
        // A kind of node that was not bought before has no price to leap from.
        let dedicated = self.dedicated_micro_usd_per_hour.zip(new.dedicated_micro_usd_per_hour);
        leap(self.micro_usd_per_hour, new.micro_usd_per_hour)
            || dedicated.is_some_and(|(old, new)| leap(old, new))
    }
}

impl Catalogue {
    /// Keeps the prices in force of places whose new ones are a leap that nobody confirmed. To be asked
    /// before anybody else has the catalogue.
    pub fn hold_leaps(&mut self, in_force: &InForce) {
        let mut held = Vec::new();
        for backend in self.backends.iter_mut().filter_map(Arc::get_mut) {
            let (Some(old), new) = (in_force.backends.get(&backend.name), Held::of_backend(backend)) else {
                continue;
            };
            if old.leaps_to(&new) && backend.price_confirmed.as_deref() != Some(&backend.price_date) {
                held.push(told("backend", &backend.name, old, &new));
                backend.facts.price_per_replica_hour = MicroUsd(old.micro_usd_per_hour);
                (backend.price_date, backend.price_assumed) = (old.read_on.clone(), old.assumed);
            }
        }
        for pool in self.pools.iter_mut().filter_map(Arc::get_mut) {
            let (Some(old), new) = (in_force.pools.get(&pool.facts.name), Held::of_pool(pool)) else {
                continue;
            };
            if old.leaps_to(&new) && pool.price_confirmed.as_deref() != Some(&pool.price_date) {
                held.push(told("pool", &pool.facts.name, old, &new));
                pool.facts.price_per_node_hour = MicroUsd(old.micro_usd_per_hour);
                // Whether dedicated nodes are bought is what the new catalogue says.
                let old_dedicated = old.dedicated_micro_usd_per_hour.map(MicroUsd);
                pool.dedicated_price = pool.dedicated_price.map(|new| old_dedicated.unwrap_or(new));
                (pool.price_date, pool.price_assumed) = (old.read_on.clone(), old.assumed);
            }
        }
        self.held_prices = held;
    }
}

fn told(what: &str, name: &str, old: &Held, new: &Held) -> String {
    let usd = |held: &Held| match held.dedicated_micro_usd_per_hour {
        Some(dedicated) => {
            format!("{} and {}", MicroUsd(held.micro_usd_per_hour).usd(), MicroUsd(dedicated).usd())
        }
        None => MicroUsd(held.micro_usd_per_hour).usd().to_string(),
    };
    format!(
        "{what} `{name}` costs {} USD an hour until somebody confirms {} by `\"confirm_price\": \"{}\"` in the catalogue",
        usd(old),
        usd(new),
        new.read_on
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_grows_old() {
        // 2026-11-21T00:00Z
        let now = UnixMs(1_795_219_200_000);
        let ages = [
            ("2026-11-21", Some(0)),
            ("2026-11-20", Some(1)),
            ("2024-02-29", Some(996)),
            ("2027-01-01", Some(0)),
            ("unknown", None),
            ("2026-13-01", None),
            ("2026-1-01", None),
        ];
        for (date, days) in ages {
            assert_eq!(age_days(date, now), days, "{date}");
        }
        let old = ["2026-08-23", "2026-08-22", "unknown"].map(|date| is_old(date, now));
        assert_eq!(old, [false, true, true], "90 days are not yet too many");
        for price in price::PRICES {
            assert!(age_days(price.read_on, now).is_some(), "{price:?}");
        }
    }
}
