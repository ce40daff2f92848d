//! The bytes of a store: `docs/format.md` by hand, stores of earlier versions, and manifests made to harm.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod evil_manifests;
mod format_doc;
mod golden;
mod golden_sealed;
mod sealed_doc;
