//! Each rule by a pool that breaks it alone, and pools that break none.

use machines::pool::{Extension, Fetched, Image, Misspelt, Network, Pool, Scale, StartTask};
use machines::{Date, Finding, Rule, findings, image, size};

const TODAY: Date = Date::new(2026, 11, 21);

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn market(publisher: &str, offer: &str, sku: &str) -> Option<Image> {
    Some(Image::Market { publisher: publisher.to_owned(), offer: offer.to_owned(), sku: sku.to_owned() })
}

/// What a new pool should be.
fn sound() -> Pool {
    Pool {
        id: text("spot-t4"),
        vm_size: text("STANDARD_NC4AS_T4_V3"),
        image: market("microsoft-dsvm", "ubuntu-hpc", "2404"),
        agent: text("batch.node.ubuntu 24.04"),
        scale: Scale { is_auto: true, has_formula: true, interval_s: Some(300), ..Scale::default() },
        slots: Some(1),
        start_task: Some(StartTask {
            command: "/bin/sh -c 'mkdir -p $AZ_BATCH_NODE_SHARED_DIR/models'".to_owned(),
            waits: Some(true),
            run_options: None,
        }),
        identities: Some(vec!["/subscriptions/s/identities/pool".to_owned()]),
        fetched: vec![Fetched {
            at: "startTask.resourceFiles[0]".to_owned(),
            identity: text("/subscriptions/S/identities/Pool"),
            has_key: false,
        }],
        ..Pool::default()
    }
}

fn on_size(name: &str) -> Pool {
    Pool { vm_size: text(name), ..sound() }
}

fn on_image(publisher: &str, offer: &str, sku: &str, agent: &str) -> Pool {
    Pool { image: market(publisher, offer, sku), agent: text(agent), ..sound() }
}

fn started_by(command: &str) -> Pool {
    Pool { start_task: Some(StartTask { command: command.to_owned(), ..StartTask::default() }), ..sound() }
}

fn scaled(scale: Scale) -> Pool {
    Pool { scale, ..sound() }
}

fn rules(pool: &Pool) -> Vec<Rule> {
    findings(pool, TODAY).iter().map(|finding| finding.rule).collect()
}

fn extension(version: &str) -> Vec<Extension> {
    let (publisher, kind) = ("Microsoft.HpcCompute".to_owned(), "NvidiaGpuDriverLinux".to_owned());
    vec![Extension { publisher, kind, version: text(version) }]
}

#[test]
fn a_sound_pool_has_no_finding() {
    assert_eq!(findings(&sound(), TODAY), []);
    let grid = Pool { extensions: extension("1.14"), ..on_size("Standard_NV36ads_A10_v5") };
    assert_eq!(findings(&grid, TODAY), []);
    let own = Pool { image: Some(Image::Own("/subscriptions/s/galleries/g/images/i".to_owned())), ..sound() };
    assert_eq!(findings(&own, TODAY), []);
    let containers = Pool { containers: text("dockerCompatible"), ..sound() };
    assert_eq!(findings(&containers, TODAY), []);
}

/// A pool for each rule that breaks it and nothing else.
fn broken() -> Vec<(Rule, Pool)> {
    let auto = || sound().scale;
    let ubuntu = |agent: &str| on_image("microsoft-dsvm", "ubuntu-hpc", "2404", agent);
    vec![
        (Rule::SizeRetired, on_size("Standard_NC6s_v3")),
        (Rule::SizeUnknown, on_size("Standard_NC128xyz_v9")),
        (Rule::SizeWithoutGpu, on_size("Standard_D4s_v5")),
        (Rule::SizeDoubtful, on_size("Standard_NC24ads_A100_v4")),
        (Rule::ImageUnknown, on_image("someone", "ubuntu-hpc", "2404", "batch.node.ubuntu 24.04")),
        (Rule::AgentMismatch, ubuntu("batch.node.ubuntu 22.04")),
        (Rule::DriverMissing, on_size("Standard_NV6ads_A10_v5")),
        (Rule::ExtensionVersion, Pool { extensions: extension("1.14.0.1"), ..sound() }),
        (Rule::MemberMissing, Pool { vm_size: None, ..sound() }),
        (
            Rule::MemberMisspelt,
            Pool {
                agent: None,
                misspelt: vec![Misspelt {
                    found: "nodeAgentSkuId".to_owned(),
                    wanted: "nodeAgentSKUId".to_owned(),
                }],
                ..sound()
            },
        ),
        (Rule::MemberRetired, Pool { members: vec!["targetNodeCommunicationMode".to_owned()], ..sound() }),
        (Rule::IdInvalid, Pool { id: text("spot pool"), ..sound() }),
        (Rule::SizedTwice, scaled(Scale { spot: Some(2), ..auto() })),
        (Rule::FormulaMissing, scaled(Scale { has_formula: false, ..auto() })),
        (Rule::IntervalOutOfRange, scaled(Scale { interval_s: Some(60), ..auto() })),
        (Rule::AutoscaleOff, scaled(Scale { spot: Some(2), ..Scale::default() })),
        (Rule::SlotsOutOfRange, Pool { slots: Some(17), ..sound() }),
        (Rule::ContainerType, Pool { containers: text("Docker"), ..sound() }),
        (
            Rule::GpusOption,
            Pool {
                start_task: Some(StartTask { run_options: text("--gpus all"), ..StartTask::default() }),
                ..sound()
            },
        ),
        (Rule::EphemeralSpot, Pool { has_ephemeral_disk: true, ..sound() }),
        (Rule::IdentityForeign, Pool { identities: Some(vec!["/other".to_owned()]), ..sound() }),
        (Rule::NoRightToRead, Pool { fetched: vec![Fetched::default()], ..sound() }),
        (Rule::NoIdentity, Pool { identities: Some(Vec::new()), fetched: Vec::new(), ..sound() }),
        (
            Rule::NetworkConflict,
            Pool { network: Network { has_endpoints: true, is_private: true }, ..sound() },
        ),
        (Rule::ShellMissing, started_by("mkdir a && mkdir b")),
        (Rule::StartInstalls, started_by("/bin/bash -c 'apt-get -y install python3'")),
        (
            Rule::StartNotAwaited,
            Pool { start_task: Some(StartTask { waits: Some(false), ..StartTask::default() }), ..sound() },
        ),
    ]
}

#[test]
fn each_rule_is_found_alone() {
    for (rule, pool) in broken() {
        assert_eq!(rules(&pool), [rule], "{pool:?}");
    }
}

#[test]
fn what_comes_only_in_company_is_found_too() {
    let old =
        on_image("Microsoft-Azure-Batch", "ubuntu-server-container", "20-04-lts", "batch.node.ubuntu 20.04");
    assert_eq!(rules(&old), [Rule::ImageRetired, Rule::AgentRetired, Rule::ContainersMissing]);
    assert_eq!(rules(&on_size("Standard_NC6")), [Rule::SizeRetired, Rule::GenerationMismatch]);
    assert_eq!(
        rules(&on_size("Standard_NV4as_v4")),
        [Rule::SizeRetired, Rule::GenerationMismatch, Rule::GpuUnused]
    );
    let plain = on_image("canonical", "ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04");
    assert_eq!(rules(&plain), [Rule::DriverMissing, Rule::ImageUnknown]);
    assert_eq!(
        rules(&Pool { agent: text("batch.node.el 9"), ..sound() }),
        [Rule::AgentMismatch, Rule::AgentUnknown]
    );
    let managed = Pool { image: Some(Image::Own("/subscriptions/s/images/i".to_owned())), ..sound() };
    assert_eq!(rules(&managed), [Rule::ImageRetired]);
    assert_eq!(rules(&Pool::default()).iter().filter(|rule| **rule == Rule::MemberMissing).count(), 3);
}

#[test]
fn every_rule_is_seen_in_these_tests() {
    let by_time = [Rule::SizeEnding, Rule::ImageEnding, Rule::AgentEnding];
    let in_company = [
        Rule::ImageRetired,
        Rule::AgentRetired,
        Rule::ContainersMissing,
        Rule::GenerationMismatch,
        Rule::GpuUnused,
        Rule::AgentUnknown,
    ];
    let mut seen: Vec<Rule> =
        broken().into_iter().map(|(rule, _)| rule).chain(by_time).chain(in_company).collect();
    seen.sort_unstable();
    assert_eq!(seen, Rule::ALL);
}

#[test]
fn ends_are_told_half_a_year_before() {
    let pool = on_image("microsoft-dsvm", "ubuntu-hpc", "2204", "batch.node.ubuntu 22.04");
    let on = |day| -> Vec<Rule> { findings(&pool, day).iter().map(|finding| finding.rule).collect() };
    assert_eq!(on(Date::new(2026, 12, 29)), []);
    assert_eq!(on(Date::new(2026, 12, 30)), [Rule::ImageEnding, Rule::AgentEnding]);
    assert_eq!(on(Date::new(2027, 6, 29)), [Rule::ImageEnding, Rule::AgentEnding]);
    assert_eq!(on(Date::new(2027, 6, 30)), [Rule::ImageRetired, Rule::AgentRetired]);
    let size = findings(&on_size("Standard_NV12s_v3"), Date::new(2026, 5, 1));
    assert_eq!(size[0].rule, Rule::DriverMissing);
    let Finding { rule, what, remedy, at, .. } = &size[1];
    assert_eq!((*rule, at.as_str()), (Rule::SizeEnding, "vmSize"));
    assert!(what.contains("ends on 2026-09-30 (Azure/EOL service_list.json"), "{what}");
    assert!(remedy.starts_with("use Standard_NC4as_T4_v3; "), "{remedy}");
}

#[test]
fn the_worst_comes_first_and_rules_have_names_of_their_own() {
    for (one, next) in Rule::ALL.iter().zip(&Rule::ALL[1..]) {
        assert!(one.severity() >= next.severity(), "{one} before {next}");
    }
    let mut names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Rule::ALL.len());
}

#[test]
fn the_tables_hold_together() {
    for series in size::SERIES {
        for size in series.sizes {
            assert_eq!(size::find(&size.name.to_lowercase()), Some((series, size)), "a name stands twice");
            assert!(size.gpus > 0 && size.gpu_gib > 0 && size.vcpus > 0);
        }
        assert!(
            series.instead.is_some() || (series.ends.is_none() && series.doubt.is_none()),
            "{}",
            series.name
        );
        let instead = series.instead.and_then(|instead| size::find(instead.split(',').next()?));
        let is_live = |(series, _): (&size::Series, _)| series.ends.is_none();
        assert!(series.instead.is_none() || instead.is_some_and(is_live), "{}", series.name);
    }
    for image in image::IMAGES {
        let agent = image::agent(image.agent).expect("an image's agent is in the table");
        assert_eq!(agent.ends, image.ends, "{}", image.name());
        assert_eq!(image::find(image.publisher, image.offer, image.sku), Some(image), "a name stands twice");
        assert_eq!(image.ends.is_some(), image.instead.is_some(), "{}", image.name());
    }
}
