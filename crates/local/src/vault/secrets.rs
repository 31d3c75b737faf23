//! What a vault holds: names, each with its versions, oldest first.

use std::collections::BTreeMap;

/// A vault holds no more of one secret here; the oldest go.
const VERSIONS_MAX: usize = 100;

/// Every secret.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, Vec<Version>>);

/// One version of a secret.
#[derive(Clone)]
pub(super) struct Version {
    /// 32 hexadecimal digits.
    pub(super) id: String,
    pub(super) value: String,
    pub(super) is_enabled: bool,
    /// Unix seconds.
    pub(super) created: u64,
    /// Unix seconds.
    pub(super) updated: u64,
}

impl Secrets {
    /// Adds a version.
    pub(super) fn set(&mut self, name: &str, value: &str, is_enabled: bool, now: u64) -> Version {
        let id = format!("{:032x}", u128::from(random()) << 64 | u128::from(random()));
        let version = Version { id, value: value.to_owned(), is_enabled, created: now, updated: now };
        let versions = self.0.entry(name.to_owned()).or_default();
        versions.push(version.clone());
        let surplus = versions.len().saturating_sub(VERSIONS_MAX);
        versions.drain(..surplus);
        version
    }

    /// Switches a version on or off, the newest where none is named.
    pub(super) fn switch(
        &mut self,
        name: &str,
        version: Option<&str>,
        is_enabled: bool,
        now: u64,
    ) -> Option<Version> {
        let versions = self.0.get_mut(name)?;
        let found = match version {
            Some(id) => versions.iter_mut().find(|found| found.id == id)?,
            None => versions.last_mut()?,
        };
        (found.is_enabled, found.updated) = (is_enabled, now);
        Some(found.clone())
    }

    /// A version, the newest where none is named.
    pub(super) fn find(&self, name: &str, version: Option<&str>) -> Option<&Version> {
        let versions = self.0.get(name)?;
        match version {
            Some(id) => versions.iter().find(|found| found.id == id),
            None => versions.last(),
        }
    }

    /// Every version of a secret.
    pub(super) fn versions(&self, name: &str) -> impl Iterator<Item = &Version> {
        self.0.get(name).into_iter().flatten()
    }

    /// The newest version of each, by name.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&str, &Version)> {
        self.0.iter().filter_map(|(name, versions)| Some((name.as_str(), versions.last()?)))
    }
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
