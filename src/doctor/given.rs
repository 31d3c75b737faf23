//! Settings, as far as they can be read: what is wrong with one service's does not keep the others from
//! being looked at.

use std::sync::Arc;

use wire::doctor::Finding;

use super::check::{Check, of};
use crate::settings::{ALL, Problem, Settings, name};

/// What answers a setting by its name.
pub type Given = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A service whose settings stand and fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Where facts are.
    Blob,
    /// The account of the doorbell.
    Storage,
    /// Where knobs come from.
    Knobs,
    /// The Azure Batch account.
    Batch,
    /// Anything else.
    Other(&'static str),
}

/// What is meant where a setting that must be given is wrong; never opened.
const NOWHERE: &str = "http://127.0.0.1:1/none/none";
/// Doctor serves nothing.
const LISTEN: &str = "127.0.0.1:0";

/// What could be read.
pub struct Read {
    /// With what is wrong left out; none: not even then.
    pub settings: Option<Settings>,
    /// What was left out.
    pub left_out: Vec<Group>,
    /// One for each problem, or one that says that there is none.
    pub findings: Vec<Finding>,
}

impl Read {
    /// Whether these settings were wrong.
    pub fn lacks(&self, group: Group) -> bool {
        self.left_out.contains(&group)
    }
}

/// Reads settings. Nothing is called.
pub fn read(given: &Given) -> Read {
    let problems = match Settings::read(Some(LISTEN), asked(given, &[])) {
        Ok(settings) => {
            let set =
                ALL.iter().filter(|setting| given(setting.name).is_some_and(|text| !text.trim().is_empty()));
            let findings = vec![Check::Settings.ok(format!(
                "{} of {} are set, and all can be read",
                set.count(),
                ALL.len()
            ))];
            return Read { settings: Some(settings), left_out: Vec::new(), findings };
        }
        Err(problems) => problems,
    };
    let left_out: Vec<Group> = problems.iter().map(|problem| group(problem.setting)).collect();
    let settings = Settings::read(Some(LISTEN), asked(given, &left_out)).ok();
    Read { settings, left_out, findings: problems.iter().map(told).collect() }
}

fn told(problem: &Problem) -> Finding {
    let mut finding = of(problem.setting, Check::Settings.broken_as_told(&problem.what));
    finding.remedy.get_or_insert_with(|| "write it as the README's table of settings says".to_owned());
    finding
}

fn group(setting: &'static str) -> Group {
    match setting {
        name::BLOB_URL => Group::Blob,
        name::KEY_VAULT_URL | name::KNOBS_FILE => Group::Knobs,
        name::BATCH_ENDPOINT | name::BATCH_ACCOUNT_NAME | name::BATCH_ACCOUNT_KEY => Group::Batch,
        name::QUEUE => Group::Storage,
        clock::EPOCH_SETTING => Group::Other(clock::SPEED_SETTING),
        other if other.starts_with(name::STORAGE) => Group::Storage,
        other => Group::Other(other),
    }
}

/// The settings without those groups.
fn asked(given: &Given, left_out: &[Group]) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    let (given, left_out) = (Arc::clone(given), left_out.to_vec());
    move |asked| {
        let known = ALL.iter().find(|setting| setting.name == asked).map(|setting| setting.name);
        match known {
            Some(known) if left_out.contains(&group(known)) => match known {
                name::BLOB_URL => Some(NOWHERE.to_owned()),
                name::KNOBS_FILE => Some(NOWHERE.to_owned()),
                _ => None,
            },
            _ => given(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(pairs: &[(&'static str, &'static str)]) -> Read {
        let pairs = pairs.to_vec();
        let given: Given = Arc::new(move |asked| {
            pairs.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned())
        });
        read(&given)
    }

    #[test]
    fn every_problem_is_told_and_the_rest_can_be_looked_at() {
        let read = read_of(&[
            ("KNOBS_FILE", "k"),
            ("AzureWebJobsStorage", "AccountName=abc;AccountKey=s!cret"),
            ("BATCH_ENDPOINT", "http://far.example"),
            ("BATCH_ACCOUNT_KEY", "s!cret"),
        ]);
        let subjects: Vec<_> =
            read.findings.iter().map(|finding| finding.subject.as_deref().unwrap()).collect();
        assert_eq!(subjects, ["BLOB_URL", "AzureWebJobsStorage", "BATCH_ENDPOINT"]);
        assert!(read.findings.iter().all(|finding| finding.remedy.is_some()), "{:?}", read.findings);
        assert!(!format!("{:?}", read.findings).contains("s!cret"));
        let settings = read.settings.as_ref().expect("the rest can be read");
        assert!(settings.doorbell.is_none() && settings.batch.is_none());
        assert!(read.lacks(Group::Blob) && read.lacks(Group::Storage) && !read.lacks(Group::Knobs));
    }

    #[test]
    fn a_setting_without_a_service_is_left_out_alone() {
        let read = read_of(&[("BLOB_URL", "file:///tmp/x"), ("KNOBS_FILE", "k"), ("ACA_ENDPOINT", "no url")]);
        assert_eq!(read.left_out, [Group::Other("ACA_ENDPOINT")]);
        assert!(read.settings.is_some_and(|settings| settings.default_backend.is_none()));
    }

    #[test]
    fn what_is_right_is_one_line() {
        let read = read_of(&[("BLOB_URL", "file:///tmp/x"), ("KNOBS_FILE", "k")]);
        assert_eq!(read.findings.len(), 1);
        assert!(read.findings[0].found.starts_with("2 of "), "{:?}", read.findings);
    }
}
