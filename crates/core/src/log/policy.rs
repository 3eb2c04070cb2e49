//! Who may change what in a conversation. Pure functions of a commit and the state that it stands on: every member comes to
//! the same answer, the author's own device included.
//!
//! The [`GroupState`] lies in the MLS group context, so all members agree on it and a joiner gets it with the welcome. Roles
//! are stored for the owner and admins only, and only while they are members: when the stored owner is gone, the successor
//! rule ([`roles_effective`]) says who acts as owner until a commit writes it down. A commit may always write down what
//! already holds ([`GroupState::settle`]); to change it takes the owner.
//!
//! Whether a device belongs to an account is answered by verified account logs, as known when the commit is judged.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use stonechat_wire::{AccountId, AccountState, DecodeError, DeviceId, codec};

use crate::api::{Role, Rule, Text};
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX};

/// The version of [`GroupState`] that this app writes.
pub const STATE_VERSION: u32 = 1;

/// What kind of conversation it is. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum GroupKind {
    /// Direct messages of two accounts, ascending.
    #[n(0)]
    Dm {
        /// Who.
        #[n(0)]
        accounts: [AccountId; 2],
    },
    /// A group with a name and roles.
    #[n(1)]
    Group,
}

/// What members agree on beside the MLS tree: the bytes of our extension of the group context.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GroupState {
    /// [`STATE_VERSION`].
    #[n(0)]
    pub version: u32,
    /// What kind.
    #[n(1)]
    pub kind: GroupKind,
    /// What it is called: 1 to [`GROUP_NAME_BYTES_MAX`] bytes; empty for direct messages.
    #[n(2)]
    pub name: Text,
    /// Its owner, exactly one, and its admins; empty for direct messages.
    #[n(3)]
    pub roles: BTreeMap<AccountId, Role>,
}

/// An empty group: to be filled before it is used.
impl Default for GroupState {
    fn default() -> Self {
        Self { version: STATE_VERSION, kind: GroupKind::Group, name: Text::default(), roles: BTreeMap::new() }
    }
}

impl GroupState {
    /// Direct messages of two people.
    pub fn direct(one: AccountId, other: AccountId) -> Self {
        Self { kind: GroupKind::Dm { accounts: [one.min(other), one.max(other)] }, ..Self::default() }
    }

    /// A group of one person, its owner.
    pub fn group(name: Text, owner: AccountId) -> Self {
        Self { name, roles: [(owner, Role::Owner)].into(), ..Self::default() }
    }

    /// The two accounts of direct messages, or `None` for a group.
    pub fn direct_accounts(&self) -> Option<[AccountId; 2]> {
        match self.kind {
            GroupKind::Dm { accounts } => Some(accounts),
            GroupKind::Group => None,
        }
    }

    /// The bytes for the group context.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the bytes of the group context: one encoding only, and every rule that a state alone can break.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(DecodeError::Malformed);
        }
        let state: Self = codec::decode_canonical(bytes)?;
        if state.is_well_formed() { Ok(state) } else { Err(DecodeError::Malformed) }
    }

    fn is_well_formed(&self) -> bool {
        let owners = self.roles.values().filter(|role| **role == Role::Owner).count();
        self.version == STATE_VERSION
            && match &self.kind {
                GroupKind::Dm { accounts: [one, other] } => {
                    one < other && self.name.is_empty() && self.roles.is_empty()
                }
                GroupKind::Group => {
                    (1..=GROUP_NAME_BYTES_MAX).contains(&self.name.len())
                        && self.roles.len() <= GROUP_MEMBERS_MAX
                        && self.roles.values().all(|role| *role != Role::Member)
                        && owners == 1
                }
            }
    }

    /// Renames it.
    pub fn set_name(&mut self, name: Text) {
        self.name = name;
    }

    /// What `owner`, who acts as owner now, does to somebody's role. Giving ownership away makes the giver an admin; one's
    /// own role changes in no other way.
    pub fn set_role(&mut self, owner: AccountId, account: AccountId, role: Role) {
        self.roles.retain(|_, role| *role != Role::Owner);
        self.roles.insert(owner, Role::Owner);
        if account == owner {
            return;
        }
        match role {
            Role::Member => self.roles.remove(&account),
            Role::Admin => self.roles.insert(account, Role::Admin),
            Role::Owner => {
                self.roles.insert(owner, Role::Admin);
                self.roles.insert(account, Role::Owner)
            }
        };
    }

    /// Takes somebody's role from the record, as goes with their removal.
    pub fn forget(&mut self, account: &AccountId) {
        self.roles.remove(account);
    }

    /// Writes down what holds for those who stay through a commit: roles of people who are gone go, and whoever acts as
    /// owner is named. Every commit that adds or removes does this before it gives roles, lest somebody who comes back,
    /// or takes a low leaf, finds a role that nobody gave them. `leaves` are those before the commit.
    pub fn settle(&mut self, leaves: &[(u32, AccountId)], removes: &[u32], self_leaving: &[u32], adds: &[AccountId]) {
        if self.kind == GroupKind::Group {
            let roles = roles_effective(self, &staying(leaves, removes, self_leaving, adds));
            self.roles = roles.into_iter().filter(|(_, role)| *role != Role::Member).collect();
        }
    }
}

/// The leaves of those who are members before and after a commit. Who is removed and added again stays, unless by their own
/// proposal.
fn staying(
    leaves: &[(u32, AccountId)],
    removes: &[u32],
    self_leaving: &[u32],
    adds: &[AccountId],
) -> Vec<(u32, AccountId)> {
    let stays = |(index, account): &(u32, AccountId)| {
        !self_leaving.contains(index) && (!removes.contains(index) || adds.contains(account))
    };
    leaves.iter().copied().filter(stays).collect()
}

/// Everybody's role. In a group whose stored owner is not a member, of those with the highest role the one with the lowest
/// leaf acts as owner. In direct messages everybody is a member.
pub fn roles_effective(state: &GroupState, members: &[(u32, AccountId)]) -> BTreeMap<AccountId, Role> {
    let stored = |account: &AccountId| state.roles.get(account).copied().unwrap_or(Role::Member);
    let mut roles: BTreeMap<_, _> = members.iter().map(|(_, account)| (*account, stored(account))).collect();
    if state.kind == GroupKind::Group && !roles.values().any(|role| *role == Role::Owner) {
        let successor = members.iter().max_by_key(|(index, account)| (stored(account), std::cmp::Reverse(*index)));
        if let Some((_, account)) = successor {
            roles.insert(*account, Role::Owner);
        }
    }
    roles
}

/// A leaf of the tree before a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLeaf {
    /// Its place.
    pub index: u32,
    /// Whose.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub signature_key: [u8; 32],
}

/// Who a leaf that a commit brings says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLeaf {
    /// Whose.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub signature_key: [u8; 32],
}

impl NewLeaf {
    /// From its parts.
    pub const fn from_parts(account: AccountId, device: DeviceId, signature_key: [u8; 32]) -> Self {
        Self { account, device, signature_key }
    }
}

/// A commit that [`crate::mls`] accepts, to be judged: it comes from inside of the group, and has no other kind of proposal.
#[derive(Clone, Copy)]
pub struct Proposed<'a> {
    /// The state that it stands on.
    pub before: &'a GroupState,
    /// The leaves that it stands on.
    pub members_before: &'a [PolicyLeaf],
    /// The leaf that made it.
    pub committer: u32,
    /// The leaves that it adds, in order.
    pub adds: &'a [NewLeaf],
    /// The leaves that it removes.
    pub removes: &'a [u32],
    /// The leaves that go by their own proposal.
    pub self_leaving: &'a [u32],
    /// The committer's new leaf, if it has an update path.
    pub sender_update: Option<&'a NewLeaf>,
    /// The state that it leads to.
    pub after: &'a GroupState,
    /// The verified account log of an account, as known now.
    pub logs: &'a dyn Fn(&AccountId) -> Option<&'a AccountState>,
}

/// Judges a commit. First what holds for every conversation, then what the kind asks for.
///
/// # Errors
/// The first [`Rule`] that it breaks.
pub fn check_commit(commit: &Proposed<'_>) -> Result<(), Rule> {
    let gone: BTreeSet<u32> = commit.removes.iter().chain(commit.self_leaving).copied().collect();
    if gone.iter().any(|index| leaf(commit, *index).is_none()) {
        return Err(Rule::NoSuchLeaf);
    }
    let committer = leaf(commit, commit.committer).filter(|leaf| !gone.contains(&leaf.index)).ok_or(Rule::Committer)?;
    let own = NewLeaf::from_parts(committer.account, committer.device, committer.signature_key);
    if commit.sender_update.is_some_and(|update| *update != own) {
        return Err(Rule::Identity);
    }
    in_log(commit, &own)?;
    commit.adds.iter().try_for_each(|add| in_log(commit, add))?;

    let staying: Vec<_> = commit.members_before.iter().filter(|leaf| !gone.contains(&leaf.index)).collect();
    let mut devices = BTreeSet::new();
    let mut all = staying
        .iter()
        .map(|leaf| (leaf.account, leaf.device))
        .chain(commit.adds.iter().map(|add| (add.account, add.device)));
    if !all.all(|device| devices.insert(device)) {
        return Err(Rule::Duplicate);
    }
    let accounts: BTreeSet<_> = devices.iter().map(|(account, _)| *account).collect();
    if accounts.len() > GROUP_MEMBERS_MAX {
        return Err(Rule::TooMany);
    }
    if commit.after.kind != commit.before.kind || commit.after.version != commit.before.version {
        return Err(Rule::Kind);
    }
    match &commit.before.kind {
        GroupKind::Dm { accounts } => check_direct(commit, accounts),
        GroupKind::Group => check_group(commit, committer, &staying),
    }
}

fn check_direct(commit: &Proposed<'_>, accounts: &[AccountId; 2]) -> Result<(), Rule> {
    if commit.after != commit.before {
        return Err(Rule::DirectState);
    }
    if commit.adds.iter().any(|add| !accounts.contains(&add.account)) {
        return Err(Rule::Stranger);
    }
    Ok(())
}

fn check_group(commit: &Proposed<'_>, committer: &PolicyLeaf, staying: &[&PolicyLeaf]) -> Result<(), Rule> {
    let (before, after) = (commit.before, commit.after);
    if !after.is_well_formed() {
        return Err(Rule::State);
    }
    let roles_before = roles_effective(before, &places(commit.members_before));
    let role = |account: &AccountId| roles_before.get(account).copied().unwrap_or(Role::Member);
    let authority = role(&committer.account);

    // Who left by their own will is not a member any more: to bring them back is to add somebody.
    let present = |account: &AccountId| {
        commit.members_before.iter().any(|leaf| leaf.account == *account && !commit.self_leaving.contains(&leaf.index))
    };
    if authority < Role::Admin && commit.adds.iter().any(|add| !present(&add.account)) {
        return Err(Rule::Add);
    }
    for leaf in commit
        .removes
        .iter()
        .filter(|index| !commit.self_leaving.contains(index))
        .filter_map(|index| leaf(commit, *index))
    {
        let added_again = commit.adds.iter().any(|add| (add.account, add.device) == (leaf.account, leaf.device));
        let own = leaf.account == committer.account;
        let revoked = (commit.logs)(&leaf.account).is_some_and(|log| log.device(&leaf.device).is_none());
        let outranked = authority == Role::Owner || (authority == Role::Admin && role(&leaf.account) == Role::Member);
        if !(added_again || own || revoked || outranked) {
            return Err(Rule::Remove);
        }
    }
    if authority < Role::Admin && after.name != before.name {
        return Err(Rule::Rename);
    }
    check_roles(commit, authority, staying)
}

/// Everybody who stays keeps their role, with the successor of an owner who goes; who is new is a member. Anything else
/// the owner must have written down.
fn check_roles(commit: &Proposed<'_>, authority: Role, staying: &[&PolicyLeaf]) -> Result<(), Rule> {
    let mut members: Vec<_> = staying.iter().map(|leaf| (leaf.index, leaf.account)).collect();
    let adds: Vec<_> = commit.adds.iter().map(|add| add.account).collect();
    let stays = self::staying(&places(commit.members_before), commit.removes, commit.self_leaving, &adds);
    let mut expected = roles_effective(commit.before, &stays);
    // New leaves take the lowest free places, in order (RFC 9420 §12.1.1).
    let mut taken: BTreeSet<u32> = members.iter().map(|(index, _)| *index).collect();
    let mut next = 0;
    for add in commit.adds {
        while !taken.insert(next) {
            next += 1;
        }
        members.push((next, add.account));
        expected.entry(add.account).or_insert(Role::Member);
    }
    let found = roles_effective(commit.after, &members);
    let changed = commit.after.roles != commit.before.roles;
    if changed && commit.after.roles.keys().any(|account| !found.contains_key(account)) {
        return Err(Rule::RoleOfStranger);
    }
    if found != expected {
        if !changed {
            return Err(Rule::Unsettled);
        }
        if authority < Role::Owner {
            return Err(Rule::Roles);
        }
    }
    Ok(())
}

fn in_log(commit: &Proposed<'_>, leaf: &NewLeaf) -> Result<(), Rule> {
    let log = (commit.logs)(&leaf.account).ok_or(Rule::UnknownAccount)?;
    match log.device(&leaf.device) {
        Some(device) if log.id() == leaf.account && device.signature == leaf.signature_key => Ok(()),
        _ => Err(Rule::UnknownDevice),
    }
}

fn leaf<'a>(commit: &Proposed<'a>, index: u32) -> Option<&'a PolicyLeaf> {
    commit.members_before.iter().find(|leaf| leaf.index == index)
}

fn places(leaves: &[PolicyLeaf]) -> Vec<(u32, AccountId)> {
    leaves.iter().map(|leaf| (leaf.index, leaf.account)).collect()
}

/// A name, and for each role an id of 34 bytes and one byte.
const STATE_BYTES_MAX: usize = 128 + GROUP_NAME_BYTES_MAX + GROUP_MEMBERS_MAX * 35;

#[cfg(test)]
mod tests;
