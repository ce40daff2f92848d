//! A manifest before it is sealed: what is mutated. Building it repairs lengths, counts and hashes, so that mutations
//! get past them; a recipe says where they are to stay wrong.
//!
//! ```text
//! block    section, flags, then what the flags ask for:
//!            ITEMS, PLAIN: an i32 to add to what the index says   SEAL: its number
//!            REPEAT: a slice of the plain bytes (u32, u16) and how often it is to be there (u32)
//!            RAW: the plain bytes are stored as they are          DAMAGED: a stored byte is flipped after its hash
//!          context: u16, bytes   records: u16, each u16, bytes
//! ff       then patches of the index, made before its digest: u16, byte
//! ```

#[cfg(test)]
use super::record::Fields;
use super::sealed::{self, KEYS, STORE};
use std::cell::RefCell;
#[cfg(test)]
use weekvault::format::{Keys, ManifestReader, Measures, Seal, Version};
use weekvault::format::{Sealer, Seals, Section};
use weekvault::model::Digest;

pub(super) const ITEMS: u8 = 1;
pub(super) const PLAIN: u8 = 2;
pub(super) const SEAL: u8 = 4;
pub(super) const REPEAT: u8 = 8;
pub(super) const RAW: u8 = 16;
pub(super) const DAMAGED: u8 = 32;
/// The plain bytes of all blocks together are no more than this.
const MOST: usize = 40 << 20;

#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Recipe {
    pub(super) blocks: Vec<Block>,
    pub(super) patches: Vec<(u16, u8)>,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Block {
    pub(super) section: u8,
    pub(super) flags: u8,
    pub(super) items: i32,
    pub(super) plain: i32,
    pub(super) seal: u8,
    pub(super) repeat: (u32, u16, u32),
    pub(super) context: Vec<u8>,
    pub(super) records: Vec<Vec<u8>>,
}

/// Takes numbers and bytes; where there are none left, zeros and nothing.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let length = N.min(self.0.len());
        taken[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.take())
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.u16()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    let bytes = &bytes[..bytes.len().min(u16::MAX.into())];
    out.extend((bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

thread_local! {
    static SEALER: RefCell<Sealer> = RefCell::new(Seals::zstd(1).sealer().unwrap());
}

impl Block {
    pub(super) fn new(section: Section, context: &[u8], records: Vec<Vec<u8>>) -> Self {
        Self { section: section as u8, context: context.to_vec(), records, ..Self::default() }
    }

    fn plain(&self, most: usize) -> Vec<u8> {
        let mut plain = self.context.clone();
        plain.extend(self.records.iter().flatten());
        if self.flags & REPEAT != 0 {
            let (at, length, times) = self.repeat;
            let at = (at as usize).min(plain.len());
            let end = (at + usize::from(length)).min(plain.len());
            let times = (times as usize).min(most.saturating_sub(plain.len()) / (end - at).max(1));
            let more = plain[at..end].repeat(times.saturating_sub(1));
            plain.splice(end..end, more);
        }
        plain
    }
}

impl Recipe {
    /// Makes something of any bytes.
    pub(crate) fn parse(data: &[u8]) -> Self {
        let (mut input, mut recipe) = (Input(data), Self::default());
        while !input.0.is_empty() && recipe.blocks.len() < 1000 {
            let [section] = input.take();
            if section == 0xff {
                break;
            }
            let [flags] = input.take();
            let flag = |flag| flags & flag != 0;
            recipe.blocks.push(Block {
                section,
                flags,
                items: if flag(ITEMS) { input.i32() } else { 0 },
                plain: if flag(PLAIN) { input.i32() } else { 0 },
                seal: if flag(SEAL) { input.take::<1>()[0] } else { 0 },
                repeat: match flag(REPEAT) {
                    true => (input.i32() as u32, input.u16(), input.i32() as u32),
                    false => (0, 0, 0),
                },
                context: input.bytes(),
                records: (0..input.u16())
                    .map_while(|_| (!input.0.is_empty()).then(|| input.bytes()))
                    .collect(),
            });
        }
        while let [_, ..] = input.0 {
            let (at, [value]) = (input.u16(), input.take());
            recipe.patches.push((at, value));
        }
        recipe
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for block in &self.blocks {
            out.extend([block.section, block.flags]);
            let flag = |flag| block.flags & flag != 0;
            if flag(ITEMS) {
                out.extend(block.items.to_le_bytes());
            }
            if flag(PLAIN) {
                out.extend(block.plain.to_le_bytes());
            }
            if flag(SEAL) {
                out.push(block.seal);
            }
            if flag(REPEAT) {
                out.extend(block.repeat.0.to_le_bytes());
                out.extend(block.repeat.1.to_le_bytes());
                out.extend(block.repeat.2.to_le_bytes());
            }
            put(&block.context, &mut out);
            let count = block.records.len().min(u16::MAX.into());
            out.extend((count as u16).to_le_bytes());
            block.records[..count].iter().for_each(|record| put(record, &mut out));
        }
        if !self.patches.is_empty() {
            out.push(0xff);
            for (at, value) in &self.patches {
                out.extend(at.to_le_bytes());
                out.push(*value);
            }
        }
        out
    }

    /// The recipe of a sound manifest, which if it is sealed opens for these keys.
    #[cfg(test)]
    pub(crate) fn of(manifest: &[u8], keys: &Keys) -> Option<Self> {
        let seals = Seals::with_keys(keys.clone());
        let reader = ManifestReader::open(super::manifest::InMemory(manifest), &seals).ok()?;
        let (mut blocks, mut opener) = (Vec::new(), seals.opener().ok()?);
        for block in reader.blocks() {
            let (begin, mut plain) = (block.offset as usize, Vec::new());
            let stored = manifest.get(begin..begin + block.stored_length as usize)?;
            let seal = Seal::from_number(block.seal, "").ok()?;
            let said = match seal {
                Seal::Zstd => Measures { items: block.items, length: block.plain_length },
                Seal::Age => Measures { items: 0, length: 32 << 20 },
            };
            let items = opener.block(seal, stored, said, "", &mut plain).ok()?;
            let row = if reader.version() == Version::Sealed { 52 } else { 44 };
            blocks.push(cut(block.section, &plain, items, row)?);
        }
        Some(Self { blocks, patches: Vec::new() })
    }

    /// The bytes of a plain store's manifest.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.build_as(false)
    }

    /// The bytes of a sealed store's manifest: what is private is encrypted, and says itself how large it is.
    pub(crate) fn build_sealed(&self) -> Vec<u8> {
        self.build_as(true)
    }

    fn build_as(&self, is_sealed: bool) -> Vec<u8> {
        let header = [*b"WKVLTMF\n", [1 + u8::from(is_sealed), 0, 0, 0, 0, 0, 0, 0]].concat();
        let (mut file, mut index, mut most) = (header.to_vec(), Vec::new(), MOST);
        for block in &self.blocks {
            let plain = block.plain(most);
            most = most.saturating_sub(plain.len());
            let mut stored = Vec::new();
            match block.flags & RAW != 0 {
                true => stored.extend_from_slice(&plain),
                false => SEALER.with_borrow_mut(|sealer| sealer.seal_into(&plain, &mut stored).unwrap()),
            }
            let items = (block.records.len() as u32).wrapping_add_signed(block.items);
            let mut said = [items, (plain.len() as u32).wrapping_add_signed(block.plain)];
            let mut seal = block.seal;
            if is_sealed && is_private(block.section) {
                stored = sealed::block(said, &stored);
                (said, seal) = ([0, 0], if block.flags & SEAL != 0 { seal } else { 1 });
            }
            index.extend([block.section, seal, 0, 0]);
            index.extend(said.map(u32::to_le_bytes).as_flattened());
            index.extend((stored.len() as u32).to_le_bytes());
            index.extend(Digest::of(&stored).as_bytes());
            if let (true, Some(byte)) = (block.flags & DAMAGED != 0, stored.last_mut()) {
                *byte ^= 1;
            }
            file.append(&mut stored);
        }
        for (at, value) in &self.patches {
            let length = index.len().max(1);
            if let Some(byte) = index.get_mut(usize::from(*at) % length) {
                *byte = *value;
            }
        }
        file.extend_from_slice(&index);
        file.extend((index.len() as u32).to_le_bytes());
        file.extend([0; 4]);
        let digest = Digest::of(&[header, index].concat());
        file.extend(digest.as_bytes());
        if is_sealed {
            let writer = &KEYS.writer;
            file.extend(writer.id().0);
            file.extend(writer.secret().sign(&STORE.parse().unwrap(), &digest));
        }
        file.extend(b"WKVLTEND");
        file
    }
}

/// Whether a sealed store keeps a section from others.
fn is_private(section: u8) -> bool {
    matches!(section, 1..=3 | 6 | 7 | 128..)
}

/// A block from its plain bytes, cut into records; those of the object table have `row` bytes.
#[cfg(test)]
fn cut(section: Section, plain: &[u8], items: u32, row: usize) -> Option<Block> {
    let (mut fields, mut records) = (Fields::new(plain), Vec::new());
    if section == Section::Entries {
        fields.bytes()?;
    }
    let context = &plain[..fields.at];
    for _ in 0..items {
        let begin = fields.at;
        match section {
            Section::Entries => drop(fields.entry()?),
            Section::Missing => fields.problem()?,
            Section::Objects => fields.at += row,
            Section::PrivateObjects => fields.at += 12,
            _ => fields.at = plain.len(),
        }
        records.push(plain.get(begin..fields.at)?.to_vec());
    }
    (fields.at == plain.len()).then(|| Block::new(section, context, records))
}

/// The root, as a record.
pub(super) fn root() -> Vec<u8> {
    [0; 13].to_vec()
}

pub(super) fn row(id: u8, chunk_length: u32) -> Vec<u8> {
    let mut row = [id; 32].to_vec();
    row.extend([chunk_length, 9, chunk_length.min(5)].map(u32::to_le_bytes).as_flattened());
    row
}

pub(super) const SUMMARY: &str = r#"{"week":"2025-14","pvc":"enigma","source":"/src/enigma","host":"pod","tool":"weekvault 0.1.0",
"started":[1744081800,0],"finished":[1744081801,5],"compared_with":null,"complete":true,"missing":0}"#;

/// A small manifest in which one section has bytes from outside: the first byte says which, the second how many items.
pub(super) fn of_one_section(data: &[u8]) -> Recipe {
    let (&[which, items], plain) = data.split_first_chunk().unwrap_or((&[0, 0], &[]));
    let outside = |section| {
        let mut block = Block::new(section, plain, Vec::new());
        (block.items, block.flags) = (items.into(), ITEMS);
        block
    };
    let owners = [[1, 33, 3].as_slice(), b"www", &[0]].concat();
    let mut blocks = vec![
        Block::new(Section::Entries, &[0], vec![root()]),
        Block::new(Section::Missing, &[], Vec::new()),
        Block::new(Section::Owners, &[], vec![owners]),
        Block::new(Section::Objects, &[], vec![row(1, 10), row(2, 1 << 20), row(3, 16 << 20)]),
        Block::new(Section::Summary, &[], vec![SUMMARY.into()]),
    ];
    match which % 8 {
        // As all entries, after a root, and after damage.
        0 => blocks[0] = outside(Section::Entries),
        1 => blocks.insert(1, outside(Section::Entries)),
        2 => {
            blocks[0].flags = DAMAGED;
            blocks.insert(1, outside(Section::Entries));
        }
        3 => blocks[1] = outside(Section::Missing),
        4 => blocks[2] = outside(Section::Owners),
        5 => blocks[3] = outside(Section::Objects),
        6 => blocks[4] = outside(Section::Summary),
        _ => blocks.push(outside(Section::Ancillary)),
    }
    blocks.retain(|b| !(b.context.is_empty() && b.records.is_empty()));
    Recipe { blocks, patches: Vec::new() }
}

/// What the summary of a small manifest of version 2 tells everybody, and what only readers.
#[cfg(test)]
const PUBLIC_SUMMARY: &str = r#"{"week":"2025-14","pvc":"enigma","store":"9d3f6a0c5b1e48729f04c7d2a86e13b5","started":1744081800,
"finished":1744081801,"complete":true,"empty":false,"sequence":2,"since":1744081800,"same":"00000000000000000000000000000000000000000000000000000000000000aa",
"before":[[1,"00000000000000000000000000000000000000000000000000000000000000bb"]]}"#;
#[cfg(test)]
const PRIVATE_SUMMARY: &str = r#"{"source":"/src/enigma","host":"pod","tool":"weekvault 0.1.0","started":[1744081800,0],
"finished":[1744081801,5],"compared_with":null,"missing":0}"#;

/// A small manifest of a sealed store.
#[cfg(test)]
pub(super) fn sealed() -> Recipe {
    let rows = |rows: &[[u32; 3]]| rows.iter().map(|row| row.map(u32::to_le_bytes).concat()).collect();
    let owners = [[1, 33, 3].as_slice(), b"www", &[0]].concat();
    let blocks = vec![
        Block::new(Section::Entries, &[0], vec![root()]),
        Block::new(Section::Owners, &[], vec![owners]),
        Block::new(Section::Objects, &[], [1, 2, 3].map(|id| sealed::sealed_row(id, 32 << 10)).to_vec()),
        Block::new(Section::Summary, &[], vec![PUBLIC_SUMMARY.into()]),
        Block::new(Section::PrivateObjects, &[], rows(&[[2, 10, 5], [1, 1 << 20, 5], [3, 16 << 20, 5]])),
        Block::new(Section::PrivateSummary, &[], vec![PRIVATE_SUMMARY.into()]),
        Block::new(Section::ReadFile, &[], vec![b"age-encryption.org/v1\n".to_vec()]),
    ];
    Recipe { blocks, patches: Vec::new() }
}
