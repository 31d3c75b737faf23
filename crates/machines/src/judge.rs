//! What is wrong with a pool, on a day.
//!
//! - here: the machine, the image, the agent and what they need of each other
//! - [`run`]: how the pool is sized, started and reached

mod run;

use crate::image::{self, Image as KnownImage};
use crate::pool::{Image, Pool};
use crate::rule::{Rule, Severity};
use crate::size::{self, Driver, Generations, Series, Size};
use crate::{Date, Source};

/// What ends within so many months is told: half a year to plan, test and move a pool.
pub const ENDING_MONTHS: u8 = 6;

/// Who publishes the driver's extension.
const DRIVER_PUBLISHER: &str = "Microsoft.HpcCompute";
/// Its type on Linux.
const DRIVER_KIND: &str = "NvidiaGpuDriverLinux";
/// Publishes plain systems, without drivers.
const PLAIN_PUBLISHER: &str = "canonical";
/// Publishes the deprecated images for containers.
const DEPRECATED_PUBLISHER: &str = "microsoft-azure-batch";
/// In ids of images in a gallery, the one kind of an image of one's own since 2026-03-31.
const GALLERY: &str = "/galleries/";

/// Something wrong with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The member that it is about.
    pub at: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What one can do.
    pub remedy: String,
}

/// Judges a pool by every [`Rule`]; the findings stand in the rules' order, the worst first.
pub fn findings(pool: &Pool, today: Date) -> Vec<Finding> {
    let mut found = Found { findings: Vec::new(), today };
    let machine = machine(pool, &mut found);
    let image = booted(pool, &mut found);
    agent(pool, image, &mut found);
    together(pool, machine, image, &mut found);
    run::look(pool, machine.map(|(_, size)| size), image, &mut found);
    found.findings.sort_by_key(|finding| finding.rule);
    found.findings
}

/// What was found so far.
struct Found {
    findings: Vec<Finding>,
    today: Date,
}

impl Found {
    fn add(&mut self, rule: Rule, at: &str, what: String) {
        self.add_with(rule, at, what, rule.remedy().to_owned());
    }

    fn add_with(&mut self, rule: Rule, at: &str, what: String, remedy: String) {
        self.findings.push(Finding { rule, severity: rule.severity(), at: at.to_owned(), what, remedy });
    }

    /// Says that something is gone, or soon will be. `rules` are for the one and the other.
    fn end(&mut self, rules: (Rule, Rule), at: &str, ended: &Ended<'_>) {
        let Some(ends) = ended.ends else { return };
        let (rule, verb) = if self.today >= ends {
            (rules.0, "ended")
        } else if self.today.months_later(ENDING_MONTHS) >= ends {
            (rules.1, "ends")
        } else {
            return;
        };
        let Source { text, read_on } = ended.source;
        let what = format!("the support of {} {verb} on {ends} ({text}, {read_on})", ended.what);
        let remedy = match ended.instead {
            Some(instead) if rule == rules.0 => format!("use {instead}"),
            Some(instead) => format!("use {instead}; {}", rule.remedy()),
            None => rule.remedy().to_owned(),
        };
        self.add_with(rule, at, what, remedy);
    }
}

/// Something with an end.
struct Ended<'a> {
    what: &'a str,
    ends: Option<Date>,
    instead: Option<&'a str>,
    source: Source,
}

fn machine(pool: &Pool, found: &mut Found) -> Option<(&'static Series, &'static Size)> {
    const AT: &str = "vmSize";
    let Some(name) = &pool.vm_size else {
        found.add(
            Rule::MemberMissing,
            AT,
            "vmSize is missing: nobody knows which machines to buy".to_owned(),
        );
        return None;
    };
    let Some((series, size)) = size::find(name) else {
        // GPU sizes all begin with N; other letters are processors alone.
        if name.to_ascii_lowercase().strip_prefix("standard_").is_some_and(|rest| !rest.starts_with('n')) {
            found.add(Rule::SizeWithoutGpu, AT, format!("{name} has no GPU"));
        } else {
            found.add(
                Rule::SizeUnknown,
                AT,
                format!("{name} is in no table here, so nothing is said of its end or its driver"),
            );
        }
        return None;
    };
    let what = format!("{} ({}, {})", size.name, series.name, series.gpu);
    let ended = Ended { what: &what, ends: series.ends, instead: series.instead, source: series.source };
    found.end((Rule::SizeRetired, Rule::SizeEnding), AT, &ended);
    if let Some(doubt) = series.doubt {
        let instead = series.instead.map_or(String::new(), |instead| format!(", or use {instead}"));
        let remedy = format!("{}{instead}", Rule::SizeDoubtful.remedy());
        let Source { text, read_on } = series.source;
        found.add_with(Rule::SizeDoubtful, AT, format!("{what}: {doubt} ({text}, {read_on})"), remedy);
    }
    if series.driver == Driver::Amd {
        found.add(
            Rule::GpuUnused,
            AT,
            format!(
                "{what} has a GPU of AMD, which the driver images and the worker's measurement do not know"
            ),
        );
    }
    Some((series, size))
}

fn booted(pool: &Pool, found: &mut Found) -> Option<&'static KnownImage> {
    const AT: &str = "imageReference";
    let (publisher, offer, sku) = match &pool.image {
        None => {
            found.add(
                Rule::MemberMissing,
                AT,
                "imageReference is missing: nodes have nothing to boot".to_owned(),
            );
            return None;
        }
        Some(Image::Own(id)) => {
            if !id.to_ascii_lowercase().contains(GALLERY) {
                let what = format!(
                    "{id} is no image of a gallery; support of managed images and VHD blobs ended on 2026-03-31"
                );
                found.add_with(
                    Rule::ImageRetired,
                    AT,
                    what,
                    "publish it in an Azure Compute Gallery".to_owned(),
                );
            }
            return None;
        }
        Some(Image::Market { publisher, offer, sku }) => (publisher, offer, sku),
    };
    let Some(image) = image::find(publisher, offer, sku) else {
        let deprecated = if publisher.eq_ignore_ascii_case(DEPRECATED_PUBLISHER) {
            format!("; images of {DEPRECATED_PUBLISHER} are deprecated: use {}", image::DEFAULT_IMAGE)
        } else {
            String::new()
        };
        let what = format!(
            "{publisher}/{offer}/{sku} is in no table here, so nothing is said of its end{deprecated}"
        );
        found.add(Rule::ImageUnknown, AT, what);
        return None;
    };
    let ended = Ended { what: &image.name(), ends: image.ends, instead: image.instead, source: image.source };
    found.end((Rule::ImageRetired, Rule::ImageEnding), AT, &ended);
    Some(image)
}

fn agent(pool: &Pool, image: Option<&KnownImage>, found: &mut Found) {
    const AT: &str = "nodeAgentSKUId";
    let Some(id) = &pool.agent else {
        // Where it stands in another spelling, that is what is told.
        if pool.misspelt.is_empty() {
            found.add(
                Rule::MemberMissing,
                AT,
                "the node agent is missing: nothing on a node would take tasks".to_owned(),
            );
        }
        return;
    };
    match image::agent(id) {
        Some(agent) => {
            let ended =
                Ended { what: agent.id, ends: agent.ends, instead: agent.instead, source: agent.source };
            found.end((Rule::AgentRetired, Rule::AgentEnding), AT, &ended);
        }
        None => found.add(
            Rule::AgentUnknown,
            AT,
            format!("{id} is in no table here, so nothing is said of its end"),
        ),
    }
    if let Some(image) = image.filter(|image| !image.agent.eq_ignore_ascii_case(id)) {
        let what = format!("{} goes with {}, not with {id}", image.name(), image.agent);
        found.add_with(Rule::AgentMismatch, AT, what, format!("use {}", image.agent));
    }
}

/// What machine and image need of each other.
fn together(
    pool: &Pool,
    machine: Option<(&'static Series, &'static Size)>,
    image: Option<&KnownImage>,
    found: &mut Found,
) {
    let Some((series, size)) = machine else { return };
    if let Some(image) =
        image.filter(|image| image.is_second_generation && series.generations == Generations::First)
    {
        let what = format!(
            "{} boots on Hyper-V's second generation only, and {} has the first",
            image.name(),
            size.name
        );
        found.add(Rule::GenerationMismatch, "imageReference", what);
    }
    let extension = pool.extensions.iter().find(|extension| {
        extension.publisher.eq_ignore_ascii_case(DRIVER_PUBLISHER)
            && extension.kind.eq_ignore_ascii_case(DRIVER_KIND)
    });
    if let Some(version) = extension.and_then(|extension| extension.version.as_ref())
        && version.matches('.').count() != 1
    {
        let what = format!("typeHandlerVersion {version} of {DRIVER_KIND} is refused");
        found.add(Rule::ExtensionVersion, "extensions", what);
    }
    let is_plain = matches!(&pool.image, Some(Image::Market { publisher, .. }) if publisher.eq_ignore_ascii_case(PLAIN_PUBLISHER));
    let lacks = match series.driver {
        Driver::Grid => Some("the GRID driver, because its GPU is virtual; no image brings it along"),
        Driver::Cuda if is_plain => Some("NVIDIA's driver, which a plain Ubuntu does not have"),
        Driver::Cuda | Driver::Amd => None,
    };
    if let Some(lacks) = lacks.filter(|_| extension.is_none()) {
        found.add(Rule::DriverMissing, "extensions", format!("{} needs {lacks}", size.name));
    }
}
