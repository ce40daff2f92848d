//! Asking a person for what nobody should see.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// A terminal takes no longer line.
const MAX_LINE: usize = 4096;

/// How often to look whether somebody wants the program to stop, in nanoseconds.
const LOOK: i64 = 100_000_000;

/// The terminal that the process was started from, which shows nothing of what is typed until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = File::from(rustix::fs::open("/dev/tty", flags, Mode::empty())?);
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }

    /// Waits until there is something to read.
    fn wait(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let time = Timespec { tv_sec: 0, tv_nsec: LOOK };
        while !stop() {
            match poll(&mut [PollFd::new(&self.terminal.as_fd(), PollFlags::IN)], Some(&time)) {
                Ok(0) | Err(Errno::INTR) => {}
                polled => return polled.map(drop).map_err(Into::into),
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks for a line on the terminal that the process was started from, which does not show it. Standard input and output may be
/// something else.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] once `stop` says so; others where there is no terminal, or the line is none.
pub fn ask_hidden(question: &str, stop: &dyn Fn() -> bool) -> io::Result<Zeroizing<String>> {
    let mut hidden = Hidden::new()?;
    hidden.terminal.write_all(question.as_bytes())?;
    let mut line = Zeroizing::new(vec![0; MAX_LINE]);
    hidden.wait(stop)?;
    // A terminal that edits lines gives one whole.
    let length = hidden.terminal.read(&mut line)?;
    let typed = line.get(..length).unwrap_or_default();
    let typed = typed.strip_suffix(b"\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let typed = std::str::from_utf8(typed)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "what was typed is not text"))?;
    Ok(Zeroizing::new(typed.to_owned()))
}
