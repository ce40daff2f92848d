//! What `docs/` has for operators: deploy files and runbooks, each of them run.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod deploy;
mod runbooks;
