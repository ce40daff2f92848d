//! Reading back what was restored.

use super::look::{Looking, Worker};
use super::options::RestoreOptions;
use crate::archive::Manifest;
use crate::data::Compare;
use crate::model::Problem;
use crate::ops::{Error, Run};

/// Reads every restored file back and compares its hash: the same look as before, trusting no metadata.
pub(super) fn read_back(
    run: Run<'_>,
    manifest: &Manifest,
    options: &RestoreOptions,
    looking: Looking<'_>,
) -> Result<(), Error> {
    let Looking { report, .. } = looking;
    let compare = Compare { force_read: true, ..looking.compare };
    let mut worker = Worker::new(Looking { compare, ..looking })?;
    let mut selection = options.selection.clone();
    run.observer.phase("reading back", None);
    // What is damaged was told of when it was met first.
    for entry in manifest.readable(|_| ())? {
        let (path, entry) = entry?;
        if !selection.selects(&path) {
            continue;
        }
        run.go_on()?;
        match worker.differs(&path, &entry) {
            Ok(false) => {}
            Ok(true) => report.problem(Problem {
                path,
                operation: "verify".into(),
                error: "it does not equal the manifest after the restore".into(),
            }),
            Err(error) => report.problem((&error).into()),
        }
    }
    Ok(())
}
