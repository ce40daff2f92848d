//! What every command needs: the store, the observer, where results go.

use super::failure::Failure;
use super::human::document_line;
use super::options::{Color, Global, Which};
use super::place;
use super::progress::{Progress, Stderr};
use crate::archive::{Archive, Manifest, told_of_future};
use crate::cache::{Cache, keep_private};
use crate::edge::Interrupt;
use crate::model::{Observer, PvcName, Shown, Week, WeekRef, lines};
use crate::ops::{Error, Run};
use crate::tree::StorePlace;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

pub(super) struct Context {
    pub(super) global: Global,
    /// Why `--store` names no directory that anybody can have meant.
    pub(super) wrong_store: Option<String>,
    pub(super) progress: Progress,
    pub(super) interrupt: Interrupt,
}

/// Says why a command ends without having tidied up.
fn tell_late(after: Duration) {
    let after = after.as_secs();
    let _ = writeln!(
        Stderr,
        "error: told to stop, the command had not ended after {after} s, as where a file system does not answer, and ends at \
         once; what it left unfinished in the store's tmp/, or in a target, the next run removes"
    );
}

impl Context {
    pub(super) fn new(mut global: Global) -> Result<Self, Failure> {
        let system = |operation| move |source| Failure::Ops(Error::System { operation, source });
        let interrupt = Interrupt::register(tell_late).map_err(system("listen for signals"))?;
        // Whether a store lies in a source can only be told of a path that does not depend on where we are. One that
        // makes no sense is refused by the commands that need it.
        let wrong_store = place::check(&global.store).err();
        if wrong_store.is_none() {
            global.store = std::path::absolute(&global.store).map_err(system("tell the current folder"))?;
        }
        let terminal = io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colored = match global.color {
            Color::Auto => terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        let level = match (global.verbose, global.quiet) {
            (0, true) => "error",
            (0, false) => "warn",
            (1, _) => "info",
            _ => "debug",
        };
        let filter =
            tracing_subscriber::EnvFilter::new(format!("{level},sled=error,hyper=warn,hickory=error"));
        let log = tracing_subscriber::fmt().with_writer(|| Stderr).with_env_filter(filter).with_ansi(colored);
        // A second subscriber in one process is a test's.
        let _ = log.try_init();
        let quiet = global.quiet && global.verbose == 0;
        // A bar and a log would write over each other.
        let bar = terminal && global.verbose < 2;
        let progress = Progress::new(quiet, bar, colored, interrupt.clone());
        Ok(Self { global, wrong_store, progress, interrupt })
    }

    pub(super) fn observer(&self) -> &dyn Observer {
        &self.progress
    }

    /// Fails where the store has nothing of the pvc that a command was narrowed to, and says what it has.
    pub(super) fn check_pvc(&self, archive: &Archive, pvc: Option<&PvcName>) -> Result<(), Failure> {
        if let Some(pvc) = pvc
            && !archive.manifests()?.iter().any(|m| m.id.pvc == *pvc)
        {
            archive.find_manifest(WeekRef::Latest, pvc)?;
        }
        Ok(())
    }

    /// Says which weeks of a pvc are passed over in looking for its latest, because they have not begun.
    pub(super) fn tell_future(&self, archive: &Archive, week: WeekRef, pvc: &PvcName) -> Result<(), Failure> {
        if matches!(week, WeekRef::Exact(_)) {
            return Ok(());
        }
        self.tell_of_future(pvc, &archive.future_weeks(pvc)?);
        Ok(())
    }

    /// The same of weeks that are known to be later than now.
    pub(super) fn tell_of_future(&self, pvc: &PvcName, weeks: &BTreeSet<Week>) {
        if !weeks.is_empty() {
            self.observer().warn(&told_of_future(pvc, weeks));
        }
    }

    /// Opens the manifest that a command line names.
    pub(super) fn manifest(&self, which: &Which, archive: &Archive) -> Result<Manifest, Failure> {
        self.tell_future(archive, which.week, &which.pvc)?;
        let manifest = archive.open_manifest(&archive.find_manifest(which.week, &which.pvc)?)?;
        archive.check_chosen(&manifest, Some(which.week), |warning| self.observer().warn(warning))?;
        let id = manifest.id();
        if id.partial {
            let (week, pvc) = (id.week, &id.pvc);
            self.observer()
                .warn(&format!("{week}/{pvc} is partial: some paths could not be read when it was made"));
        }
        Ok(manifest)
    }

    /// What an operation on the store works with.
    pub(super) fn run<'a>(&'a self, archive: &'a Archive) -> Run<'a> {
        Run::new(archive, self.observer()).on(self.threads())
    }

    /// The cache, unless it is switched off or has no place to be.
    pub(super) fn cache(&self) -> Result<Option<Cache>, Failure> {
        Ok(self.cache_folder()?.and_then(|folder| Cache::open(&folder)))
    }

    /// Where the cache is.
    pub(super) fn cache_folder(&self) -> Result<Option<PathBuf>, Failure> {
        if self.global.no_cache {
            return Ok(None);
        }
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let by_user = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
        let folder = match &self.global.cache_dir {
            Some(folder) => {
                let wrong = |wrong| Failure::Usage(format!("--cache-dir {folder:?} {wrong}"));
                place::check(folder).map_err(wrong)?;
                folder.clone()
            }
            None => {
                let Some(folder) = by_user() else { return Ok(None) };
                let folder = folder.join("weekvault");
                keep_private(&folder);
                folder
            }
        };
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let store = &self.global.store;
        if StorePlace::at(store).contains(&folder) {
            let message = format!(
                "the cache {} is inside the store {}: what may be deleted at any time must not be there; \
                 give another --cache-dir, or --no-cache",
                Shown::path(&folder),
                Shown::path(store)
            );
            return Err(Failure::Usage(message));
        }
        Ok(Some(folder))
    }

    pub(super) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
        self.global.threads.map_or_else(cores, usize::from)
    }

    /// Asks whether to go on in spite of a doubt. Where nobody is there to be asked, nothing is done.
    pub(super) fn confirm(&self, doubt: &str) -> Result<(), Failure> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::Refused(format!(
                "{doubt}: nothing was changed; if that is what is meant, give --yes"
            )));
        }
        self.progress.finish();
        let _ = write!(Stderr, "{doubt}.\nGo on? [y/N] ");
        let mut answer = String::new();
        let _ = io::stdin().read_line(&mut answer);
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::Refused("nothing was changed".to_owned())),
        }
    }

    /// For commands whose result is no document.
    pub(super) fn refuse_json(&self, why: &str) -> Result<(), Failure> {
        if self.global.json {
            Err(Failure::Usage(format!("{why}; there is no --json of it")))
        } else {
            Ok(())
        }
    }

    /// An operation's error; one that a signal brought about is told as that, with what it leaves.
    pub(super) fn failure(&self, error: impl Into<Failure>, left: &'static str) -> Failure {
        match (error.into(), self.interrupt.received()) {
            (Failure::Ops(Error::Cancelled), Some(signal)) => Failure::Interrupted { signal, left },
            (Failure::Ops(Error::Cancelled), None) => {
                Failure::bug("it stopped, and nobody had asked it to".to_owned())
            }
            (failure, _) => failure,
        }
    }

    /// Prints a result: the document with `--json`, else the text. That nobody reads it changes nothing in how the
    /// command ended.
    pub(super) fn print(&self, document: &serde_json::Value, text: &str) -> Result<(), Failure> {
        self.progress.finish();
        let document = self.global.json.then(|| document_line(document));
        let text = document.map_or_else(|| lines(text), Into::into);
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(e)),
            _ => Ok(()),
        }
    }

    /// Tells why a command failed, and gives its exit code.
    pub(super) fn tell(&self, failure: &Failure) -> u8 {
        self.progress.finish();
        if !failure.is_broken_pipe() {
            self.progress.error(&failure.to_string());
        }
        if let Some(hint) = failure.hint() {
            self.progress.hint(hint);
        }
        if self.global.json {
            failure.print_json();
        }
        failure.code()
    }
}

/// This machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
