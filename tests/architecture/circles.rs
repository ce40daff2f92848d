//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet};

/// The sets of nodes that lead to each other, by Tarjan's algorithm.
pub(crate) fn circles<N: Ord + Clone>(arrows: &BTreeMap<N, BTreeSet<N>>) -> Vec<BTreeSet<N>> {
    let mut search =
        Search { arrows, met: BTreeMap::new(), low: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for node in arrows.keys() {
        if !search.met.contains_key(node) {
            search.visit(node);
        }
    }
    search.found
}

struct Search<'a, N> {
    arrows: &'a BTreeMap<N, BTreeSet<N>>,
    /// In which order the nodes were met.
    met: BTreeMap<N, usize>,
    /// The node met first of those that a node leads to and that are still on the stack.
    low: BTreeMap<N, usize>,
    stack: Vec<N>,
    found: Vec<BTreeSet<N>>,
}

impl<N: Ord + Clone> Search<'_, N> {
    fn visit(&mut self, node: &N) {
        let number = self.met.len();
        self.met.insert(node.clone(), number);
        self.low.insert(node.clone(), number);
        self.stack.push(node.clone());
        for next in self.arrows.get(node).into_iter().flatten() {
            let low = match self.met.get(next) {
                None => {
                    self.visit(next);
                    self.low[next]
                }
                Some(met) if self.stack.contains(next) => *met,
                Some(_) => continue,
            };
            let mine = self.low.get_mut(node).unwrap();
            *mine = low.min(*mine);
        }
        if self.low[node] == number {
            let at = self.stack.iter().position(|n| n == node).unwrap();
            let circle: BTreeSet<N> = self.stack.split_off(at).into_iter().collect();
            if circle.len() > 1 {
                self.found.push(circle);
            }
        }
    }
}

#[test]
fn circles_are_found() {
    let arrows = |pairs: &[(u32, u32)]| {
        let mut arrows: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (a, b) in pairs {
            arrows.entry(*a).or_default().insert(*b);
        }
        arrows
    };
    assert!(circles(&arrows(&[(1, 2), (2, 3), (1, 3)])).is_empty());
    let found = circles(&arrows(&[(1, 2), (2, 3), (3, 2), (3, 4), (4, 5), (5, 6), (6, 4)]));
    assert_eq!(found, [[4, 5, 6].into(), [2, 3].into()]);
}
