//! Work on several threads, each piece on whichever is free.

use super::ordered::Closed;
use super::threads::Threads;
use crate::ops::Error;
use crossbeam_channel::{Sender, bounded};

/// Takes work; its clones feed the same threads.
pub(in crate::ops) struct Queue<T>(Sender<T>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Queue<T> {
    /// Hands in a piece; waits while too many wait.
    pub(in crate::ops) fn send(&self, piece: T) -> Result<(), Closed> {
        self.0.send(piece).map_err(|_| Closed)
    }
}

#[cfg(test)]
impl<T> Queue<T> {
    /// One whose work nobody does.
    pub(in crate::ops) fn unattended() -> Self {
        Self(bounded(0).0)
    }
}

/// Starts a thread for each worker, named for what it does; so many pieces may wait for one. The threads end with the queue's
/// last clone.
///
/// # Errors
/// As [`Threads::start_some`].
pub(in crate::ops) fn shared<'scope, T, W>(
    threads: &Threads<'scope, '_>,
    name: &str,
    waiting: usize,
    workers: Vec<W>,
) -> Result<Queue<T>, Error>
where
    T: Send + 'scope,
    W: FnMut(T) + Send + 'scope,
{
    let (pieces, queue) = bounded(waiting);
    let thread = |work: W| {
        let queue = queue.clone();
        move || queue.into_iter().for_each(work)
    };
    threads.start_some(name, workers.into_iter().map(thread))?;
    Ok(Queue(pieces))
}
