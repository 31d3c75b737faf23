//! Routing controls of a request: headers that say when, where and for how much.

use policy::dispatch::Class;
use policy::request::{Answer, LaneWish};
use policy::units::{MicroUsd, Millis, UnixMs};

use crate::failure::Failure;
use crate::http::HeaderMap;
use crate::knobs::micro_usd;

/// Longest time until headers: the platform's ingress ends at 230 s.
pub const HEADERS_WITHIN: Millis = Millis::from_secs(220);
/// A deadline further away is a mistake.
const DEADLINE_MAX: Millis = Millis::from_secs(30 * 86_400);
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;
/// Names that a request may use; any other `Switchyard-…` is a mistake worth telling.
const KNOWN: &[&str] = &["switchyard-deadline", "switchyard-lane", "switchyard-max-cost", "switchyard-class"];

/// What the headers ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controls {
    /// `Switchyard-Deadline`, made absolute.
    pub deadline: Option<UnixMs>,
    /// `Switchyard-Lane`.
    pub lane: LaneWish,
    /// `Switchyard-Max-Cost`.
    pub max_cost: Option<MicroUsd>,
    /// `Switchyard-Class`.
    pub class: Option<Class>,
    /// How the client can take its answer.
    pub answer: Answer,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// Whether `Prefer: respond-async` was given: then the answer says that it was heard.
    pub prefers_later: bool,
}

/// Reads the controls of a request that arrived `now`.
///
/// # Errors
/// 400 that names the header and the remedy.
pub fn read(headers: &HeaderMap, now: UnixMs) -> Result<Controls, Failure> {
    let controls = read_unjudged(headers, now)?;
    controls.judge(now)?;
    Ok(controls)
}

impl Controls {
    /// Refuses a deadline that has passed.
    ///
    /// # Errors
    /// 400.
    pub fn judge(&self, now: UnixMs) -> Result<(), Failure> {
        self.deadline.map_or(Ok(()), |at| in_future(at, now))
    }
}

/// Reads controls whose deadline may have passed: a repeat gets what its key made while it had not.
///
/// # Errors
/// 400 that names the header and the remedy.
pub fn read_unjudged(headers: &HeaderMap, now: UnixMs) -> Result<Controls, Failure> {
    for name in headers.keys().map(|name| name.as_str()) {
        if name.starts_with("switchyard-") && !KNOWN.contains(&name) {
            let message =
                format!("header `{name}` is no routing control; the controls are {}", KNOWN.join(", "));
            return Err(
                Failure::new(crate::failure::Kind::Invalid, "unknown_header", message).of(name.to_owned())
            );
        }
    }
    let deadline = match text(headers, "switchyard-deadline")? {
        Some(value) => Some(instant("switchyard-deadline", value, now)?),
        None => None,
    };
    let lane = match text(headers, "switchyard-lane")? {
        Some(value) => lane(value)?,
        None => LaneWish::Auto,
    };
    let max_cost = match text(headers, "switchyard-max-cost")? {
        Some(value) => Some(max_cost(value)?),
        None => None,
    };
    let class = text(headers, "switchyard-class")?;
    let class = class.map(|value| self::class("switchyard-class", value)).transpose()?;
    let prefer = prefer(headers)?;
    if prefer.later && lane == LaneWish::Realtime {
        let message = "`Prefer: respond-async` contradicts `Switchyard-Lane: realtime`; drop one of them";
        return Err(Failure::invalid("Prefer", "contradictory_headers", message));
    }
    let answer = if prefer.later || lane == LaneWish::Deferred {
        Answer::LaterWelcome
    } else {
        Answer::Now { within: prefer.wait.unwrap_or(HEADERS_WITHIN).min(HEADERS_WITHIN) }
    };
    Ok(Controls { deadline, lane, max_cost, class, answer, key: key(headers)?, prefers_later: prefer.later })
}

/// `Idempotency-Key` alone: what it made before is looked up before anything else is judged, because a
/// deadline that was fine then may have passed by the time that a repeat arrives.
///
/// # Errors
/// 400 where it is empty or too long.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let key = text(headers, "idempotency-key")?;
    if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
        let what = format!("is empty or longer than {KEY_BYTES_MAX} bytes");
        return Err(wrong("idempotency-key", &what, "a shorter key, as a UUID"));
    }
    Ok(key.map(str::to_owned))
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(
            name,
            "repeated_header",
            format!("header `{name}` stands there twice; send one"),
        ));
    }
    let value = first.to_str().map_err(|_| wrong(name, "is not plain text", "visible ASCII"))?;
    Ok(Some(value.trim()))
}

/// What a batch's `metadata` says is told by the name that it has there.
fn wrong(name: &'static str, what: &str, wanted: &str) -> Failure {
    let (code, shown) = match name.starts_with("metadata.") {
        true => ("invalid_value", format!("`{name}`")),
        false => ("invalid_header", format!("header `{name}`")),
    };
    Failure::invalid(name, code, format!("{shown} {what}; give {wanted}"))
}

/// A deadline as the header or field `name` gives it, made absolute.
///
/// # Errors
/// 400 that names it.
pub fn deadline(name: &'static str, value: &str, now: UnixMs) -> Result<UnixMs, Failure> {
    let at = instant(name, value, now)?;
    in_future(at, now)?;
    Ok(at)
}

fn in_future(at: UnixMs, now: UnixMs) -> Result<(), Failure> {
    if at <= now {
        let message = "the deadline has passed; give one in the future. Nothing was run";
        return Err(Failure::invalid("Switchyard-Deadline", "deadline_passed", message));
    }
    Ok(())
}

fn instant(name: &'static str, value: &str, now: UnixMs) -> Result<UnixMs, Failure> {
    let wanted = "a span as 30s, 5m or 2h, or an instant as 2026-11-21T10:00:00Z";
    let bad = || wrong(name, &format!("is `{value}`"), wanted);
    let at = match span(value) {
        Some(span) => now + span,
        None => {
            let instant: jiff::Timestamp = value.parse().map_err(|_| bad())?;
            UnixMs(u64::try_from(instant.as_millisecond()).map_err(|_| bad())?)
        }
    };
    if at.since(now) > DEADLINE_MAX {
        return Err(wrong(name, "lies more than 30 days ahead", "a nearer one"));
    }
    Ok(at)
}

/// `500ms`, `30s`, `5m`, `2h` or `1d`.
fn span(text: &str) -> Option<Millis> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(each).map(Millis)
}

fn lane(value: &str) -> Result<LaneWish, Failure> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(LaneWish::Auto),
        "realtime" => Ok(LaneWish::Realtime),
        "deferred" | "batch" => Ok(LaneWish::Deferred),
        _ => Err(wrong("switchyard-lane", &format!("is `{value}`"), "auto, realtime or deferred")),
    }
}

fn max_cost(value: &str) -> Result<MicroUsd, Failure> {
    let cost = value.parse().ok().and_then(micro_usd);
    cost.ok_or_else(|| wrong("switchyard-max-cost", &format!("is `{value}`"), "US dollars, as 0.25"))
}

/// A class as the header or field `name` gives it.
///
/// # Errors
/// 400 that names it.
pub fn class(name: &'static str, value: &str) -> Result<Class, Failure> {
    let wanted = "interactive, standard or bulk";
    Class::parse(value).ok_or_else(|| wrong(name, &format!("is `{value}`"), wanted))
}

#[derive(Default)]
struct Prefer {
    later: bool,
    wait: Option<Millis>,
}

/// RFC 7240: preferences we do not know are ignored, as it demands.
fn prefer(headers: &HeaderMap) -> Result<Prefer, Failure> {
    let mut prefer = Prefer::default();
    for value in headers.get_all("prefer") {
        let value = value.to_str().map_err(|_| wrong("prefer", "is not plain text", "visible ASCII"))?;
        for one in value.split(',').map(str::trim) {
            match one.split_once('=') {
                None if one.eq_ignore_ascii_case("respond-async") => prefer.later = true,
                Some((name, seconds)) if name.trim().eq_ignore_ascii_case("wait") => {
                    let seconds = seconds.trim().parse::<u64>().ok().filter(|seconds| *seconds > 0);
                    let bad =
                        || wrong("prefer", &format!("has `{one}`"), "wait=N with whole seconds above 0");
                    prefer.wait = Some(Millis(seconds.ok_or_else(bad)?.saturating_mul(1_000)));
                }
                _ => {}
            }
        }
    }
    Ok(prefer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeaderName, HeaderValue};

    const NOW: UnixMs = UnixMs(1_793_534_400_000);

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Controls, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        read(&headers, NOW)
    }

    #[test]
    fn without_headers_the_answer_comes_now() {
        let controls = read_pairs(&[]).unwrap();
        assert_eq!(controls.answer, Answer::Now { within: HEADERS_WITHIN });
        assert_eq!((controls.deadline, controls.lane, controls.max_cost), (None, LaneWish::Auto, None));
    }

    #[test]
    fn deadlines_are_spans_or_instants() {
        let cases = [("30s", 30_000), ("500ms", 500), ("2h", 7_200_000), ("2026-11-01T12:00:10Z", 10_000)];
        for (value, after) in cases {
            let controls = read_pairs(&[("Switchyard-Deadline", value)]).unwrap();
            assert_eq!(controls.deadline, Some(NOW + Millis(after)), "{value}");
        }
    }

    #[test]
    fn wishes_are_read() {
        let deferred = read_pairs(&[("Switchyard-Lane", "batch")]).unwrap();
        assert_eq!((deferred.lane, deferred.answer), (LaneWish::Deferred, Answer::LaterWelcome));
        let later = read_pairs(&[("Prefer", "respond-async, wait=5")]).unwrap();
        assert_eq!(later.answer, Answer::LaterWelcome);
        let soon = read_pairs(&[
            ("Prefer", "wait=5"),
            ("Switchyard-Max-Cost", "0.25"),
            ("Idempotency-Key", "k"),
            ("Switchyard-Class", "bulk"),
        ])
        .unwrap();
        assert_eq!(soon.class, Some(Class::Bulk));
        assert_eq!(soon.answer, Answer::Now { within: Millis(5_000) });
        assert_eq!((soon.max_cost, soon.key.as_deref()), (Some(MicroUsd(250_000)), Some("k")));
    }

    #[test]
    fn wrong_headers_are_refused_by_name() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("Switchyard-Deadline", "soon")], "invalid_header"),
            (&[("Switchyard-Deadline", "2020-01-01T00:00:00Z")], "deadline_passed"),
            (&[("Switchyard-Deadline", "0s")], "deadline_passed"),
            (&[("Switchyard-Deadline", "900d")], "invalid_header"),
            (&[("Switchyard-Deadline", "1s"), ("Switchyard-Deadline", "2s")], "repeated_header"),
            (&[("Switchyard-Lane", "fast")], "invalid_header"),
            (&[("Switchyard-Max-Cost", "-1")], "invalid_header"),
            (&[("Switchyard-Max-Cost", "cheap")], "invalid_header"),
            (&[("Switchyard-Class", "urgent")], "invalid_header"),
            (&[("Switchyard-Lnae", "auto")], "unknown_header"),
            (&[("Prefer", "wait=soon")], "invalid_header"),
            (&[("Prefer", "respond-async"), ("Switchyard-Lane", "realtime")], "contradictory_headers"),
        ];
        for (pairs, code) in cases {
            let failure = read_pairs(pairs).unwrap_err();
            assert_eq!(failure.code, *code, "{pairs:?}");
            assert!(failure.param.is_some(), "{pairs:?}");
        }
    }
}
