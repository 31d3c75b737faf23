//! `/api/status/cost`: what a month cost, by team, tenant, lane, model or job. [`report`] makes it of the
//! ledger's sums.

mod report;

use policy::units::UnixMs;
use url::form_urlencoded;

use crate::act::ledger::sums;
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::{self, Request, Response};

use report::By;

/// Answers `?month=2026-11&by=team`; without them, this month by team.
///
/// # Errors
/// 400 where a parameter is none that there is; 503 while the ledger cannot be read.
pub async fn answer(app: &App, request: &Request) -> Result<Response, Failure> {
    let now = app.now();
    let asked = asked(request.query.as_deref().unwrap_or_default(), now)?;
    let sums = sums::of_days(&app.store, asked.month.days(), now).await.map_err(|error| {
        tracing::warn!(%error, "the ledger cannot be read");
        Failure::new(Kind::Unavailable, "ledger_unavailable", "the ledger cannot be read now; try again")
            .retry_after(2_000)
    })?;
    Ok(http::json(200, &report::report(&sums, &asked, now)))
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    month: Month,
    by: By,
}

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month(jiff::civil::Date);

impl Month {
    fn parse(text: &str) -> Option<Month> {
        let first: jiff::civil::Date = format!("{text}-01").parse().ok()?;
        // Unix days do not go back, and no ledger is that old.
        (text.len() == "2026-11".len() && (2_000..2_100).contains(&first.year())).then_some(Month(first))
    }

    fn of(now: UnixMs) -> Month {
        let instant = jiff::Timestamp::from_millisecond(i64::try_from(now.0).unwrap_or(i64::MAX));
        Month(
            instant.unwrap_or(jiff::Timestamp::MAX).to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month(),
        )
    }

    /// Its Unix days.
    fn days(self) -> std::ops::Range<u64> {
        let day = |date: jiff::civil::Date| {
            let since = date.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days());
            u64::try_from(since).unwrap_or(0)
        };
        day(self.0)..day(self.0.last_of_month()) + 1
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m"))
    }
}

fn asked(query: &str, now: UnixMs) -> Result<Asked, Failure> {
    let mut asked = Asked { month: Month::of(now), by: By::Label("team") };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "month" => {
                let message = format!("`month` is `{value:.32}`; give a month as 2026-11");
                let wrong = || Failure::invalid("month", "invalid_month", message);
                asked.month = Month::parse(&value).ok_or_else(wrong)?;
            }
            "by" => {
                let wrong =
                    || Failure::invalid("by", "invalid_grouping", format!("by is one of {}", By::names()));
                asked.by = By::parse(&value).ok_or_else(wrong)?;
            }
            _ => {}
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests;
