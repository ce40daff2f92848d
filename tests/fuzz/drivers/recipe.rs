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
use std::cell::RefCell;
#[cfg(test)]
use weekvault::format::ManifestReader;
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

    /// The recipe of a sound manifest.
    #[cfg(test)]
    pub(crate) fn of(manifest: &[u8]) -> Option<Self> {
        let reader = ManifestReader::open(super::manifest::InMemory(manifest), &Seals::default()).ok()?;
        let (mut blocks, mut opener) = (Vec::new(), Seals::default().opener().ok()?);
        for block in reader.blocks() {
            let (begin, mut plain) = (block.offset as usize, Vec::new());
            let stored = manifest.get(begin..begin + block.stored_length as usize)?;
            opener.open_into(stored, block.plain_length, "", &mut plain).ok()?;
            blocks.push(cut(block.section, &plain, block.items)?);
        }
        Some(Self { blocks, patches: Vec::new() })
    }

    /// The manifest's bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        let header = *b"WKVLTMF\n\x01\0\0\0\0\0\0\0";
        let (mut file, mut index, mut most) = (header.to_vec(), Vec::new(), MOST);
        for block in &self.blocks {
            let plain = block.plain(most);
            most = most.saturating_sub(plain.len());
            let mut stored = Vec::new();
            match block.flags & RAW != 0 {
                true => stored.extend_from_slice(&plain),
                false => SEALER.with_borrow_mut(|sealer| sealer.seal_into(&plain, &mut stored).unwrap()),
            }
            index.extend([block.section, block.seal, 0, 0]);
            let items = (block.records.len() as u32).wrapping_add_signed(block.items);
            index.extend(items.to_le_bytes());
            index.extend((plain.len() as u32).wrapping_add_signed(block.plain).to_le_bytes());
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
        file.extend(Digest::of(&[&header, index.as_slice()].concat()).as_bytes());
        file.extend(b"WKVLTEND");
        file
    }
}

/// A block from its plain bytes, cut into records.
#[cfg(test)]
fn cut(section: Section, plain: &[u8], items: u32) -> Option<Block> {
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
            Section::Objects => fields.at += 44,
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
