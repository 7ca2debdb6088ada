//! What the shipped alert rules and the shipped dashboard ask: only what is exported, in words that Prometheus knows.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;

use super::catalogue::{ALL, Kind, Metric, REFUSALS};
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;

const ALERTS: &str = include_str!("../../../config/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../../../config/grafana/postbackd.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn alert_rules_ask_for_what_is_exported_and_say_what_to_do() {
    let file: RuleFile = serde_saphyr::from_str(ALERTS).unwrap();
    let rules: Vec<Rule> =
        file.groups.into_iter().inspect(|group| assert_eq!(group.name, "postbackd")).flat_map(|g| g.rules).collect();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();
    assert_eq!(names.len(), rules.len(), "each has a name of its own");
    for Rule { alert, expr, lasting, labels, annotations } in &rules {
        check(alert, expr);
        if let Some(lasting) = lasting {
            promql_parser::util::parse_duration(lasting).unwrap_or_else(|error| panic!("{alert}: {error}"));
        }
        assert!(matches!(labels["severity"].as_str(), "page" | "ticket"), "{alert}");
        assert!(!annotations["summary"].is_empty(), "{alert}");
        let steps =
            annotations["description"].split_once("Next: ").unwrap_or_else(|| panic!("{alert} says no next step"));
        assert!(steps.1.contains('`'), "{alert} names no command");
    }
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut asked = String::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(title.ends_with('?'), "{title} asks nothing");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            check(title, &expr.replace("$__rate_interval", "5m"));
            asked.push_str(expr);
        }
    }
    for metric in ALL {
        assert!(asked.contains(metric.name), "no panel shows {}", metric.name);
    }
}

/// Checks that an expression is one, and that every series in it is exported, with the labels that it is chosen by.
fn check(whose: &str, expr: &str) {
    let parsed = parser::parse(expr).unwrap_or_else(|error| panic!("{whose}: {error}: {expr}"));
    let mut chosen = Chosen(Vec::new());
    walk_expr(&mut chosen, &parsed).unwrap();
    assert!(!chosen.0.is_empty(), "{whose} asks for nothing: {expr}");
    for (name, matchers) in chosen.0 {
        if name == "up" {
            continue;
        }
        let metric = exported(&name).unwrap_or_else(|| panic!("{whose}: {name} is not exported"));
        for matcher in matchers {
            let is_known = ["job", "instance", "le"].contains(&matcher.name.as_str())
                || metric.labels.contains(&matcher.name.as_str());
            assert!(is_known, "{whose}: {name} has no label {}", matcher.name);
            check_values(whose, &metric, &matcher);
        }
    }
}

/// A choice of values that do not exist would never say anything.
fn check_values(whose: &str, metric: &Metric, matcher: &Matcher) {
    let known: Vec<&str> = match (metric.name, matcher.name.as_str()) {
        ("postback_deliveries", "state") => StateKind::ALL.into_iter().map(StateKind::name).collect(),
        ("postback_attempts_total", "outcome") => Outcome::ALL.into_iter().map(Outcome::name).collect(),
        ("postback_events_refused_total", "reason") => REFUSALS.into(),
        _ => return,
    };
    let values: Vec<&str> = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    for value in values {
        assert!(known.contains(&value), "{whose}: {} has no {} {value:?}", metric.name, matcher.name);
    }
}

/// The metric that a series belongs to.
fn exported(series: &str) -> Option<Metric> {
    ALL.into_iter().find(|metric| match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().any(|part| series.strip_suffix(part) == Some(metric.name))
        }
        Kind::Counter | Kind::Gauge | Kind::Info => series == metric.name,
    })
}

/// The series that an expression chooses.
struct Chosen(Vec<(String, Vec<Matcher>)>);

impl ExprVisitor for Chosen {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        let selector = match expr {
            Expr::VectorSelector(selector) => Some(selector),
            Expr::MatrixSelector(matrix) => Some(&matrix.vs),
            _ => None,
        };
        self.0.extend(selector.map(|selector| (selector.name.clone().unwrap(), selector.matchers.matchers.clone())));
        Ok(true)
    }
}
