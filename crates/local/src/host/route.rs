//! Route templates as ASP.NET has them: literals, `{name}`, `{name?}`, `{name:int}`, `{*rest}`.

use std::cmp::Ordering;

/// A template, split at slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter { name: String, constraint: Option<String>, optional: bool },
    Rest { name: String },
}

/// Route values in the template's order; an optional parameter that is absent has none.
pub(super) type Values = Vec<(String, Option<String>)>;

impl Template {
    /// Reads `prefix/route`.
    pub(super) fn parse(prefix: &str, route: &str) -> Template {
        let whole = format!("{prefix}/{route}");
        let segments = whole.split('/').filter(|part| !part.is_empty()).map(segment).collect();
        Template { segments }
    }

    /// The route values, if the path (split and percent-decoded) matches.
    pub(super) fn matches(&self, path: &[String]) -> Option<Values> {
        let mut values = Vec::new();
        let mut rest = path;
        for segment in &self.segments {
            match segment {
                Segment::Rest { name } => {
                    let value = (!rest.is_empty()).then(|| rest.join("/"));
                    values.push((name.clone(), value));
                    return Some(values);
                }
                Segment::Literal(text) => {
                    let (first, after) = rest.split_first()?;
                    first.eq_ignore_ascii_case(text).then_some(())?;
                    rest = after;
                }
                Segment::Parameter { name, optional: true, .. } if rest.is_empty() => {
                    values.push((name.clone(), None))
                }
                Segment::Parameter { name, constraint, .. } => {
                    let (first, after) = rest.split_first()?;
                    allowed(first, constraint.as_deref()).then_some(())?;
                    values.push((name.clone(), Some(first.clone())));
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(values)
    }

    /// Literals before constrained parameters before parameters before the rest, from the left.
    pub(super) fn precedence(&self, other: &Template) -> Ordering {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Parameter { constraint: Some(_), .. } => 1,
            Segment::Parameter { .. } => 2,
            Segment::Rest { .. } => 3,
        };
        let ranks = |template: &Template| template.segments.iter().map(rank).collect::<Vec<_>>();
        ranks(self).cmp(&ranks(other))
    }
}

fn segment(text: &str) -> Segment {
    let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return Segment::Literal(text.to_owned());
    };
    if let Some(name) = inner.strip_prefix("**").or_else(|| inner.strip_prefix('*')) {
        return Segment::Rest { name: name.to_owned() };
    }
    let (inner, optional) = inner.strip_suffix('?').map_or((inner, false), |inner| (inner, true));
    let (name, constraint) =
        inner.split_once(':').map_or((inner, None), |(name, rule)| (name, Some(rule.to_owned())));
    Segment::Parameter { name: name.to_owned(), constraint, optional }
}

/// The constraints that appear in practice; others let everything pass, as they would if they held.
fn allowed(value: &str, constraint: Option<&str>) -> bool {
    match constraint {
        Some("int") => value.parse::<i32>().is_ok(),
        Some("long") => value.parse::<i64>().is_ok(),
        Some("bool") => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
        Some("alpha") => value.chars().all(|c| c.is_ascii_alphabetic()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(route: &str, path: &str) -> Option<Vec<String>> {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let values = Template::parse("api", route).matches(&path)?;
        Some(
            values.into_iter().map(|(name, value)| format!("{name}={}", value.unwrap_or_default())).collect(),
        )
    }

    #[test]
    fn templates_match() {
        let cases: &[(&str, &str, Option<&[&str]>)] = &[
            ("route/{id?}", "api/route", Some(&["id="])),
            ("route/{id?}", "api/Route/x1", Some(&["id=x1"])),
            ("route/{id:int}", "api/route/x", None),
            ("v1/{*path}", "api/v1", Some(&["path="])),
            ("v1/{*path}", "api/v1/chat/completions", Some(&["path=chat/completions"])),
            ("health", "api/health/x", None),
            ("health", "health", None),
        ];
        for (route, path, expected) in cases {
            let expected =
                expected.map(|values| values.iter().map(|value| value.to_string()).collect::<Vec<_>>());
            assert_eq!(values(route, path), expected, "{route} {path}");
        }
    }

    #[test]
    fn literals_win() {
        let template = |route| Template::parse("", route);
        assert_eq!(template("a/b").precedence(&template("a/{x}")), Ordering::Less);
        assert_eq!(template("a/{x}").precedence(&template("{*rest}")), Ordering::Less);
    }
}
