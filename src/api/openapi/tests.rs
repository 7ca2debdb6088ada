//! What the document promises of itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;
use super::refusals::answered;
use crate::api::problem::Kind;
use crate::config::Scope;

fn parsed() -> Value {
    serde_json::from_str(&document()).unwrap()
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter().map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    operations.collect()
}

#[test]
fn no_route_is_served_that_is_not_described() {
    let server = include_str!("../server.rs");
    for way in [".route(", ".nest(", ".merge(", "route_service"] {
        assert!(!server.contains(way), "{way} serves a path that the document lacks; list it among the routes instead");
    }
    assert_eq!(
        operations(&parsed()).len(),
        server.match_indices("::").filter(|(at, _)| in_routes(server, *at)).count()
    );
}

/// Whether a place in the source is within `routes!( … )`.
fn in_routes(source: &str, at: usize) -> bool {
    let line = source[..at].rfind('\n').map_or(0, |start| start + 1);
    source[line..at].trim_start().starts_with("routes!(")
}

#[test]
fn every_operation_says_its_scope_and_what_it_means_for_narrowed_tokens() {
    let scopes = Scope::ALL.map(Scope::name);
    for (name, operation) in operations(&parsed()) {
        let security = operation["security"].as_array().unwrap();
        assert_eq!(security.len(), 1, "{name}");
        if security[0].as_object().unwrap().is_empty() {
            assert!(
                ["get /healthz", "get /readyz", "get /openapi.json"].contains(&name.as_str()),
                "{name} is open to all"
            );
            continue;
        }
        let wanted: Vec<_> =
            security[0]["bearer"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect();
        assert!(!wanted.is_empty() && wanted.iter().all(|scope| scopes.contains(scope)), "{name}: {wanted:?}");
        assert!(["all", "named", "own"].contains(&operation["x-affiliates"].as_str().unwrap()), "{name}");
        assert!(operation["summary"].is_string(), "{name}");
        for status in ["401", "403"] {
            assert!(operation["responses"][status].is_object(), "{name} can be answered with {status}");
        }
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let operations = operations(&parsed());
    let names: BTreeSet<_> =
        operations.iter().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
}

#[test]
fn every_kind_of_problem_is_answered_by_a_route_that_is_there() {
    let answered = answered();
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::WrongMethod) {
        assert!(answered.contains(kind), "{kind:?}");
    }
    let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = parsed();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}
