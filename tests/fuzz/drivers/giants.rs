//! Manifests that claim far more memory than they have bytes.

use super::recipe::{Block, DAMAGED, ITEMS, REPEAT, Recipe, SUMMARY, of_one_section, root};
use super::record;
use weekvault::format::Section;

/// The manifests, each with a name.
pub(crate) fn giants() -> Vec<(String, Recipe)> {
    let sound = || of_one_section(&[0, 1].into_iter().chain([0; 14]).collect::<Vec<u8>>());
    let repeat = |block: &mut Block, at: usize, length: usize, times: u32| {
        (block.repeat, block.flags) = ((at as u32, length as u16, times), block.flags | REPEAT);
    };
    let mut giants = Vec::new();
    for what in record::GIANTS {
        let times = if matches!(what, "xattrs" | "extents" | "extra") { 2_000_000 } else { 11_000_000 };
        let (record, at, length) = record::giant(what, times, 0);
        let mut recipe = sound();
        recipe.blocks[0] = Block::new(Section::Entries, &[0], vec![root(), record]);
        repeat(&mut recipe.blocks[0], 14 + at, length, times);
        giants.push((what.into(), recipe));
    }
    // A block of nothing but small entries.
    let mut recipe = sound();
    recipe.blocks[0] =
        Block::new(Section::Entries, &[0], vec![root(), [&[1, 1, b'a'], [0; 11].as_slice()].concat()]);
    repeat(&mut recipe.blocks[0], 14, 14, 2_300_000);
    (recipe.blocks[0].items, recipe.blocks[0].flags) = (2_299_999, REPEAT | ITEMS);
    giants.push(("entries".into(), recipe));
    // After damage, a context of many folders.
    let mut recipe = sound();
    recipe.blocks[0].flags = DAMAGED;
    let mut context = Vec::new();
    record::unsigned(30_000_001, &mut context);
    let at = context.len();
    context.extend(b"a/a");
    recipe.blocks.insert(
        1,
        Block::new(Section::Entries, &context, vec![[&[1, 1, b'z'], [0; 11].as_slice()].concat()]),
    );
    repeat(&mut recipe.blocks[1], at, 2, 15_000_000);
    giants.push(("context".into(), recipe));
    // Names of millions of users.
    let mut recipe = sound();
    let mut owners = Vec::new();
    record::unsigned(15_000_000, &mut owners);
    let at = owners.len();
    owners.extend([1, 0]);
    recipe.blocks[1] = Block::new(Section::Owners, &[], vec![owners]);
    repeat(&mut recipe.blocks[1], at, 2, 15_000_000);
    giants.push(("owners".into(), recipe));
    // Ten paths that could not be read, each with an error of 3.5 MB.
    let mut recipe = sound();
    let mut problem = b"\x01a\x04open".to_vec();
    record::unsigned(3_500_000, &mut problem);
    let at = problem.len();
    problem.push(b'e');
    let mut block = Block::new(Section::Missing, &[], vec![problem]);
    repeat(&mut block, at, 1, 3_500_000);
    recipe.blocks.splice(1..1, vec![block; 10]);
    giants.push(("missing".into(), recipe));
    // A summary with millions of excludes, and one with a long text where a number should be.
    for (what, text, slice, times) in [
        (
            "excludes",
            SUMMARY.replace("\"started\"", "\"excludes\":[\"\",\"\"],\"started\""),
            "\"\",",
            10_000_000,
        ),
        ("number", SUMMARY.replace("\"missing\":0", "\"missing\":\"~\""), "~", 30_000_000),
        ("week", SUMMARY.replace("2025-14", "2025-14x"), "x", 30_000_000),
        ("pvc", SUMMARY.replace("enigma\",\"source", "enigma/\",\"source"), "/", 4_000_000),
    ] {
        let mut recipe = sound();
        let at = text.find(slice).unwrap();
        let summary = recipe.blocks.len() - 1;
        recipe.blocks[summary].records = vec![text.clone().into_bytes()];
        repeat(&mut recipe.blocks[summary], at, slice.len(), times);
        giants.push((format!("summary, {what}"), recipe));
    }
    giants
}
