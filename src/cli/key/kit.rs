//! `key kit`: a new identity on a sheet of paper, and nowhere else.

use super::next::{Changing, End};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::keys::{OpenKeys, RecipientArgs, refused};
use crate::cli::options::help_end;
use crate::format::keys::{Identities, PaperKey, ReadFile};
use crate::ops::clock;
use clap::Args;
use qrcode::{Color, QrCode};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use zeroize::Zeroizing;

const EXAMPLES: &str = "\
Examples:
  weekvault key kit --identity mine.key --recipients-file all.txt --writer-key writer.key | lpr
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: there is no kit, unless the message says so", &[]))]
pub(super) struct KitArgs {
    #[command(flatten)]
    recipients: RecipientArgs,
}

/// Modules without ink around a QR code, as its standard asks for.
const QUIET: usize = 4;

pub(super) fn kit(context: &Context, args: &KitArgs) -> Result<u8, Failure> {
    context.refuse_json("key kit prints a page")?;
    let mut recipients = args.recipients.parse(1)?;
    let changing = Changing::begin(context)?;
    let OpenKeys { file, given, .. } = changing.keys(context)?;
    let refused = refused("the kit");
    let key = PaperKey::generate().map_err(&refused)?;
    recipients.push(key.recipient());
    let file = changing.changed(file, ReadFile::renumbered)?;
    let next = changing.put(context, file, &recipients, &given)?;
    // What is on the page is what was tried.
    let identities = Identities::parse(key.to_text().as_bytes()).map_err(&refused)?;
    ReadFile::open(&next.sealed, &identities).map_err(&refused)?;
    let page = page(&next.file, &key);
    let mut out = io::stdout().lock();
    out.write_all(page.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        Failure::Refused(format!(
            "the page could not be printed ({error}), and its identity is kept nowhere: throw away what came of it, and make \
             another kit; the recipient {} opens nothing for anybody",
            key.recipient()
        ))
    })?;
    drop(out);
    let done =
        format!("the kit's recipient is {}: add it to the list of recipients that you keep", key.recipient());
    changing.finish(context, &next, &End { aside: true, ..End::of(done) })
}

/// The page, which nobody keeps.
fn page(file: &ReadFile, key: &PaperKey) -> Zeroizing<String> {
    let mut page = Zeroizing::new(String::with_capacity(16 << 10));
    let (store, recipient, made) = (file.store(), file.read_recipient(), clock::now().rfc3339());
    let identity = key.to_text();
    // A String takes whatever is written.
    let _ = write!(
        page,
        "WEEKVAULT KIT

Whoever has this page and a copy of the store can read every backup in it.
Keep it where neither the cluster nor the store is.

store                 {store}
made                  {made}
this kit's recipient
  {}
newest read recipient
  {recipient}
  After `weekvault key rotate` or `remove-recipient` it is another one, which
  the command prints. Write it here:

  ______________________________________________________________________


TO RESTORE

1. On a machine that has weekvault, mount the store, or a copy of it, at DIR.
2. Write the identity below into a file, kit.key: type or scan it.
3. Try it. R is the newest read recipient above.
     weekvault --store DIR key test --identity kit.key --expect R
4. Restore, one pvc after the other:
     weekvault --store DIR list
     weekvault --store DIR restore --week latest --pvc NAME --target TO \\
       --identity kit.key --expect R

Without weekvault: `age -d -i kit.key DIR/keys/read-<newest>.age` prints the
store's own identities, which open each object: `age -d -i ... | zstd -dc`.


IDENTITY

{}

",
        key.recipient(),
        *identity,
    );
    write_code(&mut page, &identity);
    page
}

/// Adds a QR code in half blocks, to be printed in black on white.
fn write_code(page: &mut String, text: &str) {
    // 74 letters and digits fit into any code.
    let Ok(code) = QrCode::new(text) else { return };
    let width = code.width();
    let colors = code.into_colors();
    let is_dark = |row: usize, column: usize| {
        let (Some(row), Some(column)) = (row.checked_sub(QUIET), column.checked_sub(QUIET)) else {
            return false;
        };
        row < width && column < width && colors.get(row * width + column) == Some(&Color::Dark)
    };
    for row in (0..width + 2 * QUIET).step_by(2) {
        for column in 0..width + 2 * QUIET {
            page.push(match (is_dark(row, column), is_dark(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_its_corners() {
        let key = PaperKey::generate().unwrap();
        let mut page = String::new();
        write_code(&mut page, &key.to_text());
        let lines: Vec<Vec<char>> = page.lines().map(|line| line.chars().collect()).collect();
        let width = lines[0].len();
        assert!(lines.iter().all(|line| line.len() == width) && lines.len() == width.div_ceil(2));
        // The finder pattern: a frame of seven modules.
        let corner: String = lines[QUIET / 2][QUIET..QUIET + 8].iter().collect();
        assert_eq!(corner, "█▀▀▀▀▀█ ");
        assert!(width < 60, "{width}");
    }
}
