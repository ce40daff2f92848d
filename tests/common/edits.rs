//! Trees that are changed at random: what is done to them, as proptest makes it up.

use super::is_root;
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Make {
        folder: u16,
        name: Bytes,
        thing: Thing,
    },
    Replace {
        path: u16,
        thing: Thing,
    },
    Copy {
        file: u16,
        folder: u16,
        name: Bytes,
    },
    Append {
        file: u16,
        content: Content,
    },
    /// In the middle, and without a trace in the mtime where `unnoticed`.
    Overwrite {
        file: u16,
        at: u16,
        content: Content,
        unnoticed: bool,
    },
    Truncate {
        file: u16,
        to: u16,
    },
    Grow {
        file: u16,
        by: u32,
    },
    Delete {
        path: u16,
    },
    Rename {
        path: u16,
        folder: u16,
        name: Bytes,
    },
    Link {
        path: u16,
        folder: u16,
        name: Bytes,
    },
    /// Gives a name an inode of its own, with the same content and metadata.
    Unlink {
        file: u16,
    },
    Mode {
        path: u16,
        mode: u32,
    },
    Owner {
        path: u16,
        owner: (u32, u32),
    },
    Touch {
        path: u16,
        secs: i64,
        nanos: i64,
    },
    Attribute {
        path: u16,
        name: u8,
        value: Option<Bytes>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Thing {
    Folder,
    File(Content),
    Sparse { length: u32, at: u16, content: Content },
    Symlink(Bytes),
    Fifo,
}

/// Bytes, told as text.
#[derive(Clone)]
pub(crate) struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [first, rest @ ..] if rest.len() > 20 && rest.iter().all(|b| b == first) => {
                write!(f, "{} x {:?}", self.0.len(), char::from(*first))
            }
            bytes => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

/// Bytes that begin like all others of their seed.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    seed: u8,
    length: u32,
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        match self.seed {
            0 => {}
            1 => bytes.iter_mut().zip(b"The quick brown fox. ".iter().cycle()).for_each(|(a, b)| *a = *b),
            seed => blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes),
        }
        bytes
    }
}

pub(crate) fn name() -> impl Strategy<Value = Bytes> {
    let odd = vec(any::<u8>(), 1..6).prop_map(|mut name| {
        name.iter_mut().filter(|b| matches!(**b, b'/' | 0)).for_each(|b| *b = b'_');
        if name == b"." || name == b".." { Bytes(b"dots".to_vec()) } else { Bytes(name) }
    });
    prop_oneof![
        // Few names, so that they meet again, and neighbours that sort apart from what is in them.
        6 => prop::sample::select(vec!["a", "b", "c", "a-", "a.b", "ab", "b ", "B"]).prop_map(|n| Bytes(n.as_bytes().to_vec())),
        2 => odd,
        1 => (b'x'..=b'z').prop_map(|letter| Bytes(vec![letter; 255])),
    ]
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    let length = prop_oneof![
        2 => 0..3_u32,
        4 => 3..700_u32,
        3 => 700..6_000_u32,
        2 => 6_000..40_000_u32,
        1 => prop::sample::select(vec![63_u32, 64, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097]),
    ];
    (0..7_u8, length).prop_map(|(seed, length)| Content { seed, length })
}

/// A few MiB, for stores with chunks as they usually are.
pub(crate) fn large() -> impl Strategy<Value = Content> {
    (0..7_u8, 200_000..6_000_000_u32).prop_map(|(seed, length)| Content { seed, length })
}

pub(crate) fn thing() -> impl Strategy<Value = Thing> {
    let target = prop_oneof![Just(Bytes(b"..".to_vec())), Just(Bytes(b"a".to_vec())), name()];
    prop_oneof![
        4 => Just(Thing::Folder),
        12 => content().prop_map(Thing::File),
        1 => large().prop_map(Thing::File),
        2 => (1..8_000_000_u32, any::<u16>(), content()).prop_map(|(length, at, content)| Thing::Sparse { length, at, content }),
        2 => target.prop_map(Thing::Symlink),
        1 => Just(Thing::Fifo),
    ]
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let n = any::<u16>;
    let value = prop::option::of(vec(any::<u8>(), 0..300).prop_map(Bytes));
    let time = prop_oneof![-2_147_483_648..15_000_000_000_i64, 1_700_000_000..1_700_000_003_i64];
    prop_oneof![
        6 => (n(), name(), thing()).prop_map(|(folder, name, thing)| Edit::Make { folder, name, thing }),
        2 => (n(), thing()).prop_map(|(path, thing)| Edit::Replace { path, thing }),
        2 => (n(), n(), name()).prop_map(|(file, folder, name)| Edit::Copy { file, folder, name }),
        2 => (n(), content()).prop_map(|(file, content)| Edit::Append { file, content }),
        2 => (n(), n(), content(), any::<bool>())
            .prop_map(|(file, at, content, unnoticed)| Edit::Overwrite { file, at, content, unnoticed }),
        1 => (n(), n()).prop_map(|(file, to)| Edit::Truncate { file, to }),
        1 => (n(), 1..2_000_000_u32).prop_map(|(file, by)| Edit::Grow { file, by }),
        2 => n().prop_map(|path| Edit::Delete { path }),
        3 => (n(), n(), name()).prop_map(|(path, folder, name)| Edit::Rename { path, folder, name }),
        3 => (n(), n(), name()).prop_map(|(path, folder, name)| Edit::Link { path, folder, name }),
        1 => n().prop_map(|file| Edit::Unlink { file }),
        1 => (n(), 0..0o10000_u32).prop_map(|(path, mode)| Edit::Mode { path, mode }),
        1 => (n(), (0..4_u32, 0..4_u32)).prop_map(|(path, owner)| Edit::Owner { path, owner }),
        2 => (n(), time, 0..1_000_000_000_i64).prop_map(|(path, secs, nanos)| Edit::Touch { path, secs, nanos }),
        1 => (n(), 0..3_u8, value).prop_map(|(path, name, value)| Edit::Attribute { path, name, value }),
    ]
}

/// All paths of a tree in a fixed order, the root first.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            let mut children: Vec<PathBuf> =
                fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            children.sort_unstable();
            found.extend(children);
        }
        next += 1;
    }
    found
}

pub(crate) fn pick(paths: Vec<PathBuf>, number: u16, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut fitting: Vec<PathBuf> = paths.into_iter().filter(|p| wanted(p)).collect();
    let at = usize::from(number).checked_rem(fitting.len())?;
    Some(fitting.swap_remove(at))
}

/// Does an edit; none where nothing fits, or the file system refuses.
pub(crate) fn apply(root: &Path, edit: &Edit, large: bool) -> Option<()> {
    let all = paths(root);
    let kind =
        |wanted: fn(&fs::Metadata) -> bool| move |p: &Path| p.symlink_metadata().is_ok_and(|m| wanted(&m));
    let file = |number| pick(all.clone(), number, kind(|m| m.is_file()));
    let folder = |number| pick(all.clone(), number, kind(|m| m.is_dir()));
    let below = |number| pick(all.clone(), number, |p| p != root);
    let free = |number, name: &Bytes| {
        let path = folder(number)?.join(OsStr::from_bytes(&name.0));
        // Deep enough, but not too deep for what looks at it by full paths.
        (path.symlink_metadata().is_err() && path.as_os_str().len() < 2_000).then_some(path)
    };
    match edit {
        Edit::Make { folder, name, thing } => make(&free(*folder, name)?, thing, large),
        Edit::Replace { path, thing } => {
            let path = below(*path)?;
            remove(&path)?;
            make(&path, thing, large)
        }
        Edit::Copy { file: from, folder, name } => {
            fs::copy(file(*from)?, free(*folder, name)?).ok().map(drop)
        }
        Edit::Append { file: to, content } => {
            OpenOptions::new().append(true).open(file(*to)?).ok()?.write_all(&content.bytes()).ok()
        }
        Edit::Overwrite { file: to, at, content, unnoticed } => {
            let path = file(*to)?;
            let before = path.metadata().ok()?;
            let at = before.len().checked_rem(u64::from(*at).max(1))?;
            let mut bytes = content.bytes();
            if *unnoticed {
                bytes.truncate((before.len() - at) as usize);
            }
            File::options().write(true).open(&path).ok()?.write_all_at(&bytes, at).ok()?;
            if *unnoticed { touch(&path, before.mtime(), before.mtime_nsec()) } else { Some(()) }
        }
        Edit::Truncate { file: of, to } => {
            let path = file(*of)?;
            let length = path.metadata().ok()?.len() * u64::from(*to) / 65_536;
            File::options().write(true).open(path).ok()?.set_len(length).ok()
        }
        Edit::Grow { file: of, by } => {
            let path = file(*of)?;
            let length = (path.metadata().ok()?.len() + u64::from(*by)).min(16 << 20);
            File::options().write(true).open(path).ok()?.set_len(length).ok()
        }
        Edit::Delete { path } => remove(&below(*path)?),
        Edit::Rename { path, folder, name } => fs::rename(below(*path)?, free(*folder, name)?).ok(),
        Edit::Link { path, folder, name } => {
            let path = pick(all.clone(), *path, kind(|m| !m.is_dir()))?;
            rustix::fs::linkat(CWD, path, CWD, free(*folder, name)?, AtFlags::empty()).ok()
        }
        Edit::Unlink { file: of } => {
            let path = pick(all.clone(), *of, kind(|m| m.is_file() && m.nlink() > 1))?;
            let before = path.metadata().ok()?;
            let bytes = fs::read(&path).ok()?;
            remove(&path)?;
            fs::write(&path, bytes).ok()?;
            own(&path, (before.uid(), before.gid()))?;
            fs::set_permissions(&path, before.permissions()).ok()?;
            touch(&path, before.mtime(), before.mtime_nsec())
        }
        Edit::Mode { path, mode } => {
            let path = pick(all.clone(), *path, kind(|m| !m.is_symlink()))?;
            let mode = if is_root() { *mode } else { mode & 0o1777 | 0o700 };
            fs::set_permissions(path, Permissions::from_mode(mode)).ok()
        }
        Edit::Owner { path, owner } => own(&pick(all.clone(), *path, |_| true)?, *owner),
        Edit::Touch { path, secs, nanos } => touch(&pick(all.clone(), *path, |_| true)?, *secs, *nanos),
        Edit::Attribute { path, name, value } => {
            let path = pick(all.clone(), *path, kind(|m| m.is_dir() || m.is_file()))?;
            let name = format!("user.{name}");
            match value {
                Some(value) => rustix::fs::setxattr(path, name.as_str(), &value.0, XattrFlags::empty()).ok(),
                None => rustix::fs::removexattr(path, name.as_str()).ok(),
            }
        }
    }
}

pub(crate) fn make(path: &Path, thing: &Thing, large: bool) -> Option<()> {
    // In very small chunks, much content is a great many objects and nothing new.
    let fit = |length: u32| if large { length } else { length % 60_000 };
    match thing {
        Thing::Folder => fs::create_dir(path).ok(),
        Thing::File(content) => {
            fs::write(path, Content { length: fit(content.length), ..*content }.bytes()).ok()
        }
        Thing::Sparse { length, at, content } => {
            let file = File::create(path).ok()?;
            file.set_len((*length).into()).ok()?;
            file.write_all_at(&content.bytes(), u64::from(*length) * u64::from(*at) / 65_536).ok()
        }
        Thing::Symlink(target) => symlink(OsStr::from_bytes(&target.0), path).ok(),
        Thing::Fifo => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).ok(),
    }
}

pub(crate) fn remove(path: &Path) -> Option<()> {
    if path.symlink_metadata().ok()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.ok()
}

pub(crate) fn own(path: &Path, owner: (u32, u32)) -> Option<()> {
    if is_root() { lchown(path, Some(owner.0), Some(owner.1)).ok() } else { Some(()) }
}

pub(crate) fn touch(path: &Path, secs: i64, nanos: i64) -> Option<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).ok()
}
