//! Mutates recipes as one who knows the format would.

use super::recipe::{Block, DAMAGED, ITEMS, PLAIN, RAW, REPEAT, Recipe, SEAL, of_one_section, row};
use super::record::{self, Fields};
use super::rng::Rng;
use super::sealed::sealed_row;
use weekvault::format::Section;

/// Where entries stand after these records: the components of the last one's path.
fn path_after(context: &[u8], records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let context = Fields::new(context).bytes().unwrap_or_default();
    let mut path: Vec<Vec<u8>> =
        context.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(<[u8]>::to_vec).collect();
    for record in records {
        if let Some((depth, name)) = Fields::new(record).entry() {
            path.truncate((depth as usize).saturating_sub(1));
            if !name.is_empty() {
                path.push(name.to_vec());
            }
        }
    }
    path
}

/// Mutates a manifest's recipe. `bytes` changes bytes without knowing them.
pub(crate) fn mutate_recipe(data: &[u8], rng: &mut Rng, bytes: &mut dyn FnMut(&mut Vec<u8>)) -> Vec<u8> {
    if rng.one_in(10) {
        let mut data = data.to_vec();
        bytes(&mut data);
        return data;
    }
    let mut recipe = Recipe::parse(data);
    if recipe.blocks.is_empty() {
        recipe = of_one_section(&[7, 0]);
    }
    for _ in 0..1 + rng.below(3) {
        mutate(&mut recipe, rng, bytes);
    }
    recipe.to_bytes()
}

fn mutate(recipe: &mut Recipe, rng: &mut Rng, bytes: &mut dyn FnMut(&mut Vec<u8>)) {
    let blocks = recipe.blocks.len();
    let number = rng.below(blocks);
    let what = rng.below(24);
    if what == 0 {
        match rng.one_in(3) {
            true => drop(recipe.patches.pop()),
            false => {
                let at = number * 48 + rng.below(16);
                recipe.patches.push((at as u16, rng.number() as u8));
            }
        }
        return;
    }
    if what == 1 && blocks > 1 {
        let other = rng.below(blocks);
        match rng.below(3) {
            0 => recipe.blocks.swap(number, other),
            1 => drop(recipe.blocks.remove(number)),
            _ => recipe.blocks.insert(other, recipe.blocks[number].clone()),
        }
        return;
    }
    let block = &mut recipe.blocks[number];
    // What takes time stays rare.
    if rng.one_in(2) && block.repeat.2 > 1000 {
        (block.flags, block.items) = (0, 0);
    }
    let what = if matches!(what, 10 | 11) && !rng.one_in(20) { 14 } else { what };
    if block.records.is_empty() {
        bytes(&mut block.context);
        return;
    }
    let at = rng.below(block.records.len());
    let depth = path_after(&block.context, &block.records[..=at]).len() as u64;
    match what {
        2 => flags(block, rng),
        3 => bytes(&mut block.context),
        4 | 5 => bytes(&mut block.records[at]),
        6 => drop(block.records.remove(at)),
        7 => {
            let other = rng.below(block.records.len());
            block.records.swap(at, other);
        }
        8 => block.records.insert(at, block.records[at].clone()),
        9 if block.section == Section::Objects as u8 => {
            let (id, length) = (rng.next() as u8, rng.number() as u32);
            let row = match block.records[at].len() {
                52 => sealed_row(id, length),
                _ => row(id, length.min(16 << 20)),
            };
            block.records.insert(at, row);
        }
        10 => {
            let times = *rng.pick(&[2_000, 70_000, 1_900_000, 5_000_000, 11_000_000]);
            let (giant, begin, length) = record::giant(record::GIANTS[rng.below(7)], times, depth);
            let before: usize = block.records[..=at].iter().map(Vec::len).sum();
            let begin = block.context.len() + before + begin;
            block.repeat = (begin as u32, length as u16, times);
            block.flags |= REPEAT;
            block.records.insert(at + 1, giant);
        }
        11 => {
            let begin = block.context.len() + block.records[..at].iter().map(Vec::len).sum::<usize>();
            let times = *rng.pick(&[2, 300, 10_001, 70_000, 700_000]);
            block.repeat = (begin as u32, block.records[at].len() as u16, times);
            block.items = times as i32 - 1;
            block.flags |= REPEAT | ITEMS;
        }
        12 | 13 if block.section == Section::Entries as u8 => {
            let rest = block.records.split_off(at);
            let mut path = path_after(&block.context, &block.records);
            if let Some((depth, _)) = rest.first().and_then(|r| Fields::new(r).entry()) {
                path.truncate((depth as usize).saturating_sub(1));
            }
            let mut context = Vec::new();
            record::bytes(&path.join(&b'/'), &mut context);
            recipe.blocks.insert(number + 1, Block::new(Section::Entries, &context, rest));
        }
        14..=19 if block.section == Section::Entries as u8 => {
            block.records.insert(at + 1, record::random_entry(depth, rng));
        }
        _ => {
            let mut fields = Fields::new(&block.records[at]);
            match block.section {
                1 => drop(fields.entry()),
                2 => drop(fields.problem()),
                _ => drop(fields.number()),
            }
            let numbers = fields.numbers;
            if let Some((begin, end)) = (!numbers.is_empty()).then(|| *rng.pick(&numbers)) {
                let mut number = Vec::new();
                record::unsigned(rng.number(), &mut number);
                block.records[at].splice(begin..end, number);
            } else {
                bytes(&mut block.records[at]);
            }
        }
    }
}

fn flags(block: &mut Block, rng: &mut Rng) {
    let flag = *rng.pick(&[ITEMS, PLAIN, SEAL, REPEAT, RAW, DAMAGED, DAMAGED]);
    block.flags ^= flag;
    match flag {
        ITEMS => block.items = rng.number() as i32,
        PLAIN => block.plain = rng.number() as i32,
        SEAL => block.seal = rng.number() as u8,
        REPEAT => block.repeat = (rng.below(100) as u32, rng.below(9) as u16, rng.number() as u32),
        _ => {}
    }
}
