//! The rules, by their names.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It may be meant.
    Note,
    /// It does something else than it looks like.
    Warning,
    /// It kills work, or buys what nobody needs, or stops working.
    Error,
}

impl Severity {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// It shrinks the pool with an option that kills what runs.
    KillsRunningTasks,
    /// It uses an option that api-versions from 2026-10-01 do not know.
    RetainedData,
    /// Without samples it asks for nodes that samples of no work would not get.
    BuysWhenBlind,
    /// Twice the work is twice the nodes, without an end.
    UnboundedGrowth,
    /// The end of a window that looks like a percentage.
    PercentageAsTime,
    /// A window's samples are used however few there are.
    NoPercentageGuard,
    /// A percentage that is none from 1 to 100.
    PercentageOutOfScale,
    /// A target follows the smallest sample of a window.
    MinimumOverSamples,
    /// A window that holds fewer than two samples.
    ShortWindow,
    /// Spot nodes that were taken away are asked for once more.
    PreemptedCountedTwice,
    /// Nodes stay although nothing is to be done.
    NeverShrinks,
    /// No node comes although work waits.
    NeverGrows,
    /// A cap that nothing reaches, or a bound that leaves nothing to choose.
    UnreachableCap,
    /// A target is assigned by its name and by its alias.
    BothNames,
    /// No target is assigned.
    NoTarget,
    /// A variable that nothing reads.
    NeverRead,
    /// What the service does not document.
    Undocumented,
    /// A node for each task, though a node runs several.
    CountsTasksNotSlots,
    /// Samples come late, so the percentage that is wanted may never be there.
    LateSamples,
    /// Only dedicated nodes are asked for.
    NeverBuysSpot,
}

impl Rule {
    /// Every rule, the worst first.
    pub const ALL: [Rule; 20] = [
        Rule::KillsRunningTasks,
        Rule::RetainedData,
        Rule::BuysWhenBlind,
        Rule::UnboundedGrowth,
        Rule::PercentageAsTime,
        Rule::NoPercentageGuard,
        Rule::PercentageOutOfScale,
        Rule::MinimumOverSamples,
        Rule::ShortWindow,
        Rule::PreemptedCountedTwice,
        Rule::NeverShrinks,
        Rule::NeverGrows,
        Rule::UnreachableCap,
        Rule::BothNames,
        Rule::NoTarget,
        Rule::NeverRead,
        Rule::Undocumented,
        Rule::CountsTasksNotSlots,
        Rule::LateSamples,
        Rule::NeverBuysSpot,
    ];

    /// Its name in output and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::KillsRunningTasks => "kills_running_tasks",
            Rule::RetainedData => "retained_data",
            Rule::BuysWhenBlind => "buys_when_blind",
            Rule::UnboundedGrowth => "unbounded_growth",
            Rule::PercentageAsTime => "percentage_as_time",
            Rule::NoPercentageGuard => "no_percentage_guard",
            Rule::PercentageOutOfScale => "percentage_out_of_scale",
            Rule::MinimumOverSamples => "minimum_over_samples",
            Rule::ShortWindow => "short_window",
            Rule::PreemptedCountedTwice => "preempted_counted_twice",
            Rule::NeverShrinks => "never_shrinks",
            Rule::NeverGrows => "never_grows",
            Rule::UnreachableCap => "unreachable_cap",
            Rule::BothNames => "both_names",
            Rule::NoTarget => "no_target",
            Rule::NeverRead => "never_read",
            Rule::Undocumented => "undocumented",
            Rule::LateSamples => "late_samples",
            Rule::NeverBuysSpot => "never_buys_spot",
            Rule::CountsTasksNotSlots => "counts_tasks_not_slots",
        }
    }

    /// How bad what it finds is.
    pub const fn severity(self) -> Severity {
        match self {
            Rule::KillsRunningTasks
            | Rule::RetainedData
            | Rule::BuysWhenBlind
            | Rule::UnboundedGrowth
            | Rule::PercentageAsTime => Severity::Error,
            Rule::LateSamples | Rule::NeverBuysSpot => Severity::Note,
            _ => Severity::Warning,
        }
    }

    /// What one can do, as an instruction.
    pub const fn remedy(self) -> &'static str {
        match self {
            Rule::KillsRunningTasks => {
                "add $NodeDeallocationOption = taskcompletion; and nodes leave when their tasks have ended"
            }
            Rule::RetainedData => "use taskcompletion, and keep results in storage rather than on nodes",
            Rule::BuysWhenBlind => "ask GetSamplePercent first, and take 0 or the present target below 70",
            Rule::UnboundedGrowth => "wrap the target in min(NODES, …)",
            Rule::PercentageAsTime => "pass the percentage as a plain number: GetSample(start, 70)",
            Rule::NoPercentageGuard => {
                "pass a percentage, GetSample(window, 70), or ask GetSamplePercent(window) first"
            }
            Rule::PercentageOutOfScale => "write percentages from 1 to 100",
            Rule::MinimumOverSamples => {
                "use avg, or max to keep nodes, over the window; min only with the cap"
            }
            Rule::ShortWindow => "look back five minutes or more: samples are 30 s apart and a minute late",
            Rule::PreemptedCountedTwice => {
                "leave preempted nodes out of $TargetLowPriorityNodes; raise $TargetDedicatedNodes instead"
            }
            Rule::NeverShrinks => "let the target follow the tasks down to 0",
            Rule::NeverGrows => "let the target follow $PendingTasks, which are sampled without a node too",
            Rule::UnreachableCap => "keep the bound that is meant",
            Rule::BothNames => "assign the full name alone",
            Rule::NoTarget => "assign $TargetDedicatedNodes or $TargetLowPriorityNodes",
            Rule::NeverRead => "take it out, or read it; names of the service are written exactly",
            Rule::Undocumented => "write it without what the service may change",
            Rule::LateSamples => "look back 15 minutes, or ask for 50 %",
            Rule::NeverBuysSpot => {
                "set $TargetLowPriorityNodes (spot nodes since March 2026), and dedicated nodes for what cannot wait"
            }
            Rule::CountsTasksNotSlots => "divide the tasks by taskSlotsPerNode, rounded up: (tasks + 3) / 4",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
