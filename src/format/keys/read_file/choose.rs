//! Which of several read files counts.

use super::file::ReadFile;
use crate::format::keys::{KeyError, ReadRecipient};

/// The read file that counts.
#[derive(Debug)]
pub struct Chosen {
    /// It.
    pub file: ReadFile,
    /// Where it was found.
    pub place: String,
    /// Where others were found that it does not continue: those of other stores, of a later epoch than expected, or forged.
    pub passed_over: Vec<String>,
}

/// Chooses among read files, each with the place where it was found: the highest number counts, if it continues all of the
/// others. `expect` picks those whose newest recipient it is, whatever others there are. None of none.
///
/// # Errors
/// [`KeyError::Ambiguous`] when they cannot all be of one store: other first keys, other naming keys, or two of one number that
/// differ. [`KeyError::Unexpected`] when none has the expected recipient.
pub fn choose(
    found: Vec<(String, ReadFile)>,
    expect: Option<&ReadRecipient>,
) -> Result<Option<Chosen>, KeyError> {
    if found.is_empty() {
        return Ok(None);
    }
    let (mut fits, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, file)| expect.is_none_or(|expect| file.read_recipient() == expect));
    // Of equal ones the first that was found.
    fits.sort_by_key(|(_, file)| std::cmp::Reverse(file.number()));
    let mut fits = fits.into_iter();
    let Some((place, file)) = fits.next() else {
        let expected = expect.map(ReadRecipient::to_string).unwrap_or_default();
        return Err(KeyError::Unexpected { expected, found: others.iter().map(told).collect() });
    };
    let strangers: Vec<_> = fits.filter(|(_, other)| !file.continues(other)).collect();
    if !strangers.is_empty() {
        let first = (place, file);
        return Err(KeyError::Ambiguous {
            found: std::iter::once(&first).chain(&strangers).map(told).collect(),
        });
    }
    let passed_over = others.into_iter().filter(|(_, other)| !file.continues(other)).map(|(place, _)| place);
    let passed_over = passed_over.collect();
    Ok(Some(Chosen { file, place, passed_over }))
}

fn told((place, file): &(String, ReadFile)) -> (String, String) {
    (place.clone(), file.read_recipient().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::WriterSecret;
    use crate::format::keys::samples::read_file;
    use crate::model::StoreId;

    /// Each with its place.
    fn found(files: impl IntoIterator<Item = (&'static str, ReadFile)>) -> Vec<(String, ReadFile)> {
        files.into_iter().map(|(place, file)| (place.to_owned(), file)).collect()
    }

    fn again(file: &ReadFile) -> ReadFile {
        ReadFile::decode(file.encode().unwrap().as_bytes()).unwrap()
    }

    fn next(file: &ReadFile) -> ReadFile {
        again(file).renumbered().unwrap()
    }

    fn rotated(file: &ReadFile) -> ReadFile {
        again(file).rotated().unwrap()
    }

    #[test]
    fn the_highest_number_counts() {
        let first = read_file();
        let (second, third) = (next(&first), rotated(&next(&first)));
        let chosen = choose(
            found([("a", again(&second)), ("b", again(&third)), ("c", again(&third)), ("d", again(&first))]),
            None,
        );
        let chosen = chosen.unwrap().unwrap();
        assert_eq!((chosen.file.number(), chosen.place.as_str()), (third.number(), "b"));
        assert!(chosen.passed_over.is_empty());
        assert!(choose(Vec::new(), None).unwrap().is_none());
        assert!(choose(Vec::new(), Some(first.read_recipient())).unwrap().is_none());
    }

    #[test]
    fn another_stores_file_is_named_unless_one_is_picked() {
        let (ours, mut theirs) =
            (read_file(), ReadFile::new(read_file().store(), read_file().writers()[0].id, []).unwrap());
        theirs = rotated(&theirs);
        let both = || found([("keys/a", again(&ours)), ("keys/b", again(&theirs))]);
        let error = choose(both(), None).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, KeyError::Ambiguous { .. }));
        for told in ["keys/a", "keys/b", &ours.read_recipient().to_string(), "--expect"] {
            assert!(text.contains(told), "{text}");
        }
        let chosen = choose(both(), Some(ours.read_recipient())).unwrap().unwrap();
        assert_eq!((chosen.place.as_str(), chosen.passed_over), ("keys/a", vec!["keys/b".to_owned()]));
        let stranger = ReadFile::new(StoreId([1; 16]), ours.writers()[0].id, []).unwrap();
        let error = choose(both(), Some(stranger.read_recipient())).unwrap_err();
        assert!(matches!(&error, KeyError::Unexpected { found, .. } if found.len() == 2), "{error}");
    }

    #[test]
    fn who_was_removed_makes_no_later_epoch() {
        let first = read_file();
        let ours = rotated(&first);
        // With the first read key alone, and a number above all.
        let forged = rotated(&rotated(&first));
        let both = || found([("ours", again(&ours)), ("old", again(&first)), ("forged", again(&forged))]);
        assert!(matches!(choose(both(), None), Err(KeyError::Ambiguous { .. })));
        let chosen = choose(both(), Some(ours.read_recipient())).unwrap().unwrap();
        assert_eq!((chosen.place.as_str(), chosen.passed_over), ("ours", vec!["forged".to_owned()]));
        // A kit from before the rotation picks its own epoch, and says that there is more.
        let chosen = choose(both(), Some(first.read_recipient())).unwrap().unwrap();
        assert_eq!(
            (chosen.place.as_str(), chosen.passed_over),
            ("old", vec!["ours".to_owned(), "forged".to_owned()])
        );
    }

    #[test]
    fn two_of_one_number_are_not_chosen_between() {
        let first = read_file();
        let with = |_| again(&first).with_writer(WriterSecret::generate().unwrap().id()).unwrap();
        let (one, other) = (with(()), with(()));
        let error = choose(found([("a", again(&one)), ("b", again(&other))]), None).unwrap_err();
        assert!(error.to_string().contains("weekvault key"), "{error}");
        // The next one of either settles it: older ones need not agree.
        let settled = choose(found([("a", again(&one)), ("b", again(&other)), ("c", next(&one))]), None);
        assert_eq!(settled.unwrap().unwrap().place, "c");
    }
}
