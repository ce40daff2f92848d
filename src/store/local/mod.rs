//! A store in a folder: a local disk or a mounted share.
//!
//! What a network file system reports is not always what happened: a request that was sent twice fails the second
//! time. So the outcome of every rename, mkdir and unlink that failed is looked at before it counts as an error, and
//! what only reads is tried again. An fsync or close that failed is never tried again on the same file: the kernel
//! tells such an error once, and then takes the lost pages for written.

mod contract;
mod files;
mod folders;
mod lock;
mod patient;
mod state;

pub use state::LocalStore;
