//! C2SP signed notes, checkpoints and cosignatures: a text, and lines that say who signed it.
//!
//! [signed-note](https://c2sp.org/signed-note), [tlog-checkpoint](https://c2sp.org/tlog-checkpoint),
//! [tlog-cosignature](https://c2sp.org/tlog-cosignature). A note is a text that ends in a newline, an empty line, and
//! signature lines `— NAME BASE64(key id || signature)`. The log signs the text itself (Ed25519, algorithm byte 0x01); a
//! witness signs the text under a line with the time (algorithm byte 0x04).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use stonechat_wire::TreeHash;
use stonechat_wire::limits::CHECKPOINT_BYTES_MAX;

/// Who a verifier key belongs to, by the algorithm byte that it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs the text of a note: the log. Algorithm 0x01.
    Log,
    /// Signs the text and a time: a witness (`cosignature/v1`). Algorithm 0x04.
    Witness,
}

impl KeyKind {
    const fn algorithm(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }
}

/// A public key with its name, as `NAME+KEYID+BASE64`: what a policy pins.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: [u8; 32],
}

impl VerifierKey {
    /// The verifier key of a signing key.
    ///
    /// # Errors
    /// [`NoteError::Key`] when the name is empty, or has a space, a control character or a plus sign.
    pub fn new(name: &str, kind: KeyKind, key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) || VerifyingKey::from_bytes(&key).is_err() {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// The name that stands in signature lines. Of a log, it is the origin of its checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The Ed25519 public key.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// `SHA-256(name || 0x0A || algorithm || public key)`, its first 4 bytes.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([0x0a, self.kind.algorithm()])
            .chain_update(self.key)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.algorithm()][..], &self.key].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), BASE64_STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (algorithm, key) = key.split_first().ok_or(NoteError::Key)?;
        let kind = match algorithm {
            0x01 => KeyKind::Log,
            0x04 => KeyKind::Witness,
            _ => return Err(NoteError::Key),
        };
        let made = Self::new(name, kind, key.try_into().map_err(|_| NoteError::Key)?)?;
        // The id tells a mistyped name or key.
        if hex::encode(made.id()) == id { Ok(made) } else { Err(NoteError::Key) }
    }
}

impl serde::Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for VerifierKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    /// [`VerifierKey::id`].
    pub id: [u8; 4],
    /// What follows the id: 64 bytes of the log; 8 of time and 64 of a witness.
    pub bytes: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    /// The line, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "— {} {}", self.name, BASE64_STANDARD.encode([&self.id[..], &self.bytes].concat()))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;
    fn from_str(line: &str) -> Result<Self, NoteError> {
        let (name, bytes) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Malformed)?;
        let bytes = BASE64_STANDARD.decode(bytes).map_err(|_| NoteError::Malformed)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
        if !is_name(name) || bytes.is_empty() {
            return Err(NoteError::Malformed);
        }
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

/// A note: a text and its signatures, none of which was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why something is not a note, or not one that a key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are not a signed note of bounded size.
    #[error("the checkpoint is not a signed note")]
    Malformed,
    /// The text is not a checkpoint.
    #[error("the signed note is not a checkpoint")]
    NotACheckpoint,
    /// A text is not a verifier key of a kind that is known here.
    #[error("not a verifier key; one looks like `name+1a2b3c4d+AbCd…`")]
    Key,
    /// The key did not sign this note.
    #[error("the note is not signed by that key")]
    Signature,
}

impl SignedNote {
    /// Reads a note. Signatures by unknown keys are kept: nobody has verified anything yet.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err(NoteError::Malformed);
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
        if all.chars().any(|c| c < '\u{20}' && c != '\n') {
            return Err(NoteError::Malformed);
        }
        // The last empty line: a text may have empty lines of its own.
        let split = all.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&all[..=split], &all[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if text.len() < 2 || signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::Malformed);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// A note that the log signs. Deterministic: the same text has the same signature.
    pub fn sign(text: String, name: &str, key: &SigningKey) -> Self {
        debug_assert!(text.ends_with('\n'));
        let verifier = VerifierKey { name: name.to_owned(), kind: KeyKind::Log, key: key.verifying_key().to_bytes() };
        let bytes = key.sign(text.as_bytes()).to_bytes().to_vec();
        let signatures = vec![NoteSignature { name: name.to_owned(), id: verifier.id(), bytes }];
        Self { text, signatures }
    }

    /// A note with one signature that was made elsewhere, unverified.
    pub fn from_parts(text: String, key: &VerifierKey, signature: &[u8]) -> Self {
        let signatures = vec![NoteSignature { name: key.name.clone(), id: key.id(), bytes: signature.to_vec() }];
        Self { text, signatures }
    }

    /// A witness's cosignature at a time (seconds since the Unix epoch), to be added to this note.
    pub fn cosign(&self, name: &str, key: &SigningKey, time_secs: u64) -> NoteSignature {
        let verifier =
            VerifierKey { name: name.to_owned(), kind: KeyKind::Witness, key: key.verifying_key().to_bytes() };
        let signature = key.sign(&cosigned_bytes(time_secs, &self.text)).to_bytes();
        let bytes = [&time_secs.to_be_bytes()[..], &signature].concat();
        NoteSignature { name: name.to_owned(), id: verifier.id(), bytes }
    }

    /// Adds a signature; of two by one key, the later added stays.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.retain(|old| (&old.name, old.id) != (&signature.name, signature.id));
        self.signatures.push(signature);
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, verified or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The log's signature over this note.
    ///
    /// # Errors
    /// [`NoteError::Signature`] unless there is a line of this key and its signature is good.
    pub fn verify_log(&self, key: &VerifierKey) -> Result<[u8; 64], NoteError> {
        let line = self.line(key, KeyKind::Log)?;
        let signature: [u8; 64] = line.bytes.as_slice().try_into().map_err(|_| NoteError::Signature)?;
        check(&key.key, self.text.as_bytes(), &signature)?;
        Ok(signature)
    }

    /// A witness's cosignature over this note: when it was made, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`NoteError::Signature`] unless there is a line of this key and its signature is good.
    pub fn verify_witness(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        let line = self.line(key, KeyKind::Witness)?;
        let (time, signature) = line.bytes.split_first_chunk::<8>().ok_or(NoteError::Signature)?;
        let signature = signature.try_into().map_err(|_| NoteError::Signature)?;
        let time = u64::from_be_bytes(*time);
        check(&key.key, &cosigned_bytes(time, &self.text), signature)?;
        Ok(time)
    }

    fn line(&self, key: &VerifierKey, kind: KeyKind) -> Result<&NoteSignature, NoteError> {
        let found = self.signatures.iter().find(|line| line.name == key.name && line.id == key.id());
        found.filter(|_| key.kind == kind).ok_or(NoteError::Signature)
    }
}

impl fmt::Display for SignedNote {
    /// The bytes that travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// What a checkpoint says: how many leaves the log has, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 6962 section 2.1.
    pub root: TreeHash,
}

impl Checkpoint {
    /// Reads the text of a note: origin, size in decimal, root in base64, and lines that are passed over.
    ///
    /// # Errors
    /// [`NoteError::NotACheckpoint`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let wrong = NoteError::NotACheckpoint;
        let mut lines = text.strip_suffix('\n').ok_or(wrong)?.split('\n');
        let (origin, size, root) = (lines.next().ok_or(wrong)?, lines.next().ok_or(wrong)?, lines.next().ok_or(wrong)?);
        let number: u64 = size.parse().map_err(|_| wrong)?;
        let root = BASE64_STANDARD.decode(root).map_err(|_| wrong)?;
        let root = TreeHash(root.try_into().map_err(|_| wrong)?);
        // One text for one size: no sign, no leading zero.
        if origin.is_empty() || number.to_string() != size || lines.any(str::is_empty) {
            return Err(wrong);
        }
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }

    /// The text that the log signs.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0))
    }
}

fn cosigned_bytes(time_secs: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_secs}\n{text}").into_bytes()
}

fn check(key: &[u8; 32], signed: &[u8], signature: &[u8; 64]) -> Result<(), NoteError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::Signature)?;
    key.verify_strict(signed, &Signature::from_bytes(signature)).map_err(|_| NoteError::Signature)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// Lines of one note: the log, the witnesses of a policy, and some that nobody asked for.
const SIGNATURES_MAX: usize = 64;

#[cfg(test)]
mod tests;
