//! The account log: the signed chain of an account's devices.
//!
//! Entry 0 (genesis) names the handle, the first device and the recovery key; the account id is its hash, so whoever
//! knows an id can verify the whole chain with nobody's help. Each later entry names the hash of the one before and is
//! signed by a device or recovery key that was valid before it. A revoked device signs nothing after. Client and
//! server verify with this same code; [`AccountState`] can only be made by verifying.

use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::codec::{Bytes, List, decode_canonical, encode};
use crate::ids::{AccountId, DeviceId, Handle, Timestamp};
use crate::limits::{ACCOUNT_ENTRIES_MAX, ACCOUNT_ENTRY_BYTES_MAX, DEVICES_MAX, INBOX_KEY_BYTES};

/// The public keys of one device. Its name is private and not in here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceKeys {
    /// The device's id: 16 random bytes.
    #[n(0)]
    pub id: DeviceId,
    /// Ed25519 (RFC 8032): signs MLS messages, account log entries, envelopes and log-ins, each under its own label.
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub signature: [u8; 32],
    /// X-Wing public key that envelopes to this device are sealed to.
    #[cbor(n(2), with = "crate::codec::fixed")]
    pub inbox: [u8; INBOX_KEY_BYTES],
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LogBody {
    /// Entry 0. Signed by the first device and by the recovery key.
    #[n(0)]
    Genesis {
        /// The handle that the account was made under.
        #[n(0)]
        handle: Handle,
        /// The first device.
        #[n(1)]
        device: DeviceKeys,
        /// Ed25519 key made from the recovery words.
        #[cbor(n(2), with = "crate::codec::fixed")]
        recovery: [u8; 32],
        /// The device's clock.
        #[n(3)]
        at: Timestamp,
    },
    /// A device joins. Signed by one that was there (or the recovery key), then by the new one.
    #[n(1)]
    AddDevice {
        /// Hash of the entry before.
        #[cbor(n(0), with = "crate::codec::fixed")]
        previous: [u8; 32],
        /// The new device.
        #[n(1)]
        device: DeviceKeys,
        /// The signer's clock.
        #[n(2)]
        at: Timestamp,
    },
    /// A device leaves for good; its id is never used again.
    #[n(2)]
    RevokeDevice {
        /// Hash of the entry before.
        #[cbor(n(0), with = "crate::codec::fixed")]
        previous: [u8; 32],
        /// The device that leaves.
        #[n(1)]
        device: DeviceId,
        /// The signer's clock.
        #[n(2)]
        at: Timestamp,
    },
    /// A new recovery key. Signed by a device or the old recovery key, then by the new one.
    #[n(3)]
    RotateRecovery {
        /// Hash of the entry before.
        #[cbor(n(0), with = "crate::codec::fixed")]
        previous: [u8; 32],
        /// The new key.
        #[cbor(n(1), with = "crate::codec::fixed")]
        recovery: [u8; 32],
        /// The signer's clock.
        #[n(2)]
        at: Timestamp,
    },
}

/// Who signed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Signer {
    /// A device of the account.
    #[n(0)]
    Device(#[n(0)] DeviceId),
    /// The recovery key.
    #[n(1)]
    Recovery,
}

/// One signature over `"stonechat v1 account entry" || body`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogSignature {
    /// The key that signed.
    #[n(0)]
    pub by: Signer,
    /// Ed25519 signature.
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub signature: [u8; 64],
}

/// One entry as it travels: the body's exact bytes and the signatures over them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogEntry {
    /// A [`LogBody`], encoded.
    #[n(0)]
    pub body: Bytes<ACCOUNT_ENTRY_BYTES_MAX>,
    /// In the order that the body's kind names.
    #[n(1)]
    pub signatures: List<LogSignature, 2>,
}

impl LogEntry {
    /// Signs a body. The caller passes the signers in the order that the body's kind names.
    ///
    /// # Panics
    /// With more than two signers: every kind has one or two.
    pub fn sign(body: &LogBody, signers: &[(Signer, &SigningKey)]) -> Self {
        let body = encode(body);
        let signatures = signers
            .iter()
            .map(|(by, key)| LogSignature { by: *by, signature: key.sign(&signed_bytes(&body)).to_bytes() })
            .collect();
        Self {
            body: Bytes::new(body).expect("a body is under 2,048 bytes: its largest part is one inbox key"),
            signatures: List::new(signatures).expect("at most two signers"),
        }
    }

    /// `SHA-256("stonechat v1 account" || body)`. Of entry 0, this is the account's id.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"stonechat v1 account").chain_update(&self.body[..]).finalize().into()
    }
}

/// An account log as it travels: not yet verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Default)]
#[cbor(transparent)]
pub struct AccountLog(#[n(0)] pub List<LogEntry, ACCOUNT_ENTRIES_MAX>);

/// Why a chain is not an account log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountLogError {
    /// No entry 0.
    #[error("the account log is empty")]
    Empty,
    /// Entry 0 hashes to another account.
    #[error("the account log belongs to another account")]
    OtherAccount,
    /// The body is not one that this version reads.
    #[error("entry {index} of the account log is malformed or newer than this app")]
    Malformed {
        /// Which entry, from 0.
        index: usize,
    },
    /// It does not name the entry before it.
    #[error("entry {index} of the account log does not follow the one before")]
    Broken {
        /// Which entry, from 0.
        index: usize,
    },
    /// A signature is missing, false, or by a key that was not valid then.
    #[error("entry {index} of the account log is not signed by a key that was valid then")]
    Signature {
        /// Which entry, from 0.
        index: usize,
    },
    /// It adds a device id that was used before, revokes one that is not there, or adds one too many.
    #[error("entry {index} of the account log adds or revokes a device that it cannot")]
    Device {
        /// Which entry, from 0.
        index: usize,
    },
}

/// A verified account log: what the chain says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    id: AccountId,
    handle: Handle,
    devices: Vec<DeviceKeys>,
    gone: Vec<DeviceId>,
    recovery: [u8; 32],
    length: usize,
    head: [u8; 32],
}

impl AccountState {
    /// Verifies a log from entry 0. `expected` is the account that it must belong to, when that is known.
    ///
    /// # Errors
    /// [`AccountLogError`] names the first entry that breaks a rule.
    pub fn verify(log: &AccountLog, expected: Option<AccountId>) -> Result<Self, AccountLogError> {
        let mut entries = log.0.iter().enumerate();
        let (_, genesis) = entries.next().ok_or(AccountLogError::Empty)?;
        let mut state = Self::verify_genesis(genesis)?;
        if expected.is_some_and(|id| id != state.id) {
            return Err(AccountLogError::OtherAccount);
        }
        for (index, entry) in entries {
            state.apply(index, entry)?;
        }
        Ok(state)
    }

    fn verify_genesis(entry: &LogEntry) -> Result<Self, AccountLogError> {
        let LogBody::Genesis { handle, device, recovery, .. } = body(0, entry)? else {
            return Err(AccountLogError::Malformed { index: 0 });
        };
        let [first, second] = &entry.signatures[..] else { return Err(AccountLogError::Signature { index: 0 }) };
        if first.by != Signer::Device(device.id) || second.by != Signer::Recovery {
            return Err(AccountLogError::Signature { index: 0 });
        }
        check(0, entry, first, &device.signature)?;
        check(0, entry, second, &recovery)?;
        let head = entry.hash();
        Ok(Self { id: AccountId(head), handle, devices: [device].into(), gone: Vec::new(), recovery, length: 1, head })
    }

    fn apply(&mut self, index: usize, entry: &LogEntry) -> Result<(), AccountLogError> {
        let body = body(index, entry)?;
        let (previous, second) = match &body {
            LogBody::Genesis { .. } => return Err(AccountLogError::Broken { index }),
            LogBody::AddDevice { previous, device, .. } => {
                (previous, Some((Signer::Device(device.id), device.signature)))
            }
            LogBody::RevokeDevice { previous, .. } => (previous, None),
            LogBody::RotateRecovery { previous, recovery, .. } => (previous, Some((Signer::Recovery, *recovery))),
        };
        if *previous != self.head {
            return Err(AccountLogError::Broken { index });
        }
        let wrong = AccountLogError::Signature { index };
        let first = entry.signatures.first().ok_or(wrong)?;
        let key = match first.by {
            Signer::Device(id) => self.device(&id).ok_or(wrong)?.signature,
            Signer::Recovery => self.recovery,
        };
        check(index, entry, first, &key)?;
        match (second, entry.signatures.get(1)) {
            (None, None) => {}
            (Some((by, key)), Some(signature)) if signature.by == by => check(index, entry, signature, &key)?,
            _ => return Err(wrong),
        }
        match body {
            LogBody::Genesis { .. } => unreachable!("refused above"),
            LogBody::AddDevice { device, .. } => {
                let used = self.device(&device.id).is_some() || self.gone.contains(&device.id);
                if used || self.devices.len() >= DEVICES_MAX {
                    return Err(AccountLogError::Device { index });
                }
                self.devices.push(device);
            }
            LogBody::RevokeDevice { device, .. } => {
                let at = self.devices.iter().position(|d| d.id == device).ok_or(AccountLogError::Device { index })?;
                self.gone.push(self.devices.remove(at).id);
            }
            LogBody::RotateRecovery { recovery, .. } => self.recovery = recovery,
        }
        self.length += 1;
        self.head = entry.hash();
        Ok(())
    }

    /// Whose log this is.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// The handle that the log names. Whether a server maps that handle to this account is another question.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The devices that are valid now.
    pub fn devices(&self) -> &[DeviceKeys] {
        &self.devices
    }

    /// A device that is valid now.
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceKeys> {
        self.devices.iter().find(|device| device.id == *id)
    }

    /// The recovery public key that is valid now.
    pub fn recovery(&self) -> &[u8; 32] {
        &self.recovery
    }

    /// How many entries, and the hash of the last: two logs of one account with the same pair are the same log.
    pub fn head(&self) -> (usize, [u8; 32]) {
        (self.length, self.head)
    }
}

impl AccountLog {
    /// Whether `self` says all that `older` says and in that order: an account's history is only ever added to. A second
    /// signature over the same body says nothing new.
    pub fn extends(&self, older: &AccountLog) -> bool {
        self.0.len() >= older.0.len() && self.0.iter().zip(older.0.iter()).all(|(a, b)| a.body == b.body)
    }

    /// The handle in entry 0, if that entry is this account's: an account's id is the entry's hash, so nobody can put another
    /// handle under it. No signature is looked at: this is for logs that [`AccountState::verify`] let in.
    pub fn handle(&self, account: &AccountId) -> Option<Handle> {
        let genesis = self.0.first().filter(|entry| entry.hash() == account.0)?;
        match body(0, genesis) {
            Ok(LogBody::Genesis { handle, .. }) => Some(handle),
            _ => None,
        }
    }
}

fn body(index: usize, entry: &LogEntry) -> Result<LogBody, AccountLogError> {
    // Canonical: two implementations that read one signed body must read the same devices.
    decode_canonical(&entry.body).map_err(|_| AccountLogError::Malformed { index })
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [b"stonechat v1 account entry", body].concat()
}

fn check(index: usize, entry: &LogEntry, signature: &LogSignature, key: &[u8; 32]) -> Result<(), AccountLogError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| AccountLogError::Signature { index })?;
    // Strict: no small-order keys and no second encoding of a signature.
    key.verify_strict(&signed_bytes(&entry.body), &Signature::from_bytes(&signature.signature))
        .map_err(|_| AccountLogError::Signature { index })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decode;
    use alloc::vec;

    struct Device {
        keys: DeviceKeys,
        secret: SigningKey,
    }

    fn device(n: u8) -> Device {
        let secret = SigningKey::from_bytes(&[n; 32]);
        let keys = DeviceKeys {
            id: DeviceId([n; 16]),
            signature: secret.verifying_key().to_bytes(),
            inbox: [n; INBOX_KEY_BYTES],
        };
        Device { keys, secret }
    }

    fn recovery() -> SigningKey {
        SigningKey::from_bytes(&[200; 32])
    }

    fn genesis(first: &Device) -> LogEntry {
        let body = LogBody::Genesis {
            handle: Handle::parse("alice").unwrap(),
            device: first.keys.clone(),
            recovery: recovery().verifying_key().to_bytes(),
            at: Timestamp(1),
        };
        LogEntry::sign(&body, &[(Signer::Device(first.keys.id), &first.secret), (Signer::Recovery, &recovery())])
    }

    fn log(entries: Vec<LogEntry>) -> AccountLog {
        AccountLog(List::new(entries).unwrap())
    }

    fn add(previous: &LogEntry, by: (Signer, &SigningKey), new: &Device) -> LogEntry {
        let body = LogBody::AddDevice { previous: previous.hash(), device: new.keys.clone(), at: Timestamp(2) };
        LogEntry::sign(&body, &[by, (Signer::Device(new.keys.id), &new.secret)])
    }

    fn revoke(previous: &LogEntry, by: (Signer, &SigningKey), gone: DeviceId) -> LogEntry {
        LogEntry::sign(&LogBody::RevokeDevice { previous: previous.hash(), device: gone, at: Timestamp(3) }, &[by])
    }

    #[test]
    fn a_handle_is_read_only_under_the_account_that_entry_0_makes() {
        let (first, other) = (genesis(&device(1)), genesis(&device(2)));
        let account = AccountId(first.hash());
        assert_eq!(log(vec![first.clone()]).handle(&account), Some(Handle::parse("alice").unwrap()));
        assert_eq!(log(vec![other]).handle(&account), None);
        assert_eq!(log(vec![]).handle(&account), None);
        let one = device(1);
        let later = add(&first, (Signer::Device(one.keys.id), &one.secret), &device(2));
        assert_eq!(log(vec![later.clone()]).handle(&AccountId(later.hash())), None, "not an entry 0");
    }

    #[test]
    fn a_chain_of_every_kind_verifies() {
        let (one, two, three) = (device(1), device(2), device(3));
        let g = genesis(&one);
        let a = add(&g, (Signer::Device(one.keys.id), &one.secret), &two);
        let r = revoke(&a, (Signer::Device(two.keys.id), &two.secret), one.keys.id);
        let b = add(&r, (Signer::Recovery, &recovery()), &three);
        let next = SigningKey::from_bytes(&[201; 32]);
        let rotate = LogEntry::sign(
            &LogBody::RotateRecovery {
                previous: b.hash(),
                recovery: next.verifying_key().to_bytes(),
                at: Timestamp(4),
            },
            &[(Signer::Device(three.keys.id), &three.secret), (Signer::Recovery, &next)],
        );
        let log = log(vec![g.clone(), a, r, b, rotate]);
        let state = AccountState::verify(&log, Some(AccountId(g.hash()))).unwrap();
        assert_eq!(state.devices().iter().map(|d| d.id).collect::<Vec<_>>(), [two.keys.id, three.keys.id]);
        assert_eq!((state.head().0, *state.recovery()), (5, next.verifying_key().to_bytes()));
        assert_eq!(decode::<AccountLog>(&encode(&log)).unwrap(), log);
    }

    #[test]
    fn a_log_of_another_account_is_refused() {
        let log = log(vec![genesis(&device(1))]);
        assert_eq!(AccountState::verify(&log, Some(AccountId([0; 32]))), Err(AccountLogError::OtherAccount));
    }

    #[test]
    fn a_revoked_device_signs_nothing_after() {
        let (one, two, three) = (device(1), device(2), device(3));
        let g = genesis(&one);
        let a = add(&g, (Signer::Device(one.keys.id), &one.secret), &two);
        let r = revoke(&a, (Signer::Device(one.keys.id), &one.secret), two.keys.id);
        let ghost = add(&r, (Signer::Device(two.keys.id), &two.secret), &three);
        assert_eq!(
            AccountState::verify(&log(vec![g, a, r, ghost]), None),
            Err(AccountLogError::Signature { index: 3 })
        );
    }

    #[test]
    fn a_device_that_did_not_sign_for_itself_is_refused() {
        let (one, two) = (device(1), device(2));
        let g = genesis(&one);
        let body = LogBody::AddDevice { previous: g.hash(), device: two.keys.clone(), at: Timestamp(2) };
        let lone = LogEntry::sign(&body, &[(Signer::Device(one.keys.id), &one.secret)]);
        assert_eq!(AccountState::verify(&log(vec![g, lone]), None), Err(AccountLogError::Signature { index: 1 }));
    }

    #[test]
    fn an_entry_that_skips_the_one_before_is_refused() {
        let (one, two, three) = (device(1), device(2), device(3));
        let g = genesis(&one);
        let by = (Signer::Device(one.keys.id), &one.secret);
        let (a, b) = (add(&g, by, &two), add(&g, by, &three));
        assert_eq!(AccountState::verify(&log(vec![g, a, b]), None), Err(AccountLogError::Broken { index: 2 }));
    }

    #[test]
    fn a_device_id_is_never_used_again() {
        let (one, two) = (device(1), device(2));
        let g = genesis(&one);
        let by = (Signer::Device(one.keys.id), &one.secret);
        let a = add(&g, by, &two);
        let r = revoke(&a, by, two.keys.id);
        let again = add(&r, by, &two);
        assert_eq!(AccountState::verify(&log(vec![g, a, r, again]), None), Err(AccountLogError::Device { index: 3 }));
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let one = device(1);
        let good = genesis(&one);
        for at in (0..good.body.len()).step_by(7) {
            let mut body = good.body.to_vec();
            body[at] ^= 1;
            let entry = LogEntry { body: Bytes::new(body).unwrap(), signatures: good.signatures.clone() };
            assert!(AccountState::verify(&log(vec![entry]), None).is_err(), "byte {at}");
        }
    }
}
