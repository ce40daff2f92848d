//! How to back up.

use super::sources::SourceRules;
use crate::model::Week;
use crate::ops::TOOL;
use crate::tree::WalkOptions;
use std::path::PathBuf;

/// What the sources are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// What is to be protected, as it is now.
    Live,
    /// Copies of that in a farm of hard links. They stay as they are, and so do the weeks that they become: nothing of an
    /// object is moved elsewhere because the rest of it is not needed any more.
    Copy {
        /// Where it was mounted; empty where nobody knows.
        of: PathBuf,
    },
}

/// What the manifests of a run say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labels {
    /// The week that they stand for.
    pub week: Week,
    /// What the sources are.
    pub origin: Origin,
    /// Patterns of what is left out.
    pub excludes: Vec<String>,
    /// This machine.
    pub host: String,
    /// This program.
    pub tool: String,
}

impl Labels {
    /// Those of a week of what is live, with nothing left out.
    pub fn of(week: Week) -> Self {
        Self { week, origin: Origin::Live, excludes: Vec::new(), host: String::new(), tool: TOOL.to_owned() }
    }
}

/// What of a source's metadata is believed when it is compared with the manifest before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Trust {
    /// Nothing: every file is read.
    pub force_read: bool,
    /// No ctimes: the file system has no stable ones.
    pub ignore_ctime: bool,
    /// No inode numbers, likewise.
    pub ignore_inode: bool,
}

/// How to back up.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// What of the sources to walk.
    pub walk: WalkOptions,
    /// What of their metadata to believe.
    pub trust: Trust,
    /// Which sources may be missing, and what counts as a mistake.
    pub rules: SourceRules,
    /// Threads that read files; none for as many as suit the source's file system.
    pub readers: Option<usize>,
    /// Read and compare, but write nothing.
    pub dry_run: bool,
}

impl Default for BackupOptions {
    /// All of each source.
    fn default() -> Self {
        Self {
            walk: WalkOptions::everything(),
            trust: Trust::default(),
            rules: SourceRules::default(),
            readers: None,
            dry_run: false,
        }
    }
}
