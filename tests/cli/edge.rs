//! Metrics reach a real Pushgateway, and what is in their way is dealt with; signals do what is promised.

use crate::common::pushgateway::Pushgateway;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use weekvault::edge::{
    BackupReport, Gauge, Interrupt, PUSH_BUDGET, PushError, SourceReport, StoreReport, VerifyReport, encode,
    push,
};
use weekvault::model::Timestamp;

fn at(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 0 }
}

fn success() -> BackupReport {
    let source = |pvc: &str, files| SourceReport {
        pvc: pvc.parse().unwrap(),
        files,
        source_bytes: 10 * files,
        changed_files: 2,
        unreadable_files: 0,
        changed_while_read_files: 0,
    };
    BackupReport {
        heads: vec![],
        status: 0,
        finished: at(1_744_100_004),
        duration: Duration::from_secs(4),
        read_bytes: 32_505_856,
        written_bytes: 2_097_152,
        output_bytes: 9_856_614,
        sources: vec![source("html", 1000), source("enigma", 20)],
        store: Some(StoreReport {
            bytes: 50_000_000,
            objects: 70,
            dedup_ratio: Some(7.5),
            weeks: 8,
            created: Some(at(1_743_000_000)),
        }),
    }
}

fn failure() -> BackupReport {
    BackupReport { status: 1, finished: at(1_744_200_000), sources: vec![], store: None, ..success() }
}

fn send(gateway: &Pushgateway, job: &str, gauges: &[Gauge]) -> Result<(), PushError> {
    push(&gateway.url(), job, &encode(gauges).unwrap(), PUSH_BUDGET)
}

/// The value of a sample, by its name and labels as the Pushgateway prints them.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[track_caller]
fn assert_samples(metrics: &str, job: &str, want: &[(&str, f64)]) {
    for (name, value) in want {
        let full = match name.split_once('/') {
            Some((name, pvc)) => format!("{name}{{instance=\"\",job=\"{job}\",pvc=\"{pvc}\"}}"),
            None => format!("{name}{{instance=\"\",job=\"{job}\"}}"),
        };
        assert_eq!(sample(metrics, &full), Some(*value), "{full} in:\n{metrics}");
    }
}

#[test]
fn success_arrives_whole_and_failure_leaves_its_time_standing() {
    let gateway = Pushgateway::start();
    let job = "roundcube-backup";
    let standing = [
        ("backup_last_success_timestamp", 1_744_100_004.0),
        ("backup_files/html", 1000.0),
        ("backup_files/enigma", 20.0),
        ("backup_source_bytes/html", 10_000.0),
        ("backup_changed_files/enigma", 2.0),
        ("backup_unreadable_files/html", 0.0),
        ("backup_store_bytes", 50_000_000.0),
        ("backup_store_objects", 70.0),
        ("backup_dedup_ratio", 7.5),
        ("backup_weeks", 8.0),
        ("backup_store_created_timestamp", 1_743_000_000.0),
    ];

    send(&gateway, job, &success().gauges()).unwrap();
    let metrics = gateway.metrics();
    assert_samples(&metrics, job, &standing);
    assert_samples(
        &metrics,
        job,
        &[
            ("backup_duration_seconds", 4.0),
            ("backup_read_bytes", 32_505_856.0),
            ("backup_written_bytes", 2_097_152.0),
            ("backup_output_bytes", 9_856_614.0),
            ("backup_last_status", 0.0),
            ("backup_last_run_timestamp", 1_744_100_004.0),
        ],
    );
    assert!(metrics.contains("# TYPE backup_files gauge\n"));
    assert!(metrics.contains("# HELP backup_weeks Weeks in the store.\n"));

    send(&gateway, job, &failure().gauges()).unwrap();
    let metrics = gateway.metrics();
    assert_samples(&metrics, job, &standing);
    let failed = [("backup_last_status", 1.0), ("backup_last_run_timestamp", 1_744_200_000.0)];
    assert_samples(&metrics, job, &failed);

    let damaged =
        VerifyReport { status: 4, finished: at(5), read_bytes: 77, damaged_objects: Some(2), heads: vec![] };
    send(&gateway, job, &damaged.gauges()).unwrap();
    let metrics = gateway.metrics();
    assert!(!metrics.contains("backup_verify_last_success_timestamp"));
    assert_samples(&metrics, job, &standing);
    let verified = [("backup_verify_damaged_objects", 2.0), ("backup_verify_last_status", 4.0)];
    assert_samples(&metrics, job, &verified);
    assert_samples(&metrics, job, &[("backup_verify_read_bytes", 77.0)]);
}

#[test]
fn every_job_name_arrives_as_it_was_given() {
    let gateway = Pushgateway::start();
    let verify =
        VerifyReport { status: 0, finished: at(5), read_bytes: 0, damaged_objects: Some(0), heads: vec![] };
    for job in ["a b%41c+d?e#f&g=h", "Προμηθεύς", "mail/round cube", "..", ".", "-", "@base64", "%2F"]
    {
        send(&gateway, job, &verify.gauges()).unwrap_or_else(|error| panic!("{job:?}: {error}"));
        assert_samples(&gateway.metrics(), job, &[("backup_verify_last_success_timestamp", 5.0)]);
    }
    assert_eq!(send(&gateway, "", &[]).unwrap_err(), PushError::EmptyJob);
    let slash = format!("{}/", gateway.url());
    push(&slash, "with-slash", &encode(&verify.gauges()).unwrap(), PUSH_BUDGET).unwrap();
    assert_samples(&gateway.metrics(), "with-slash", &[("backup_verify_last_status", 0.0)]);
}

#[test]
fn what_the_gateway_refuses_is_told_by_its_status_alone() {
    let gateway = Pushgateway::start();
    let started = Instant::now();
    let message = push(&gateway.url(), "x", "not metrics at all\n", PUSH_BUDGET).unwrap_err().to_string();
    let url = format!("{}/metrics/job/x", gateway.url());
    // A proxy on the way may repeat the request, with the password in it.
    assert_eq!(message, format!("cannot push metrics to {url}: 400 Bad Request"));
    assert!(started.elapsed() < Duration::from_secs(5), "tried again");
}

#[test]
fn nobody_listening_is_an_error_within_the_budget() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let started = Instant::now();
    let url = format!("http://me:s3cret@{free}/?token=s3cret");
    let error = push(&url, "x", "", Duration::from_secs(1)).unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(2500), "took {:?}", started.elapsed());
    let message = error.to_string();
    assert!(message.contains(&format!("http://{free}/metrics/job/x")), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
    assert!(!format!("{message} {error:?}").contains("s3cret"), "{message}");
    assert!(matches!(error, PushError::GaveUp { attempts: 2.., .. }), "{error:?}");
}

#[test]
fn a_silent_server_is_an_error_within_the_budget() {
    // Nobody accepts: the kernel takes the connection and the request, and nothing comes back.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let error = push(&url, "x", "", Duration::from_secs(1)).unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(2500), "took {:?}", started.elapsed());
    assert!(error.to_string().ends_with("no answer in time"), "{error}");
}

/// Serves the given answers, one a connection, and gives back the requests' heads in order.
fn server(answers: &'static [&'static str]) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "request ends early: {head}");
            }
            let field = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
            let length: usize = head.lines().find_map(field).unwrap_or(0);
            reader.read_exact(&mut vec![0; length]).unwrap();
            sender.send(head).unwrap();
            write!(reader.into_inner(), "HTTP/1.1 {answer}").unwrap();
        }
    });
    (url, requests)
}

const BUSY: &str = "503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "500 Oops\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry";
const SLOW_DOWN: &str = "429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const FINE: &str = "200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const ACCEPTED: &str = "202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BAD: &str = "400 Bad Request\r\nContent-Length: 14\r\nConnection: close\r\n\r\n\nno\x07\nbecause";
const MOVED: &str = "301 Moved Permanently\r\nLocation: https://me:s3cret@gw/\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_server_in_trouble_is_asked_again() {
    let (url, requests) = server(&[BROKEN, BROKEN, FINE]);
    push(&url.replace("//", "//me:s3cret@"), "x", "a 1\n", PUSH_BUDGET).unwrap();
    let heads: Vec<_> = requests.iter().collect();
    assert_eq!(heads.len(), 3);
    for head in heads {
        assert!(head.starts_with("POST /metrics/job/x HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("content-type: text/plain; version=0.0.4\r\n"), "{head}");
        assert!(head.contains("authorization: basic "), "{head}");
    }
    let (url, requests) = server(&[BUSY, SLOW_DOWN, ACCEPTED]);
    push(&url, "x", "a 1\n", PUSH_BUDGET).unwrap();
    assert_eq!(requests.iter().count(), 3);
}

#[test]
fn a_server_that_stays_in_trouble_is_told_of() {
    let (url, _requests) = server(&[BROKEN; 4]);
    let message = push(&url, "x", "a 1\n", Duration::from_secs(1)).unwrap_err().to_string();
    assert!(message.ends_with("500 Internal Server Error"), "{message}");
}

#[test]
fn what_the_server_means_for_good_is_not_asked_again() {
    for (answers, want) in
        [(&[BAD, FINE], "400 Bad Request"), (&[MOVED, FINE], "301 Moved Permanently, moved to https://gw/")]
    {
        let (url, requests) = server(answers);
        let error = push(&url, "x", "a 1\n", PUSH_BUDGET).unwrap_err();
        assert!(matches!(error, PushError::Refused { .. }), "{error:?}");
        assert!(error.to_string().trim_end().ends_with(want), "{error}");
        assert_eq!(requests.try_iter().count(), 1);
    }
}

/// Not a test by itself: the process that `signals_are_kept_and_a_second_one_ends_it` signals.
#[test]
fn signals_child() {
    if std::env::var_os("WEEKVAULT_TEST_SIGNALS").is_none() {
        return;
    }
    let interrupt = Interrupt::register(|_| {}).unwrap();
    let shared = interrupt.clone();
    assert_eq!(interrupt.received(), None);
    println!("\nlistening");
    let started = Instant::now();
    while shared.received().is_none() && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(1));
    }
    println!("\nreceived {:?}", interrupt.received());
    // Stuck, as work is that never comes to look.
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn signals_are_kept_and_a_second_one_ends_it() {
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "edge::signals_child", "--nocapture"])
            .env("WEEKVAULT_TEST_SIGNALS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let kill = || kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        assert!(lines.any(|line| line == "listening"));
        // As `timeout` does it: twice at once is one wish.
        kill();
        kill();
        assert!(lines.any(|line| line == format!("received Some({number})")));
        let first = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => {
                    let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal);
                }
            }
            assert!(first.elapsed() < Duration::from_secs(30), "a later signal does not end it");
            thread::sleep(Duration::from_millis(20));
        };
        assert!(first.elapsed() > Duration::from_millis(150), "ended after {:?}", first.elapsed());
        assert_eq!(status.code(), Some(128 + number));
    }
}
