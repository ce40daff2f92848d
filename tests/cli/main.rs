//! The program as its users meet it: commands, options, what is printed, exit codes, metrics and signals.
#![cfg(test)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod edge;
mod empty_root;
mod heads;
mod init;
mod keys;
mod left_out;
mod limits;
mod metrics;
mod sealed;
mod secrecy;
mod signals;
mod terminal;
mod week_label;
mod weeks_of_the_future;
