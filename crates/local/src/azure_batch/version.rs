//! The service's api-versions, as far as a client in use sends them.

/// A version of the interface, older ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V2024_02_01,
    V2024_07_01,
    V2025_06_01,
    V2026_10_01,
}

impl Version {
    /// By its text in `api-version`.
    pub(super) fn read(text: &str) -> Option<Version> {
        match text {
            "2024-02-01.19.0" => Some(Version::V2024_02_01),
            "2024-07-01.20.0" => Some(Version::V2024_07_01),
            "2025-06-01" => Some(Version::V2025_06_01),
            "2026-10-01" => Some(Version::V2026_10_01),
            _ => None,
        }
    }

    /// Whether a node may be asked to outlive its tasks' data. The newest version dropped the word.
    pub(super) fn knows_retained_data(self) -> bool {
        self < Version::V2026_10_01
    }
}
