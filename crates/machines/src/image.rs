//! Images that nodes boot, and the Batch agents that run in them.

use crate::{Date, Source};

/// An image of the marketplace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Who publishes it.
    pub publisher: &'static str,
    /// Its product.
    pub offer: &'static str,
    /// Its version of the operating system.
    pub sku: &'static str,
    /// The one agent that it goes with.
    pub agent: &'static str,
    /// Whether only machines of Hyper-V's second generation boot it.
    pub is_second_generation: bool,
    /// Whether NVIDIA's driver is in it.
    pub has_cuda: bool,
    /// Whether it is made for tasks in containers alone, and a pool without them misses its point.
    pub is_for_containers: bool,
    /// The day from which on Batch does not support it. `None`: no day was found.
    pub ends: Option<Date>,
    /// What to use in its place.
    pub instead: Option<&'static str>,
    /// Where this was read.
    pub source: Source,
}

impl Image {
    /// `publisher/offer/sku`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.publisher, self.offer, self.sku)
    }
}

/// A node agent: the part of Batch that runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// As the pool names it.
    pub id: &'static str,
    /// The day from which on Batch does not support it.
    pub ends: Option<Date>,
    /// What to use in its place.
    pub instead: Option<&'static str>,
    /// Where this was read.
    pub source: Source,
}

/// The image of that name; the service ignores case.
pub fn find(publisher: &str, offer: &str, sku: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| {
        image.publisher.eq_ignore_ascii_case(publisher)
            && image.offer.eq_ignore_ascii_case(offer)
            && image.sku.eq_ignore_ascii_case(sku)
    })
}

/// The agent of that id.
pub fn agent(id: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.id.eq_ignore_ascii_case(id))
}

/// The image and agent that a new pool should have.
pub const DEFAULT_IMAGE: &str = "microsoft-dsvm/ubuntu-hpc/2404 with batch.node.ubuntu 24.04";

/// The end of everything on Ubuntu 20.04.
const B174: Source =
    Source { text: "Azure/Batch#174 and UCL/TLOmodel#1549", read_on: Date::new(2025, 4, 23) };
/// The end of everything on Ubuntu 22.04, and its successor.
const B200: Source = Source { text: "Azure/Batch#200", read_on: Date::new(2026, 5, 15) };
/// A pool of others that was seen to work.
const SEEN: Source =
    Source { text: "Azure/Batch#200, and a public GPU pool seen with it", read_on: Date::new(2026, 10, 1) };

const UBUNTU_20: &str = "batch.node.ubuntu 20.04";
const UBUNTU_22: &str = "batch.node.ubuntu 22.04";
const UBUNTU_24: &str = "batch.node.ubuntu 24.04";
const END_OF_20: Option<Date> = Some(Date::new(2025, 4, 23));
const END_OF_22: Option<Date> = Some(Date::new(2027, 6, 30));

/// Every image that is known.
pub const IMAGES: &[Image] = &[
    Image {
        publisher: "microsoft-dsvm",
        offer: "ubuntu-hpc",
        sku: "2404",
        agent: UBUNTU_24,
        is_second_generation: true,
        has_cuda: true,
        is_for_containers: false,
        ends: None,
        instead: None,
        source: SEEN,
    },
    Image {
        publisher: "microsoft-dsvm",
        offer: "ubuntu-hpc",
        sku: "2204",
        agent: UBUNTU_22,
        is_second_generation: false,
        has_cuda: true,
        is_for_containers: false,
        ends: END_OF_22,
        instead: Some(DEFAULT_IMAGE),
        source: B200,
    },
    Image {
        publisher: "microsoft-dsvm",
        offer: "ubuntu-hpc",
        sku: "2004",
        agent: UBUNTU_20,
        is_second_generation: false,
        has_cuda: true,
        is_for_containers: false,
        ends: END_OF_20,
        instead: Some(DEFAULT_IMAGE),
        source: B174,
    },
    Image {
        publisher: "microsoft-azure-batch",
        offer: "ubuntu-server-container",
        sku: "20-04-lts",
        agent: UBUNTU_20,
        is_second_generation: false,
        has_cuda: true,
        is_for_containers: true,
        ends: END_OF_20,
        instead: Some(DEFAULT_IMAGE),
        source: B174,
    },
    Image {
        publisher: "microsoft-azure-batch",
        offer: "ubuntu-server-container-rdma",
        sku: "20-04-lts",
        agent: UBUNTU_20,
        is_second_generation: false,
        has_cuda: true,
        is_for_containers: true,
        ends: END_OF_20,
        instead: Some(DEFAULT_IMAGE),
        source: B174,
    },
];

/// Every agent that is known.
pub const AGENTS: &[Agent] = &[
    Agent { id: UBUNTU_24, ends: None, instead: None, source: SEEN },
    Agent { id: UBUNTU_22, ends: END_OF_22, instead: Some(UBUNTU_24), source: B200 },
    Agent { id: UBUNTU_20, ends: END_OF_20, instead: Some(UBUNTU_24), source: B174 },
];
