//! Pvcs whose names differ only in case: storage that ignores case (SMB, NTFS, exFAT, APFS) takes their manifests for one
//! file, and keeps the last.

use super::error::ArchiveError;
use super::id::ManifestRef;
use super::open::Archive;
use crate::model::PvcName;
use std::collections::BTreeSet;

/// Whether manifests of both may have one name where case does not count. Names are ASCII.
fn are_alike(a: &PvcName, b: &PvcName) -> bool {
    let (a, b) = (a.as_str().to_ascii_lowercase(), b.as_str().to_ascii_lowercase());
    // "x.PARTIAL" is a name of its own, but its manifests are named as the partial ones of "x" are.
    let is_partial_of = |a: &str, b: &str| a.strip_suffix(".partial") == Some(b);
    a == b || is_partial_of(&a, &b) || is_partial_of(&b, &a)
}

/// Two of them that are alike.
fn pairs(names: &BTreeSet<PvcName>) -> impl Iterator<Item = (&PvcName, &PvcName)> {
    let others = move |name: &PvcName| names.range(name.clone()..).skip(1);
    names.iter().flat_map(move |name| others(name).filter(|b| are_alike(name, b)).map(move |b| (name, b)))
}

fn pvcs(listed: &[ManifestRef]) -> BTreeSet<PvcName> {
    listed.iter().map(|m| m.id.pvc.clone()).collect()
}

/// Pvcs of these manifests whose names differ only in case, two and two.
pub fn alike_pvcs(listed: &[ManifestRef]) -> Vec<(PvcName, PvcName)> {
    pairs(&pvcs(listed)).map(|(a, b)| (a.clone(), b.clone())).collect()
}

impl Archive {
    /// Refuses names of `named` that are new to the store and differ from another one, there or in `named`, only in case.
    /// Of such as it has already, `warn` is told. `listed` are the store's manifests.
    ///
    /// # Errors
    /// [`ArchiveError::AlikeNames`]; [`ArchiveError::Store`].
    pub fn check_names(
        &self,
        named: &[PvcName],
        listed: &[ManifestRef],
        mut warn: impl FnMut(&str),
    ) -> Result<(), ArchiveError> {
        let published = pvcs(listed);
        for (a, b) in pairs(&published).filter(|(a, b)| named.contains(a) || named.contains(b)) {
            warn(&told_of_alike(a, b));
        }
        let new: Vec<&PvcName> = named.iter().filter(|name| !published.contains(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let trashed: BTreeSet<PvcName> =
            self.trashed_manifests()?.into_iter().map(|t| t.manifest.id.pvc).collect();
        for name in new {
            // One that is in the trash was there beside what is there.
            let in_trash = trashed.iter().filter(|_| !trashed.contains(name));
            let mut others = published.iter().chain(named).chain(in_trash);
            if let Some(other) = others.find(|other| *other != name && are_alike(name, other)) {
                return Err(ArchiveError::AlikeNames { new: name.clone(), other: other.clone() });
            }
        }
        Ok(())
    }
}

/// For people: what may become of two such pvcs.
pub fn told_of_alike(a: &PvcName, b: &PvcName) -> String {
    format!(
        "the pvcs \"{a}\" and \"{b}\" differ only in case: where the storage ignores case, as it may after the store has moved, \
         only one of them is kept; back one of them up under another name"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_storage_may_take_for_one() {
        let alike = |a: &str, b: &str| are_alike(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(alike("html", "Html") && alike("x", "x.PARTIAL") && alike("x.Partial", "X"));
        assert!(!alike("html", "html2") && !alike("x", "x.partia"));
        let names = ["B", "a", "A", "b", "c", "a.b"].map(|n| n.parse().unwrap()).into();
        let pairs: Vec<String> = pairs(&names).map(|(a, b)| format!("{a}{b}")).collect();
        assert_eq!(pairs, ["Aa", "Bb"]);
    }
}
