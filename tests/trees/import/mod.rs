//! Weekly copies that rsync made are taken over, and can be had back: every week is what its copy was.

mod commands;
mod farm;
mod property;
mod weeks;
