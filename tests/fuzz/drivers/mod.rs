//! What the fuzz targets and `tests/fuzz_replay.rs` do with an input. A driver panics where the program breaks a
//! promise; what it does with bytes that are refused is up to the program, as long as it says so.

#[cfg(test)]
mod giants;
mod manifest;
mod mutate;
mod recipe;
mod record;
mod rng;
mod sealed;
mod small;

#[cfg(test)]
pub(crate) use giants::giants;
pub(crate) use mutate::mutate_recipe;
pub(crate) use recipe::Recipe;
pub(crate) use rng::Rng;
#[cfg(test)]
pub(crate) use rng::mutate_bytes;
#[cfg(test)]
pub(crate) use sealed::{first_age_files, first_sealed, hostile_age_files, reader, sealed_giants};

/// Takes any bytes.
pub(crate) type Driver = fn(&[u8]);

/// The targets.
pub(crate) const TARGETS: &[(&str, Driver)] = &[
    ("manifest", |data| manifest::check(&Recipe::parse(data).build())),
    ("manifest_file", manifest::check),
    ("sealed", |data| sealed::check(&Recipe::parse(data).build_sealed())),
    ("sealed_file", sealed::check),
    ("records", |data| manifest::check(&recipe::of_one_section(data).build())),
    ("seal", small::seal),
    ("age", sealed::age),
    ("json", small::json),
    ("names", small::names),
    ("selection", small::selection),
];
