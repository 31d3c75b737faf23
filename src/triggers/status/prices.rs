//! How old the catalogue's prices are. What is decided by money is decided by them.

use policy::units::UnixMs;

use crate::catalogue::Catalogue;
use crate::catalogue::prices::{age_days, is_old};

/// Which prices are too old to be relied upon, and what to do about it.
pub fn at_risk(catalogue: &Catalogue, now: UnixMs) -> Option<String> {
    let backends = catalogue.backends.iter().map(|found| ("backend", &found.facts.name, &found.price_date));
    let pools = catalogue.pools.iter().map(|found| ("pool", &found.facts.name, &found.price_date));
    let old: Vec<String> = backends.chain(pools).filter_map(|priced| told(priced, now)).collect();
    (!old.is_empty()).then(|| {
        format!("prices to be read anew, with their price_date in the catalogue: {}", old.join(", "))
    })
}

fn told((kind, name, read_on): (&str, &String, &String), now: UnixMs) -> Option<String> {
    is_old(read_on, now).then(|| match age_days(read_on, now) {
        Some(days) => format!("{kind} {name} (of {read_on}, {days} days old)"),
        None => format!("{kind} {name} (price_date is `{read_on}`, no day)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21.
    const NOW: UnixMs = UnixMs(1_795_219_200_000);

    #[test]
    fn prices_are_told_after_ninety_days() {
        let told = |read_on: &str| told(("pool", &"spot".to_owned(), &read_on.to_owned()), NOW);
        for young in ["2026-11-21", "2026-11-22", "2026-08-23"] {
            assert_eq!(told(young), None, "{young}");
        }
        assert_eq!(told("2026-08-22").unwrap(), "pool spot (of 2026-08-22, 91 days old)");
        assert_eq!(told("unknown").unwrap(), "pool spot (price_date is `unknown`, no day)");
    }
}
