//! VM sizes with GPUs, by series, as Azure Batch pools name them.

use crate::{Date, Source};

/// Machines of one design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name in the vendor's pages.
    pub name: &'static str,
    /// The GPU's family.
    pub gpu: &'static str,
    /// What the operating system needs to use it.
    pub driver: Driver,
    /// Which images boot.
    pub generations: Generations,
    /// The day from which on it is gone. `None`: no day was found.
    pub ends: Option<Date>,
    /// Why it is no sound choice although it has no end, or an end that is far.
    pub doubt: Option<&'static str>,
    /// A size to use in its place, where it ends or is in doubt.
    pub instead: Option<&'static str>,
    /// Where the end was read, or looked for.
    pub source: Source,
    /// Its sizes.
    pub sizes: &'static [Size],
}

/// One size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// As `vmSize` says it; the service ignores case.
    pub name: &'static str,
    /// GPUs that the operating system sees. A share of one counts as one.
    pub gpus: u8,
    /// Memory of each, or of the share, in GiB.
    pub gpu_gib: u16,
    /// Virtual processors.
    pub vcpus: u16,
}

/// What an operating system needs to use a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// NVIDIA's data-centre driver, which images for computing bring along.
    Cuda,
    /// NVIDIA's GRID driver: the GPU is virtual.
    Grid,
    /// AMD's. Nothing here computes on it.
    Amd,
}

/// Hyper-V generations of images that a size boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generations {
    /// The first only (BIOS).
    First,
    /// The second only (UEFI).
    Second,
    /// Either.
    Both,
}

/// The series and size of that name.
pub fn find(name: &str) -> Option<(&'static Series, &'static Size)> {
    SERIES.iter().find_map(|series| {
        let size = series.sizes.iter().find(|size| size.name.eq_ignore_ascii_case(name))?;
        Some((series, size))
    })
}

const fn size(name: &'static str, gpus: u8, gpu_gib: u16, vcpus: u16) -> Size {
    Size { name, gpus, gpu_gib, vcpus }
}

/// What ends by announcement.
const EOL_LIST: Source =
    Source { text: "Azure/EOL service_list.json, c5af085b", read_on: Date::new(2025, 12, 18) };
/// What the list of ends, the prices of August 2026 and the facts of this project do not end.
const NO_END_FOUND: Source = Source {
    text: "Azure/EOL service_list.json and size lists of 2026: no end found",
    read_on: Date::new(2026, 11, 21),
};
/// The first series: the pages say "2022 to 2023", so the last day of that is taken.
const FIRST_SERIES_END: Date = Date::new(2023, 12, 31);

/// Every series that is known, those of today first.
pub const SERIES: &[Series] = &[
    Series {
        name: "NC T4 v3",
        gpu: "T4",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: None,
        doubt: None,
        instead: None,
        source: NO_END_FOUND,
        sizes: &[
            size("Standard_NC4as_T4_v3", 1, 16, 4),
            size("Standard_NC8as_T4_v3", 1, 16, 8),
            size("Standard_NC16as_T4_v3", 1, 16, 16),
            size("Standard_NC64as_T4_v3", 4, 16, 64),
        ],
    },
    Series {
        name: "NC A100 v4",
        gpu: "A100",
        driver: Driver::Cuda,
        generations: Generations::Second,
        ends: None,
        doubt: Some("its page gives net-new capacity to NCads H100 v5 only"),
        instead: Some("Standard_NC40ads_H100_v5"),
        source: Source { text: "microsoft/azure-container-apps#1797", read_on: Date::new(2026, 8, 1) },
        sizes: &[
            size("Standard_NC24ads_A100_v4", 1, 80, 24),
            size("Standard_NC48ads_A100_v4", 2, 80, 48),
            size("Standard_NC96ads_A100_v4", 4, 80, 96),
        ],
    },
    Series {
        name: "NCads H100 v5",
        gpu: "H100",
        driver: Driver::Cuda,
        generations: Generations::Second,
        ends: None,
        doubt: None,
        instead: None,
        source: NO_END_FOUND,
        sizes: &[size("Standard_NC40ads_H100_v5", 1, 94, 40), size("Standard_NC80adis_H100_v5", 2, 94, 80)],
    },
    Series {
        name: "NVads A10 v5",
        gpu: "A10",
        driver: Driver::Grid,
        generations: Generations::Both,
        ends: None,
        doubt: None,
        instead: None,
        source: NO_END_FOUND,
        sizes: &[
            size("Standard_NV6ads_A10_v5", 1, 4, 6),
            size("Standard_NV12ads_A10_v5", 1, 8, 12),
            size("Standard_NV18ads_A10_v5", 1, 12, 18),
            size("Standard_NV36ads_A10_v5", 1, 24, 36),
            size("Standard_NV36adms_A10_v5", 1, 24, 36),
            size("Standard_NV72ads_A10_v5", 2, 24, 72),
        ],
    },
    Series {
        name: "ND A100 v4",
        gpu: "A100",
        driver: Driver::Cuda,
        generations: Generations::Second,
        ends: None,
        doubt: None,
        instead: None,
        source: NO_END_FOUND,
        sizes: &[size("Standard_ND96asr_v4", 8, 40, 96), size("Standard_ND96amsr_A100_v4", 8, 80, 96)],
    },
    Series {
        name: "ND H100 v5",
        gpu: "H100",
        driver: Driver::Cuda,
        generations: Generations::Second,
        ends: None,
        doubt: None,
        instead: None,
        source: NO_END_FOUND,
        sizes: &[size("Standard_ND96isr_H100_v5", 8, 80, 96)],
    },
    Series {
        name: "NDv2",
        gpu: "V100",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: None,
        doubt: Some("no list says whether it is still offered, and the other series with its GPU is gone"),
        instead: Some("Standard_NC24ads_A100_v4"),
        source: NO_END_FOUND,
        sizes: &[size("Standard_ND40rs_v2", 8, 32, 40)],
    },
    Series {
        name: "NVv3",
        gpu: "M60",
        driver: Driver::Grid,
        generations: Generations::Both,
        ends: Some(Date::new(2026, 9, 30)),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NV12s_v3", 1, 8, 12),
            size("Standard_NV24s_v3", 2, 8, 24),
            size("Standard_NV48s_v3", 4, 8, 48),
        ],
    },
    Series {
        name: "NVv4",
        gpu: "MI25",
        driver: Driver::Amd,
        generations: Generations::First,
        ends: Some(Date::new(2026, 9, 30)),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NV4as_v4", 1, 2, 4),
            size("Standard_NV8as_v4", 1, 4, 8),
            size("Standard_NV16as_v4", 1, 8, 16),
            size("Standard_NV32as_v4", 1, 16, 32),
        ],
    },
    Series {
        name: "NCv3",
        gpu: "V100",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: Some(Date::new(2025, 9, 30)),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3, or Standard_NC24ads_A100_v4 for models over 16 GiB"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NC6s_v3", 1, 16, 6),
            size("Standard_NC12s_v3", 2, 16, 12),
            size("Standard_NC24s_v3", 4, 16, 24),
        ],
    },
    Series {
        name: "NCv3 (RDMA)",
        gpu: "V100",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: Some(Date::new(2025, 3, 31)),
        doubt: None,
        instead: Some("Standard_NC24ads_A100_v4"),
        source: EOL_LIST,
        sizes: &[size("Standard_NC24rs_v3", 4, 16, 24)],
    },
    Series {
        name: "NCv2",
        gpu: "P100",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: Some(FIRST_SERIES_END),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NC6s_v2", 1, 16, 6),
            size("Standard_NC12s_v2", 2, 16, 12),
            size("Standard_NC24s_v2", 4, 16, 24),
            size("Standard_NC24rs_v2", 4, 16, 24),
        ],
    },
    Series {
        name: "NC",
        gpu: "K80",
        driver: Driver::Cuda,
        generations: Generations::First,
        ends: Some(FIRST_SERIES_END),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NC6", 1, 12, 6),
            size("Standard_NC12", 2, 12, 12),
            size("Standard_NC24", 4, 12, 24),
            size("Standard_NC24r", 4, 12, 24),
        ],
    },
    Series {
        name: "ND",
        gpu: "P40",
        driver: Driver::Cuda,
        generations: Generations::Both,
        ends: Some(FIRST_SERIES_END),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_ND6s", 1, 24, 6),
            size("Standard_ND12s", 2, 24, 12),
            size("Standard_ND24s", 4, 24, 24),
            size("Standard_ND24rs", 4, 24, 24),
        ],
    },
    Series {
        name: "NV",
        gpu: "M60",
        driver: Driver::Grid,
        generations: Generations::First,
        ends: Some(FIRST_SERIES_END),
        doubt: None,
        instead: Some("Standard_NC4as_T4_v3"),
        source: EOL_LIST,
        sizes: &[
            size("Standard_NV6", 1, 8, 6),
            size("Standard_NV12", 2, 8, 12),
            size("Standard_NV24", 4, 8, 24),
        ],
    },
];
