//! Sends metrics to a Pushgateway, by the API of its README (<https://github.com/prometheus/pushgateway>).

use super::resolver::Resolver;
use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{StatusCode, Url, redirect};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a push may take in all where nothing shortens it.
pub const PUSH_BUDGET: Duration = Duration::from_secs(30);

/// Where the resolver learns whom to ask; without it no name has an address.
const NAME_SERVERS: &str = "/etc/resolv.conf";
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why metrics were not pushed. URLs are shown without user, password and query.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// The URL is not one that can be pushed to.
    #[error("invalid Pushgateway URL {url:?}: {reason}; give it like http://pushgateway:9091")]
    InvalidUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A group of metrics needs a job's name.
    #[error("the job name for the Pushgateway is empty; give one, e.g. roundcube-backup")]
    EmptyJob,
    /// The HTTP client could not be set up; nothing was sent.
    #[error("cannot push metrics to {url}: {reason}")]
    Setup {
        /// Where the metrics should have gone.
        url: String,
        /// What the HTTP library said.
        reason: String,
    },
    /// The answer is one that trying again does not change.
    #[error("cannot push metrics to {url}: {answer}")]
    Refused {
        /// Where the metrics should have gone.
        url: String,
        /// The status, and where to a redirection leads.
        answer: String,
    },
    /// Nobody took the metrics within the time.
    #[error("cannot push metrics to {url}: gave up after {attempts} attempts in {elapsed:.1?}: {reason}")]
    GaveUp {
        /// Where the metrics should have gone.
        url: String,
        /// How often it was tried.
        attempts: u32,
        /// How long it was tried.
        elapsed: Duration,
        /// How the last attempt failed.
        reason: String,
    },
}

/// Adds `text`, in Prometheus' text format, to the job's group at the Pushgateway `url`.
///
/// POST replaces the metrics that `text` names, for all pvcs, and leaves the group's others standing. What
/// may pass (no connection, no answer, 5xx, 429) is tried again, with growing pauses, within `budget` in all.
pub fn push(url: &str, job: &str, text: &str, budget: Duration) -> Result<(), PushError> {
    let endpoint = endpoint(url, job)?;
    let shown = without_secrets(endpoint.clone());
    guarded(&shown, || send(&endpoint, &shown, text, budget))
}

/// What a run came to is not for a library to change, not by a panic either.
fn guarded(shown: &Url, push: impl FnOnce() -> Result<(), PushError>) -> Result<(), PushError> {
    let panicked = || PushError::Setup { url: shown.to_string(), reason: "a library panicked".to_owned() };
    catch_unwind(AssertUnwindSafe(push)).unwrap_or_else(|_| Err(panicked()))
}

fn send(endpoint: &Url, shown: &Url, text: &str, budget: Duration) -> Result<(), PushError> {
    let started = Instant::now();
    // A redirected POST would arrive as a GET, and be taken for a success.
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Resolver::default()))
        .user_agent(concat!("weekvault/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| PushError::Setup { url: shown.to_string(), reason: cause(error) })?;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        let timeout = ATTEMPT_TIMEOUT.min(budget.saturating_sub(started.elapsed()));
        let reason = match attempt(&client, endpoint, text, timeout) {
            Ok(()) => return Ok(()),
            Err(Failure::Lasting(answer)) => {
                return Err(PushError::Refused { url: shown.to_string(), answer });
            }
            Err(Failure::Passing(reason)) => reason,
        };
        attempts += 1;
        tracing::debug!(url = %shown, attempts, reason, "push failed");
        if started.elapsed() + pause >= budget {
            let elapsed = started.elapsed();
            return Err(PushError::GaveUp { url: shown.to_string(), attempts, elapsed, reason });
        }
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Why one attempt failed, for people.
enum Failure {
    /// The next one may succeed.
    Passing(String),
    /// The next one would end alike.
    Lasting(String),
}

fn attempt(client: &Client, endpoint: &Url, text: &str, timeout: Duration) -> Result<(), Failure> {
    let request = client
        .post(endpoint.clone())
        .header(CONTENT_TYPE, prometheus::TEXT_FORMAT)
        .timeout(timeout)
        .body(text.to_owned());
    let response = request.send().map_err(|error| match endpoint.domain() {
        Some(host) if error.is_connect() && !Path::new(NAME_SERVERS).exists() => {
            Failure::Lasting(format!("no {NAME_SERVERS} says who knows {host:?}; give its address"))
        }
        _ => Failure::Passing(cause(error)),
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let answer = describe(&response);
    let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Err(if may_pass { Failure::Passing(answer) } else { Failure::Lasting(answer) })
}

/// `<url>/metrics/job/<job>`. What a path cannot carry goes as URL-safe base64, marked `job@base64`.
fn endpoint(url: &str, job: &str) -> Result<Url, PushError> {
    let invalid =
        |reason: &dyn ToString| PushError::InvalidUrl { url: redacted(url), reason: reason.to_string() };
    let mut endpoint = Url::parse(url).map_err(|error| invalid(&error))?;
    if !matches!(endpoint.scheme(), "http" | "https") {
        return Err(invalid(&"it must begin with http:// or https://"));
    }
    if endpoint.path().contains('@') {
        return Err(invalid(&"a '/' in the password is written %2F, an '@' in the path %40"));
    }
    if job.is_empty() {
        return Err(PushError::EmptyJob);
    }
    endpoint.set_fragment(None);
    let unfit = job.contains('/') || job.contains(char::is_control) || matches!(job, "." | "..");
    let (label, value) =
        if unfit { ("job@base64", base64url(job.as_bytes())) } else { ("job", job.to_owned()) };
    match endpoint.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(["metrics", label, &value]),
        Err(()) => return Err(invalid(&"it has no place for a path")),
    };
    Ok(endpoint)
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    let digit = |bits: u32| {
        let bits = (bits & 63) as u8;
        char::from(match bits {
            0..26 => b'A' + bits,
            26..52 => b'a' + bits - 26,
            52..62 => b'0' + bits - 52,
            62 => b'-',
            _ => b'_',
        })
    };
    let encode = |group: &[u8]| {
        let bits =
            group.iter().zip([16, 8, 0]).fold(0, |bits, (&byte, shift)| bits | u32::from(byte) << shift);
        [18, 12, 6, 0].into_iter().take(group.len() + 1).map(move |shift| digit(bits >> shift))
    };
    bytes.chunks(3).flat_map(encode).collect()
}

fn without_secrets(mut url: Url) -> Url {
    // Both fail only for URLs that have no host, and those were refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url
}

/// The same for a text that is no usable URL, where nobody knows what is the password.
fn redacted(url: &str) -> String {
    if url.contains(['@', '?', '#']) { "…".to_owned() } else { url.to_owned() }
}

/// The innermost error: "Connection refused" rather than "error sending request".
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The status, and where to it redirects. Not what the server says about it: a proxy may repeat the request, with the
/// password in it, and the log is read by others.
fn describe(response: &Response) -> String {
    let status = response.status();
    let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(place) = place.and_then(|place| response.url().join(place).ok()) {
        return format!("{status}, moved to {}", without_secrets(place));
    }
    status.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_follow_the_readme_of_the_pushgateway() {
        for (url, job, want) in [
            ("http://gw:9091", "roundcube-backup", "http://gw:9091/metrics/job/roundcube-backup"),
            ("http://gw:9091/", "roundcube-backup", "http://gw:9091/metrics/job/roundcube-backup"),
            ("https://gw/push", "x", "https://gw/push/metrics/job/x"),
            ("https://gw/push/#top", "x", "https://gw/push/metrics/job/x"),
            ("http://gw", "a b%c?d#e", "http://gw/metrics/job/a%20b%25c%3Fd%23e"),
            ("http://gw", "für", "http://gw/metrics/job/f%C3%BCr"),
            ("http://gw", "/var/tmp", "http://gw/metrics/job@base64/L3Zhci90bXA"),
            ("http://gw", "..", "http://gw/metrics/job@base64/Li4"),
            ("http://gw", "a\nb", "http://gw/metrics/job@base64/YQpi"),
        ] {
            assert_eq!(endpoint(url, job).unwrap().as_str(), want);
        }
        assert_eq!(endpoint("http://gw", "").unwrap_err(), PushError::EmptyJob);
    }

    #[test]
    fn a_panic_is_an_error_like_others() {
        let message = guarded(&Url::parse("http://gw/").unwrap(), || panic!("no")).unwrap_err().to_string();
        assert_eq!(message, "cannot push metrics to http://gw/: a library panicked");
    }

    #[test]
    fn base64_as_rfc_4648_shows_it() {
        for (plain, want) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64url(plain.as_bytes()), want);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
        // The Pushgateway's own example.
        assert_eq!(base64url("Προμηθεύς".as_bytes()), "zqDPgc6_zrzOt864zrXPjc-C");
    }

    #[test]
    fn unusable_urls_say_what_to_give() {
        for bad in ["gw:9091", "127.0.0.1:9091", "", "ftp://gw", "http://", "http://gw:99999", "mailto:a@b"] {
            let message = endpoint(bad, "x").unwrap_err().to_string();
            assert!(message.ends_with("give it like http://pushgateway:9091"), "{bad:?}: {message}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for bad in [
            "ftp://me:s3cret@gw",
            "me:s3cret@gw:9091",
            "me:s3cret?x@gw",
            "http://me:12/s3cret@gw:9091",
            "http://me:s3cret/x?y@gw:99999",
            "http://gw:x?s3cret",
        ] {
            let message = endpoint(bad, "x").unwrap_err().to_string();
            assert!(!message.contains("cret") && !message.contains("me:"), "{message}");
        }
        let good = endpoint("http://me:s3cret@gw:9091/?token=s3cret", "x").unwrap();
        assert_eq!(without_secrets(good).as_str(), "http://gw:9091/metrics/job/x");
    }
}
