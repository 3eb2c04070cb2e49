//! A member who knows MLS: commits that MLS accepts and the rules of a conversation do not. They are made by the real library
//! from the member's own vault, sealed and posted as honest ones are; the member's own client knows nothing of them.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore as _;
use stonechat_core::keys::EpochSecrets;
use stonechat_core::mls::{CommitPlan, Group, Leaf, LeafIdentity, Mls, Signer, generate_key_package};
use stonechat_core::outer::OuterKind;
use stonechat_core::policy::{GroupState, roles_effective};
use stonechat_core::vault::{MemoryVault, Table, Txn, VaultRead};
use stonechat_core::{Role, query, sign_up};
use stonechat_wire::{
    self as wire, AccountId, AccountLog, Bytes, Capability, CapabilityHash, ConversationId, EntryKind, EpochCaps,
    EpochId, Handle, List, LogBody, LogEntry, ProvenAccount, Request, Seq, Timestamp, encode,
};

/// A way to break the rules of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Adds somebody without the right to.
    Add,
    /// Adds a device of the member's own making under another member's account.
    Impersonate,
    /// Adds somebody and shows nothing of what the directory says of them.
    NoEvidence,
    /// Adds somebody with an account log whose signature is forged.
    ForgedEvidence,
    /// Adds somebody with the proof of another account.
    BorrowedEvidence,
    /// Evidence that is none.
    GarbledEvidence,
    /// Removes the owner.
    RemoveOwner,
    /// Renames the group without the right to.
    Rename,
    /// Makes the member the owner.
    SeizeOwnership,
    /// Leaves the group without an owner.
    NoOwner,
    /// Makes direct messages of a group, or a group of direct messages.
    ChangeKind,
    /// Breaks no rule, and names other capabilities than those of the epoch that it opens.
    WrongCapability,
    /// A commit of an earlier epoch, sealed for this one.
    Stale,
    /// Brings the log of an account that it does not add.
    NeedlessEvidence,
    /// Adds somebody whose account log says one thing (as the directory has it) or another, always signed by their own keys.
    /// An admin may add; but for the directory, whoever saw the other log before would not follow, and the group would be
    /// divided.
    TwoFaced(Face),
}

/// Which of two account logs somebody shows who has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The one that the directory has.
    Published,
    /// The other one.
    Hidden,
}

/// Those that break a rule by themselves.
pub const BREACHES: [Breach; 14] = [
    Breach::Add,
    Breach::Impersonate,
    Breach::NoEvidence,
    Breach::ForgedEvidence,
    Breach::BorrowedEvidence,
    Breach::GarbledEvidence,
    Breach::RemoveOwner,
    Breach::Rename,
    Breach::SeizeOwnership,
    Breach::NoOwner,
    Breach::ChangeKind,
    Breach::WrongCapability,
    Breach::Stale,
    Breach::NeedlessEvidence,
];

impl Breach {
    /// What honest members say about it, in a group.
    pub const fn refusal(self) -> &'static str {
        match self {
            Self::Add => "a member who is neither owner nor admin added somebody",
            Self::Impersonate => "a commit names a device that its account does not have",
            Self::NoEvidence => "it adds somebody without what the directory says of them",
            Self::ForgedEvidence | Self::BorrowedEvidence | Self::TwoFaced(_) => "an account that it brings",
            Self::GarbledEvidence => "its evidence is malformed",
            Self::RemoveOwner => "a member removed somebody whom their role does not let them remove",
            Self::Rename => "a member who is neither owner nor admin renamed the group",
            Self::SeizeOwnership => "a member who is not the owner changed roles",
            Self::NoOwner => "the new state of the group is malformed",
            Self::ChangeKind => "a commit changes what kind of conversation it is",
            Self::WrongCapability => "it names capabilities that are not those of its epoch",
            Self::Stale => "it breaks the rules of MLS",
            Self::NeedlessEvidence => "it brings an account log that it does not need",
        }
    }
}

/// A group name that only a breach gives.
pub const STOLEN_NAME: &str = "mine now";
/// How the handles of those begin whom only a breach adds.
pub const GHOST: &str = "ghost";

/// What a crafting member keeps between its breaches.
#[derive(Default)]
pub struct Crafter {
    /// Commits that it made, by conversation: to be shown again in a later epoch.
    old: BTreeMap<ConversationId, (Seq, Vec<u8>)>,
    /// Whom [`Breach::TwoFaced`] adds.
    puppet: Option<Ghost>,
}

/// The server, for somebody who signs up there like anybody else.
pub trait SignUps {
    /// Makes an account of a log and has the directory publish it. Returns the proof that anybody gets.
    fn sign_up(&mut self, log: &AccountLog) -> Option<ProvenAccount>;
}

impl Crafter {
    /// The request that posts such a commit to a conversation of the vault's owner. `None` where their role allows it, or
    /// where they are out.
    pub fn breach(
        &mut self,
        vault: &MemoryVault,
        server: &mut impl SignUps,
        rng: &mut ChaCha20Rng,
        now: Timestamp,
        id: ConversationId,
        breach: Breach,
    ) -> Option<Request> {
        let head: HeadView = record(vault, Table::Conversation, &id.0)?;
        let me = Keys::of(vault)?;
        let mut txn = Txn::new(vault);
        let mls = Mls::new(&mut txn, rng);
        let mut group = Group::load(&mls, &id.0).ok().flatten().filter(Group::is_active)?;
        let mine = EpochSecrets::derive(|label| group.export(&mls, label, &id.0)).ok()?;
        drop(mls);
        let plan = match breach {
            Breach::TwoFaced(face) => {
                if self.puppet.is_none() {
                    self.puppet = Some(Ghost::new(server, rng, now, Some(RECOVERY[0]))?);
                }
                self.puppet.as_ref()?.two_faced(rng, now, face)?
            }
            _ => plan(vault, &group, &me, server, rng, now, breach)?,
        };
        let mls = Mls::new(&mut txn, rng);
        if group.pending() {
            group.clear_pending(&mls).ok()?;
        }
        let made = group.commit(&mls, &me.signer, plan).ok()?;
        let mut next = EpochSecrets::derive(|label| group.export_pending(&mls, label, &id.0)).ok()?.caps();
        drop(mls);
        let mut commit = made.commit;
        match breach {
            Breach::WrongCapability => next = random_caps(rng),
            Breach::Stale => match self.old.insert(id, (head.epoch, commit)) {
                Some((epoch, old)) if epoch != head.epoch => commit = old,
                _ => return None,
            },
            _ => {}
        }
        let blob = mine.outer.seal(rng, &id, &head.epoch_id, OuterKind::Commit, &commit).ok()?;
        Some(Request::Append {
            conversation: id,
            epoch: head.epoch,
            epoch_id: head.epoch_id,
            write: Capability::from_bytes(*mine.write.danger_bytes()),
            kind: EntryKind::Commit(next),
            skip: head.refused.map(|(seq, _)| seq),
            ttl_secs: None,
            blob: Bytes::new(blob).ok()?,
        })
    }
}

fn plan(
    vault: &MemoryVault,
    group: &Group,
    me: &Keys,
    server: &mut impl SignUps,
    rng: &mut ChaCha20Rng,
    now: Timestamp,
    breach: Breach,
) -> Option<CommitPlan> {
    let state = GroupState::decode(group.state()).ok()?;
    let leaves: Vec<_> = group.members().iter().map(|leaf| (leaf.index, leaf.identity.account)).collect();
    let roles = roles_effective(&state, &leaves);
    let role = roles.get(&me.leaf.account).copied()?;
    let is_group = state.direct_accounts().is_none();
    let others: Vec<&Leaf> = group.members().iter().filter(|leaf| leaf.identity.account != me.leaf.account).collect();
    let set = |state: GroupState| Some(CommitPlan { state: Some(state.encode()), update_path: true, ..no_changes() });
    let with = |package: Vec<u8>, accounts: Vec<ProvenAccount>| {
        let aad = encode(&EvidenceView { accounts });
        Some(CommitPlan { add: vec![package], aad, ..no_changes() })
    };
    match breach {
        Breach::NeedlessEvidence => {
            let aad = encode(&EvidenceView { accounts: vec![Ghost::new(server, rng, now, None)?.proven] });
            Some(CommitPlan { aad, update_path: true, ..no_changes() })
        }
        Breach::Add if is_group && role < Role::Admin => {
            let ghost = Ghost::new(server, rng, now, None)?;
            with(ghost.key_package(rng, now, ghost.leaf)?, vec![ghost.proven])
        }
        Breach::NoEvidence => {
            let ghost = Ghost::new(server, rng, now, None)?;
            with(ghost.key_package(rng, now, ghost.leaf)?, Vec::new())
        }
        Breach::ForgedEvidence => {
            let ghost = Ghost::new(server, rng, now, None)?;
            let mut entry = ghost.proven.log.0.first()?.clone();
            let mut signatures = entry.signatures.into_vec();
            signatures.first_mut()?.signature[5] ^= 1;
            entry.signatures = List::new(signatures).ok()?;
            let package = ghost.key_package(rng, now, ghost.leaf)?;
            with(package, vec![ProvenAccount { log: AccountLog(List::new(vec![entry]).ok()?), ..ghost.proven }])
        }
        Breach::BorrowedEvidence => {
            let (ghost, other) = (Ghost::new(server, rng, now, None)?, Ghost::new(server, rng, now, None)?);
            let package = ghost.key_package(rng, now, ghost.leaf)?;
            with(package, vec![ProvenAccount { log: ghost.proven.log, proof: other.proven.proof }])
        }
        Breach::Impersonate => {
            let puppet = Ghost::new(server, rng, now, None)?;
            let leaf = LeafIdentity { account: others.first()?.identity.account, device: puppet.leaf.device };
            with(puppet.key_package(rng, now, leaf)?, vec![proof(vault, &leaf.account)?])
        }
        Breach::GarbledEvidence => Some(CommitPlan { aad: b"believe me".to_vec(), update_path: true, ..no_changes() }),
        Breach::RemoveOwner if is_group && role < Role::Owner => {
            let owner = others.iter().find(|leaf| roles.get(&leaf.identity.account) == Some(&Role::Owner))?;
            Some(CommitPlan { remove: vec![owner.index], update_path: true, ..no_changes() })
        }
        Breach::Rename if is_group && role < Role::Admin => set(GroupState { name: STOLEN_NAME.into(), ..state }),
        Breach::SeizeOwnership if is_group && role < Role::Owner => {
            set(GroupState { roles: [(me.leaf.account, Role::Owner)].into(), ..state })
        }
        Breach::NoOwner if is_group => set(GroupState { roles: BTreeMap::new(), ..state }),
        Breach::ChangeKind if is_group => set(GroupState::direct(me.leaf.account, others.first()?.identity.account)),
        Breach::ChangeKind => set(GroupState::group(STOLEN_NAME.into(), me.leaf.account)),
        Breach::WrongCapability | Breach::Stale => Some(CommitPlan { update_path: true, ..no_changes() }),
        Breach::Add
        | Breach::RemoveOwner
        | Breach::Rename
        | Breach::SeizeOwnership
        | Breach::NoOwner
        | Breach::TwoFaced(_) => None,
    }
}

fn no_changes() -> CommitPlan {
    CommitPlan { aad: encode(&EvidenceView { accounts: Vec::new() }), ..CommitPlan::default() }
}

/// Somebody who signed up for nothing else than this.
struct Ghost {
    signing: SigningKey,
    signer: Signer,
    leaf: LeafIdentity,
    proven: ProvenAccount,
}

impl Ghost {
    /// `rotated`: the seed of a recovery key that replaces the first one before anybody is told of the account.
    fn new(
        server: &mut impl SignUps,
        rng: &mut ChaCha20Rng,
        now: Timestamp,
        rotated: Option<[u8; 32]>,
    ) -> Option<Self> {
        let mut vault = MemoryVault::default();
        let handle = Handle::parse(&format!("{GHOST}{:08x}", rng.next_u32())).ok()?;
        let made = sign_up(&vault, rng, now, handle, "sim".into()).ok()?;
        vault.commit(made.changes);
        let me: MeView = record(&vault, Table::Meta, b"me")?;
        let Keys { signer, leaf } = Keys::of(&vault)?;
        let signing = SigningKey::from_bytes(&me.signature_seed);
        let log = match rotated {
            None => AccountLog(List::new(vec![me.genesis]).ok()?),
            Some(seed) => rotate(me.genesis, leaf, &signing, &seed)?,
        };
        Some(Self { signing, signer, leaf, proven: server.sign_up(&log)? })
    }

    /// Adds it, with the log that the directory has, or with another one and that one's proof.
    fn two_faced(&self, rng: &mut ChaCha20Rng, now: Timestamp, face: Face) -> Option<CommitPlan> {
        let mut proven = self.proven.clone();
        if face == Face::Hidden {
            proven.log = rotate(proven.log.0.first()?.clone(), self.leaf, &self.signing, &RECOVERY[1])?;
        }
        let add = vec![self.key_package(rng, now, self.leaf)?];
        Some(CommitPlan { add, aad: encode(&EvidenceView { accounts: vec![proven] }), ..no_changes() })
    }

    fn key_package(&self, rng: &mut ChaCha20Rng, now: Timestamp, leaf: LeafIdentity) -> Option<Vec<u8>> {
        let scratch = MemoryVault::default();
        let mut txn = Txn::new(&scratch);
        let mls = Mls::new(&mut txn, rng);
        generate_key_package(&mls, &self.signer, leaf, now.0, 24 * 3_600, false).ok()
    }
}

/// An account log of two entries: the second one replaces the recovery key.
fn rotate(genesis: LogEntry, leaf: LeafIdentity, signing: &SigningKey, seed: &[u8; 32]) -> Option<AccountLog> {
    let recovery = SigningKey::from_bytes(seed);
    let body = LogBody::RotateRecovery {
        previous: genesis.hash(),
        recovery: recovery.verifying_key().to_bytes(),
        at: Timestamp(0),
    };
    let by = (wire::Signer::Device(leaf.device), signing);
    let entry = LogEntry::sign(&body, &[by, (wire::Signer::Recovery, &recovery)]);
    Some(AccountLog(List::new(vec![genesis, entry]).ok()?))
}

/// What the member's client keeps of what the directory says of somebody.
fn proof(vault: &MemoryVault, account: &AccountId) -> Option<ProvenAccount> {
    record(vault, Table::Meta, &[b"directory/proof/".as_slice(), &account.0].concat())
}

/// Recovery keys of [`Breach::TwoFaced`].
const RECOVERY: [[u8; 32]; 2] = [[1; 32], [2; 32]];

/// What the member signs with.
struct Keys {
    signer: Signer,
    leaf: LeafIdentity,
}

impl Keys {
    fn of(vault: &MemoryVault) -> Option<Self> {
        let me: MeView = record(vault, Table::Meta, b"me")?;
        let public = query::me(vault).ok()??;
        let leaf = LeafIdentity { account: public.account, device: public.device };
        Some(Self { signer: Signer::from_seed(&me.signature_seed), leaf })
    }
}

fn random_caps(rng: &mut ChaCha20Rng) -> EpochCaps {
    let mut hash = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        CapabilityHash(bytes)
    };
    EpochCaps { read: hash(), write: hash() }
}

// The member's own rows, as much of them as it takes. Its client keeps them to itself; its owner does not have to.

#[derive(Decode)]
#[cbor(map)]
struct HeadView {
    #[n(2)]
    epoch: Seq,
    #[n(3)]
    epoch_id: EpochId,
    #[n(5)]
    refused: Option<(Seq, EpochId)>,
}

#[derive(Decode)]
#[cbor(map)]
struct MeView {
    #[cbor(n(3), with = "stonechat_wire::codec::fixed")]
    signature_seed: [u8; 32],
    #[n(6)]
    genesis: LogEntry,
}

#[derive(Encode)]
#[cbor(map)]
struct EvidenceView {
    #[n(1)]
    accounts: Vec<ProvenAccount>,
}

/// A row behind the byte for its format.
fn record<T: for<'b> Decode<'b, ()>>(vault: &MemoryVault, table: Table, key: &[u8]) -> Option<T> {
    let bytes = vault.get(table, key).ok()??;
    minicbor::decode(bytes.get(1..)?).ok()
}
