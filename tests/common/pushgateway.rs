//! A real Pushgateway for a test's use.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = "prometheus-pushgateway";
const DEADLINE: Duration = Duration::from_secs(20);

/// A Pushgateway on a loopback port of its own, with nothing in it; ends with this value.
pub(crate) struct Pushgateway {
    child: Child,
    address: String,
    log: tempfile::NamedTempFile,
}

impl Pushgateway {
    /// Starts one and waits until it is ready.
    pub(crate) fn start() -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(PROGRAM)
            // The kernel picks a free port: tests that run side by side cannot pick the same.
            .args(["--web.listen-address=127.0.0.1:0", "--persistence.file="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                panic!("this test needs a real Pushgateway: apt-get install {PROGRAM} (tests/run does it)")
            }
            Err(error) => panic!("cannot start {PROGRAM}: {error}"),
        };
        let mut gateway = Self { child, address: String::new(), log };
        gateway.address = gateway.wait("listening", |gateway| {
            let log = gateway.log();
            let line = log.lines().find(|line| line.contains("Listening on"))?;
            line.split(' ').find_map(|field| field.strip_prefix("address=")).map(str::to_owned)
        });
        gateway.wait("ready", |gateway| gateway.get("/-/ready").ok());
        gateway
    }

    /// Its URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that Prometheus would scrape now, in the text format.
    ///
    /// Pushed samples have the labels `instance=""` and `job` added, and labels are sorted by name.
    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").unwrap_or_else(|error| panic!("GET /metrics: {error}\n{}", self.log()))
    }

    fn wait<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > DEADLINE {
                panic!("{PROGRAM} is not {what} after {:?} ({ended:?}):\n{}", started.elapsed(), self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// HTTP by hand, so that no proxy of the environment and no code under test takes part.
    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(io::Error::other(answer)),
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path()).and_then(|mut file| file.read_to_string(&mut text)).unwrap();
        text
    }
}

impl Drop for Pushgateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
