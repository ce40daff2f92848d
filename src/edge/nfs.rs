//! Whether the server of an NFS mount answers, by the kernel's own statistics.
//!
//! A soft mount promises that an operation fails where the server does not answer. Linux does not keep that for each of them:
//! an open may wait for the recovery of the client's state without an end (seen with Linux 7.2, of a server that was
//! stopped in mid-run).

use signal_hook::low_level;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A mount whose operations are to fail where its server is silent.
#[derive(Debug)]
pub struct SoftMount {
    mount: Mount,
    /// Open from the start: a process that keeps its memory private may open it no more, unless it is root's.
    statistics: File,
}

#[derive(PartialEq, Eq, Debug)]
struct Mount {
    /// As `/proc/self/mountstats` has it.
    mounted_on: String,
    /// How long an operation takes to fail, at most.
    promise: Duration,
}

/// How long after that a server counts as silent, where an operation waits for it or has failed.
const SPARE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOKS: Duration = Duration::from_secs(1);
const STATISTICS: &str = "/proc/self/mountstats";

impl SoftMount {
    /// The mount that a path is on, if it is NFS and soft. Only the path's names are looked at, none of its directories.
    pub fn of(path: &Path) -> Option<Self> {
        let statistics = File::open(STATISTICS).ok()?;
        let mount = Mount::among(&read(&statistics)?, path)?;
        Some(Self { mount, statistics })
    }

    /// How many replies have come from the server.
    fn replies(&self) -> Option<u64> {
        replies(&read(&self.statistics)?, &self.mount.mounted_on)
    }

    /// Looks now and then for how long, by `waits` (None: nobody wants to know any more), an operation has waited for a reply
    /// from the server, and how long ago one has failed for want of that. If no reply comes for longer than the mount
    /// promises after either, calls `silent` and ends the process with `code`.
    pub fn watch(
        &self,
        waits: impl Fn() -> Option<(Duration, Option<Duration>)>,
        silent: impl FnOnce(Duration),
        code: i32,
    ) {
        let limit = self.mount.promise + SPARE;
        let (mut replies, mut since, mut failing) = (self.replies(), Instant::now(), Duration::ZERO);
        while let Some((waited, failed)) = waits() {
            let now = self.replies();
            if now.is_none() || now != replies {
                (replies, since, failing) = (now, Instant::now(), Duration::ZERO);
            }
            let silence = since.elapsed();
            // The first failure of this silence counts, not the last.
            failing = failed.filter(|ago| *ago < silence).map_or(Duration::ZERO, |ago| ago.max(failing));
            let silence = waited.max(failing).min(silence);
            if silence >= limit {
                silent(silence);
                low_level::exit(code);
            }
            if !failing.is_zero() {
                failing += LOOKS;
            }
            std::thread::sleep(LOOKS);
        }
    }
}

impl Mount {
    fn among(statistics: &str, path: &Path) -> Option<Self> {
        let is_below =
            |mounted_on: &str| path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&plain(mounted_on))));
        // Of mounts in the same place the last one is seen.
        let (mounted_on, lines) = mounts(statistics)
            .filter(|(mounted_on, _)| is_below(mounted_on))
            .max_by_key(|(mounted_on, _)| mounted_on.len())?;
        let options = lines.lines().find_map(|line| line.trim().strip_prefix("opts:"))?;
        let options = || options.trim().split(',');
        if !options().any(|option| matches!(option, "soft" | "softerr")) {
            return None;
        }
        let number = |name: &str| options().find_map(|option| option.strip_prefix(name)?.parse::<u64>().ok());
        // Each try waits longer than the one before (nfs(5), timeo and retrans).
        let (tenths, tries) = (number("timeo=")?.min(6000), number("retrans=")?.min(100) + 1);
        let promise = Duration::from_millis(100 * tenths * tries * (tries + 1) / 2);
        Some(Self { mounted_on: mounted_on.to_owned(), promise })
    }
}

/// What the kernel says by now.
fn read(mut statistics: &File) -> Option<String> {
    let mut text = String::new();
    statistics.rewind().ok()?;
    statistics.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The mounts of NFS: where they are, and what is said of them.
fn mounts(statistics: &str) -> impl Iterator<Item = (&str, &str)> {
    statistics.split("device ").filter_map(|mount| {
        let (head, lines) = mount.split_once('\n')?;
        let (_, head) = head.split_once(" mounted on ")?;
        let (mounted_on, kind) = head.split_once(" with fstype ")?;
        kind.starts_with("nfs").then_some((mounted_on, lines))
    })
}

/// The sum over the mount's connections.
fn replies(statistics: &str, mounted_on: &str) -> Option<u64> {
    let (_, lines) = mounts(statistics).filter(|(at, _)| *at == mounted_on).last()?;
    let connections = lines.lines().filter_map(|line| line.trim().strip_prefix("xprt:"));
    let received = |line: &str| {
        let mut fields = line.split_whitespace();
        // RFC 5531 over TCP or RDMA: source port, binds, connects, connect time, idle time, sends, receives.
        let place = if fields.next()? == "udp" { 3 } else { 6 };
        fields.nth(place)?.parse::<u64>().ok()
    };
    connections.map(received).sum()
}

/// A path as the kernel writes it into such files: blanks and backslashes as `\040`.
fn plain(escaped: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(escaped.len()), escaped.as_bytes());
    while let [first, after @ ..] = rest {
        let octal =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "device proc mounted on /proc with fstype proc
device nas:/a mounted on /back\\040up with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=131072,soft,proto=tcp,timeo=30,retrans=3,sec=sys
\tage:\t10
\txprt:\ttcp 0 1 1 0 14 26 25 0 27 0 2 0 1
\txprt:\ttcp 0 1 1 0 14 6 5 0 27 0 2 0 1
device nas:/b mounted on / with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,hard,proto=tcp,timeo=600,retrans=2
\txprt:\ttcp 0 1 1 0 14 126 125 0 27 0 2 0 1
";

    #[test]
    fn a_soft_mount_is_told_from_the_one_above_it() {
        let mount = Mount::among(MOUNTS, Path::new("/back up/store")).unwrap();
        assert_eq!(mount, Mount { mounted_on: "/back\\040up".into(), promise: Duration::from_secs(30) });
        assert_eq!(replies(MOUNTS, &mount.mounted_on), Some(30));
        assert_eq!(Mount::among(MOUNTS, Path::new("/other")), None, "hard: whoever mounts so wants to wait");
        assert_eq!(Mount::among("", Path::new("/back up")), None);
        assert_eq!(replies(MOUNTS, "/gone"), None);
    }

    #[test]
    fn a_server_that_answers_is_not_silent() {
        let mount = Mount { mounted_on: "/nowhere".into(), promise: Duration::ZERO };
        let mount = SoftMount { mount, statistics: File::open(STATISTICS).unwrap() };
        let asked = std::cell::Cell::new(0);
        // An hour, and then nobody wants to know: no statistics, no silence.
        let waits = || {
            asked.set(asked.get() + 1);
            (asked.get() == 1).then_some((Duration::from_secs(3600), Some(Duration::from_secs(3600))))
        };
        mount.watch(waits, |_| panic!("silent"), 1);
        assert_eq!(asked.get(), 2);
    }
}
