//! Handing metrics to the edge. A push that fails is told, and changes nothing else.

use super::context::Context;
use crate::archive::Archive;
use crate::edge::{BackupReport, Gauge, HeadReport, PUSH_BUDGET, VerifyReport, encode, push};
use crate::model::PvcName;
use crate::ops::clock;
use clap::Args;
use std::collections::BTreeMap;
use std::time::Duration;

/// Kubernetes gives a pod half a minute to end: a run that was told to stop does not spend it all on a push.
const LAST_BUDGET: Duration = Duration::from_secs(8);

/// Where metrics go.
#[derive(Args, Debug)]
pub(super) struct Gateway {
    /// Push metrics to this Prometheus Pushgateway
    #[arg(long, env = "WEEKVAULT_PUSHGATEWAY", value_name = "URL")]
    pushgateway: Option<String>,
    /// The job that metrics are pushed under
    #[arg(long, env = "WEEKVAULT_JOB", default_value = "roundcube-backup", value_name = "JOB")]
    job: String,
}

/// Of a sealed store, for each pvc, the complete manifest of its newest week that has begun. Nothing where that cannot be read.
pub(super) fn head_reports(archive: &Archive) -> Vec<HeadReport> {
    let this_week = clock::week_of(clock::now());
    let standing = archive.heads().unwrap_or_default();
    let begun = standing.into_iter().filter(|now| !now.id.partial && now.id.week <= this_week);
    // Oldest week first: the newest stays.
    let newest: BTreeMap<PvcName, HeadReport> = begun
        .map(|now| {
            let (pvc, writer) = (now.id.pvc.clone(), now.writer.to_string());
            let report = HeadReport { pvc, writer, sequence: now.head.sequence, digest: now.digest };
            (now.id.pvc, report)
        })
        .collect();
    newest.into_values().collect()
}

/// Pushes how a backup ended, if that was asked for.
pub(super) fn push_backup(context: &Context, gateway: &Gateway, report: impl FnOnce() -> BackupReport) {
    push_gauges(context, gateway, || report().gauges());
}

/// Pushes how a verify ended, if that was asked for.
pub(super) fn push_verify(context: &Context, gateway: &Gateway, report: impl FnOnce() -> VerifyReport) {
    push_gauges(context, gateway, || report().gauges());
}

fn push_gauges(context: &Context, gateway: &Gateway, gauges: impl FnOnce() -> Vec<Gauge>) {
    let Some(url) = &gateway.pushgateway else { return };
    let budget = if context.interrupt.received().is_some() { LAST_BUDGET } else { PUSH_BUDGET };
    context.observer().phase("pushing metrics", None);
    let text = encode(&gauges()).map_err(|e| e.to_string());
    let pushed = text.and_then(|text| push(url, &gateway.job, &text, budget).map_err(|e| e.to_string()));
    if let Err(error) = pushed {
        context.observer().warn(&format!("metrics were not pushed: {error}"));
    }
}
