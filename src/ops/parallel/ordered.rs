//! Work on several threads whose results come out in the order in which it was handed in.

use super::threads::{Panics, Threads};
use crate::ops::Error;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The other side of a channel is gone: it has failed, and says why itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ops) struct Closed;

/// Where the results of one piece of work go. Whoever holds it may hand it on to another thread, which finishes the piece.
pub(in crate::ops) struct Output<R> {
    results: Sender<R>,
    ended: Arc<AtomicBool>,
}

impl<R> Output<R> {
    /// Hands out the next result; waits while nobody takes them.
    pub(in crate::ops) fn send(&self, result: R) -> Result<(), Closed> {
        self.results.send(result).map_err(|_| Closed)
    }

    /// Whether somebody is still there for the results. Of a store that does not answer, each piece would take half a minute.
    pub(in crate::ops) fn is_wanted(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }
}

/// Takes work.
pub(in crate::ops) struct Work<T, R> {
    pieces: Sender<(T, Output<R>)>,
    order: Sender<Receiver<R>>,
    ahead: usize,
    ended: Arc<AtomicBool>,
}

impl<T, R> Work<T, R> {
    /// Hands in the next piece; waits while too many are under way.
    pub(in crate::ops) fn send(&self, piece: T) -> Result<(), Closed> {
        let (output, results) = bounded(self.ahead);
        self.order.send(results).map_err(|_| Closed)?;
        let output = Output { results: output, ended: Arc::clone(&self.ended) };
        self.pieces.send((piece, output)).map_err(|_| Closed)
    }
}

/// Yields the results of all work, in the order of the work. Ends early where a thread has panicked, which
/// [`with_threads`](super::with_threads) makes the operation's error.
pub(in crate::ops) struct Results<R> {
    order: Receiver<Receiver<R>>,
    current: Option<Receiver<R>>,
    /// Nobody takes results any more.
    ended: Arc<AtomicBool>,
    panics: Panics,
}

impl<R> Drop for Results<R> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl<R> Iterator for Results<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        loop {
            let result = self.current.as_ref().and_then(|c| c.recv().ok());
            // The results of a worker that has panicked end early: what follows belongs to nothing.
            if !self.panics.is_none() {
                return None;
            }
            if result.is_some() {
                return result;
            }
            self.current = Some(self.order.recv().ok()?);
        }
    }
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Bounds {
    /// Pieces of work that no thread has taken yet.
    pub(in crate::ops) waiting: usize,
    /// Pieces of work, waiting, being worked on, or finished with results that are not yet taken. More of them than wait
    /// keep the threads busy while a slow piece holds up the order.
    pub(in crate::ops) pieces: usize,
    /// Results of one piece that wait to be taken.
    pub(in crate::ops) ahead: usize,
}

/// Starts a thread for each worker, named for what it does; a worker takes a piece of work and puts out any number of results.
///
/// Pieces are taken in order, so the first that is not finished is always in a worker's hands: whoever takes the
/// results never waits for nothing.
///
/// # Errors
/// As [`Threads::start_some`].
pub(in crate::ops) fn ordered<'scope, T, R, W>(
    threads: &Threads<'scope, '_>,
    name: &str,
    bounds: Bounds,
    workers: Vec<W>,
) -> Result<(Work<T, R>, Results<R>), Error>
where
    T: Send + 'scope,
    R: Send + 'scope,
    W: FnMut(T, Output<R>) + Send + 'scope,
{
    let (pieces, queue) = bounded::<(T, Output<R>)>(bounds.waiting);
    let (order, results) = bounded(bounds.pieces);
    let ended = Arc::new(AtomicBool::new(false));
    let thread = |mut work: W| {
        let queue = queue.clone();
        move || {
            for (piece, output) in queue {
                if output.is_wanted() {
                    work(piece, output);
                }
            }
        }
    };
    threads.start_some(name, workers.into_iter().map(thread))?;
    let panics = threads.panics();
    Ok((
        Work { pieces, order, ahead: bounds.ahead, ended: Arc::clone(&ended) },
        Results { order: results, current: None, ended, panics },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::threads::with_threads;
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn results_keep_the_order_of_the_work() {
        let bounds = Bounds { waiting: 3, pieces: 3, ahead: 1 };
        let results = with_threads(|threads| {
            let worker = |piece: u32, output: Output<(u32, u32)>| {
                for part in 0..piece % 4 {
                    output.send((piece, part)).unwrap();
                }
            };
            let (work, results) = ordered(threads, "work", bounds, vec![worker; 4])?;
            threads.start("feed", move || (0..100).try_for_each(|piece| work.send(piece)))?;
            Ok(results.collect::<Vec<_>>())
        });
        let expected = (0..100).flat_map(|piece| (0..piece % 4).map(move |part| (piece, part)));
        assert_eq!(results.unwrap(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_for_a_taker_that_has_left_is_not_done() {
        let bounds = Bounds { waiting: 4, pieces: 8, ahead: 1 };
        let (done, held) = (AtomicU32::new(0), std::sync::Barrier::new(2));
        let ended = with_threads(|threads| {
            let worker = |piece: u32, output: Output<u32>| {
                done.fetch_add(1, Ordering::Relaxed);
                if piece == 1 {
                    held.wait();
                }
                let _ = output.send(piece);
            };
            let (work, mut results) = ordered(threads, "work", bounds, vec![worker])?;
            (0..5).for_each(|piece| work.send(piece).unwrap());
            assert_eq!(results.next(), Some(0));
            drop((results, work));
            held.wait();
            Ok(())
        });
        ended.unwrap();
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn a_taker_that_leaves_stops_the_work() {
        let bounds = Bounds { waiting: 2, pieces: 2, ahead: 1 };
        let ended = with_threads(|threads| {
            let worker = |piece: u32, output: Output<u32>| {
                let _ = output.send(piece);
            };
            let (work, mut results) = ordered(threads, "work", bounds, vec![worker; 2])?;
            let feeder = threads.start("feed", move || (0..).try_for_each(|piece| work.send(piece)))?;
            assert_eq!(results.next(), Some(0));
            drop(results);
            feeder.join()
        });
        assert_eq!(ended.unwrap(), Err(Closed));
    }

    #[test]
    fn a_worker_that_panics_ends_the_results_and_the_work() {
        let bounds = Bounds { waiting: 2, pieces: 4, ahead: 1 };
        let ended = with_threads(|threads| {
            let worker = |piece: u32, output: Output<u32>| {
                assert!(piece != 7, "seven");
                let _ = output.send(piece);
            };
            let (work, results) = ordered(threads, "work", bounds, vec![worker; 2])?;
            let feeder = threads.start("feed", move || (0..).try_for_each(|piece| work.send(piece)))?;
            let taken: Vec<u32> = results.collect();
            assert!((0..7).collect::<Vec<_>>().starts_with(&taken), "{taken:?}");
            feeder.join()
        });
        assert!(matches!(&ended, Err(Error::Bug(said)) if said == "seven"), "{ended:?}");
    }
}
