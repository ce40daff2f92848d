//! A real Prometheus for a test's use.

use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// `prometheus` or `promtool`: as installed, or from Debian's package, unpacked to the other real things of the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    static UNPACKED: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fixtures = std::env::var_os("WEEKVAULT_FIXTURES").filter(|v| !v.is_empty());
        let folder = root.join(fixtures.unwrap_or_else(|| "target/fixtures".into())).join("bin");
        let script = root.join("tests/deployment/deploy/get-prometheus.sh");
        let output = Command::new(script).arg(&folder).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test needs Debian's package prometheus: {error}");
        folder
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    installed.unwrap_or_else(|| UNPACKED.join(name))
}

/// A Prometheus on a loopback port of its own, with nothing in it; ends with this value.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one and waits until it is ready. It scrapes and evaluates several times a second.
    pub(crate) fn start(configuration: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut configuration = configuration.clone();
        configuration["global"] =
            serde_json::json!({"scrape_interval": "200ms", "evaluation_interval": "200ms"});
        let file = folder.path().join("prometheus.yaml");
        // JSON is YAML.
        std::fs::write(&file, configuration.to_string()).unwrap();
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            // The kernel picks a free port: tests that run side by side cannot pick the same.
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut prometheus = Self { child, address: String::new(), folder };
        prometheus.address = prometheus.wait("listening", |prometheus| {
            let log = prometheus.log();
            let line = log.lines().find(|line| line.contains("\"Listening on\""))?;
            line.split(' ').find_map(|field| field.strip_prefix("address=")).map(str::to_owned)
        });
        prometheus.wait("ready", |prometheus| prometheus.get("/-/ready").ok());
        prometheus
    }

    /// The vector that an expression gives now: labels and value.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let encoded: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["data"]["resultType"], "vector", "{expression}");
        let Value::Array(samples) = answer["data"]["result"].take() else {
            panic!("{expression}: no samples")
        };
        let value = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        samples.into_iter().map(|mut s| (s["metric"].take(), value(&s))).collect()
    }

    /// Waits until something is so.
    pub(crate) fn wait<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > DEADLINE {
                panic!("not {what} after {:?} ({ended:?}):\n{}", started.elapsed(), self.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// HTTP by hand, so that no proxy of the environment takes part.
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
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
