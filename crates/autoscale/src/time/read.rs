//! Moments from text: W3C-DTF (the profile of ISO 8601) and RFC 1123.

use super::{Field, TICKS_PER_DAY, TICKS_PER_SECOND, Timestamp, days_from_civil};

/// Digits of a second's fraction: a tick is the seventh. Longer fractions made the service refuse
/// a formula (nextflow issue 3866), so they are refused here.
const FRACTION_DIGITS_MAX: usize = 7;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    w3c_dtf(text).or_else(|| rfc_1123(text))
}

/// `2016`, `2016-10`, `2016-10-13`, `2016-10-13T19:18Z`, `2016-10-13T19:18:47.805+02:00`.
fn w3c_dtf(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| number(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| number(day, 2))?;
    // A time needs a whole date before it.
    if parts.next().is_some() || (time.is_some() && date.len() != "2016-10-13".len()) {
        return None;
    }
    let days = days_from_civil(year, month, day)?;
    let ticks = time.map_or(Some(0), ticks_with_zone)?;
    Some(Timestamp(days * TICKS_PER_DAY + ticks))
}

/// `19:18:47.805Z`, `19:18+02:00`: ticks since midnight UTC, negative or past a day by the zone.
fn ticks_with_zone(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, f)| (clock, Some(f)));
    // A fraction needs seconds before it.
    if fraction.is_some() && clock.len() != "19:18:47".len() {
        return None;
    }
    let fraction = fraction.map_or(Some(0), ticks_of_fraction)?;
    Some(seconds_of_day(clock)? * TICKS_PER_SECOND + fraction - zone_seconds(zone)? * TICKS_PER_SECOND)
}

fn ticks_of_fraction(digits: &str) -> Option<i64> {
    if digits.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let scale = 10_i64.pow((FRACTION_DIGITS_MAX - digits.len()) as u32);
    Some(number(digits, digits.len())? * scale)
}

fn zone_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let offset = zone.get(1..).filter(|offset| offset.len() == "02:00".len())?;
    Some(sign * seconds_of_day(offset)?)
}

/// `19:18` or `19:18:47`.
fn seconds_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = parts.next().map_or(Some(0), |second| number(second, 2).filter(|second| *second < 60))?;
    parts.next().is_none().then_some(hour * 3_600 + minute * 60 + second)
}

/// `Thu, 13 Oct 2016 19:18:47 GMT`; the weekday must be that of the date.
fn rfc_1123(text: &str) -> Option<Timestamp> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [weekday, day, month, year, clock, "GMT"] = parts[..] else { return None };
    let weekday = place(&WEEKDAYS, weekday.strip_suffix(',')?)?;
    let days = days_from_civil(number(year, 4)?, place(&MONTHS, month)?, number(day, 2)?)?;
    let second = seconds_of_day(clock).filter(|_| clock.len() == "19:18:47".len())?;
    let at = Timestamp(days * TICKS_PER_DAY + second * TICKS_PER_SECOND);
    (at.field(Field::Weekday) == weekday).then_some(at)
}

/// The place of a name in a list, from 1.
fn place(names: &[&str], name: &str) -> Option<i64> {
    names.iter().zip(1..).find(|(known, _)| **known == name).map(|(_, place)| place)
}

/// Exactly that many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}
