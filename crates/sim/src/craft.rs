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
    self as wire, AccountLog, Bytes, Capability, CapabilityHash, ConversationId, EntryKind, EpochCaps, EpochId, Handle,
    List, LogBody, LogEntry, Request, Seq, Timestamp, encode,
};

/// A way to break the rules of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Adds somebody without the right to.
    Add,
    /// Adds a device of the member's own making under another member's account.
    Impersonate,
    /// Adds somebody and shows no account log of theirs.
    NoEvidence,
    /// Adds somebody with an account log whose signature is forged.
    ForgedEvidence,
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
    /// Adds somebody whose account log says one thing or another, always signed by its own keys: whoever saw the other one
    /// before does not follow. An admin may add; nothing in the commit itself is wrong.
    TwoFaced(bool),
}

/// Those that break a rule by themselves.
pub const BREACHES: [Breach; 13] = [
    Breach::Add,
    Breach::Impersonate,
    Breach::NoEvidence,
    Breach::ForgedEvidence,
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
            Self::NoEvidence => "a commit names an account whose log is not known",
            Self::ForgedEvidence => "an account log that it brings",
            Self::GarbledEvidence => "its evidence is malformed",
            Self::RemoveOwner => "a member removed somebody whom their role does not let them remove",
            Self::Rename => "a member who is neither owner nor admin renamed the group",
            Self::SeizeOwnership => "a member who is not the owner changed roles",
            Self::NoOwner => "the new state of the group is malformed",
            Self::ChangeKind => "a commit changes what kind of conversation it is",
            Self::WrongCapability => "it names capabilities that are not those of its epoch",
            Self::Stale => "the message is of epoch",
            Self::NeedlessEvidence => "it brings an account log that it does not need",
            Self::TwoFaced(_) => "their account log contradicts the one first seen",
        }
    }
}

/// A group name that only a breach gives.
pub const STOLEN_NAME: &str = "mine now";
/// The handle of somebody whom only a breach adds.
pub const GHOST: &str = "ghost";

/// What a crafting member keeps between its breaches.
#[derive(Default)]
pub struct Crafter {
    /// Commits that it made, by conversation: to be shown again in a later epoch.
    old: BTreeMap<ConversationId, (Seq, Vec<u8>)>,
    /// Whom [`Breach::TwoFaced`] adds.
    puppet: Option<Ghost>,
}

impl Crafter {
    /// The request that posts such a commit to a conversation of the vault's owner. `None` where their role allows it, or
    /// where they are out.
    pub fn breach(
        &mut self,
        vault: &MemoryVault,
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
                    self.puppet = Some(ghost(rng, now)?);
                }
                self.puppet.as_ref()?.two_faced(rng, now, face)?
            }
            _ => plan(&group, &me, rng, now, breach)?,
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

fn plan(group: &Group, me: &Keys, rng: &mut ChaCha20Rng, now: Timestamp, breach: Breach) -> Option<CommitPlan> {
    let state = GroupState::decode(group.state()).ok()?;
    let leaves: Vec<_> = group.members().iter().map(|leaf| (leaf.index, leaf.identity.account)).collect();
    let roles = roles_effective(&state, &leaves);
    let role = roles.get(&me.leaf.account).copied()?;
    let is_group = state.direct_accounts().is_none();
    let others: Vec<&Leaf> = group.members().iter().filter(|leaf| leaf.identity.account != me.leaf.account).collect();
    let set = |state: GroupState| Some(CommitPlan { state: Some(state.encode()), update_path: true, ..no_changes() });
    let with = |package: Vec<u8>, logs: Vec<AccountLog>| {
        let aad = encode(&EvidenceView { logs });
        Some(CommitPlan { add: vec![package], aad, ..no_changes() })
    };
    match breach {
        Breach::NeedlessEvidence => {
            let aad = encode(&EvidenceView { logs: vec![ghost(rng, now)?.log] });
            Some(CommitPlan { aad, update_path: true, ..no_changes() })
        }
        Breach::Add if is_group && role < Role::Admin => {
            let ghost = ghost(rng, now)?;
            with(ghost.key_package(rng, now, ghost.leaf)?, vec![ghost.log])
        }
        Breach::NoEvidence => {
            let ghost = ghost(rng, now)?;
            with(ghost.key_package(rng, now, ghost.leaf)?, Vec::new())
        }
        Breach::ForgedEvidence => {
            let ghost = ghost(rng, now)?;
            let mut entry = ghost.log.0.first()?.clone();
            let mut signatures = entry.signatures.into_vec();
            signatures.first_mut()?.signature[5] ^= 1;
            entry.signatures = List::new(signatures).ok()?;
            with(ghost.key_package(rng, now, ghost.leaf)?, vec![AccountLog(List::new(vec![entry]).ok()?)])
        }
        Breach::Impersonate => {
            let puppet = ghost(rng, now)?;
            let leaf = LeafIdentity { account: others.first()?.identity.account, device: puppet.leaf.device };
            with(puppet.key_package(rng, now, leaf)?, Vec::new())
        }
        Breach::GarbledEvidence => Some(CommitPlan { aad: b"believe me".to_vec(), update_path: true, ..no_changes() }),
        Breach::RemoveOwner if is_group && role < Role::Owner => {
            let owner = others.iter().find(|leaf| roles.get(&leaf.identity.account) == Some(&Role::Owner))?;
            Some(CommitPlan { remove: vec![owner.index], update_path: true, ..no_changes() })
        }
        Breach::Rename if is_group && role < Role::Admin => set(GroupState { name: STOLEN_NAME.to_owned(), ..state }),
        Breach::SeizeOwnership if is_group && role < Role::Owner => {
            set(GroupState { roles: [(me.leaf.account, Role::Owner)].into(), ..state })
        }
        Breach::NoOwner if is_group => set(GroupState { roles: BTreeMap::new(), ..state }),
        Breach::ChangeKind if is_group => set(GroupState::direct(me.leaf.account, others.first()?.identity.account)),
        Breach::ChangeKind => set(GroupState::group(STOLEN_NAME.to_owned(), me.leaf.account)),
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
    CommitPlan { aad: encode(&EvidenceView { logs: Vec::new() }), ..CommitPlan::default() }
}

/// Somebody who never signed up anywhere.
struct Ghost {
    signing: SigningKey,
    signer: Signer,
    leaf: LeafIdentity,
    log: AccountLog,
}

fn ghost(rng: &mut ChaCha20Rng, now: Timestamp) -> Option<Ghost> {
    let mut vault = MemoryVault::default();
    let handle = Handle::parse(GHOST).ok()?;
    let made = sign_up(&vault, rng, now, handle, "sim".into()).ok()?;
    vault.commit(made.changes);
    let me: MeView = record(&vault, Table::Meta, b"me")?;
    let log = AccountLog(List::new(vec![me.genesis]).ok()?);
    let Keys { signer, leaf } = Keys::of(&vault)?;
    Some(Ghost { signing: SigningKey::from_bytes(&me.signature_seed), signer, leaf, log })
}

impl Ghost {
    /// Adds it, with a log whose second entry is another one for each face.
    fn two_faced(&self, rng: &mut ChaCha20Rng, now: Timestamp, face: bool) -> Option<CommitPlan> {
        let genesis = self.log.0.first()?;
        let recovery = SigningKey::from_bytes(&[u8::from(face) + 1; 32]);
        let body = LogBody::RotateRecovery {
            previous: genesis.hash(),
            recovery: recovery.verifying_key().to_bytes(),
            at: Timestamp(u64::from(face)),
        };
        let by = (wire::Signer::Device(self.leaf.device), &self.signing);
        let entry = LogEntry::sign(&body, &[by, (wire::Signer::Recovery, &recovery)]);
        let log = AccountLog(List::new(vec![genesis.clone(), entry]).ok()?);
        let add = vec![self.key_package(rng, now, self.leaf)?];
        Some(CommitPlan { add, aad: encode(&EvidenceView { logs: vec![log] }), ..no_changes() })
    }

    fn key_package(&self, rng: &mut ChaCha20Rng, now: Timestamp, leaf: LeafIdentity) -> Option<Vec<u8>> {
        let scratch = MemoryVault::default();
        let mut txn = Txn::new(&scratch);
        let mls = Mls::new(&mut txn, rng);
        generate_key_package(&mls, &self.signer, leaf, now.0, 24 * 3_600, false).ok()
    }
}

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
    #[n(0)]
    logs: Vec<AccountLog>,
}

/// A row behind the byte for its format.
fn record<T: for<'b> Decode<'b, ()>>(vault: &MemoryVault, table: Table, key: &[u8]) -> Option<T> {
    let bytes = vault.get(table, key).ok()??;
    minicbor::decode(bytes.get(1..)?).ok()
}
