//! The description against the table of routes, both ways, and against itself.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_route_is_described_and_nothing_else() {
    for under_host in [false, true] {
        let description = description(under_host);
        let mut described = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys();
            described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let here = ROUTES.iter().filter(|route| under_host || !route.host_only);
        let served: BTreeSet<String> = here
            .flat_map(|route| route.methods.split(", ").map(|method| format!("{method} {}", route.path)))
            .collect();
        assert_eq!(described, served);
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let description = description(true);
    let mut open = vec![&description];
    let mut names = BTreeSet::new();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    let pointer = to.strip_prefix('#').unwrap();
                    assert!(description.pointer(pointer).is_some(), "{to} leads nowhere");
                }
                if let Some(Value::String(name)) = members.get("operationId") {
                    assert!(names.insert(name), "{name} stands there twice");
                }
                open.extend(members.values());
            }
            Value::Array(elements) => open.extend(elements),
            _ => {}
        }
    }
}

#[test]
fn what_a_caller_must_know_is_told() {
    let description = description(false);
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let is_open = operation.get("security").is_some();
            assert_eq!(responses.contains_key("401"), !is_open, "{method} {path}");
            assert!(responses.contains_key("400"), "{method} {path}");
            let names = path.split('/').filter(|segment| segment.starts_with('{'));
            for name in names.map(|segment| segment.trim_matches(['{', '}'])) {
                let mut parameters = operation["parameters"].as_array().unwrap().iter();
                assert!(parameters.any(|given| given["name"] == name), "{method} {path}");
                assert!(responses.contains_key("404"), "{method} {path}");
            }
        }
    }
}
