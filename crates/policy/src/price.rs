//! Prices, with where and when they were read. The catalogue overrides them. And whether a new one is so far
//! from the old that somebody must confirm it.

use crate::units::MicroUsd;

/// What an hour of a GPU costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// `t4`, `a100`, `h100`.
    pub gpu_class: &'static str,
    /// What is paid for.
    pub unit: Unit,
    /// US dollars an hour.
    pub per_hour: MicroUsd,
    /// When it was read, ISO 8601.
    pub read_on: &'static str,
    /// Where it was read.
    pub source: &'static str,
    /// Whether it was derived rather than read.
    pub assumed: bool,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A Container Apps replica: GPU, vCPU and memory seconds together.
    Replica,
    /// A virtual machine of an Azure Batch pool, on demand.
    DedicatedNode,
    /// The same, spot.
    SpotNode,
}

/// Used where the catalogue gives no price of its own. USD, East US.
pub const PRICES: &[Price] = &[
    Price {
        gpu_class: "t4",
        unit: Unit::Replica,
        per_hour: MicroUsd(1_559_000),
        read_on: "2026-08-01",
        source: "Container Apps price list: 8 vCPU x 0.000024 + 56 GiB x 0.000003 + GPU 0.000073 a second",
        assumed: false,
    },
    Price {
        gpu_class: "a100",
        unit: Unit::Replica,
        per_hour: MicroUsd(6_354_000),
        read_on: "2026-08-01",
        source: "Container Apps price list: 24 vCPU x 0.000024 + 220 GiB x 0.000003 + GPU 0.000529 a second",
        assumed: false,
    },
    Price {
        gpu_class: "t4",
        unit: Unit::DedicatedNode,
        per_hour: MicroUsd(526_000),
        read_on: "2026-08-01",
        source: "NC4as_T4_v3 list price",
        assumed: false,
    },
    Price {
        gpu_class: "a100",
        unit: Unit::DedicatedNode,
        per_hour: MicroUsd(3_673_000),
        read_on: "2026-11-09",
        source: "NC24ads_A100_v4 list price",
        assumed: false,
    },
    Price {
        gpu_class: "h100",
        unit: Unit::DedicatedNode,
        per_hour: MicroUsd(6_980_000),
        read_on: "2026-11-09",
        source: "NC40ads_H100_v5 list price",
        assumed: false,
    },
    Price {
        gpu_class: "t4",
        unit: Unit::SpotNode,
        per_hour: MicroUsd(158_000),
        read_on: "2026-08-01",
        source: "30 % of the list price",
        assumed: true,
    },
    Price {
        gpu_class: "a100",
        unit: Unit::SpotNode,
        per_hour: MicroUsd(1_102_000),
        read_on: "2026-11-09",
        source: "30 % of the list price",
        assumed: true,
    },
    Price {
        gpu_class: "h100",
        unit: Unit::SpotNode,
        per_hour: MicroUsd(1_290_000),
        read_on: "2026-08-01",
        source: "NC40ads_H100_v5 spot, market note",
        assumed: false,
    },
];

/// The price of a class and unit, if the table has it. A machine's size is taken for its class, as
/// `Standard_NC4as_T4_v3`, where it has one GPU of it: the table has prices of such machines alone.
pub fn price(class_or_size: &str, unit: Unit) -> Option<&'static Price> {
    let class = class_of(class_or_size);
    PRICES.iter().find(|price| price.gpu_class == class && price.unit == unit)
}

/// Sizes of machines with one GPU, whose prices the table has.
const SIZES: [(&str, &str); 3] =
    [("nc4as_t4_v3", "t4"), ("nc24ads_a100_v4", "a100"), ("nc40ads_h100_v5", "h100")];

fn class_of(class_or_size: &str) -> String {
    let name = class_or_size.to_ascii_lowercase();
    let size = name.strip_prefix("standard_").unwrap_or(&name);
    SIZES
        .iter()
        .find(|(known, _)| *known == size)
        .map_or_else(|| name.clone(), |(_, class)| (*class).to_owned())
}

/// A price that rises or falls by more than this factor is taken for a slip until somebody confirms it.
pub const CHANGE_MAX: u64 = 3;

/// Whether a new price is so far from the one in force that somebody must confirm it. One that was
/// nothing was not known: anything may follow.
pub fn must_be_confirmed(in_force: MicroUsd, new: MicroUsd) -> bool {
    let (low, high) = (in_force.min(new), in_force.max(new));
    in_force.0 > 0 && high.0 > low.0.saturating_mul(CHANGE_MAX)
}
