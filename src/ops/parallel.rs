//! Work on several threads whose results come out in the order in which it was handed in.

use super::Error;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// The other side of a channel is gone: it has failed, and says why itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closed;

/// Where a worker puts the results of one piece of work.
pub(super) struct Output<R>(Sender<R>);

impl<R> Output<R> {
    /// Hands out the next result; waits while nobody takes them.
    pub(super) fn send(&self, result: R) -> Result<(), Closed> {
        self.0.send(result).map_err(|_| Closed)
    }
}

/// Takes work.
pub(super) struct Work<T, R> {
    pieces: Sender<(T, Output<R>)>,
    order: Sender<Receiver<R>>,
    ahead: usize,
}

impl<T, R> Work<T, R> {
    /// Hands in the next piece; waits while too many are under way.
    pub(super) fn send(&self, piece: T) -> Result<(), Closed> {
        let (output, results) = bounded(self.ahead);
        self.order.send(results).map_err(|_| Closed)?;
        self.pieces.send((piece, Output(output))).map_err(|_| Closed)
    }
}

/// Yields the results of all work, in the order of the work.
pub(super) struct Results<R> {
    order: Receiver<Receiver<R>>,
    current: Option<Receiver<R>>,
    /// Nobody takes results any more.
    ended: Arc<AtomicBool>,
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
            if let Some(result) = self.current.as_ref().and_then(|c| c.recv().ok()) {
                return Some(result);
            }
            self.current = Some(self.order.recv().ok()?);
        }
    }
}

/// Buffers that threads hand around. Freed and allocated anew on other threads, they would leave the heap full of
/// holes: the peak of a first backup fell from 78 to 50 MB with them.
pub(super) struct Pool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
    capacity: usize,
}

impl Pool {
    /// A pool of buffers of this capacity, that keeps so many of them.
    pub(super) fn new(capacity: usize, keep: usize) -> Self {
        let (give, take) = bounded(keep);
        Self { give, take, capacity }
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.take.try_recv().unwrap_or_else(|_| Vec::with_capacity(self.capacity))
    }

    /// Takes a buffer back; one that has grown is let go.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == self.capacity {
            buffer.clear();
            // A full pool needs no more.
            let _ = self.give.try_send(buffer);
        }
    }
}

/// Memory that what is under way may take at once, in bytes.
pub(super) struct Room {
    size: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// A part of a [`Room`], given back when dropped.
pub(super) struct Place<'a>(&'a Room, usize);

impl Room {
    pub(super) fn new(size: usize) -> Self {
        Self { size, used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until there is room for so much; for more than all of it, until it is empty.
    pub(super) fn take(&self, bytes: usize) -> Place<'_> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut usize| *used > 0 && used.saturating_add(bytes) > self.size;
        let mut used = self.freed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Place(self, bytes)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.1;
        self.0.freed.notify_all();
    }
}

/// Starts a thread in `scope`. Whatever `work` holds is dropped where the system refuses one, so that its neighbours find
/// their channels closed.
///
/// # Errors
/// [`Error::System`]: a limit on processes or memory is reached.
pub(super) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    let failed = Error::system("start a thread (is the limit on processes reached?)");
    Builder::new().spawn_scoped(scope, work).map_err(failed)
}

/// Starts a thread for each worker; fewer where the system refuses more, since slow is better than not at all.
///
/// # Errors
/// [`Error::System`] where not even one can be started.
pub(super) fn start_some<'scope, T: Send + 'scope, W: FnOnce() -> T + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    workers: impl IntoIterator<Item = W>,
) -> Result<Vec<ScopedJoinHandle<'scope, T>>, Error> {
    let mut threads = Vec::new();
    for worker in workers {
        match start(scope, worker) {
            Ok(thread) => threads.push(thread),
            Err(error) if threads.is_empty() => return Err(error),
            Err(error) => {
                tracing::debug!(threads = threads.len(), %error, "going on with fewer threads");
                break;
            }
        }
    }
    Ok(threads)
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Pieces of work that no thread has taken yet.
    pub(super) waiting: usize,
    /// Pieces of work, waiting, being worked on, or finished with results that are not yet taken. More of them than wait
    /// keep the threads busy while a slow piece holds up the order.
    pub(super) pieces: usize,
    /// Results of one piece that wait to be taken.
    pub(super) ahead: usize,
}

/// Starts a thread for each worker; a worker takes a piece of work and puts out any number of results.
///
/// Pieces are taken in order, so the first that is not finished is always in a worker's hands: whoever takes the
/// results never waits for nothing.
///
/// # Errors
/// As [`start_some`].
pub(super) fn ordered<'scope, T, R, W>(
    scope: &'scope Scope<'scope, '_>,
    bounds: Bounds,
    workers: impl IntoIterator<Item = W>,
) -> Result<(Work<T, R>, Results<R>), Error>
where
    T: Send + 'scope,
    R: Send + 'scope,
    W: FnMut(T, &Output<R>) + Send + 'scope,
{
    let (pieces, queue) = bounded::<(T, Output<R>)>(bounds.waiting);
    let (order, results) = bounded(bounds.pieces);
    let ended = Arc::new(AtomicBool::new(false));
    let thread = |mut work: W| {
        let (queue, ended) = (queue.clone(), Arc::clone(&ended));
        move || {
            for (piece, output) in queue {
                // Nobody is there for what waits: of a store that does not answer, each piece would take half a minute.
                if !ended.load(Ordering::Relaxed) {
                    work(piece, &output);
                }
            }
        }
    };
    start_some(scope, workers.into_iter().map(thread))?;
    Ok((Work { pieces, order, ahead: bounds.ahead }, Results { order: results, current: None, ended }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn results_keep_the_order_of_the_work() {
        let bounds = Bounds { waiting: 3, pieces: 3, ahead: 1 };
        let results: Vec<(u32, u32)> = std::thread::scope(|scope| {
            let worker = |piece: u32, output: &Output<(u32, u32)>| {
                for part in 0..piece % 4 {
                    output.send((piece, part)).unwrap();
                }
            };
            let (work, results) = ordered(scope, bounds, [worker; 4]).unwrap();
            scope.spawn(move || (0..100).try_for_each(|piece| work.send(piece)));
            results.collect()
        });
        let expected = (0..100).flat_map(|piece| (0..piece % 4).map(move |part| (piece, part)));
        assert_eq!(results, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_for_a_taker_that_has_left_is_not_done() {
        let bounds = Bounds { waiting: 4, pieces: 8, ahead: 1 };
        let (done, held) = (AtomicU32::new(0), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let worker = |piece: u32, output: &Output<u32>| {
                done.fetch_add(1, Ordering::Relaxed);
                if piece == 1 {
                    held.wait();
                }
                let _ = output.send(piece);
            };
            let (work, mut results) = ordered(scope, bounds, [worker]).unwrap();
            (0..5).for_each(|piece| work.send(piece).unwrap());
            assert_eq!(results.next(), Some(0));
            drop((results, work));
            held.wait();
        });
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn a_taker_that_leaves_stops_the_work() {
        let bounds = Bounds { waiting: 2, pieces: 2, ahead: 1 };
        std::thread::scope(|scope| {
            let worker = |piece: u32, output: &Output<u32>| {
                let _ = output.send(piece);
            };
            let (work, mut results) = ordered(scope, bounds, [worker; 2]).unwrap();
            let feeder = scope.spawn(move || (0..).try_for_each(|piece| work.send(piece)));
            assert_eq!(results.next(), Some(0));
            drop(results);
            assert_eq!(feeder.join().unwrap(), Err(Closed));
        });
    }
}
