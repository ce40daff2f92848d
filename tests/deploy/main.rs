//! What `docs/deploy/` has for a cluster: manifests, a Terraform module, rules and a dashboard. Each is held to what it
//! is for: Kubernetes' own types, the program's own command line, the metrics that the program really pushes.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
// It expects lints that are off where all is a test.
mod jobs;
mod kubernetes;
mod manifests;
mod monitoring;
mod node;
#[path = "../common/prometheus.rs"]
mod prometheus;
#[allow(unfulfilled_lint_expectations)]
#[path = "../common/pushgateway.rs"]
mod pushgateway;
mod rules;
mod terraform;

use std::path::PathBuf;

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(path)
}
