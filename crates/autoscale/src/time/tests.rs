//! The calendar against known moments, and reading back what is printed.

use super::*;

#[test]
fn moments_are_read_and_printed() {
    for (text, printed) in [
        ("2016", "2016-01-01T00:00:00.000Z"),
        ("2016-10", "2016-10-01T00:00:00.000Z"),
        ("2016-10-13", "2016-10-13T00:00:00.000Z"),
        ("2016-10-13T19:18Z", "2016-10-13T19:18:00.000Z"),
        ("2016-10-13T19:18:47Z", "2016-10-13T19:18:47.000Z"),
        ("2016-10-13T19:18:47.805Z", "2016-10-13T19:18:47.805Z"),
        ("2016-10-13T19:18:47.8056789Z", "2016-10-13T19:18:47.805Z"),
        ("2016-10-13T01:18:47.805+02:00", "2016-10-12T23:18:47.805Z"),
        ("2016-12-31T23:30:00-00:45", "2017-01-01T00:15:00.000Z"),
        ("Thu, 13 Oct 2016 19:18:47 GMT", "2016-10-13T19:18:47.000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000Z"),
        ("0000-01-01", "0000-01-01T00:00:00.000Z"),
    ] {
        let at = Timestamp::parse(text).unwrap_or_else(|| panic!("{text} is a moment"));
        assert_eq!(at.to_string(), printed, "{text}");
    }
}

#[test]
fn what_is_no_moment_is_refused() {
    for text in [
        "yesterday",
        "2016-13-01",
        "2023-02-29",
        "2016-10-13T19:18:47",
        "2016-10-13T19Z",
        "2016-10T19:18Z",
        "2016-10-13T24:00Z",
        "2016-10-13T19:18:47.80567891Z",
        "2016-10-13T19:18.5Z",
        "2016-10-13T19:18:47+02",
        "Fri, 13 Oct 2016 19:18:47 GMT",
        "Thu, 13 Oct 2016 19:18 GMT",
        "Thu 13 Oct 2016 19:18:47 GMT",
        "2016-10-13T19:18:47é",
        "",
    ] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}

#[test]
fn the_fields_are_those_of_the_calendar() {
    let fields = |text| {
        let at = Timestamp::parse(text).expect("a moment");
        Field::ALL.map(|field| at.field(field))
    };
    assert_eq!(fields("2016-10-13T19:18:47.805Z"), [2016, 10, 13, 4, 19, 18, 47]);
    assert_eq!(fields("2026-11-23T00:00:00Z"), [2026, 11, 23, 1, 0, 0, 0]);
    assert_eq!(fields("1969-12-28T23:59:59Z"), [1969, 12, 28, 7, 23, 59, 59]);
}

#[test]
fn every_day_of_two_centuries_comes_back() {
    for days in -36_525..=36_525 {
        let (year, month, day) = civil_from_days(days);
        assert_eq!(days_from_civil(year, month, day), Some(days));
    }
}

#[test]
fn spans_print_as_in_dot_net() {
    for (ticks, printed) in [
        (0, "00:00:00"),
        (Unit::Minute.interval().0 * 90, "01:30:00"),
        (Unit::Week.interval().0, "7.00:00:00"),
        (-Unit::Second.interval().0, "-00:00:01"),
        (1, "00:00:00.0000001"),
    ] {
        assert_eq!(Interval(ticks).to_string(), printed);
    }
}

#[test]
fn the_ends_of_time_print() {
    for at in [i64::MIN, i64::MAX] {
        assert!(Timestamp(at).to_string().ends_with('Z'));
        assert!(Interval(at).to_string().contains(':'));
    }
}
