//! What bounds the memory of threads that work at the same time.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Condvar, Mutex, PoisonError};

/// Buffers that threads hand around. Freed and allocated anew on other threads, they would leave the heap full of
/// holes: the peak of a first backup fell from 78 to 50 MB with them.
pub(in crate::ops) struct Pool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
    capacity: usize,
}

impl Pool {
    /// A pool of buffers of this capacity, that keeps so many of them.
    pub(in crate::ops) fn new(capacity: usize, keep: usize) -> Self {
        let (give, take) = bounded(keep);
        Self { give, take, capacity }
    }

    /// An empty buffer.
    pub(in crate::ops) fn take(&self) -> Vec<u8> {
        self.take.try_recv().unwrap_or_else(|_| Vec::with_capacity(self.capacity))
    }

    /// Takes a buffer back; one that has grown is let go.
    pub(in crate::ops) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == self.capacity {
            buffer.clear();
            // A full pool needs no more.
            let _ = self.give.try_send(buffer);
        }
    }
}

/// Memory that what is under way may take at once, in bytes.
pub(in crate::ops) struct Room {
    size: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// A part of a [`Room`], given back when dropped.
pub(in crate::ops) struct Place<'a>(&'a Room, usize);

impl Room {
    pub(in crate::ops) fn new(size: usize) -> Self {
        Self { size, used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until there is room for so much; for more than all of it, until it is empty.
    pub(in crate::ops) fn take(&self, bytes: usize) -> Place<'_> {
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
