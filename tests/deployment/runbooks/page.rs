//! A page of `docs/runbooks/`, as far as it is to be run.
//!
//! A heading of the first or second level begins a section. A block of `sh` is run; a block of `text` that comes next is
//! what it prints, with `…` alone on a line for lines that are left out. Times, numbers, sizes, ids and recipients may differ.

use std::fs;
use std::path::Path;

pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) sections: Vec<Section>,
    /// Those in the text, between backticks.
    pub(crate) commands: Vec<String>,
}

pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// Commands, and what they print, if the page shows it.
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) commands: String,
    pub(crate) output: Option<String>,
}

impl Page {
    pub(crate) fn read(file: &Path) -> Self {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        Self::parse(name, &fs::read_to_string(file).unwrap())
    }

    pub(crate) fn parse(name: String, text: &str) -> Self {
        let mut page = Self { name, sections: Vec::new(), commands: Vec::new() };
        let mut prose = String::new();
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let start = line.trim_start();
            if let Some(language) = start.strip_prefix("```") {
                let indent = line.len() - start.len();
                let mut block = String::new();
                loop {
                    let (_, line) =
                        lines.next().unwrap_or_else(|| panic!("{}: a block has no end", page.name));
                    if line.trim() == "```" {
                        break;
                    }
                    block.push_str(line.get(indent..).unwrap_or_default());
                    block.push('\n');
                }
                page.add(language, at + 1, block);
            } else if let Some(title) = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")) {
                page.sections.push(Section { title: title.to_owned(), steps: Vec::new() });
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        let is_command = |code: &&str| code.starts_with("weekvault ") || code.starts_with("kubectl ");
        page.commands = prose.split('`').skip(1).step_by(2).filter(is_command).map(str::to_owned).collect();
        page
    }

    fn add(&mut self, language: &str, line: usize, block: String) {
        let place = format!("{}:{line}", self.name);
        let section =
            self.sections.last_mut().unwrap_or_else(|| panic!("{place}: a block before any heading"));
        match (language, section.steps.last_mut()) {
            ("sh", _) => section.steps.push(Step { line, commands: block, output: None }),
            ("text", Some(step)) if step.output.is_none() => step.output = Some(block),
            ("text", _) => panic!("{place}: an output of no commands"),
            (other, _) => panic!("{place}: a block of {other:?}, which nothing runs: there are sh and text"),
        }
    }

    /// Sections that have something to run.
    pub(crate) fn runnable(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.steps.is_empty())
    }
}

/// Why `printed` is not what the page shows, if it is not.
pub(crate) fn difference(shown: &str, printed: &str) -> Option<String> {
    let (shown, printed) = (lines(shown), lines(printed));
    let mut rest = printed.as_slice();
    let mut skipping = false;
    for line in &shown {
        if line == "…" {
            skipping = true;
            continue;
        }
        let at = match skipping {
            true => rest.iter().position(|printed| printed == line),
            false => rest.first().is_some_and(|printed| printed == line).then_some(0),
        };
        let Some(at) = at else {
            return Some(format!("no line {line:?}; what is left is {rest:#?}"));
        };
        rest = &rest[at + 1..];
        skipping = false;
    }
    (!skipping && !rest.is_empty()).then(|| format!("lines that the page does not have: {rest:#?}"))
}

/// Lines without what differs from run to run.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(plain).filter(|line| !line.is_empty()).collect()
}

fn plain(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !["B", "KiB", "MiB", "GiB"].contains(word));
    let words: Vec<String> = words.map(|word| numbers(&ids(&recipients(word)))).collect();
    words.join(" ")
}

/// A recipient of age is one, whoever it is.
fn recipients(word: &str) -> String {
    let is_end = |c: char| !c.is_ascii_alphanumeric();
    match word.split_once("age1") {
        Some((before, rest)) if rest.find(is_end).unwrap_or(rest.len()) > 50 => {
            format!("{before}RECIPIENT{}", rest.find(is_end).map_or("", |end| &rest[end..]))
        }
        _ => word.to_owned(),
    }
}

/// Each run of 16 and more hexadecimal digits is an id.
fn ids(word: &str) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in word.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 16 { "ID" } else { &run });
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

/// Each run of digits is a number, also with a point in it, or with what units of size a word may end in.
fn numbers(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c {
            '0'..='9' if out.ends_with('0') => {}
            '0'..='9' => out.push('0'),
            '.' if out.ends_with('0') => {}
            c => out.push(c),
        }
    }
    out
}

#[test]
fn differences_are_seen() {
    let shown = "2 files in 1.5 MiB\n…\nobject 00112233445566778899aabb is damaged\n";
    let printed = "17 files in 20 KiB\nx\ny\nobject aabb11223344556677889900 is damaged\n";
    assert_eq!(difference(shown, printed), None);
    assert!(difference(shown, &printed.replace("files", "folders")).is_some());
    assert!(difference(shown, &printed.replace("damaged", "whole")).is_some());
    assert!(difference(shown, &format!("{printed}more\n")).is_some());
    assert!(difference(shown, "17 files in 20 KiB\n").is_some());
    let [this, other] = ["q", "x"].map(|c| format!("kit: age1{},\n", c.repeat(58)));
    assert_eq!(difference(&this, &other), None);
    assert!(difference(&this, &other.replace("age1", "age2")).is_some());
}
