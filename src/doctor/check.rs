//! What is looked at: a closed list, which the documentation repeats, and the one way to say what was found.

use wire::doctor::{Finding, Outcome};

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every setting.
    Settings,
    /// Tokens of this process's identity.
    Identity,
    /// The clock of this machine against those of the services.
    Clock,
    /// The vault of knobs.
    Vault,
    /// The set of knobs.
    Knobs,
    /// The store of facts.
    Blob,
    /// What a lifecycle rule should have deleted.
    Retention,
    /// The catalogue.
    Catalogue,
    /// The doorbell.
    Queue,
    /// Where the host puts messages that it gave up.
    PoisonQueue,
    /// The Azure Batch account.
    Batch,
    /// A pool and its nodes.
    Pool,
    /// What stops a pool's size.
    Resize,
    /// What sets a pool's size.
    Autoscale,
    /// The image, agent and machines of a pool.
    Machine,
    /// The formula of a file.
    Formula,
    /// Quotas against what knobs and catalogue may ask for.
    Quota,
    /// A realtime backend and its models.
    Backend,
    /// Whether both lanes run the same weights.
    Parity,
    /// Application Insights.
    Telemetry,
    /// The handler that serves.
    Health,
}

const ALWAYS: &str = "ok, broken";
const JUDGED: &str = "ok, warning, broken";

impl Check {
    /// All of them, in the order of the documentation and of a report.
    pub const ALL: [Check; 21] = [
        Check::Settings,
        Check::Identity,
        Check::Clock,
        Check::Vault,
        Check::Knobs,
        Check::Blob,
        Check::Retention,
        Check::Catalogue,
        Check::Queue,
        Check::PoisonQueue,
        Check::Batch,
        Check::Pool,
        Check::Resize,
        Check::Autoscale,
        Check::Machine,
        Check::Formula,
        Check::Quota,
        Check::Backend,
        Check::Parity,
        Check::Telemetry,
        Check::Health,
    ];

    /// Its name, as reports and the documentation write it.
    pub fn name(self) -> &'static str {
        match self {
            Check::Settings => "settings",
            Check::Identity => "identity",
            Check::Clock => "clock",
            Check::Vault => "vault",
            Check::Knobs => "knobs",
            Check::Blob => "blob",
            Check::Retention => "retention",
            Check::Catalogue => "catalogue",
            Check::Queue => "queue",
            Check::PoisonQueue => "poison-queue",
            Check::Batch => "batch",
            Check::Pool => "pool",
            Check::Resize => "resize",
            Check::Autoscale => "autoscale",
            Check::Formula => "formula",
            Check::Machine => "machine",
            Check::Quota => "quota",
            Check::Backend => "backend",
            Check::Parity => "parity",
            Check::Telemetry => "telemetry",
            Check::Health => "health",
        }
    }

    /// What it may come to, besides not being checked; as the documentation writes it.
    pub fn may_be(self) -> &'static str {
        match self {
            Check::Settings | Check::Identity | Check::Blob | Check::Batch => ALWAYS,
            Check::Retention | Check::PoisonQueue | Check::Telemetry => "ok, warning",
            Check::Clock
            | Check::Vault
            | Check::Knobs
            | Check::Catalogue
            | Check::Queue
            | Check::Pool
            | Check::Resize
            | Check::Autoscale
            | Check::Formula
            | Check::Machine
            | Check::Quota
            | Check::Backend
            | Check::Parity
            | Check::Health => JUDGED,
        }
    }

    /// It is as it should be.
    pub fn ok(self, found: impl Into<String>) -> Finding {
        self.finding(Outcome::Ok, found.into(), None)
    }

    /// It works, and somebody should look.
    pub fn warning(self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Outcome::Warning, found.into(), Some(remedy.into()))
    }

    /// It does not work.
    pub fn broken(self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Outcome::Broken, found.into(), Some(remedy.into()))
    }

    /// It could not be looked at; `what` is a check or a thing that is missing.
    pub fn needs(self, what: &str) -> Finding {
        self.finding(Outcome::NotChecked, format!("needs {what}"), None)
    }

    /// A text that names its remedy behind the first of these marks, as errors of this program do.
    pub fn broken_as_told(self, told: &str) -> Finding {
        let (found, remedy) = told
            .split_once("); ")
            .map_or_else(|| told.split_once("; ").unwrap_or((told, "")), |(found, remedy)| (found, remedy));
        let closes = told.contains("); ");
        let found = if closes { format!("{found})") } else { found.to_owned() };
        let remedy = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
        self.finding(Outcome::Broken, found, remedy)
    }

    fn finding(self, outcome: Outcome, found: String, remedy: Option<String>) -> Finding {
        let is_listed =
            outcome == Outcome::NotChecked || self.may_be().split(", ").any(|it| it == outcome.as_str());
        debug_assert!(is_listed, "{self:?} may not be {outcome:?}: {found}");
        Finding {
            check: self.name().to_owned(),
            subject: None,
            outcome,
            found: line(&found),
            remedy: remedy.map(|it| line(&it)),
        }
    }
}

/// The finding of one of several things.
pub fn of(subject: impl Into<String>, finding: Finding) -> Finding {
    Finding { subject: Some(subject.into()), ..finding }
}

/// Whether something of these does not work.
pub fn is_broken(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.outcome == Outcome::Broken)
}

/// Services write several lines, and could write anything.
fn line(text: &str) -> String {
    /// A role assignment with its ids and scope has about 350 characters.
    const CHARS_MAX: usize = 700;
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_listed_once_and_by_its_own_name() {
        let mut names: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert!(Check::ALL.iter().enumerate().all(|(at, check)| *check as usize == at), "in their order");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
    }

    #[test]
    fn a_told_error_is_split_into_what_was_found_and_what_to_do() {
        let cases = [
            ("is not set; give a URL", "is not set", Some("give a URL")),
            ("no token (a; b); run `az login`; or not", "no token (a; b)", Some("run `az login`; or not")),
            ("it failed", "it failed", None),
        ];
        for (told, found, remedy) in cases {
            let finding = Check::Settings.broken_as_told(told);
            assert_eq!((finding.found.as_str(), finding.remedy.as_deref()), (found, remedy), "{told}");
        }
    }

    #[test]
    fn what_services_say_stays_on_one_line_of_a_bounded_length() {
        let finding = Check::Batch.ok(format!("a\nb\u{1b}[31m{}", "x".repeat(9_000)));
        assert!(!finding.found.chars().any(char::is_control) && finding.found.len() <= 700, "{finding:?}");
    }
}
