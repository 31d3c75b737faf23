//! A catalogue is taken whole or refused with every problem.

use policy::units::MicroUsd;

use super::*;
use crate::settings::Settings;

/// What other tests check catalogues of their own with.
pub(crate) fn context() -> Context {
    let settings = Settings::read(Some("127.0.0.1:0"), |name| match name {
        "BLOB_URL" => Some("file:///tmp".to_owned()),
        "KNOBS_FILE" => Some("k".to_owned()),
        "VLLM_API_KEY" => Some("secret-of-the-backend".to_owned()),
        _ => None,
    });
    let secrets = settings.expect("these settings are enough").secrets;
    Context {
        default_backend: None,
        default_pool: None,
        secrets,
        has_batch: false,
        loopback_only: false,
        webhooks_allow_private: false,
    }
}

const GOOD: &str = r#"{"v":1,
  "models":[{"id":"m","aliases":["org/m"],"operations":["embeddings"],"version":"v1","owned_by":"us","dimensions":4}],
  "backends":[{"name":"b","url":"http://127.0.0.1:9/","region":"local","models":["m"],"style":"openai",
    "api_key_setting":"VLLM_API_KEY","usd_per_replica_hour":1.5,"price_date":"2026-11-01","slots_per_replica":2,
    "max_replicas":3,"speed":{"base_ms":4,"p95_percent":150},"cold_start_ms":{"p50":10,"p95":20}}],
  "tenants":[{"id":"t","keys":[{"prefix":"aaaaaaaa","permissions":["submit"],
    "sha256":"0000000000000000000000000000000000000000000000000000000000000001"}]}]}"#;

#[test]
fn a_good_one_is_indexed() {
    let catalogue = parse(GOOD.as_bytes(), &context()).unwrap();
    assert_eq!(catalogue.model("org/m").unwrap().spec.id, "m");
    assert!(catalogue.model("other").is_none());
    let backend = catalogue.backend("b").unwrap();
    assert_eq!(backend.url, "http://127.0.0.1:9");
    assert_eq!(backend.facts.price_per_replica_hour, MicroUsd(1_500_000));
    assert_eq!(catalogue.key("aaaaaaaa").unwrap().sha256[31], 1);
    let shown = format!("{catalogue:?}");
    assert!(!shown.contains("secret-of-the-backend"), "keys stay out of debug output");
}

#[test]
fn an_alias_may_mean_several_versions_and_an_id_never() {
    let second =
        r#"{"id":"m2","aliases":["org/m"],"operations":["embeddings"],"version":"v2","owned_by":"us"}"#;
    let both = GOOD.replacen(r#""dimensions":4}]"#, &format!(r#""dimensions":4}},{second}]"#), 1);
    let catalogue = parse(both.as_bytes(), &context()).unwrap();
    let asked = |name, version| catalogue.asked(name, version).map(|model| model.spec.id.clone());
    for (name, version, id) in [
        ("org/m", "v1", "m"),
        ("org/m", "v2", "m2"),
        ("org/m", "v3", "m"),
        ("m", "v2", "m"),
        ("m2", "v1", "m2"),
    ] {
        assert_eq!(asked(name, version).as_deref(), Some(id), "{name} at {version}");
    }
    assert_eq!(asked("other", "v1"), None);
    for wrong in [both.replacen("\"v2\"", "\"v1\"", 1), both.replacen("\"m2\"", "\"org/m\"", 1)] {
        let problems = parse(wrong.as_bytes(), &context()).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.contains("`org/m` stands there twice")),
            "{problems:?}"
        );
    }
}

#[test]
fn wrong_ones_are_refused_with_the_culprit() {
    let cases = [
        (r#""v":1"#, r#""v":2"#, "v is 2"),
        (r#""models":["m"]"#, r#""models":["x"]"#, "`x`"),
        (r#""aliases":["org/m"]"#, r#""aliases":["m"]"#, "model name `m`"),
        ("http://127.0.0.1:9/", "ftp://x", "http(s)"),
        ("VLLM_API_KEY", "AzureWebJobsStorage", "must end in _API_KEY"),
        ("VLLM_API_KEY", "OTHER_API_KEY", "OTHER_API_KEY is not set"),
        (r#""slots_per_replica":2"#, r#""slots_per_replica":0"#, "slots_per_replica"),
        (r#""slots_per_replica":2"#, r#""slots_per_replica":4097"#, "from 1 to 4096"),
        ("1.5", "-1.5", "usd_per_replica_hour"),
        (r#""usd_per_replica_hour":1.5,"price_date":"2026-11-01","#, "", "give usd_per_replica_hour"),
        (r#""price_date":"2026-11-01","#, "", "give price_date"),
        (r#""id":"t","#, r#""id":"t","labels":{"colour":"red"},"#, "label `colour`"),
        (r#""id":"t","#, r#""id":"t","labels":{"team":" "},"#, "label `team`"),
        ("0000000000000001", "000000000000000x", "hexadecimal"),
        (r#""region""#, r#""regoin""#, "regoin"),
        (r#""id":"t""#, r#""id":"a/b""#, "a/b"),
        (r#""style":"openai""#, r#""style":"azure_openai""#, "api_version"),
        (r#""id":"t","#, r#""id":"t","limits":{"usd_per_day":-0.5},"#, "usd_per_day"),
        (r#""id":"t","#, r#""id":"t","limits":{"usd_per_day":1e7},"#, "usd_per_day"),
        (
            r#""id":"t","#,
            r#""id":"t","webhooks":[{"url":"http://x","secret_setting":"x"}],"#,
            "tenant `t`: webhook",
        ),
        (
            r#""id":"t","#,
            r#""id":"t","webhooks":[{"url":"https://x","events":["batch.begun"],"secret_setting":"x"}],"#,
            "batch.begun",
        ),
    ];
    for (good, bad, told) in cases {
        assert!(GOOD.contains(good), "{good}");
        let problems = parse(GOOD.replacen(good, bad, 1).as_bytes(), &context()).unwrap_err();
        let tellings = problems.iter().filter(|problem| problem.contains(told)).count();
        assert_eq!(tellings, 1, "{told}: {problems:?}");
    }
}

#[test]
fn a_class_has_a_built_in_price_which_is_told_as_assumed() {
    let class = r#""gpu_class":"Standard_NC4as_T4_v3","#;
    let text = GOOD.replacen(r#""usd_per_replica_hour":1.5,"price_date":"2026-11-01","#, class, 1);
    let catalogue = parse(text.as_bytes(), &context()).unwrap();
    let backend = catalogue.backend("b").unwrap();
    let price = (backend.facts.price_per_replica_hour, backend.price_date.as_str(), backend.price_assumed);
    assert_eq!(price, (MicroUsd(1_559_000), "2026-08-01", true));
}

#[test]
fn a_leap_of_a_price_is_not_taken_until_it_is_confirmed() {
    let with = |usd: &str, more: &str| {
        let price = format!(r#""usd_per_replica_hour":{usd},"price_date":"2026-11-20",{more}"#);
        let text = GOOD.replacen(r#""usd_per_replica_hour":1.5,"price_date":"2026-11-01","#, &price, 1);
        parse(text.as_bytes(), &context()).unwrap()
    };
    let in_force = prices::InForce::of(&parse(GOOD.as_bytes(), &context()).unwrap());
    let cases = [
        ("4.5", "", 4.5, "2026-11-20", 0),
        ("4.6", "", 1.5, "2026-11-01", 1),
        ("0.4", "", 1.5, "2026-11-01", 1),
        ("0", "", 1.5, "2026-11-01", 1),
        ("4.6", r#""confirm_price":"2026-11-19","#, 1.5, "2026-11-01", 1),
        ("4.6", r#""confirm_price":"2026-11-20","#, 4.6, "2026-11-20", 0),
    ];
    for (usd, more, taken, date, held) in cases {
        let mut catalogue = with(usd, more);
        catalogue.hold_leaps(&in_force);
        let backend = catalogue.backend("b").unwrap();
        assert_eq!(backend.facts.price_per_replica_hour.usd(), taken, "{usd} {more}");
        assert_eq!((backend.price_date.as_str(), catalogue.held_prices.len()), (date, held), "{usd} {more}");
    }
    let mut new = with("9", "");
    new.hold_leaps(&prices::InForce::default());
    assert!(new.held_prices.is_empty(), "a place that is new has no price to leap from");
    // What is held stays so: the prices in force are those that were kept.
    let mut held = with("9", "");
    held.hold_leaps(&in_force);
    assert_eq!(prices::InForce::of(&held), in_force);
    assert!(held.held_prices[0].contains(r#"`"confirm_price": "2026-11-20"`"#), "{:?}", held.held_prices);
}

#[test]
fn settings_add_a_backend_and_a_pool() {
    let defaults = Context {
        default_backend: Some(Url::parse("https://app.example").unwrap()),
        default_pool: Some("gpu".to_owned()),
        ..context()
    };
    let catalogue = parse(GOOD.as_bytes(), &defaults).unwrap();
    assert_eq!(catalogue.backend("default").unwrap().models, ["m"]);
    assert_eq!(catalogue.pools[0].facts.name, "gpu");
    let known = Context { default_backend: Some(Url::parse("http://127.0.0.1:9").unwrap()), ..context() };
    assert!(parse(GOOD.as_bytes(), &known).unwrap().backend("default").is_none());
    let scaled = Context { loopback_only: true, ..defaults };
    assert!(parse(GOOD.as_bytes(), &scaled).is_err());
}

#[tokio::test]
async fn the_last_good_one_stays() {
    let holding = Holding::default();
    assert!(holding.now().is_none());
    holding.refuse("broken".to_owned());
    assert!(matches!(holding.state(), State::Missing(_)));
    assert!(holding.first().await.is_none(), "a failed load is not waited for");
    holding.accept(parse(GOOD.as_bytes(), &context()).unwrap(), 5);
    holding.refuse("newer is broken".to_owned());
    assert!(holding.now().is_some());
    assert!(matches!(holding.state(), State::Loaded { refused: Some(_), read_ms: 5, .. }));
    holding.confirm(9);
    assert!(matches!(holding.state(), State::Loaded { refused: None, read_ms: 9, .. }));
}
