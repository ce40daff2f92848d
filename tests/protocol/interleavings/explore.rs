//! Every state that three processes can bring a store to.
//!
//! A process does next what follows from what it was told so far; what that is, a run of the real code shows, one for
//! each past that the process can have. A state is what the store holds and the past of each process. Whoever has
//! not ended can do its next step from there: that makes all interleavings, while each state is looked at once however
//! many interleavings lead to it. A process that is killed does no further step, so any state is also one in which
//! some were killed, and what follows without them follows here too.

use super::replay::{Answer, Files, Quiet, Replay, Step};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use weekvault::model::RunId;
use weekvault::store::Key;

/// How a process ended: what it said, if it failed.
pub(crate) type Outcome = Result<(), String>;

/// What a process runs.
pub(crate) struct Program {
    name: &'static str,
    run: Box<dyn Fn(Replay) -> Outcome>,
    pasts: Vec<Past>,
}

impl Program {
    pub(crate) fn new(name: &'static str, run: impl Fn(Replay) -> Outcome + 'static) -> Self {
        Self { name, run: Box::new(run), pasts: Vec::new() }
    }
}

/// A past of a process: what it was told last, after an earlier past, and what it does next.
struct Past {
    before: Option<(u32, u32)>,
    next: Next,
    after: HashMap<u32, u32>,
}

enum Next {
    Step(u32),
    Ended(Outcome),
}

/// What is to be said of what a store holds.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Objects that manifests name and that no reader finds.
    pub(crate) lost: Vec<String>,
    /// Objects that manifests name and that are not in their places.
    pub(crate) astray: Vec<String>,
    /// What is wrong after one more gc that nobody disturbs.
    pub(crate) after_gc: Option<String>,
}

/// Judges what a store holds.
pub(crate) type Judge<'a> = dyn Fn(&Files) -> Verdict + 'a;
/// Says what is wrong when all have ended.
pub(crate) type End<'a> = dyn Fn(&[(&str, &Outcome)], &Files, &Verdict) -> Option<String> + 'a;

#[derive(Default)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// Ways through them: interleavings.
    pub(crate) schedules: f64,
    /// What the store came to hold.
    pub(crate) contents: usize,
    /// Runs of the real code.
    pub(crate) runs: usize,
    /// How the processes ended and what was published then, and a shortest schedule to that.
    pub(crate) outcomes: BTreeMap<String, String>,
    /// What is wrong, and a shortest schedule to that.
    pub(crate) wrong: Option<(String, String)>,
}

/// Numbers for things, so that states are small.
struct Numbers<T> {
    things: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32>,
}

impl<T: Eq + Hash> Numbers<T> {
    fn new() -> Self {
        Self { things: Vec::new(), numbers: HashMap::new() }
    }

    fn of(&mut self, thing: T) -> u32 {
        let thing = Arc::new(thing);
        let next = self.things.len() as u32;
        let number = *self.numbers.entry(Arc::clone(&thing)).or_insert(next);
        if number == next {
            self.things.push(thing);
        }
        number
    }

    fn get(&self, number: u32) -> &Arc<T> {
        &self.things[number as usize]
    }
}

/// What the store holds, then each process's past.
type State = [u32; 4];

struct Visit {
    state: State,
    /// Where in the level before, and which of the processes did its next step there.
    from: (u32, u8),
    schedules: f64,
}

pub(crate) struct Explorer<'a> {
    programs: Vec<Program>,
    /// Which program each process runs.
    processes: [usize; 3],
    quiet: Arc<Quiet>,
    judge: &'a Judge<'a>,
    contents: Numbers<Files>,
    steps: Numbers<Step>,
    answers: Numbers<Answer>,
    /// By what the store holds and a step: the answer, and what it holds then.
    effects: HashMap<(u32, u32), (u32, u32)>,
    verdicts: HashMap<u32, Verdict>,
    /// By the number of steps so far.
    levels: Vec<Vec<Visit>>,
    explored: Explored,
}

impl<'a> Explorer<'a> {
    /// The last two of the processes run the same program if there are two only.
    pub(crate) fn new(programs: Vec<Program>, quiet: Quiet, judge: &'a Judge<'a>) -> Self {
        Self {
            processes: [0, 1, programs.len() - 1],
            programs,
            quiet: Arc::new(quiet),
            judge,
            contents: Numbers::new(),
            steps: Numbers::new(),
            answers: Numbers::new(),
            effects: HashMap::new(),
            verdicts: HashMap::new(),
            levels: Vec::new(),
            explored: Explored::default(),
        }
    }

    /// Goes through all states, nearest first, up to the first in which something is wrong. `end` judges those in which
    /// all processes have ended.
    pub(crate) fn explore(mut self, files: Files, end: &End<'_>) -> Explored {
        let content = self.contents.of(files);
        for program in 0..self.programs.len() {
            self.learn(program, None);
        }
        self.verdicts.insert(content, (self.judge)(self.contents.get(content)));
        self.levels.push(vec![Visit { state: [content, 0, 0, 0], from: (0, 0), schedules: 1.0 }]);
        while self.explored.wrong.is_none() && self.levels.last().is_some_and(|level| !level.is_empty()) {
            self.next_level(end);
        }
        self.explored.contents = self.contents.things.len();
        self.explored
    }

    fn next_level(&mut self, end: &End<'_>) {
        let (mut next, mut places): (Vec<Visit>, HashMap<State, usize>) = Default::default();
        let level = self.levels.len() - 1;
        for at in 0..self.levels[level].len() {
            let Visit { state, schedules, .. } = self.levels[level][at];
            self.explored.states += 1;
            let mut ended = true;
            for process in 0..3 {
                let Some(after) = self.step(state, process) else { continue };
                ended = false;
                let wrong = self.wrong_between(state[0], after[0]);
                let after = self.sorted(after);
                let place = *places.entry(after).or_insert(next.len());
                match next.get_mut(place) {
                    Some(visit) => visit.schedules += schedules,
                    None => next.push(Visit { state: after, from: (at as u32, process as u8), schedules }),
                }
                if let Some(wrong) = wrong.filter(|_| self.explored.wrong.is_none()) {
                    let schedule = self.schedule((level, at), Some((process, after)));
                    self.explored.wrong = Some((wrong, schedule));
                }
            }
            if ended {
                self.explored.schedules += schedules;
                self.ended((level, at), end);
            }
        }
        self.levels.push(next);
    }

    /// Of processes that run the same program it is all the same which has come how far.
    fn sorted(&self, mut state: State) -> State {
        if self.processes[1] == self.processes[2] {
            state[2..].sort_unstable();
        }
        state
    }

    fn next_of(&self, state: State, process: usize) -> &Next {
        &self.programs[self.processes[process]].pasts[state[process + 1] as usize].next
    }

    /// The state after the next step of a process, if it has not ended.
    fn step(&mut self, state: State, process: usize) -> Option<State> {
        let Next::Step(step) = *self.next_of(state, process) else { return None };
        let (answer, content) = match self.effects.get(&(state[0], step)) {
            Some(effect) => *effect,
            None => {
                let (answer, files) = self.steps.get(step).apply(self.contents.get(state[0]));
                let content = files.map_or(state[0], |files| self.contents.of(files));
                let effect = (self.answers.of(answer), content);
                self.effects.insert((state[0], step), effect);
                effect
            }
        };
        let (program, past) = (self.processes[process], state[process + 1]);
        let known = self.programs[program].pasts[past as usize].after.get(&answer).copied();
        let mut after = state;
        after[0] = content;
        after[process + 1] = known.unwrap_or_else(|| self.learn(program, Some((past, answer))));
        Some(after)
    }

    /// Runs a program through a past that is new, to see what it does next.
    fn learn(&mut self, program: usize, before: Option<(u32, u32)>) -> u32 {
        let known = &self.programs[program];
        let (mut told, mut earlier) = (Vec::new(), before);
        while let Some((past, answer)) = earlier {
            let past = &known.pasts[past as usize];
            if let Next::Step(step) = past.next {
                told.push((Arc::clone(self.steps.get(step)), Arc::clone(self.answers.get(answer))));
            }
            earlier = past.before;
        }
        told.reverse();
        let replay = Replay::new(told, Arc::clone(&self.quiet), RunId(program as u64));
        let outcome = (known.run)(replay.clone());
        self.explored.runs += 1;
        let next = replay.next().map_or(Next::Ended(outcome), |step| Next::Step(self.steps.of(step)));
        let pasts = &mut self.programs[program].pasts;
        let number = pasts.len() as u32;
        pasts.push(Past { before, next, after: HashMap::new() });
        if let Some((past, answer)) = before {
            pasts[past as usize].after.insert(answer, number);
        }
        number
    }

    /// What is wrong with a step that made this of that.
    fn wrong_between(&mut self, before: u32, after: u32) -> Option<String> {
        if before == after {
            return None;
        }
        if !self.verdicts.contains_key(&after) {
            self.verdicts.insert(after, (self.judge)(self.contents.get(after)));
        }
        let (before, after) = (&self.verdicts[&before], &self.verdicts[&after]);
        let lost = after.lost.iter().find(|lost| !before.lost.contains(lost));
        let settled = after.after_gc.as_ref().filter(|_| after.lost.is_empty());
        lost.map(|lost| format!("lost: {lost}"))
            .or(settled.map(|wrong| format!("after one more gc: {wrong}")))
    }

    /// Notes a state in which all have ended.
    fn ended(&mut self, place: (usize, usize), end: &End<'_>) {
        let state = self.levels[place.0][place.1].state;
        let mut outcomes = Vec::new();
        let mut label = Vec::new();
        for process in 0..3 {
            let name = self.programs[self.processes[process]].name;
            let Next::Ended(outcome) = self.next_of(state, process) else { continue };
            label.push(
                outcome.as_ref().map_or_else(|e| format!("{name} fails: {e}"), |()| format!("{name}: done")),
            );
            outcomes.push((name, outcome));
        }
        let (files, verdict) = (self.contents.get(state[0]), &self.verdicts[&state[0]]);
        label[1..].sort();
        let published = files.keys().map(Key::as_str).filter(|k| k.starts_with('2')).collect::<Vec<_>>();
        label.push(format!("published: {}", published.join(" ")));
        let (label, wrong) = (label.join("; "), end(&outcomes, files, verdict));
        if !self.explored.outcomes.contains_key(&label) || wrong.is_some() {
            let schedule = self.schedule(place, None);
            self.explored.outcomes.entry(label).or_insert_with(|| schedule.clone());
            self.explored.wrong = self.explored.wrong.take().or(wrong.map(|wrong| (wrong, schedule)));
        }
    }

    /// The steps to a state, and one after it.
    fn schedule(&self, place: (usize, usize), last: Option<(usize, State)>) -> String {
        let mut steps: Vec<(State, usize, State)> = Vec::new();
        let Visit { mut state, .. } = self.levels[place.0][place.1];
        steps.extend(last.map(|(process, after)| (state, process, after)));
        let (mut level, mut at) = place;
        while level > 0 {
            let (earlier, process) = self.levels[level][at].from;
            (level, at) = (level - 1, earlier as usize);
            let before = self.levels[level][at].state;
            steps.push((before, process.into(), state));
            state = before;
        }
        let mut names = ["1", "2", "3"];
        let mut text = String::new();
        for (before, process, after) in steps.into_iter().rev() {
            let Next::Step(step) = *self.next_of(before, process) else { continue };
            let answer = self.effects[&(before[0], step)].0;
            let name = self.programs[self.processes[process]].name;
            let (step, answer) = (self.steps.get(step), self.answers.get(answer));
            text += &format!("{:>8} {name}: {step} -> {answer}\n", names[process]);
            // Sorted, the state may have its processes the other way round.
            if (0..3).any(|other| other != process && before[other + 1] != after[other + 1]) {
                names.swap(1, 2);
            }
        }
        text
    }
}
