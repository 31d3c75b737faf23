//! `switchyard knobs`: what operators tune, listed, set, read again and rolled back. The handler judges a
//! set and writes it where it reads it from, a file or a vault.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Failure;
use crate::cli;
use crate::client::{Client, Error};
use crate::place::Place;
use crate::print::Printer;
use crate::render::span;

/// `GET /api/operate/knobs`
#[derive(Debug, Deserialize)]
struct Page {
    from: String,
    age_s: Option<u64>,
    is_kept: bool,
    refused: Option<String>,
    knobs: Vec<Knob>,
}

#[derive(Debug, Deserialize)]
struct Knob {
    name: String,
    value: Value,
    default: Value,
    is_given: bool,
    may_be: String,
}

/// Does what is asked for, and shows the knobs afterwards.
///
/// # Errors
/// When nothing answers, the key is no operator's, or the set is refused; and where the newest set is not
/// the one in force.
pub async fn run(command: cli::Knobs, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let client = Client::find_as_operator(command.target(), place)?;
    let ask = |method: Method, path: &'static [&'static str]| client.request(method, path);
    let is_change = matches!(command, cli::Knobs::Set(_) | cli::Knobs::Rollback(_));
    let before = match is_change {
        true => Some(read(&client.json(|| ask(Method::GET, LIST)).await?)?),
        false => None,
    };
    let page: Value = match &command {
        cli::Knobs::List(_) => client.json(|| ask(Method::GET, LIST)).await?,
        cli::Knobs::Set(set) => {
            let changes: Map<String, Value> = set.knobs.iter().map(cli::Assignment::to_json).collect();
            client.json(|| ask(Method::PATCH, LIST).json(&changes)).await?
        }
        cli::Knobs::Rollback(_) => client.json(|| ask(Method::POST, ROLLBACK)).await?,
        cli::Knobs::Refresh(_) => {
            match client.send(|| ask(Method::POST, REFRESH)).await {
                // The newest set was refused, which the list tells.
                Err(Error::Refused(refusal)) if refusal.status == 409 => {}
                answered => drop(answered?),
            }
            client.json(|| ask(Method::GET, LIST)).await?
        }
    };
    printer.record(&page);
    let page = read(&page)?;
    match before {
        Some(before) => tell_changes(&changes(&before, &page), printer),
        None => {
            printer.say(&head(&page));
            let rows: Vec<_> = page.knobs.iter().map(row).collect();
            printer.table(["knob", "value", "default", "may be"], &rows);
        }
    }
    match page.refused {
        Some(why) => Err(Failure(format!("the newest set is not in force: {why}"))),
        None => Ok(()),
    }
}

const LIST: &[&str] = &["operate", "knobs"];
const ROLLBACK: &[&str] = &["operate", "knobs", "rollback"];
const REFRESH: &[&str] = &["operate", "knobs", "refresh"];

fn read(page: &Value) -> Result<Page, Failure> {
    Page::deserialize(page).map_err(|error| Failure(format!("the page of knobs is not understood: {error}")))
}

/// What is another value than before, or is given where it was not.
fn changes(before: &Page, after: &Page) -> Vec<[String; 3]> {
    let pairs = before.knobs.iter().zip(&after.knobs);
    let pairs = pairs.filter(|(was, is)| (&was.value, was.is_given) != (&is.value, is.is_given));
    pairs.map(|(was, is)| [is.name.clone(), value(was), value(is)]).collect()
}

fn tell_changes(changes: &[[String; 3]], printer: &Printer) {
    if changes.is_empty() {
        printer.say("nothing is another value than before; `switchyard knobs list` shows them all");
    } else {
        printer.table(["knob", "was", "is"], changes);
    }
}

fn head(page: &Page) -> String {
    match page.age_s {
        Some(age) if page.is_kept => {
            format!(
                "knobs from the {}, kept from {} ago: this process could not read them yet",
                page.from,
                span(age * 1_000)
            )
        }
        Some(age) => format!("knobs from the {}, read {} ago", page.from, span(age * 1_000)),
        None => format!("the defaults: no good set was read from the {} so far", page.from),
    }
}

fn row(knob: &Knob) -> [String; 4] {
    [knob.name.clone(), value(knob), shown(&knob.default), knob.may_be.clone()]
}

fn value(knob: &Knob) -> String {
    let mark = if knob.is_given { "" } else { " (default)" };
    format!("{}{mark}", shown(&knob.value))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(change: Value) -> Page {
        let mut page =
            json!({ "from": "vault", "age_s": 65, "is_kept": false, "refused": null, "knobs": [] });
        page.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(page).unwrap()
    }

    #[test]
    fn the_head_says_where_from_and_how_old() {
        let head = |change| head(&page(change));
        assert!(head(json!({})).starts_with("knobs from the vault, read "));
        assert!(head(json!({ "is_kept": true })).contains("kept from"));
        assert!(head(json!({ "age_s": null })).starts_with("the defaults"));
    }

    #[test]
    fn a_change_shows_what_was_and_what_is() {
        let of = |value: u64, is_given: bool| {
            let knob = |name: &str, value: u64, is_given: bool| json!({ "name": name, "value": value, "default": 10, "is_given": is_given, "may_be": "" });
            page(json!({ "knobs": [knob("max-aca-replicas", value, is_given), knob("other", 1, true)] }))
        };
        let change =
            |was: &str, is: &str| vec![["max-aca-replicas".to_owned(), was.to_owned(), is.to_owned()]];
        assert_eq!(changes(&of(10, false), &of(4, true)), change("10 (default)", "4"));
        assert_eq!(changes(&of(10, true), &of(10, false)), change("10", "10 (default)"));
        assert!(changes(&of(4, true), &of(4, true)).is_empty());
    }

    #[test]
    fn a_row_tells_given_from_default() {
        let knob = |value: Value, is_given: bool| Knob {
            name: "max-usd-per-hour".to_owned(),
            value,
            default: Value::Null,
            is_given,
            may_be: "US dollars".to_owned(),
        };
        assert_eq!(row(&knob(json!(2.5), true))[1..3], ["2.5", "none"]);
        assert_eq!(row(&knob(Value::Null, false))[1], "none (default)");
    }
}
