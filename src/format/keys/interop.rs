//! What another age makes of our files, and we of its: with the program `age`, where it is installed.

use super::samples::{IDENTITY, RECIPIENT, read_file};
use super::{Identities, ReadFile, SealedReadFile};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a program prints, given `input`; none if it is not installed.
fn run(program: &str, arguments: &[&Path], input: &Path) -> Option<Vec<u8>> {
    let input = std::fs::File::open(input).unwrap();
    let output = Command::new(program).args(arguments).stdin(input).stderr(Stdio::inherit()).output();
    let Ok(output) = output else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program} {arguments:?}");
    Some(output.stdout)
}

#[test]
fn another_age_opens_a_read_file() {
    let folder = tempfile::tempdir().unwrap();
    let (identity, stored) = (folder.path().join("identity"), folder.path().join("read-1-1.age"));
    std::fs::write(&identity, IDENTITY).unwrap();
    let sealed = read_file().seal(&[RECIPIENT.parse().unwrap()]).unwrap();
    for bytes in [sealed.as_bytes(), sealed.to_armor().unwrap().as_bytes()] {
        std::fs::write(&stored, bytes).unwrap();
        let Some(plain) = run("age", &[Path::new("-d"), Path::new("-i"), &identity], &stored) else { return };
        assert_eq!(plain, read_file().encode().unwrap().as_bytes());
        // What restores from a pipe get.
        assert!(ReadFile::decode(&plain).is_ok() && Identities::parse(&plain).is_ok());
    }
}

/// The read keys of a read file's plaintext open what the store holds, without this program.
#[test]
fn another_age_opens_objects_with_the_plaintext() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, object) = (folder.path().join("keys"), folder.path().join("object"));
    let file = read_file().rotated().unwrap();
    std::fs::write(&keys, file.encode().unwrap().as_bytes()).unwrap();
    for key in file.read_keys() {
        std::fs::write(&object, age::encrypt(key.recipient().recipient(), b"content").unwrap()).unwrap();
        let Some(plain) = run("age", &[Path::new("-d"), Path::new("-i"), &keys], &object) else { return };
        assert_eq!(plain, b"content");
    }
}

#[test]
fn a_read_file_that_another_age_made_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, read_file().encode().unwrap().as_bytes()).unwrap();
    let identities = Identities::parse(IDENTITY.as_bytes()).unwrap();
    for armor in [None, Some(Path::new("-a"))] {
        let mut arguments = vec![Path::new("-r"), Path::new(RECIPIENT)];
        arguments.extend(armor);
        let Some(stored) = run("age", &arguments, &plain) else { return };
        let sealed = SealedReadFile::from_bytes(&stored).unwrap();
        let opened = ReadFile::open(&sealed, &identities).unwrap();
        assert_eq!(*opened.encode().unwrap(), *read_file().encode().unwrap());
    }
}

#[test]
fn identities_that_another_age_makes_are_taken() {
    let Some(text) = run("age-keygen", &[], Path::new("/dev/null")) else { return };
    assert_eq!(Identities::parse(&text).unwrap().recipients().len(), 1);
}
