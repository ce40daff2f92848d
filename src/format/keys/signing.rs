//! Who made a manifest: signatures of writers.

use super::KeyError;
use super::text::{self, Secret};
use crate::model::{Digest, StoreId};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What stands before all that is signed.
const CONTEXT: &[u8] = b"weekvault manifest v2\0";

/// The bytes that a writer signs: `weekvault manifest v2`, a zero byte, the store's id in its 32 digits, the manifest's digest.
fn message(store: &StoreId, digest: &Digest) -> Vec<u8> {
    [CONTEXT, store.to_string().as_bytes(), digest.as_bytes()].concat()
}

/// A writer's signing key, S (Ed25519), which is wiped from memory when it is dropped.
pub struct WriterSecret(SigningKey);

impl WriterSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        text::random().map(Self::new)
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        text::from_hex(digits).map(Self::new)
    }

    fn new(seed: Secret) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The key as 64 lower-case hexadecimal digits. (RFC 8032, the private key of section 5.1.5.)
    pub fn to_hex(&self) -> Zeroizing<String> {
        text::hex(&Zeroizing::new(self.0.to_bytes()))
    }

    /// Who signs with it.
    pub fn id(&self) -> WriterId {
        WriterId(self.0.verifying_key().to_bytes())
    }

    /// The signature of a manifest by its digest.
    pub fn sign(&self, store: &StoreId, digest: &Digest) -> [u8; 64] {
        self.0.sign(&message(store, digest)).to_bytes()
    }
}

impl fmt::Debug for WriterSecret {
    /// Shows the public key only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterSecret({})", self.id())
    }
}

/// A writer: its whole public key. Any 32 bytes may stand in a manifest; [`WriterId::verify`] tells what they are worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub [u8; 32]);

impl WriterId {
    /// Whether this writer signed the manifest of this digest for this store. Strict: no other signature of the same writer,
    /// store and digest counts that is not one by RFC 8032, and none by a key that anybody could sign with.
    pub fn verify(&self, store: &StoreId, digest: &Digest, signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(&message(store, digest), &signature).is_ok())
    }
}

/// A text that is no writer's public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the public key of a writer, which is an Ed25519 key in 64 lower-case hexadecimal digits")]
pub struct InvalidWriter;

impl FromStr for WriterId {
    type Err = InvalidWriter;

    /// Reads 64 lower-case hexadecimal digits of a key with which something can be verified.
    fn from_str(digits: &str) -> Result<Self, InvalidWriter> {
        let bytes = text::from_hex(digits).ok_or(InvalidWriter)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidWriter)?;
        if key.is_weak() { Err(InvalidWriter) } else { Ok(Self(*bytes)) }
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{SIGN, STORE, WRITER};

    fn store() -> StoreId {
        STORE.parse().unwrap()
    }

    #[test]
    fn known_answer() {
        // RFC 8032, section 7.1, test 1: the key pair.
        let secret = WriterSecret::from_hex(SIGN).unwrap();
        assert_eq!(secret.to_hex().as_str(), SIGN);
        assert_eq!(secret.id().to_string(), WRITER);
        assert_eq!(WRITER.parse::<WriterId>().unwrap(), secret.id());
        let signature = secret.sign(&store(), &Digest([3; 32]));
        // What OpenSSL signs as well, since Ed25519 is deterministic: a change here would make another format.
        insta::assert_snapshot!(blake3::hash(&signature).to_hex(), @"a3be594dddee3c5744fcce134cf3923f1156b816eee6941d46c2d09bd158df97");
        let plain = [b"weekvault manifest v2\0".as_slice(), STORE.as_bytes(), &[3; 32]].concat();
        assert_eq!(message(&store(), &Digest([3; 32])), plain);
    }

    #[test]
    fn only_the_very_signature_counts() {
        let (secret, digest) = (WriterSecret::generate().unwrap(), Digest([3; 32]));
        let (id, signature) = (secret.id(), secret.sign(&store(), &digest));
        assert!(id.verify(&store(), &digest, &signature));
        assert!(!id.verify(&StoreId([0; 16]), &digest, &signature));
        assert!(!id.verify(&store(), &Digest([4; 32]), &signature));
        assert!(!WriterSecret::generate().unwrap().id().verify(&store(), &digest, &signature));
        for bit in 0..512 {
            let mut wrong = signature;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!id.verify(&store(), &digest, &wrong), "{bit}");
        }
    }

    #[test]
    fn the_same_signature_in_another_form_does_not_count() {
        // s + L, which the equation of Ed25519 takes for s. L = 2^252 + 27742317777372353535851937790883648493.
        let order =
            text::from_hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let (secret, digest) = (WriterSecret::from_hex(SIGN).unwrap(), Digest([3; 32]));
        let mut signature = secret.sign(&store(), &digest);
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(order.iter()) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!secret.id().verify(&store(), &digest, &signature));
    }

    #[test]
    fn keys_that_anybody_could_sign_with_do_not_count() {
        // The neutral point: R = A = (0, 1) and s = 0 satisfy the equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!WriterId(neutral).verify(&store(), &Digest([3; 32]), &signature));
        assert!(WriterId(neutral).to_string().parse::<WriterId>().is_err());
        for bad in ["", &WRITER[1..], &WRITER.to_uppercase(), &format!("{WRITER} "), &"02".repeat(32)] {
            assert!(bad.parse::<WriterId>().is_err(), "{bad}");
        }
    }
}
