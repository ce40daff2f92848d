//! `init --recipient`: makes a sealed store, or a sealed one of a plain one.
//!
//! Keys come first, the description last: what is left of an attempt that ends in between is what was there before, and files
//! that nothing was encrypted with.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::count;
use super::keys::{Given, RecipientArgs, check_new, create, refused};
use super::stores::{Looked, Opened};
use crate::archive::{Archive, Origins, StoreLock, lock};
use crate::format::keys::{KeyError, NewStore, OperatorRecipient, ReadFile};
use crate::format::{ChunkSizes, FormatError, StoreConfig};
use crate::model::{Shown, StoreId};
use crate::store::{LockMode, Store};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the command line says about a store that is to be sealed.
pub(super) struct SealArgs<'a> {
    pub(super) recipients: &'a RecipientArgs,
    /// Only where there is no store: one that is there has its own.
    pub(super) chunks: Option<ChunkSizes>,
    pub(super) blind: bool,
}

/// What is decided before anything is looked at.
struct Plan {
    recipients: Vec<OperatorRecipient>,
    given: Given,
    writer: PathBuf,
    chunks: Option<ChunkSizes>,
    blind: bool,
}

/// What came of it.
struct Sealed {
    opened: Opened,
    keys: NewStore,
    /// How many recipients are known to open the store.
    proved: usize,
}

/// Makes a sealed store where none is, and seals a plain one.
pub(super) fn seal(context: &Context, args: &SealArgs<'_>) -> Result<u8, Failure> {
    let mut plan = plan(context, args)?;
    let looked = context.look()?;
    plan.given = identities(context)?;
    let sealed = match looked {
        Looked::Store(archive) => seal_plain(context, &plan, archive)?,
        Looked::Nothing(store) => seal_new(context, &plan, store)?,
    };
    print(context, &plan, &sealed)?;
    Ok(DONE)
}

fn plan(context: &Context, args: &SealArgs<'_>) -> Result<Plan, Failure> {
    let recipients = args.recipients.parse(0)?;
    let [writer] = context.global.writer_key.as_slice() else {
        return Err(Failure::Usage(
            "say by --writer-key, once, where the writer's file is to be made: without one nobody could write to the store".into(),
        ));
    };
    check_new(writer, &context.global.store)?;
    let given = Given::default();
    Ok(Plan { recipients, given, writer: writer.clone(), chunks: args.chunks, blind: args.blind })
}

/// What is to open the new store.
fn identities(context: &Context) -> Result<Given, Failure> {
    let given = context.identities()?;
    if let Some((place, _)) = given.opened.first() {
        return Err(Failure::Usage(format!(
            "{place} is the read file of a store: to prove that a new one can be opened, give identities of its recipients"
        )));
    }
    Ok(given)
}

/// Makes the keys, and proves that every identity that was given opens them. Nothing is written.
fn make_keys(
    plan: &Plan,
    id: &str,
    chunks: ChunkSizes,
    origins: &Origins,
) -> Result<(NewStore, usize), Failure> {
    let store: StoreId = id.parse().map_err(|_| {
        Failure::Refused(format!(
            "the store's id, {id:?}, has not 32 hexadecimal digits, and a sealed store's must; nothing was done"
        ))
    })?;
    let keys = NewStore::generate(store, chunks, &plan.recipients, plan.blind, origins.plain.iter().cloned());
    let keys = keys.map_err(|error| match &error {
        KeyError::Format(FormatError::TooLarge { .. }) if !origins.plain.is_empty() => Failure::Refused(format!(
            "{error}; what was forgotten is in the trash, where it counts as well: `weekvault gc --empty-trash` empties it"
        )),
        _ => refused("the store's keys")(error),
    })?;
    for (place, identities) in &plan.given.operators {
        let alone = ReadFile::open(&keys.sealed, identities);
        alone.map_err(|error| match error {
            KeyError::NotForUs(_) => Failure::Refused(format!(
                "{place} would not open the store: it belongs to none of the recipients; nothing was done"
            )),
            error => refused(place)(error),
        })?;
    }
    let known: Vec<_> =
        plan.given.operators.iter().flat_map(|(_, identities)| identities.recipients()).collect();
    let proved = plan.recipients.iter().filter(|recipient| known.contains(recipient)).count();
    Ok((keys, proved))
}

/// Puts the keys where they belong, so that whoever opens the store from now on finds them.
fn put_keys(archive: &Archive, keys: &NewStore, writer: &Path) -> Result<(), Failure> {
    archive.add_read_file(keys.read_file.number(), &keys.sealed)?;
    create(writer, &keys.writer)
}

fn seal_new(context: &Context, plan: &Plan, store: Arc<dyn Store>) -> Result<Sealed, Failure> {
    if context.global.store_id.is_some() {
        return Err(Failure::Usage(
            "--store-id is the id of a store that is there; a new one gets its own".into(),
        ));
    }
    let new = context.to_be_made(store.as_ref(), plan.chunks.unwrap_or_default())?;
    let (keys, proved) = make_keys(plan, &new.id, new.chunks, &Origins::default())?;
    let opened = context.create_sealed(store, &new, |archive| put_keys(archive, &keys, &plan.writer))?;
    Ok(Sealed { opened, keys, proved })
}

fn seal_plain(context: &Context, plan: &Plan, archive: Archive) -> Result<Sealed, Failure> {
    let store = Shown::path(&context.global.store);
    let StoreConfig { id, chunks, sealed, .. } = archive.config().clone();
    if sealed {
        return Err(Failure::Refused(format!(
            "the store at {store}, with the id {id}, is sealed already: `weekvault key` changes who can open it and who writes to \
             it; nothing was done"
        )));
    }
    if plan.chunks.is_some_and(|wanted| wanted != chunks) {
        return Err(Failure::Refused(format!(
            "the store at {store} has chunks of {} bytes on average, which cannot be changed; nothing was done",
            chunks.avg
        )));
    }
    let guard = match lock(&archive, LockMode::Exclusive)? {
        StoreLock::Busy => {
            return Err(Failure::Refused(
                "another run is at work on the store, and what it publishes would be plain: try again when it is done; nothing \
                 was done"
                    .into(),
            ));
        }
        StoreLock::Unsupported => {
            context.observer().warn("the storage has no locks: see to it that no backup is running");
            None
        }
        StoreLock::Held(guard) => Some(guard),
    };
    let origins = archive.origins()?;
    check_plain(context, &archive, &origins)?;
    let (keys, proved) = make_keys(plan, &id, chunks, &origins)?;
    for (week, pvc) in &origins.unread {
        context.observer().warn(&format!(
            "a manifest of {week}/{pvc} cannot be read, and is not listed as one from before: a restore with a key refuses it"
        ));
    }
    let listed = archive.manifests()?;
    put_keys(&archive, &keys, &plan.writer)?;
    let archive = archive.seal()?;
    drop(guard);
    if archive.manifests()? != listed {
        context.observer().warn(
            "a backup has published into the store meanwhile: its week is not listed as one from before, and a restore with a key \
             refuses it; run it again, with the writer's file",
        );
    }
    Ok(Sealed { opened: Opened { archive, is_new: false }, keys, proved })
}

/// Refuses a store whose description says that it is plain, and which has what only sealed ones have.
fn check_plain(context: &Context, archive: &Archive, origins: &Origins) -> Result<(), Failure> {
    let store = Shown::path(&context.global.store);
    if origins.sealed > 0 {
        return Err(Failure::Refused(format!(
            "store.json says that the store at {store} is plain, and {} of it are sealed: it was replaced, or is a copy from \
             before; put the right one back; nothing was done",
            count(origins.sealed as u64, "manifest")
        )));
    }
    if archive.has_keys()? {
        return Err(Failure::Refused(format!(
            "the store at {store} is plain, and has keys/ all the same, as an attempt to seal it leaves it that did not come to its \
             end: nothing was encrypted with them; move {store}/keys out of the store and run this again"
        )));
    }
    Ok(())
}

fn print(context: &Context, plan: &Plan, sealed: &Sealed) -> Result<(), Failure> {
    let Sealed { opened, keys, proved } = sealed;
    let (store, config, number) = (&context.global.store, opened.archive.config(), keys.read_file.number());
    let (recipient, writer, plain) =
        (keys.read_file.read_recipient(), Shown::path(&plan.writer), keys.read_file.plain().count());
    let document = json!({
        "store": store.to_string_lossy(),
        "id": config.id,
        "created": config.created,
        "chunk_size": config.chunks.avg,
        "sealed": true,
        "is_new": opened.is_new,
        "read_file": number.to_string(),
        "read_recipient": recipient.to_string(),
        "recipients": plan.recipients.len(),
        "proved_recipients": proved,
        "writer": keys.writer.id().to_string(),
        "writer_file": plan.writer.to_string_lossy(),
        "blind": plan.blind,
        "plain_manifests": plain,
    });
    let (what, of) =
        (if opened.is_new { "a new sealed store" } else { "the store, sealed now," }, plan.recipients.len());
    let mut text = format!(
        "{what} at {}, with the id {}\nnewest read recipient: {recipient}\n  keep it where your identities are: --expect takes \
         it\nwriter's file: {writer}\n  with it a backup writes, and cannot read: make it a Secret, keep no copy in the store\n\
         proved to open: {proved} of {}\n",
        Shown::path(store),
        config.id,
        count(of as u64, "recipient"),
    );
    if *proved < of {
        text.push_str("  try the others before you rely on them: `weekvault key test --identity FILE`\n");
    }
    if !opened.is_new {
        text.push_str(&format!(
            "from before: {}, as plain as they were, here, in snapshots and in copies, until they are gone\n",
            count(plain as u64, "plain manifest")
        ));
    }
    context.print(&document, &text)
}
