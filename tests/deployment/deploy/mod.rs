//! What `docs/deploy/` has for a cluster: manifests, a Terraform module, rules and a dashboard. Each is held to what it
//! is for: Kubernetes' own types, the program's own command line, the metrics that the program really pushes.

mod jobs;
pub(crate) mod kubernetes;
mod manifests;
mod monitoring;
mod node;
mod rules;
mod sealed;
mod terraform;

use std::path::PathBuf;

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(path)
}
