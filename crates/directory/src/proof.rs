//! What the directory says about a label, verified: akd's look-up and history proofs under `WhatsAppV1Configuration`.
//!
//! Two kinds of labels: `"h" || handle` has an account id; `"a" || account id` has the head of that account's log. A label
//! has versions, 1 and on; a look-up proof shows the newest version at a head, a history proof several. That a label is
//! *not* there cannot be proven: a server can always deny that somebody has an account.
//!
//! Proofs travel as akd's protobuf messages (`akd_core/src/proto/specs/types.proto`).

use akd_core::proto::specs::types as proto;
use akd_core::verify::history::{HistoryParams, HistoryVerificationParams, key_history_verify};
use akd_core::verify::lookup_verify;
use akd_core::{AkdLabel, HistoryProof, LookupProof, WhatsAppV1Configuration};
use protobuf::Message as _;
use stonechat_wire::{
    AccountHistory, AccountId, AccountLog, AccountLogError, AccountProof, AccountState, Handle, LogHead,
    decode_canonical, limits::HISTORY_VERSIONS_MAX,
};

use crate::head::{Head, HeadError};
use crate::policy::DirectoryPolicy;

/// How the key directory hashes and orders: BLAKE3, the order of the proofs of WhatsApp's directory.
pub type Configuration = WhatsAppV1Configuration;

/// The label of an account's log: `"a" || account id`.
pub fn account_label(account: &AccountId) -> Vec<u8> {
    [b"a", &account.0[..]].concat()
}

/// The label of a handle: `"h" || handle`.
pub fn handle_label(handle: &Handle) -> Vec<u8> {
    [b"h", handle.as_str().as_bytes()].concat()
}

/// Why what the directory said is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The head is not one to believe.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The bytes are not a proof.
    #[error("the directory's proof cannot be read")]
    Malformed,
    /// The proof does not show what it should at this head.
    #[error("the directory's proof does not hold: {cause}")]
    False {
        /// What akd said.
        cause: String,
    },
    /// The account log is not one.
    #[error(transparent)]
    Log(#[from] AccountLogError),
    /// The directory says that the account's log ends elsewhere than the log that came with it.
    #[error("the account log is not the one that the directory has")]
    OtherLog,
    /// The directory says that the handle is another account's than the one whose log came.
    #[error("the handle belongs to another account than the one that came with it")]
    OtherAccount,
    /// A proof of the handle was asked for and did not come.
    #[error("the proof of the handle is missing")]
    NoHandle,
}

/// One version of a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedVersion<T> {
    /// What the directory says.
    pub value: T,
    /// Counted from 1; a label whose version is 1 never had another value.
    pub version: u64,
    /// The key directory's epoch in which it became so.
    pub epoch: u64,
}

/// Verifies a look-up proof of an account's log head.
///
/// # Errors
/// [`ProofError::Malformed`] or [`ProofError::False`].
pub fn verify_account(
    policy: &DirectoryPolicy,
    head: &Head,
    account: &AccountId,
    proof: &[u8],
) -> Result<VerifiedVersion<LogHead>, ProofError> {
    look_up(policy, head, account_label(account), proof)?.try_map(log_head)
}

/// Verifies a look-up proof of a handle's account.
///
/// # Errors
/// [`ProofError::Malformed`] or [`ProofError::False`].
pub fn verify_handle(
    policy: &DirectoryPolicy,
    head: &Head,
    handle: &Handle,
    proof: &[u8],
) -> Result<VerifiedVersion<AccountId>, ProofError> {
    look_up(policy, head, handle_label(handle), proof)?.try_map(account_id)
}

/// What was asked when an account came with its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// For whoever holds a handle: the proof of the handle must be there.
    Handle(&'a Handle),
    /// For an account: a proof of its handle is verified when it is there.
    Account(&'a AccountId),
}

/// An account log that verified from entry 0 and is the one that the directory has at a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAccount {
    /// Against which head.
    pub head: Head,
    /// What the log says.
    pub state: AccountState,
    /// What the directory says of the log.
    pub log: VerifiedVersion<LogHead>,
    /// What it says of the handle that the log names, when there was a proof of it.
    pub handle: Option<VerifiedVersion<AccountId>>,
}

impl VerifiedAccount {
    /// Verifies everything that came with an account: the head, the look-up proofs, the log, and that they fit.
    ///
    /// # Errors
    /// [`ProofError`]. Only a head that waits for its witnesses gets better by itself.
    pub fn verify(
        policy: &DirectoryPolicy,
        asked: Asked<'_>,
        log: &AccountLog,
        proof: &AccountProof,
    ) -> Result<Self, ProofError> {
        Self::verify_at(policy, Head::verify(policy, &proof.head)?, asked, log, proof)
    }

    /// The same against a head that was verified before; the one in the proof must be the same bytes' head.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify_at(
        policy: &DirectoryPolicy,
        head: Head,
        asked: Asked<'_>,
        log: &AccountLog,
        proof: &AccountProof,
    ) -> Result<Self, ProofError> {
        let expected = match asked {
            Asked::Account(id) => Some(*id),
            Asked::Handle(_) => None,
        };
        let state = AccountState::verify(log, expected)?;
        let found = verify_account(policy, &head, &state.id(), &proof.account)?;
        let (length, hash) = state.head();
        if found.value != (LogHead { length: length as u64, hash }) {
            return Err(ProofError::OtherLog);
        }
        let handle = match (&proof.handle, asked) {
            (None, Asked::Account(_)) => None,
            (None, Asked::Handle(_)) => return Err(ProofError::NoHandle),
            (Some(proof), _) => {
                let holder = verify_handle(policy, &head, state.handle(), proof)?;
                if holder.value != state.id() {
                    return Err(ProofError::OtherAccount);
                }
                Some(holder)
            }
        };
        if let Asked::Handle(handle) = asked
            && handle != state.handle()
        {
            return Err(ProofError::OtherAccount);
        }
        Ok(Self { head, state, log: found, handle })
    }
}

/// What the directory said about an account over time: verified, newest first, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHistory {
    /// Against which head.
    pub head: Head,
    /// The account's log heads.
    pub log: Vec<VerifiedVersion<LogHead>>,
    /// Whose the handle was.
    pub handle: Vec<VerifiedVersion<AccountId>>,
}

impl VerifiedHistory {
    /// Verifies the newest `versions` versions of an account and its handle; fewer come only when there are no more.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        policy: &DirectoryPolicy,
        account: &AccountId,
        handle: &Handle,
        versions: u32,
        history: &AccountHistory,
    ) -> Result<Self, ProofError> {
        let head = Head::verify(policy, &history.head)?;
        let log = self::history(policy, &head, account_label(account), versions, &history.account)?;
        let holders = self::history(policy, &head, handle_label(handle), versions, &history.handle)?;
        Ok(Self {
            log: log.into_iter().map(|found| found.try_map(log_head)).collect::<Result<_, _>>()?,
            handle: holders.into_iter().map(|found| found.try_map(account_id)).collect::<Result<_, _>>()?,
            head,
        })
    }
}

/// A look-up proof as it travels.
pub fn encode_look_up(proof: &LookupProof) -> Vec<u8> {
    proto::LookupProof::from(proof).write_to_bytes().expect("writing into memory does not fail")
}

/// A history proof as it travels.
pub fn encode_history(proof: &HistoryProof) -> Vec<u8> {
    proto::HistoryProof::from(proof).write_to_bytes().expect("writing into memory does not fail")
}

fn look_up(
    policy: &DirectoryPolicy,
    head: &Head,
    label: Vec<u8>,
    proof: &[u8],
) -> Result<VerifiedVersion<Vec<u8>>, ProofError> {
    let proof = proto::LookupProof::parse_from_bytes(proof).map_err(|_| ProofError::Malformed)?;
    let proof = LookupProof::try_from(&proof).map_err(|_| ProofError::Malformed)?;
    // akd_core computes the logarithm of the version before anything is known of it, and panics at 0.
    if proof.version == 0 {
        return Err(ProofError::Malformed);
    }
    let found = lookup_verify::<Configuration>(policy.vrf(), *head.akd_root(), head.epoch(), AkdLabel(label), proof)
        .map_err(|error| ProofError::False { cause: error.to_string() })?;
    Ok(VerifiedVersion { value: found.value.0, version: found.version, epoch: found.epoch })
}

fn history(
    policy: &DirectoryPolicy,
    head: &Head,
    label: Vec<u8>,
    versions: u32,
    proof: &[u8],
) -> Result<Vec<VerifiedVersion<Vec<u8>>>, ProofError> {
    let proof = proto::HistoryProof::parse_from_bytes(proof).map_err(|_| ProofError::Malformed)?;
    let proof = HistoryProof::try_from(&proof).map_err(|_| ProofError::Malformed)?;
    let recent = HistoryParams::MostRecent(versions.clamp(1, HISTORY_VERSIONS_MAX) as usize);
    let found = key_history_verify::<Configuration>(
        policy.vrf(),
        *head.akd_root(),
        head.epoch(),
        AkdLabel(label),
        proof,
        HistoryVerificationParams::Default { history_params: recent },
    )
    .map_err(|error| ProofError::False { cause: error.to_string() })?;
    let versions = found.into_iter().map(|v| VerifiedVersion { value: v.value.0, version: v.version, epoch: v.epoch });
    Ok(versions.collect())
}

impl VerifiedVersion<Vec<u8>> {
    fn try_map<T>(self, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<VerifiedVersion<T>, ProofError> {
        let value = read(&self.value).ok_or(ProofError::Malformed)?;
        Ok(VerifiedVersion { value, version: self.version, epoch: self.epoch })
    }
}

fn log_head(value: &[u8]) -> Option<LogHead> {
    decode_canonical(value).ok()
}

fn account_id(value: &[u8]) -> Option<AccountId> {
    value.try_into().ok().map(AccountId)
}
