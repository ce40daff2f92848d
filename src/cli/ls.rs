//! `ls`: a manifest's tree.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::{document_line, merge, path_json};
use super::options::{Which, help_end};
use crate::model::{ArchivePath, DeviceNumber, Entry, FileContent, Kind, Owners, Shown};
use crate::ops::browse::{self, Depth};
use crate::ops::{Error, clock};
use clap::Args;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "\
Examples:
  weekvault ls --week latest --pvc html
  weekvault ls --week 2025-14 --pvc enigma -lR alice@example.org
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct LsArgs {
    #[command(flatten)]
    which: Which,
    /// The path in the source [default: its root]
    path: Option<OsString>,
    /// Show modes, owners, sizes and times
    #[arg(short, long, env = "WEEKVAULT_LONG")]
    long: bool,
    /// Show all that is below
    #[arg(short = 'R', long, env = "WEEKVAULT_RECURSIVE")]
    recursive: bool,
}

pub(super) fn run(context: &Context, args: &LsArgs) -> Result<u8, Failure> {
    let path = parse_path(args.path.as_ref())?;
    let archive = context.for_reader(context.open_to_read()?)?;
    let manifest = context.manifest(&args.which, &archive)?;
    let depth = if args.recursive { Depth::All } else { Depth::Children };
    let mut out = BufWriter::new(io::stdout().lock());
    browse::ls(&manifest, &path, depth, |path, entry, owners| {
        let line = match (context.global.json, args.long) {
            (true, _) => document_line(&document(path, entry, owners)),
            (_, true) => long_line(path, entry, owners) + "\n",
            _ => format!("{path}\n"),
        };
        out.write_all(line.as_bytes())
            .map_err(|source| Error::System { operation: "write the output", source })
    })?;
    out.flush()?;
    Ok(DONE)
}

/// A path in a source, as a command line names it.
pub(super) fn parse_path(path: Option<&OsString>) -> Result<ArchivePath, Failure> {
    let bytes = path.map(|p| p.as_bytes()).unwrap_or_default();
    ArchivePath::parse(bytes)
        .map_err(|e| Failure::Usage(format!("{e}: give a path relative to the source's root")))
}

fn owner_name(name: Option<&[u8]>, id: u32) -> String {
    name.map_or_else(|| id.to_string(), |n| Shown(n).to_string())
}

fn long_line(path: &ArchivePath, entry: &Entry, owners: &Owners) -> String {
    let meta = &entry.meta;
    let letter = if entry.kind.letter() == 'f' { '-' } else { entry.kind.letter() };
    let size = match &entry.kind {
        Kind::File(content) => content.size.to_string(),
        Kind::CharDevice(DeviceNumber { major, minor })
        | Kind::BlockDevice(DeviceNumber { major, minor }) => {
            format!("{major},{minor}")
        }
        _ => "0".to_owned(),
    };
    let (user, group) =
        (owner_name(owners.user(meta.uid), meta.uid), owner_name(owners.group(meta.gid), meta.gid));
    let marks = if meta.xattrs.is_empty() { ' ' } else { '+' };
    let mut line = format!(
        "{letter}{}{marks} {user:<8} {group:<8} {size:>10} {} {path}",
        mode_text(meta.mode),
        clock::rfc3339(meta.mtime)
    );
    match &entry.kind {
        Kind::Symlink(target) => line.push_str(&format!(" -> {}", Shown(target))),
        Kind::HardLink(first) => line.push_str(&format!(" = {first}")),
        Kind::File(content) if content.changed_while_read => line.push_str("  (changed while it was read)"),
        _ => {}
    }
    line
}

/// `rwxr-xr-x`, with s, S, t and T as `ls` has them.
fn mode_text(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn document(path: &ArchivePath, entry: &Entry, owners: &Owners) -> Value {
    let meta = &entry.meta;
    let text = |bytes| String::from_utf8_lossy(bytes);
    let (kind, of_kind) = match &entry.kind {
        Kind::Directory => ("directory", json!({})),
        Kind::File(content) => {
            let FileContent { size, hash, changed_while_read, .. } = content;
            let blake3 = hash.to_string();
            ("file", json!({ "size": size, "blake3": blake3, "changed_while_read": changed_while_read }))
        }
        Kind::Symlink(target) => ("symlink", json!({ "target": text(target) })),
        Kind::HardLink(first) => ("hard link", json!({ "target": text(first.as_bytes()) })),
        Kind::Fifo => ("fifo", json!({})),
        Kind::Socket => ("socket", json!({})),
        Kind::CharDevice(d) => ("character device", json!({ "device": [d.major, d.minor] })),
        Kind::BlockDevice(d) => ("block device", json!({ "device": [d.major, d.minor] })),
    };
    let common = json!({
        "type": kind,
        "mode": format!("{:04o}", meta.mode),
        "uid": meta.uid,
        "gid": meta.gid,
        "user": owners.user(meta.uid).map(text),
        "group": owners.group(meta.gid).map(text),
        "mtime": clock::rfc3339(meta.mtime),
        "mtime_nanoseconds": meta.mtime.nanos,
        "xattrs": meta.xattrs.iter().map(|x| text(&x.name)).collect::<Vec<_>>(),
    });
    path_json(path, merge(common, of_kind))
}
