//! What a run tells Prometheus: facts become a plain list of gauges, the list becomes text.

use crate::model::{Digest, PvcName, Timestamp};
use prometheus::{GaugeVec, Opts, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::time::Duration;

/// One number for Prometheus.
#[derive(Clone, PartialEq, Debug)]
pub struct Gauge {
    /// The metric's name.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// The source that the number is about, sent as label `pvc`; none where it is about the run or the store.
    pub pvc: Option<PvcName>,
    /// The writer that the number is about, sent as label `writer` beside the pvc.
    pub writer: Option<String>,
    /// Bytes, seconds, seconds since 1970 or a count, as the name says.
    pub value: f64,
}

/// A list of gauges that Prometheus would refuse: a name that is none, or one name with and without a pvc.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the metrics: {0}")]
pub struct EncodeError(#[from] prometheus::Error);

/// How a backup ended.
///
/// What is missing here is not sent, and the Pushgateway keeps what an earlier run said of it.
#[derive(Clone, PartialEq, Debug)]
pub struct BackupReport {
    /// The exit code.
    pub status: i32,
    /// When the run ended.
    pub finished: Timestamp,
    /// How long the run took.
    pub duration: Duration,
    /// Bytes read from the sources' files.
    pub read_bytes: u64,
    /// Bytes written to the store.
    pub written_bytes: u64,
    /// Bytes of the store that the published manifests stand for, new or not.
    pub output_bytes: u64,
    /// The sources of the run, all or none: a POST replaces a metric for all pvcs, so a missing one vanishes.
    pub sources: Vec<SourceReport>,
    /// The store after the run.
    pub store: Option<StoreReport>,
    /// Of a sealed store, where it stands.
    pub heads: Vec<HeadReport>,
}

/// What a backup found in one source.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceReport {
    /// The source.
    pub pvc: PvcName,
    /// Regular files.
    pub files: u64,
    /// Sum of their sizes.
    pub source_bytes: u64,
    /// Files that are new or differ from the previous week's.
    pub changed_files: u64,
    /// Files that could not be read.
    pub unreadable_files: u64,
    /// Files that changed during each attempt to read them.
    pub changed_while_read_files: u64,
}

/// What a store holds.
#[derive(Clone, PartialEq, Debug)]
pub struct StoreReport {
    /// Bytes of objects and manifests, without the trash.
    pub bytes: u64,
    /// Objects, without the trash.
    pub objects: u64,
    /// Logical bytes of all weeks, divided by stored bytes; none where not all are known, as in a sealed store.
    pub dedup_ratio: Option<f64>,
    /// Different weeks that have a manifest of any pvc.
    pub weeks: u64,
    /// When it was made, as far as it says so: a store that is younger than it should be is another one.
    pub created: Option<Timestamp>,
}

/// The newest week's manifest of a pvc in a sealed store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadReport {
    /// The source.
    pub pvc: PvcName,
    /// The public key of the writer that has signed it.
    pub writer: String,
    /// Its number among those of this writer and pvc.
    pub sequence: u64,
    /// Its digest, of which the first 48 bits are sent: more a number of Prometheus does not hold.
    pub digest: Digest,
}

/// How a verify ended.
#[derive(Clone, PartialEq, Debug)]
pub struct VerifyReport {
    /// The exit code.
    pub status: i32,
    /// When the run ended.
    pub finished: Timestamp,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// Objects missing or damaged; none where the run did not get far enough to know.
    pub damaged_objects: Option<u64>,
    /// Of a sealed store, where it stands.
    pub heads: Vec<HeadReport>,
}

impl BackupReport {
    /// The report as gauges.
    pub fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, value| gauge(name, None, value);
        let finished = unix_seconds(self.finished);
        let mut list = vec![
            gauge("backup_duration_seconds", self.duration.as_secs_f64()),
            gauge("backup_read_bytes", self.read_bytes as f64),
            gauge("backup_written_bytes", self.written_bytes as f64),
            gauge("backup_output_bytes", self.output_bytes as f64),
            gauge("backup_last_status", f64::from(self.status)),
            gauge("backup_last_run_timestamp", finished),
        ];
        if self.status == 0 {
            list.push(gauge("backup_last_success_timestamp", finished));
        }
        list.extend(self.sources.iter().flat_map(SourceReport::gauges));
        list.extend(self.store.iter().flat_map(StoreReport::gauges));
        list.extend(self.heads.iter().flat_map(HeadReport::gauges));
        list
    }
}

impl SourceReport {
    fn gauges(&self) -> [Gauge; 5] {
        let gauge = |name, value: u64| gauge(name, Some(&self.pvc), value as f64);
        [
            gauge("backup_files", self.files),
            gauge("backup_source_bytes", self.source_bytes),
            gauge("backup_changed_files", self.changed_files),
            gauge("backup_unreadable_files", self.unreadable_files),
            gauge("backup_changed_while_read_files", self.changed_while_read_files),
        ]
    }
}

impl StoreReport {
    fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, value| gauge(name, None, value);
        let mut list = vec![
            gauge("backup_store_bytes", self.bytes as f64),
            gauge("backup_store_objects", self.objects as f64),
            gauge("backup_weeks", self.weeks as f64),
        ];
        list.extend(self.dedup_ratio.map(|ratio| gauge("backup_dedup_ratio", ratio)));
        list.extend(self.created.map(|at| gauge("backup_store_created_timestamp", unix_seconds(at))));
        list
    }
}

impl HeadReport {
    fn gauges(&self) -> [Gauge; 2] {
        let gauge = |name, value: u64| Gauge {
            writer: Some(self.writer.clone()),
            ..gauge(name, Some(&self.pvc), value as f64)
        };
        let [a, b, c, d, e, f, ..] = self.digest.0;
        let digest48 = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        [gauge("backup_head_sequence", self.sequence), gauge("backup_head_digest48", digest48)]
    }
}

impl VerifyReport {
    /// The report as gauges.
    pub fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, value| gauge(name, None, value);
        let mut list = vec![
            gauge("backup_verify_last_status", f64::from(self.status)),
            gauge("backup_verify_read_bytes", self.read_bytes as f64),
        ];
        if let Some(objects) = self.damaged_objects {
            list.push(gauge("backup_verify_damaged_objects", objects as f64));
        }
        if self.status == 0 {
            list.push(gauge("backup_verify_last_success_timestamp", unix_seconds(self.finished)));
        }
        list.extend(self.heads.iter().flat_map(HeadReport::gauges));
        list
    }
}

fn gauge(name: &'static str, pvc: Option<&PvcName>, value: f64) -> Gauge {
    Gauge { name, help: help(name), pvc: pvc.cloned(), writer: None, value }
}

fn help(name: &str) -> &'static str {
    match name {
        "backup_duration_seconds" => "How long the last run took.",
        "backup_read_bytes" => "Bytes the last run read from its sources.",
        "backup_written_bytes" => "Bytes the last run wrote to the store.",
        "backup_output_bytes" => "Bytes of the store the last run's manifests stand for, new or not.",
        "backup_last_status" => "Exit code of the last run.",
        "backup_last_run_timestamp" => "End of the last run, in seconds since 1970.",
        "backup_last_success_timestamp" => {
            "End of the last run that stored everything, in seconds since 1970."
        }
        "backup_files" => "Regular files in the source.",
        "backup_source_bytes" => "Sum of the sizes of the source's files.",
        "backup_changed_files" => "Files new or changed since the manifest before.",
        "backup_unreadable_files" => "Files that could not be read.",
        "backup_changed_while_read_files" => "Files that changed during each attempt to read them.",
        "backup_store_bytes" => "Bytes of all objects and manifests.",
        "backup_store_objects" => "Objects in the store.",
        "backup_dedup_ratio" => "Logical bytes of all weeks, divided by the bytes stored for them.",
        "backup_weeks" => "Weeks in the store.",
        "backup_store_created_timestamp" => "When the store was made, in seconds since 1970.",
        "backup_head_sequence" => {
            "Number of the newest week's manifest of a pvc, by its writer; sealed stores."
        }
        "backup_head_digest48" => "First 48 bits of that manifest's digest.",
        "backup_verify_last_status" => "Exit code of the last verify.",
        "backup_verify_read_bytes" => "Bytes the last verify read.",
        "backup_verify_damaged_objects" => "Objects the last verify found missing or damaged.",
        "backup_verify_last_success_timestamp" => {
            "End of the last verify that found no damage, in seconds since 1970."
        }
        _ => "",
    }
}

/// The gauges in Prometheus' text format, sorted by name. Of two with one name and pvc, the later counts.
pub fn encode(gauges: &[Gauge]) -> Result<String, EncodeError> {
    let registry = Registry::new();
    let mut families: BTreeMap<&str, GaugeVec> = BTreeMap::new();
    for gauge in gauges {
        let labels = [("pvc", gauge.pvc.as_ref().map(PvcName::as_str)), ("writer", gauge.writer.as_deref())];
        let labels = labels.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let (names, values): (Vec<&str>, Vec<&str>) = labels.unzip();
        let family = match families.get(gauge.name) {
            Some(family) => family.clone(),
            None => {
                let family = GaugeVec::new(Opts::new(gauge.name, gauge.help), &names)?;
                registry.register(Box::new(family.clone()))?;
                families.insert(gauge.name, family.clone());
                family
            }
        };
        family.get_metric_with_label_values(&values)?.set(gauge.value);
    }
    Ok(TextEncoder::new().encode_to_string(&registry.gather())?)
}

fn unix_seconds(moment: Timestamp) -> f64 {
    moment.secs as f64 + f64::from(moment.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(status: i32) -> BackupReport {
        BackupReport {
            status,
            finished: Timestamp { secs: 1_744_100_000, nanos: 500_000_000 },
            duration: Duration::from_millis(4_250),
            read_bytes: 32_505_856,
            written_bytes: 2_097_152,
            output_bytes: 9_856_614,
            sources: vec![],
            store: None,
            heads: vec![],
        }
    }

    fn names(gauges: &[Gauge]) -> Vec<&str> {
        let mut names: Vec<_> = gauges.iter().map(|gauge| gauge.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    const OF_THE_RUN: [&str; 6] = [
        "backup_duration_seconds",
        "backup_last_run_timestamp",
        "backup_last_status",
        "backup_output_bytes",
        "backup_read_bytes",
        "backup_written_bytes",
    ];

    #[test]
    fn only_exit_code_0_is_a_success() {
        for status in [1, 3, 130, 143] {
            assert_eq!(names(&backup(status).gauges()), OF_THE_RUN, "exit code {status}");
        }
        let success = backup(0).gauges();
        assert!(names(&success).contains(&"backup_last_success_timestamp"));
        assert_eq!(success.len(), OF_THE_RUN.len() + 1);
    }

    #[test]
    fn a_verify_that_broke_off_claims_no_absence_of_damage() {
        let mut report = VerifyReport {
            status: 1,
            finished: Timestamp::default(),
            read_bytes: 10,
            damaged_objects: None,
            heads: vec![],
        };
        assert_eq!(names(&report.gauges()), ["backup_verify_last_status", "backup_verify_read_bytes"]);
        (report.status, report.damaged_objects) = (0, Some(0));
        assert_eq!(report.gauges().len(), 4);
        assert!(report.gauges().iter().all(|gauge| !gauge.help.is_empty()));
        (report.status, report.damaged_objects) = (4, Some(2));
        assert!(!names(&report.gauges()).contains(&"backup_verify_last_success_timestamp"));
    }

    #[test]
    fn text_has_one_family_a_name_and_plain_numbers() {
        let mut report = backup(0);
        for pvc in ["html", "enigma"] {
            let pvc = pvc.parse().unwrap();
            report.sources.push(SourceReport {
                pvc,
                files: 3,
                source_bytes: 1 << 50,
                changed_files: 1,
                unreadable_files: 0,
                changed_while_read_files: 0,
            });
        }
        report.store =
            Some(StoreReport { bytes: 5, objects: 4, dedup_ratio: Some(2.5), weeks: 8, created: None });
        let digest = Digest([0xff; 32]);
        report.heads =
            vec![HeadReport { pvc: "html".parse().unwrap(), writer: "ab".repeat(32), sequence: 7, digest }];
        let of_head = format!("backup_head_sequence{{pvc=\"html\",writer=\"{}\"}} 7", "ab".repeat(32));
        let digest48 =
            format!("backup_head_digest48{{pvc=\"html\",writer=\"{}\"}} 281474976710655", "ab".repeat(32));
        let text = encode(&report.gauges()).unwrap();
        for line in [
            &of_head,
            &digest48,
            "# TYPE backup_files gauge",
            "backup_files{pvc=\"enigma\"} 3",
            "backup_files{pvc=\"html\"} 3",
            "backup_source_bytes{pvc=\"html\"} 1125899906842624",
            "backup_last_success_timestamp 1744100000.5",
            "backup_duration_seconds 4.25",
            "backup_dedup_ratio 2.5",
            "backup_weeks 8",
        ] {
            let found = text.lines().filter(|l| *l == line).count();
            assert_eq!(found, 1, "{line} in:\n{text}");
        }
        assert!(report.gauges().iter().all(|gauge| !gauge.help.is_empty()));
        assert!(text.ends_with('\n'), "the text format wants every line ended");
        assert_eq!(encode(&[]).unwrap(), "");
    }

    #[test]
    fn refuses_what_prometheus_would_refuse() {
        let bare = gauge("a_metric", None, 1.0);
        let labelled = gauge("a_metric", Some(&"html".parse().unwrap()), 1.0);
        assert!(encode(&[bare, labelled]).is_err(), "with and without a label");
        assert!(encode(&[gauge("no name", None, 1.0)]).is_err());
    }
}
