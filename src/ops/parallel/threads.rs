//! The threads of one operation: all of them have ended when it returns, and a panic in any of them is its error.

use crate::ops::Error;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// Calls `work`, which may start threads, and waits until all of them have ended.
///
/// # Errors
/// The error of `work`; [`Error::Bug`] if it or one of its threads has panicked, whatever else happened: what a thread left
/// undone may be missing in what the others made.
pub(in crate::ops) fn with_threads<'env, T>(
    work: impl for<'scope> FnOnce(&Threads<'scope, 'env>) -> Result<T, Error>,
) -> Result<T, Error> {
    let panics = Panics::default();
    let result = scope(|scope| {
        let threads = Threads { scope, panics: panics.clone() };
        panics.caught(|| work(&threads))
    });
    match (panics.first(), result) {
        (Some(bug), _) => Err(bug),
        (None, result) => result?,
    }
}

/// The first panic of some threads.
#[derive(Clone, Default)]
pub(in crate::ops) struct Panics(Arc<OnceLock<String>>);

impl Panics {
    /// The first panic so far.
    pub(in crate::ops) fn first(&self) -> Option<Error> {
        self.0.get().cloned().map(Error::Bug)
    }

    /// Whether there has been none.
    pub(in crate::ops) fn is_none(&self) -> bool {
        self.0.get().is_none()
    }

    /// Calls `work`; its panic is an error, and the first one is kept.
    pub(in crate::ops) fn caught<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        // What a panic left half changed belongs to a run that ends with an error.
        catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
            let said = message(payload.as_ref());
            Error::Bug(self.0.get_or_init(|| said).clone())
        })
    }
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic").to_owned()
}

/// Starts the threads of one operation.
pub(in crate::ops) struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    panics: Panics,
}

/// A thread that was started.
pub(in crate::ops) struct Thread<'scope, T>(ScopedJoinHandle<'scope, Result<T, Error>>);

impl<T> Thread<'_, T> {
    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// [`Error::Bug`]: it has panicked.
    pub(in crate::ops) fn join(self) -> Result<T, Error> {
        // The thread catches its panics; one beyond that is a panic in a panic's own payload.
        self.0.join().unwrap_or_else(|_| Err(Error::Bug("a thread ended in a panic of a panic".to_owned())))
    }
}

impl<'scope> Threads<'scope, '_> {
    /// The panics of its threads.
    pub(in crate::ops) fn panics(&self) -> Panics {
        self.panics.clone()
    }

    /// Starts a thread, named for what it does (15 bytes at most, for tools like `ps`). Whatever `work` holds is dropped
    /// where the system refuses one, so that its neighbours find their channels closed.
    ///
    /// # Errors
    /// [`Error::System`]: a limit on processes or memory is reached.
    pub(in crate::ops) fn start<T: Send + 'scope>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> Result<Thread<'scope, T>, Error> {
        let failed = Error::system("start a thread (is the limit on processes reached?)");
        let panics = self.panics();
        let thread = Builder::new().name(name.to_owned());
        thread.spawn_scoped(self.scope, move || panics.caught(work)).map(Thread).map_err(failed)
    }

    /// Starts a thread for each worker; fewer where the system refuses more, since slow is better than not at all.
    ///
    /// # Errors
    /// [`Error::System`] where not even one can be started.
    pub(in crate::ops) fn start_some<T: Send + 'scope, W: FnOnce() -> T + Send + 'scope>(
        &self,
        name: &str,
        workers: impl IntoIterator<Item = W>,
    ) -> Result<Vec<Thread<'scope, T>>, Error> {
        let mut threads = Vec::new();
        for worker in workers {
            match self.start(name, worker) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T>(result: Result<T, Error>) -> String {
        match result {
            Err(Error::Bug(said)) => said,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("no error"),
        }
    }

    #[test]
    fn a_panic_of_a_thread_is_the_error_whatever_the_others_did() {
        let ended = with_threads(|threads| {
            let thread = threads.start("one", || panic!("no {}", 1))?;
            assert_eq!(said(thread.join()), "no 1");
            assert!(!threads.panics().is_none());
            Ok(())
        });
        assert_eq!(said(ended), "no 1");
        let nobody_waits = with_threads(|threads| threads.start("one", || panic!("no")).map(drop));
        assert_eq!(said(nobody_waits), "no");
    }

    #[test]
    fn a_panic_beside_the_threads_lets_them_end() {
        let (send, receive) = crossbeam_channel::bounded::<()>(0);
        let ended = with_threads::<()>(move |threads| {
            let send = send;
            threads.start("one", move || receive.recv())?;
            drop(send.clone());
            panic!("no")
        });
        assert_eq!(said(ended), "no");
    }
}
