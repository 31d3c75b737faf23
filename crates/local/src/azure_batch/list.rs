//! Lists as the service gives them: `$filter`, `$select`, `maxresults`, and `odata.nextLink` where
//! there is more.

use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::operation::Query;

/// The service's largest page, and the one that is given when none is asked for.
const PAGE_MAX: usize = 1000;
/// Comparisons in one filter. The service's own bound is not published.
const CLAUSES_MAX: usize = 20;

/// How a list, or one object, is asked for.
pub(super) struct Asked {
    filter: Vec<Clause>,
    select: Option<Vec<String>>,
    page: usize,
    /// The key of the last item of the page before.
    after: Option<String>,
}

impl Asked {
    pub(super) fn read(query: &Query) -> Result<Asked, Fault> {
        let page = match query.get("maxresults") {
            None => PAGE_MAX,
            Some(text) => match text.parse() {
                Ok(page @ 1..=PAGE_MAX) => page,
                _ => return Err(Fault::query("maxresults", "it is from 1 to 1000")),
            },
        };
        let select =
            query.get("$select").map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
        let filter = query.get("$filter").map(filter).transpose()?.unwrap_or_default();
        Ok(Asked { filter, select, page, after: query.get("$skiptoken").map(str::to_owned) })
    }

    /// One page of items in the order of their keys. `next` makes the address of the page after a
    /// key.
    pub(super) fn page<'a, T>(
        &self,
        items: impl Iterator<Item = (&'a str, T)>,
        show: impl Fn(T) -> Value,
        next: impl Fn(&str) -> String,
    ) -> Value {
        let mut value = Vec::new();
        let mut last = "";
        for (key, item) in items.filter(|(key, _)| self.after.as_deref().is_none_or(|after| *key > after)) {
            let item = show(item);
            if !self.filter.iter().all(|clause| clause.holds(&item)) {
                continue;
            }
            if value.len() == self.page {
                return json!({"value": value, "odata.nextLink": next(last)});
            }
            value.push(self.selected(item));
            last = key;
        }
        json!({"value": value})
    }

    /// The members that were asked for, whole where a path leads into one.
    pub(super) fn selected(&self, item: Value) -> Value {
        let (Some(select), Value::Object(item)) = (&self.select, &item) else { return item };
        let wanted = |name: &String| select.iter().any(|path| path.split('/').next() == Some(name));
        let members: Map<_, _> =
            item.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        Value::Object(members)
    }
}

/// One comparison of a filter.
#[derive(Debug, PartialEq)]
struct Clause {
    path: Vec<String>,
    operator: Operator,
    literal: Literal,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
}

#[derive(Debug, PartialEq)]
enum Literal {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// Comparisons joined by `and`, and `startswith(path,'text')`: what the official clients' own
/// examples use. `or`, `not` and brackets are refused.
fn filter(text: &str) -> Result<Vec<Clause>, Fault> {
    let clauses = conjuncts(text);
    if clauses.len() > CLAUSES_MAX {
        return Err(Fault::query("$filter", "it has too many comparisons"));
    }
    let wrong = || {
        Fault::query("$filter", "the Azure Batch stand-in reads comparisons joined by and, and startswith")
    };
    clauses.iter().map(|text| clause(text.trim()).ok_or_else(wrong)).collect()
}

/// Cuts at ` and ` outside quotes. A doubled quote inside a text leaves the count even.
fn conjuncts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, found) in text.match_indices(" and ") {
        if at >= begin && text[..at].matches('\'').count().is_multiple_of(2) {
            parts.push(&text[begin..at]);
            begin = at + found.len();
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn clause(text: &str) -> Option<Clause> {
    let path = |path: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '/';
        (!path.is_empty() && path.chars().all(allowed)).then(|| path.split('/').map(str::to_owned).collect())
    };
    if let Some(inside) = text.strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')')) {
        let (name, given) = inside.split_once(',')?;
        let literal @ Literal::Text(_) = literal(given.trim())? else { return None };
        return Some(Clause { path: path(name.trim())?, operator: Operator::StartsWith, literal });
    }
    let (name, rest) = text.split_once(' ')?;
    let (operator, given) = rest.trim_start().split_once(' ')?;
    let operator = match operator {
        "eq" => Operator::Equal,
        "ne" => Operator::NotEqual,
        "lt" => Operator::Less,
        "le" => Operator::LessOrEqual,
        "gt" => Operator::Greater,
        "ge" => Operator::GreaterOrEqual,
        _ => return None,
    };
    Some(Clause { path: path(name)?, operator, literal: literal(given.trim())? })
}

fn literal(text: &str) -> Option<Literal> {
    // Older clients mark times: datetime'2026-11-21T00:00:00Z'.
    let quoted = text.strip_prefix("datetime").or(text.strip_prefix("DateTime")).unwrap_or(text);
    if let Some(inside) = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        let bare = inside.replace("''", "");
        return (!bare.contains('\'')).then(|| Literal::Text(inside.replace("''", "'")));
    }
    match text {
        "true" => Some(Literal::Flag(true)),
        "false" => Some(Literal::Flag(false)),
        number => number.parse().ok().map(Literal::Number),
    }
}

impl Clause {
    fn holds(&self, item: &Value) -> bool {
        let found = self.path.iter().try_fold(item, |value, name| value.get(name));
        let order = match (&self.literal, found) {
            (Literal::Text(text), Some(Value::String(found))) => {
                if self.operator == Operator::StartsWith {
                    return found.starts_with(text.as_str());
                }
                Some(found.as_str().cmp(text))
            }
            (Literal::Number(number), Some(Value::Number(found))) => {
                found.as_f64().and_then(|found| found.partial_cmp(number))
            }
            (Literal::Flag(flag), Some(Value::Bool(found))) => Some(found.cmp(flag)),
            _ => None,
        };
        let Some(order) = order else { return self.operator == Operator::NotEqual };
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::StartsWith => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Asked, Fault> {
        Asked::read(&Query::read(query))
    }

    #[test]
    fn filters_pick_what_they_say() {
        let item = json!({"id": "it's", "state": "completed", "n": 3, "isDedicated": false,
            "executionInfo": {"result": "failure"}});
        let cases = [
            ("state eq 'completed'", Some(true)),
            ("state eq 'active'", Some(false)),
            ("state ne 'active'", Some(true)),
            ("id eq 'it''s' and state eq 'completed'", Some(true)),
            ("executionInfo/result eq 'failure'", Some(true)),
            ("executionInfo/missing eq 'failure'", Some(false)),
            ("n ge 3 and n lt 4", Some(true)),
            ("isDedicated eq true", Some(false)),
            ("startswith(id,'it')", Some(true)),
            ("id eq ' and '", Some(false)),
            ("state gt datetime'2026-11-21T00:00:00Z'", Some(true)),
            ("state eq 'completed' or n eq 1", None),
            ("not (n eq 1)", None),
            ("state", None),
            ("state eq completed", None),
        ];
        for (text, expected) in cases {
            let found = filter(text).ok().map(|clauses| clauses.iter().all(|clause| clause.holds(&item)));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn pages_follow_each_other_without_gaps_or_repeats() {
        let keys: Vec<String> = (0..7).map(|number| format!("k{number}")).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let skip = after.map(|key: String| format!("&$skiptoken={key}")).unwrap_or_default();
            let asked =
                asked(&format!("maxresults=3&$select=id&$filter=odd%20eq%20false{skip}")).ok().unwrap();
            let items = keys.iter().enumerate().map(|(number, key)| (key.as_str(), number));
            let show = |number: usize| json!({"id": number, "odd": number % 2 == 1});
            let page = asked.page(items, show, str::to_owned);
            seen.extend(page["value"].as_array().unwrap().clone());
            match page["odata.nextLink"].as_str() {
                Some(key) => after = Some(key.to_owned()),
                None => break,
            }
        }
        assert_eq!(Value::from(seen), json!([{"id": 0}, {"id": 2}, {"id": 4}, {"id": 6}]));
        for bad in ["maxresults=0", "maxresults=1001", "maxresults=x"] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
