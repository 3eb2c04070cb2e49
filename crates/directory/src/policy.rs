//! Who must have signed a head of the directory before a client believes it. Pinned when the account is made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stonechat_wire::limits::{DIRECTORY_POLICY_BYTES_MAX, WITNESSES_MAX};

use crate::note::{Checkpoint, KeyKind, NoteError, SignedNote, VerifierKey};

/// Whose signatures a head needs. Two policies that are equal accept the same heads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryPolicy {
    /// The key that signs the log's checkpoints. Its name is their origin.
    log: VerifierKey,
    /// The key directory's VRF public key (ECVRF-EDWARDS25519-SHA512-TAI), 32 bytes in hex.
    #[serde(with = "hex_key")]
    vrf: [u8; 32],
    /// Who may cosign.
    witnesses: Vec<VerifierKey>,
    /// How many of them must have.
    threshold: u32,
}

/// Why a policy or a checkpoint is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is not a policy.
    #[error("the directory's policy cannot be read: {cause}")]
    Malformed {
        /// What is wrong with it.
        cause: String,
    },
    /// The checkpoint is not one of this log, or the log did not sign it.
    #[error("the directory's head is not signed by its key: {0}")]
    Log(#[from] NoteError),
    /// Not enough witnesses have cosigned. Where it was just published, time helps.
    #[error("the directory's head has {have} of the {need} witnesses that it needs")]
    Witnesses {
        /// Good cosignatures.
        have: u32,
        /// The policy's threshold.
        need: u32,
    },
}

impl DirectoryPolicy {
    /// A policy.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`]: kinds of keys, doubled witnesses, or a threshold that cannot be met.
    pub fn new(
        log: VerifierKey,
        vrf: [u8; 32],
        witnesses: Vec<VerifierKey>,
        threshold: u32,
    ) -> Result<Self, PolicyError> {
        let policy = Self { log, vrf, witnesses, threshold };
        policy.check()?;
        Ok(policy)
    }

    /// Reads a policy from the JSON that the server gives out.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, PolicyError> {
        if json.len() > DIRECTORY_POLICY_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let policy: Self = serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))?;
        policy.check()?;
        Ok(policy)
    }

    /// The policy as JSON, one key on a line, with a newline at its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers are JSON") + "\n"
    }

    fn check(&self) -> Result<(), PolicyError> {
        let keys: BTreeSet<_> = self.witnesses.iter().map(VerifierKey::key).collect();
        let names: BTreeSet<_> = self.witnesses.iter().map(VerifierKey::name).collect();
        if self.log.kind() != KeyKind::Log || self.witnesses.iter().any(|key| key.kind() != KeyKind::Witness) {
            return Err(malformed("a key stands where one of another kind belongs"));
        }
        if keys.len() != self.witnesses.len() || names.len() != self.witnesses.len() {
            return Err(malformed("it names a witness twice"));
        }
        if self.witnesses.len() > WITNESSES_MAX {
            return Err(malformed("it names more than 32 witnesses"));
        }
        if self.threshold as usize > self.witnesses.len() {
            return Err(malformed("its threshold is above the number of its witnesses"));
        }
        Ok(())
    }

    /// The log's key.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The origin that checkpoints must name.
    pub fn origin(&self) -> &str {
        self.log.name()
    }

    /// The VRF public key.
    pub fn vrf(&self) -> &[u8; 32] {
        &self.vrf
    }

    /// The witnesses.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// How many witnesses must have cosigned.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// What a note says, when the log signed it. The log's signature comes with it.
    ///
    /// # Errors
    /// [`PolicyError::Log`].
    pub fn signed_by_log(&self, note: &SignedNote) -> Result<(Checkpoint, [u8; 64]), PolicyError> {
        let signature = note.verify_log(&self.log)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != self.origin() {
            return Err(PolicyError::Log(NoteError::NotACheckpoint));
        }
        Ok((checkpoint, signature))
    }

    /// The witnesses of this policy whose cosignature is on the note and good, with its time in seconds.
    pub fn cosigners<'a>(&'a self, note: &'a SignedNote) -> impl Iterator<Item = (&'a VerifierKey, u64)> {
        self.witnesses.iter().filter_map(|key| Some((key, note.verify_witness(key).ok()?)))
    }

    /// What a note says, when the log signed it and enough witnesses cosigned it.
    ///
    /// # Errors
    /// [`PolicyError::Log`] or [`PolicyError::Witnesses`].
    pub fn verify(&self, note: &SignedNote) -> Result<(Checkpoint, [u8; 64]), PolicyError> {
        let checked = self.signed_by_log(note)?;
        let have = u32::try_from(self.cosigners(note).count()).expect("at most 32");
        if have < self.threshold {
            return Err(PolicyError::Witnesses { have, need: self.threshold });
        }
        Ok(checked)
    }
}

fn malformed(cause: &str) -> PolicyError {
    PolicyError::Malformed { cause: cause.to_owned() }
}

mod hex_key {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(key))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut key).map_err(D::Error::custom)?;
        Ok(key)
    }
}
