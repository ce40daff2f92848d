//! Keys that are known to everybody, for tests.

use super::ReadFile;
use age::armor::{ArmoredWriter, Format};
use std::io::Write;

/// 32 hexadecimal digits.
pub(super) const STORE: &str = "00112233445566778899aabbccddeeff";
/// The age project's example of an identity, and its recipient.
pub(super) const IDENTITY: &str =
    "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
pub(super) const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
/// RFC 8032, section 7.1, test 1.
pub(super) const SIGN: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub(super) const WRITER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// The same, test 2: a public key.
pub(super) const OTHER_WRITER: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
pub(super) const NAME_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(super) const TAG_RECIPIENT: &str = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";

/// Read keys of the first and of the second epoch.
pub(super) const READ_KEY: &str =
    "AGE-SECRET-KEY-1E3UDT4FNWGRJGL4N38TURJ94VPV2G7SR30EDDSX8ECCPT0P9WMLSZYL62T";
pub(super) const SECOND_READ_KEY: &str =
    "AGE-SECRET-KEY-1TXY2D33DPJ3TLLSU4D7H0VSMXF3A48KZGGX9X3VFA8TV0532TRNS3XR9MK";

/// An age file as text.
pub(super) fn armor(file: &[u8]) -> String {
    let mut out = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
    out.write_all(file).unwrap();
    String::from_utf8(out.finish().unwrap()).unwrap()
}

/// The lines of a read file with the mac that belongs to them, made without the code that is tested.
pub(super) fn with_mac(lines: &str) -> String {
    let newest = lines.lines().rfind(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let (_, key) = bech32::decode(newest).unwrap();
    let key = blake3::derive_key("weekvault 2026 v2 read file mac", &key);
    format!("{lines}# mac {}\n", blake3::keyed_hash(&key, lines.as_bytes()))
}

/// All lines of a read file of the first epoch, but the mac.
pub(super) fn read_lines() -> String {
    format!(
        "# weekvault-read 1\n# store {STORE}\n# number 1 1\n# name-key {NAME_KEY}\n# writer {WRITER}\n{READ_KEY}\n"
    )
}

/// The read file that they make.
pub(super) fn read_file() -> ReadFile {
    ReadFile::decode(with_mac(&read_lines()).as_bytes()).unwrap()
}
