//! Records of a manifest by hand, after `docs/format.md`, so that hostile ones can be made too.

use super::Rng;

/// Appends an unsigned number in its shortest form.
pub(super) fn unsigned(n: u64, out: &mut Vec<u8>) {
    match n {
        0..=250 => out.push(n as u8),
        251..=0xffff => {
            out.push(0xfb);
            out.extend((n as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfc);
            out.extend((n as u32).to_le_bytes());
        }
        _ => {
            out.push(0xfd);
            out.extend(n.to_le_bytes());
        }
    }
}

/// Appends bytes with their length before them.
pub(super) fn bytes(b: &[u8], out: &mut Vec<u8>) {
    unsigned(b.len() as u64, out);
    out.extend_from_slice(b);
}

/// Walks over records.
pub(super) struct Fields<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
    /// Where numbers are: begin and end.
    pub(super) numbers: Vec<(usize, usize)>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, numbers: Vec::new() }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let begin = self.at;
        let first = *self.data.get(begin)?;
        let width = match first {
            0..=250 => 0,
            0xfb => 2,
            0xfc => 4,
            0xfd => 8,
            _ => return None,
        };
        let digits = self.data.get(begin + 1..begin + 1 + width)?;
        self.at += 1 + width;
        self.numbers.push((begin, self.at));
        let value = digits.iter().rev().fold(0, |n, d| n << 8 | u64::from(*d));
        Some(if width == 0 { first.into() } else { value })
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let bytes = self.data.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.at += n;
        (self.at <= self.data.len()).then_some(())
    }

    /// An entry's depth and name; goes to its end.
    pub(super) fn entry(&mut self) -> Option<(u64, &'a [u8])> {
        let (depth, name) = (self.number()?, self.bytes()?);
        for _ in 0..8 {
            self.number()?;
        }
        for _ in 0..self.number()? {
            self.bytes()?;
            self.bytes()?;
        }
        match self.number()? {
            1 => {
                self.number()?;
                self.skip(33)?;
                for _ in 0..self.number()? {
                    self.number()?;
                    self.number()?;
                    self.number()?;
                }
            }
            2 | 3 => drop(self.bytes()?),
            6 | 7 => {
                self.number()?;
                self.number()?;
            }
            0 | 4 | 5 => {}
            _ => return None,
        }
        for _ in 0..self.number()? {
            self.number()?;
            self.bytes()?;
        }
        Some((depth, name))
    }

    /// A record of the missing section.
    pub(super) fn problem(&mut self) -> Option<()> {
        self.bytes()?;
        self.bytes()?;
        self.bytes()?;
        Some(())
    }
}

fn name(rng: &mut Rng) -> Vec<u8> {
    const ODD: [&[u8]; 8] = [b".", b"..", b"a/b", b"a\0", b"", b"\xff\x1b[2J\n", b"-", b"a.b"];
    if rng.one_in(24) {
        return rng.pick(&ODD).to_vec();
    }
    let length = if rng.one_in(40) { 253 + rng.below(5) } else { 1 + rng.below(3) };
    (0..length).map(|_| b'a' + rng.below(4) as u8).collect()
}

/// An entry that could follow on one at `depth`: mostly a possible one.
pub(super) fn random_entry(depth: u64, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    unsigned(if rng.one_in(30) { rng.number() } else { 1 + rng.below(depth as usize + 1) as u64 }, &mut out);
    bytes(&name(rng), &mut out);
    unsigned(if rng.one_in(30) { rng.number() } else { rng.below(0o10000) as u64 }, &mut out);
    for _ in 0..2 {
        unsigned(rng.number() & 0xffff_ffff, &mut out);
    }
    for _ in 0..2 {
        unsigned(rng.number(), &mut out);
        unsigned(if rng.one_in(40) { rng.number() } else { rng.below(1_000_000_000) as u64 }, &mut out);
    }
    unsigned(rng.number(), &mut out);
    let xattrs = if rng.one_in(5) { rng.below(4) } else { 0 };
    unsigned(xattrs as u64, &mut out);
    for i in 0..xattrs {
        bytes(format!("user.{}", if rng.one_in(10) { 0 } else { i }).as_bytes(), &mut out);
        bytes(&name(rng), &mut out);
    }
    kind(rng, &mut out);
    let extra = if rng.one_in(10) { rng.below(3) } else { 0 };
    unsigned(extra as u64, &mut out);
    for _ in 0..extra {
        unsigned(rng.number() & 0xffff_ffff, &mut out);
        bytes(&name(rng), &mut out);
    }
    out
}

fn kind(rng: &mut Rng, out: &mut Vec<u8>) {
    let kind = if rng.one_in(60) { rng.number() } else { rng.below(8) as u64 };
    let kind = if rng.one_in(2) { rng.below(2) as u64 } else { kind };
    unsigned(kind, out);
    match kind {
        1 => {
            let mut extents = Vec::new();
            let mut total = 0u64;
            for _ in 0..rng.below(4) {
                let row = if rng.one_in(20) { rng.number() & 0xffff_ffff } else { rng.below(4) as u64 };
                let offset = if row == 0 && !rng.one_in(20) { 0 } else { rng.below(12) as u64 };
                let length = if rng.one_in(12) { rng.number() } else { 1 + rng.below(12) as u64 };
                extents.push((row, offset, length));
                total = total.wrapping_add(length);
            }
            unsigned(if rng.one_in(30) { rng.number() } else { total }, out);
            out.extend([rng.below(4) as u8; 32]);
            out.push(if rng.one_in(30) { rng.next() as u8 } else { rng.below(2) as u8 });
            unsigned(extents.len() as u64, out);
            for (row, offset, length) in extents {
                unsigned(row, out);
                unsigned(offset, out);
                unsigned(length, out);
            }
        }
        2 => bytes(&name(rng), out),
        3 => {
            let components: Vec<Vec<u8>> = (0..1 + rng.below(3)).map(|_| name(rng)).collect();
            bytes(&components.join(&b'/'), out);
        }
        6 | 7 => {
            unsigned(rng.number() & 0xffff_ffff, out);
            unsigned(rng.number() & 0xffff_ffff, out);
        }
        _ => {}
    }
}

/// What a record can have many or much of.
pub(super) const GIANTS: [&str; 7] =
    ["name", "xattrs", "xattr-value", "extents", "symlink", "hard-link", "extra"];

/// A record of many or long parts: what claims the most memory for its bytes. With it comes the slice of it that is to
/// be there so many times.
pub(super) fn giant(what: &str, times: u32, depth: u64) -> (Vec<u8>, usize, usize) {
    let (mut out, mut repeated) = (Vec::new(), (0, 0));
    let many = |out: &mut Vec<u8>, item: &[u8]| {
        unsigned(times.into(), out);
        let at = out.len();
        out.extend_from_slice(item);
        (at, item.len())
    };
    unsigned(depth + 1, &mut out);
    match what {
        "name" => repeated = many(&mut out, b"z"),
        _ => bytes(b"zz", &mut out),
    }
    out.extend([0; 8]);
    match what {
        "xattrs" => repeated = many(&mut out, &[0, 0]),
        "xattr-value" => {
            out.extend([1, 1, b'u']);
            repeated = many(&mut out, b"v");
        }
        _ => out.push(0),
    }
    match what {
        "extents" => {
            out.push(1);
            unsigned(times.into(), &mut out);
            out.extend([0; 33]);
            repeated = many(&mut out, &[0, 0, 1]);
        }
        "symlink" | "hard-link" => {
            out.push(if what == "symlink" { 2 } else { 3 });
            repeated = many(&mut out, b"a");
        }
        _ => out.push(0),
    }
    match what {
        "extra" => repeated = many(&mut out, &[7, 0]),
        _ => out.push(0),
    }
    (out, repeated.0, repeated.1)
}
