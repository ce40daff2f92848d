//! Handing metrics to the edge. A push that fails is told, and changes nothing else.

use super::context::Context;
use crate::edge::{BackupReport, Gauge, PUSH_BUDGET, VerifyReport, encode, push};
use clap::Args;
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
