//! The alerting rules and the dashboard, as far as it can be told without a Prometheus that has data.

use super::deploy;
use super::kubernetes::documents;
use crate::common::prometheus::program;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Title and expression of each query in the dashboard, with the variables as if all were chosen.
pub(crate) fn panels() -> Vec<(String, String)> {
    let text = fs::read_to_string(deploy("grafana/weekvault.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|t| (panel["title"].as_str().unwrap().to_owned(), t["expr"].as_str().unwrap().to_owned()))
    });
    panels.map(|(title, expression)| (title, expression.replace("$job", ".*"))).collect()
}

/// Name and expression of each alert.
pub(crate) fn alerts() -> Vec<(String, String)> {
    let rules = documents(&deploy("prometheus/rules.yaml")).pop().unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules.iter().map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

#[test]
fn promtool_finds_the_rules_right() {
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]] {
        let mut command = Command::new(program("promtool"));
        let output = command.args(arguments).current_dir(deploy("prometheus")).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !out.contains("lint error"), "{arguments:?}:\n{out}{err}");
    }
}

#[test]
fn each_alert_fires_and_resolves_in_a_test() {
    let minutes = |time: &str| {
        let (mut minutes, mut number) = (0, 0);
        for c in time.chars() {
            match c {
                '0'..='9' => number = number * 10 + c.to_digit(10).unwrap(),
                _ => {
                    minutes +=
                        number * [('d', 1440), ('h', 60), ('m', 1)].into_iter().find(|u| u.0 == c).unwrap().1;
                    number = 0;
                }
            }
        }
        minutes
    };
    let tests = documents(&deploy("prometheus/tests.yaml")).pop().unwrap();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for test in tests["tests"].as_array().unwrap() {
        // Whether it fired, in the order of time.
        let mut course: BTreeMap<&str, Vec<(u32, bool)>> = BTreeMap::new();
        for check in test["alert_rule_test"].as_array().unwrap() {
            let fires = !check["exp_alerts"].as_array().unwrap().is_empty();
            let time = minutes(check["eval_time"].as_str().unwrap());
            course.entry(check["alertname"].as_str().unwrap()).or_default().push((time, fires));
        }
        for (alert, mut course) in course {
            course.sort_unstable();
            let fires: Vec<bool> = course.into_iter().map(|(_, fires)| fires).collect();
            if !fires[0] && fires.contains(&true) && fires.last() == Some(&false) {
                seen.insert(alert.to_owned());
            }
        }
    }
    let alerts: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(seen, alerts);
    // And whoever it wakes finds it explained.
    let readme = fs::read_to_string(deploy("README.md")).unwrap();
    let (_, table) = readme.split_once("## When an alert comes").unwrap();
    for alert in alerts {
        assert!(table.contains(&alert), "docs/deploy/README.md says nothing of {alert}");
    }
}

#[test]
fn rules_and_dashboard_use_metrics_that_there_are() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    let expressions = alerts().into_iter().chain(panels());
    let mut used = BTreeSet::new();
    for (name, expression) in expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("backup_")) {
            assert!(reference.contains(&format!("\n| `{metric}` |")), "{name}: docs/cli.md has no {metric}");
            used.insert(metric.to_owned());
        }
    }
    assert!(used.len() > 15, "{used:?}");
}
