//! Keeping what is in memory out of files.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From now on no core dump of this process is written, and no other process of the same user may look into its memory. Where the
/// kernel does not let a process say so, nothing changes.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn nothing_is_dumped() {
        keep_memory_private();
        keep_memory_private();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // A process still reaches its own files by their numbers.
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 0);
    }
}
