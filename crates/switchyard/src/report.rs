//! `switchyard report`: what a month cost. The numbers are the handler's, in millionths of a dollar, and are
//! shown in full, so that a reader can add them up.

use serde::Deserialize as _;
use serde_json::Value;
use wire::cost::{Group, Price, Report, Unused};

use crate::Failure;
use crate::cli;
use crate::client::Client;
use crate::place::Place;
use crate::print::Printer;
use crate::render::count;

/// Shows the report of a month.
///
/// # Errors
/// When nothing answers, the key is no operator's, or there is no such month.
pub async fn run(flags: &cli::Report, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let client = Client::find_as_operator(&flags.target, place)?;
    let pairs = [("month", flags.month.as_deref()), ("by", Some(flags.by.as_str()))];
    let page: Value = client.json(|| client.query(&["status", "cost"], &pairs)).await?;
    printer.record(&page);
    let report = Report::deserialize(&page)
        .map_err(|error| Failure(format!("the report is not understood: {error}")))?;
    printer.say(&format!(
        "cost of {} by {}, in US dollars; * rests on what was assumed",
        report.month, report.by
    ));
    printer.say("");
    printer.table(
        [report.by.as_str(), "useful", "evicted", "duplicate", "total", "all realtime", "requests", "items"],
        &aligned(rows(&report)),
    );
    if !report.prices.is_empty() {
        printer.say("");
        let head = ["lane", "place", "machine", "USD an hour", "read on", "age"];
        printer.table(head, &report.prices.iter().map(price_row).collect::<Vec<_>>());
    }
    if !report.notes.is_empty() {
        printer.say("");
        report.notes.iter().for_each(|note| printer.say(&format!("note: {note}")));
    }
    Ok(())
}

type Row = [String; 8];

fn rows(report: &Report) -> Vec<Row> {
    let groups = report.groups.iter().map(group_row);
    let unused = report.unused.iter().map(unused_row);
    groups.chain(unused).chain([total_row(report)]).collect()
}

fn group_row(group: &Group) -> Row {
    [
        group.name.clone(),
        dollars(group.useful_micro_usd),
        dollars(group.evicted_micro_usd),
        dollars(group.duplicate_micro_usd),
        marked(group.total_micro_usd, group.assumed),
        marked(group.all_realtime_micro_usd, true),
        count(group.requests),
        count(group.items),
    ]
}

fn unused_row(unused: &Unused) -> Row {
    let mut row: Row = Default::default();
    row[0] = format!("{}: {} {}", unused.what, unused.lane, unused.place);
    row[4] = marked(unused.micro_usd, unused.assumed);
    // What is idle of the realtime lane would be so there too.
    if unused.lane == "realtime" {
        row[5] = marked(unused.micro_usd, unused.assumed);
    }
    row
}

fn total_row(report: &Report) -> Row {
    let sum = |of: fn(&Group) -> u64| report.groups.iter().map(of).sum::<u64>();
    [
        "total".to_owned(),
        dollars(sum(|group| group.useful_micro_usd)),
        dollars(sum(|group| group.evicted_micro_usd)),
        dollars(sum(|group| group.duplicate_micro_usd)),
        marked(report.total_micro_usd, false),
        marked(report.all_realtime_micro_usd, false),
        count(sum(|group| group.requests)),
        count(sum(|group| group.items)),
    ]
}

/// To the millionth, so that rows can be added up.
fn dollars(micro_usd: u64) -> String {
    format!("{}.{:06}", count(micro_usd / 1_000_000), micro_usd % 1_000_000)
}

fn marked(micro_usd: u64, is_assumed: bool) -> String {
    format!("{}{}", dollars(micro_usd), if is_assumed { "*" } else { " " })
}

/// Numbers end below each other.
fn aligned(mut rows: Vec<Row>) -> Vec<Row> {
    for column in 1..8 {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &mut rows {
            row[column] = format!("{:>widest$}", row[column]);
        }
    }
    rows
}

fn price_row(price: &Price) -> [String; 6] {
    let age = price.age_days.map_or("unknown".to_owned(), |days| format!("{} days", count(days)));
    [
        price.lane.clone(),
        price.place.clone(),
        price.machine.clone().unwrap_or_else(|| "-".to_owned()),
        marked(price.micro_usd_per_hour, price.assumed),
        price.read_on.clone(),
        if price.is_old { format!("{age}: too old") } else { age },
    ]
}
