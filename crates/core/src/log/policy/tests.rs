use super::*;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::{AccountLog, DeviceKeys, Handle, List, LogBody, LogEntry, Signer, Timestamp};

/// People with two devices, `n * 10` and `n * 10 + 1`, and a third that was revoked.
fn person(n: u8) -> AccountState {
    let key = |n: u8| SigningKey::from_bytes(&[n; 32]);
    let keys = |n: u8| DeviceKeys {
        id: DeviceId([n; 16]),
        signature: key(n).verifying_key().to_bytes(),
        inbox: [0; INBOX_KEY_BYTES],
    };
    let (first, recovery, at) = (n * 10, key(255 - n), Timestamp(1));
    let by = (Signer::Device(DeviceId([first; 16])), &key(first));
    let body = LogBody::Genesis {
        handle: Handle::parse("somebody").unwrap(),
        device: keys(first),
        recovery: recovery.verifying_key().to_bytes(),
        at,
    };
    let mut log = vec![LogEntry::sign(&body, &[by, (Signer::Recovery, &recovery)])];
    for next in [first + 1, first + 2] {
        let body = LogBody::AddDevice { previous: log.last().unwrap().hash(), device: keys(next), at };
        log.push(LogEntry::sign(&body, &[by, (Signer::Device(DeviceId([next; 16])), &key(next))]));
    }
    let body = LogBody::RevokeDevice { previous: log.last().unwrap().hash(), device: DeviceId([first + 2; 16]), at };
    log.push(LogEntry::sign(&body, &[by]));
    AccountState::verify(&AccountLog(List::new(log).unwrap()), None).unwrap()
}

/// Everybody in these tests. Alice owns the group, Bob is an admin, Carol and Dave are members; Eve is not in it.
struct World {
    logs: BTreeMap<AccountId, AccountState>,
    people: Vec<AccountId>,
}

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;
const EVE: usize = 4;

/// A commit in the making.
#[derive(Clone)]
struct Draft {
    before: GroupState,
    after: GroupState,
    members: Vec<PolicyLeaf>,
    committer: u32,
    adds: Vec<NewLeaf>,
    removes: Vec<u32>,
    self_leaving: Vec<u32>,
    update: Option<NewLeaf>,
}

impl World {
    fn new() -> Self {
        let states: Vec<_> = (1..=5).map(person).collect();
        Self {
            people: states.iter().map(AccountState::id).collect(),
            logs: states.into_iter().map(|s| (s.id(), s)).collect(),
        }
    }

    fn id(&self, who: usize) -> AccountId {
        self.people[who]
    }

    /// A device of somebody: 0 and 1 are valid, 2 is revoked.
    fn device(&self, who: usize, which: u8) -> NewLeaf {
        let n = u8::try_from(who + 1).unwrap() * 10 + which;
        NewLeaf::from_parts(
            self.id(who),
            DeviceId([n; 16]),
            SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes(),
        )
    }

    fn leaf(&self, index: u32, who: usize, which: u8) -> PolicyLeaf {
        let NewLeaf { account, device, signature_key } = self.device(who, which);
        PolicyLeaf { index, account, device, signature_key }
    }

    /// Alice at leaf 0, Bob at 1, Carol at 2, Dave at 3.
    fn group(&self, committer: usize) -> Draft {
        let mut state = GroupState::group("friends".into(), self.id(ALICE));
        state.set_role(self.id(ALICE), self.id(BOB), Role::Admin);
        self.draft(state, (0..4).map(|n| self.leaf(u32::try_from(n).unwrap(), n, 0)).collect(), committer)
    }

    /// Alice at leaf 0, Bob at 1.
    fn direct(&self, committer: usize) -> Draft {
        let state = GroupState::direct(self.id(ALICE), self.id(BOB));
        self.draft(state, vec![self.leaf(0, ALICE, 0), self.leaf(1, BOB, 0)], committer)
    }

    fn draft(&self, before: GroupState, members: Vec<PolicyLeaf>, committer: usize) -> Draft {
        let committer = members.iter().find(|leaf| leaf.account == self.id(committer)).unwrap().index;
        let (after, adds, removes, self_leaving) = (before.clone(), vec![], vec![], vec![]);
        Draft { before, after, members, committer, adds, removes, self_leaving, update: None }
    }

    fn judge(&self, draft: &Draft) -> Result<(), Rule> {
        self.judge_with(draft, |_| {})
    }

    fn judge_with(&self, draft: &Draft, change: impl Fn(&mut Proposed<'_>)) -> Result<(), Rule> {
        let logs = |account: &AccountId| self.logs.get(account);
        let mut proposed = Proposed {
            before: &draft.before,
            members_before: &draft.members,
            committer: draft.committer,
            adds: &draft.adds,
            removes: &draft.removes,
            self_leaving: &draft.self_leaving,
            sender_update: draft.update.as_ref(),
            after: &draft.after,
            logs: &logs,
        };
        change(&mut proposed);
        check_commit(&proposed)
    }
}

impl Draft {
    fn add(mut self, leaf: NewLeaf) -> Self {
        self.adds.push(leaf);
        self
    }

    fn remove(mut self, index: u32) -> Self {
        self.removes.push(index);
        self
    }

    fn leaves(mut self, index: u32) -> Self {
        self.self_leaving.push(index);
        self
    }

    fn update(mut self, leaf: NewLeaf) -> Self {
        self.update = Some(leaf);
        self
    }

    fn state(mut self, change: impl FnOnce(&mut GroupState)) -> Self {
        change(&mut self.after);
        self
    }

    fn settled(mut self) -> Self {
        let adds: Vec<_> = self.adds.iter().map(|add| add.account).collect();
        self.after.settle(&places(&self.members), &self.removes, &self.self_leaving, &adds);
        self
    }
}

#[test]
fn a_refresh_by_any_member_is_accepted() {
    let w = World::new();
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(w.judge(&w.group(who).update(w.device(who, 0))), Ok(()));
    }
}

#[test]
fn a_committer_keeps_account_device_and_key() {
    let w = World::new();
    let key = NewLeaf { signature_key: [9; 32], ..w.device(CAROL, 0) };
    for update in [w.device(DAVE, 0), w.device(CAROL, 1), key] {
        assert_eq!(w.judge(&w.group(CAROL).update(update)), Err(Rule::Identity));
    }
}

#[test]
fn a_committer_is_a_member_who_stays_on_a_device_that_was_not_revoked() {
    let w = World::new();
    assert_eq!(w.judge_with(&w.group(CAROL), |p| p.committer = 9), Err(Rule::Committer));
    assert_eq!(w.judge(&w.group(CAROL).remove(2)), Err(Rule::Committer));
    let mut revoked = w.group(CAROL);
    revoked.members[2] = w.leaf(2, CAROL, 2);
    assert_eq!(w.judge(&revoked), Err(Rule::UnknownDevice));
}

#[test]
fn owner_and_admin_add_people_and_members_do_not() {
    let w = World::new();
    for who in [ALICE, BOB] {
        assert_eq!(w.judge(&w.group(who).add(w.device(EVE, 0)).add(w.device(EVE, 1))), Ok(()));
    }
    assert_eq!(w.judge(&w.group(CAROL).add(w.device(EVE, 0))), Err(Rule::Add));
}

#[test]
fn an_added_device_is_one_that_the_log_has_now() {
    let w = World::new();
    let stranger = NewLeaf { account: AccountId([9; 32]), ..w.device(EVE, 0) };
    assert_eq!(w.judge(&w.group(ALICE).add(stranger)), Err(Rule::UnknownAccount));
    let other_key = NewLeaf { signature_key: [9; 32], ..w.device(EVE, 0) };
    let other_account = NewLeaf { account: w.id(DAVE), ..w.device(EVE, 0) };
    for add in [w.device(EVE, 2), other_key, other_account] {
        assert_eq!(w.judge(&w.group(ALICE).add(add)), Err(Rule::UnknownDevice));
    }
}

#[test]
fn a_device_is_in_a_conversation_once() {
    let w = World::new();
    assert_eq!(w.judge(&w.group(ALICE).add(w.device(DAVE, 0))), Err(Rule::Duplicate));
    assert_eq!(w.judge(&w.group(ALICE).add(w.device(EVE, 0)).add(w.device(EVE, 0))), Err(Rule::Duplicate));
}

#[test]
fn anybody_adds_devices_of_members_and_adds_a_device_again() {
    let w = World::new();
    assert_eq!(w.judge(&w.group(CAROL).add(w.device(CAROL, 1))), Ok(()));
    assert_eq!(w.judge(&w.group(CAROL).add(w.device(DAVE, 1))), Ok(()));
    assert_eq!(w.judge(&w.group(CAROL).remove(3).add(w.device(DAVE, 0))), Ok(()));
    // The owner keeps the role through it.
    assert_eq!(w.judge(&w.group(CAROL).remove(0).add(w.device(ALICE, 0)).settled()), Ok(()));
    // Another device of the same account is no re-add.
    assert_eq!(w.judge(&w.group(CAROL).remove(3).add(w.device(DAVE, 1))), Err(Rule::Remove));
}

#[test]
fn who_left_is_not_brought_back_by_a_member() {
    let w = World::new();
    assert_eq!(w.judge(&w.group(CAROL).leaves(3).add(w.device(DAVE, 0))), Err(Rule::Add));
    assert_eq!(w.judge(&w.group(BOB).leaves(3).add(w.device(DAVE, 0))), Ok(()));
}

#[test]
fn the_owner_removes_anybody_admins_members_and_members_nobody() {
    let w = World::new();
    let id = |who| w.id(who);
    let forget = |who| move |state: &mut GroupState| state.forget(&id(who));
    assert_eq!(w.judge(&w.group(ALICE).remove(1).state(forget(BOB))), Ok(()));
    assert_eq!(w.judge(&w.group(ALICE).remove(2)), Ok(()));
    assert_eq!(w.judge(&w.group(BOB).remove(2)), Ok(()));
    assert_eq!(w.judge(&w.group(BOB).remove(0).settled()), Err(Rule::Remove));
    let mut two_admins = w.group(BOB);
    two_admins.before.set_role(w.id(ALICE), w.id(CAROL), Role::Admin);
    two_admins.after = two_admins.before.clone();
    assert_eq!(w.judge(&two_admins.remove(2)), Err(Rule::Remove));
    assert_eq!(w.judge(&w.group(CAROL).remove(3)), Err(Rule::Remove));
    assert_eq!(w.judge(&w.group(ALICE).remove(9)), Err(Rule::NoSuchLeaf));
}

#[test]
fn anybody_removes_own_devices_revoked_ones_and_those_who_left() {
    let w = World::new();
    let mut draft = w.group(CAROL);
    draft.members.extend([w.leaf(4, CAROL, 1), w.leaf(5, DAVE, 2)]);
    assert_eq!(w.judge(&draft.clone().remove(4)), Ok(()));
    assert_eq!(w.judge(&draft.clone().remove(5)), Ok(()));
    assert_eq!(w.judge(&draft.leaves(3)), Ok(()));
}

#[test]
fn owner_and_admin_rename_and_members_do_not() {
    let w = World::new();
    let rename = |state: &mut GroupState| state.set_name("others".into());
    assert_eq!(w.judge(&w.group(ALICE).state(rename)), Ok(()));
    assert_eq!(w.judge(&w.group(BOB).state(rename)), Ok(()));
    assert_eq!(w.judge(&w.group(CAROL).state(rename)), Err(Rule::Rename));
    for name in [String::new(), "x".repeat(GROUP_NAME_BYTES_MAX + 1)] {
        assert_eq!(w.judge(&w.group(ALICE).state(|state| state.set_name(name.into()))), Err(Rule::State));
    }
}

#[test]
fn the_owner_gives_roles_and_nobody_else() {
    let w = World::new();
    for (who, role) in [(BOB, Role::Member), (CAROL, Role::Admin), (CAROL, Role::Owner), (BOB, Role::Owner)] {
        let change = |state: &mut GroupState| state.set_role(w.id(ALICE), w.id(who), role);
        assert_eq!(w.judge(&w.group(ALICE).state(change)), Ok(()));
        assert_eq!(w.judge(&w.group(BOB).state(change)), Err(Rule::Roles));
        assert_eq!(w.judge(&w.group(CAROL).state(change)), Err(Rule::Roles));
    }
    let grab = |state: &mut GroupState| state.set_role(w.id(CAROL), w.id(CAROL), Role::Owner);
    assert_eq!(w.judge(&w.group(CAROL).state(grab)), Err(Rule::Roles));
}

#[test]
fn giving_ownership_away_makes_the_giver_an_admin() {
    let w = World::new();
    let draft = w.group(ALICE).state(|state| state.set_role(w.id(ALICE), w.id(CAROL), Role::Owner));
    let roles = roles_effective(&draft.after, &places(&draft.members));
    assert_eq!(
        [ALICE, BOB, CAROL, DAVE].map(|n| roles[&w.id(n)]),
        [Role::Admin, Role::Admin, Role::Owner, Role::Member]
    );
}

#[test]
fn a_group_has_exactly_one_owner_and_roles_only_for_members() {
    let w = World::new();
    let two = |state: &mut GroupState| {
        state.roles.insert(w.id(BOB), Role::Owner);
    };
    assert_eq!(w.judge(&w.group(ALICE).state(two)), Err(Rule::State));
    assert_eq!(w.judge(&w.group(ALICE).state(|state| state.roles.clear())), Err(Rule::State));
    let member = |state: &mut GroupState| {
        state.roles.insert(w.id(CAROL), Role::Member);
    };
    assert_eq!(w.judge(&w.group(ALICE).state(member)), Err(Rule::State));
    let stranger = |state: &mut GroupState| state.set_role(w.id(ALICE), w.id(EVE), Role::Admin);
    assert_eq!(w.judge(&w.group(ALICE).state(stranger)), Err(Rule::RoleOfStranger));
    assert_eq!(w.judge(&w.group(ALICE).add(w.device(EVE, 0)).state(stranger)), Ok(()));
}

#[test]
fn when_the_owner_leaves_the_highest_role_with_the_lowest_leaf_acts_as_owner() {
    let w = World::new();
    // Nothing needs to be written down for that.
    let left = w.group(DAVE).leaves(0);
    assert_eq!(w.judge(&left), Ok(()));
    let roles = |state: &GroupState, leaves: &[(u32, usize)]| {
        roles_effective(state, &leaves.iter().map(|(index, who)| (*index, w.id(*who))).collect::<Vec<_>>())
    };
    let found = roles(&left.after, &[(1, BOB), (2, CAROL), (3, DAVE)]);
    assert_eq!([BOB, CAROL, DAVE].map(|n| found[&w.id(n)]), [Role::Owner, Role::Member, Role::Member]);
    let found = roles(&left.after, &[(3, DAVE), (2, CAROL)]);
    assert_eq!([CAROL, DAVE].map(|n| found[&w.id(n)]), [Role::Owner, Role::Member]);
    // It may be written down in the same commit, by anybody, as it is and not otherwise.
    assert_eq!(w.judge(&w.group(DAVE).leaves(0).settled()), Ok(()));
    let wrong = |state: &mut GroupState| *state = GroupState::group("friends".into(), w.id(DAVE));
    assert_eq!(w.judge(&w.group(DAVE).leaves(0).state(wrong)), Err(Rule::Roles));
}

/// The group after Alice and Bob left: Carol at leaf 2 acts as owner, the stored roles are still theirs.
fn orphaned(w: &World, committer: usize) -> Draft {
    let state = w.group(ALICE).before;
    w.draft(state, vec![w.leaf(2, CAROL, 0), w.leaf(3, DAVE, 0)], committer)
}

#[test]
fn an_acting_owner_gives_roles_and_tidies() {
    let w = World::new();
    assert_eq!(w.judge(&orphaned(&w, CAROL).settled()), Ok(()));
    assert_eq!(orphaned(&w, CAROL).settled().after.roles, [(w.id(CAROL), Role::Owner)].into());
    let give = |state: &mut GroupState| state.set_role(w.id(CAROL), w.id(DAVE), Role::Admin);
    assert_eq!(w.judge(&orphaned(&w, CAROL).settled().state(give)), Ok(()));
    assert_eq!(w.judge(&orphaned(&w, DAVE).settled().state(give)), Err(Rule::Roles));
}

#[test]
fn nobody_finds_a_role_that_nobody_gave_them() {
    let w = World::new();
    // Eve takes leaf 0 and would act as owner; Alice comes back and would own the group again.
    for who in [EVE, ALICE, BOB] {
        let draft = orphaned(&w, CAROL).add(w.device(who, 0));
        assert_eq!(w.judge(&draft), Err(Rule::Unsettled));
        assert_eq!(w.judge(&draft.settled()), Ok(()));
    }
    // Carol, added again by Dave, moves to leaf 0 and stays owner; so she does when Dave is.
    assert_eq!(w.judge(&orphaned(&w, DAVE).remove(2).add(w.device(CAROL, 0)).settled()), Ok(()));
    assert_eq!(w.judge(&orphaned(&w, CAROL).remove(3).add(w.device(DAVE, 0))), Err(Rule::Unsettled));
    assert_eq!(w.judge(&orphaned(&w, CAROL).remove(3).add(w.device(DAVE, 0)).settled()), Ok(()));
}

#[test]
fn a_group_is_bounded() {
    let w = World::new();
    let mut draft = w.group(ALICE);
    let others = u32::try_from(GROUP_MEMBERS_MAX).unwrap() - 4;
    draft.members.extend((0..others).map(|n| {
        let mut account = AccountId([0; 32]);
        account.0[..4].copy_from_slice(&n.to_be_bytes());
        PolicyLeaf { index: 4 + n, account, device: DeviceId([0; 16]), signature_key: [0; 32] }
    }));
    assert_eq!(w.judge(&draft), Ok(()));
    assert_eq!(w.judge(&draft.clone().add(w.device(DAVE, 1))), Ok(()));
    assert_eq!(w.judge(&draft.add(w.device(EVE, 0))), Err(Rule::TooMany));
}

#[test]
fn direct_messages_take_devices_of_their_two_accounts_only() {
    let w = World::new();
    for who in [ALICE, BOB] {
        assert_eq!(w.judge(&w.direct(who).add(w.device(ALICE, 1)).update(w.device(who, 0))), Ok(()));
        assert_eq!(w.judge(&w.direct(who).add(w.device(EVE, 0))), Err(Rule::Stranger));
    }
    assert_eq!(w.judge(&w.direct(ALICE).remove(1).add(w.device(BOB, 0))), Ok(()));
    let mut two = w.direct(BOB);
    two.members.push(w.leaf(2, ALICE, 1));
    assert_eq!(w.judge(&two.remove(2)), Ok(()));
    assert_eq!(w.judge(&w.direct(ALICE).add(w.device(BOB, 2))), Err(Rule::UnknownDevice));
}

#[test]
fn direct_messages_have_no_state_to_change_and_no_kind_changes() {
    let w = World::new();
    assert_eq!(w.judge(&w.direct(ALICE).state(|state| state.set_name("us".into()))), Err(Rule::DirectState));
    let to_group = GroupState::group("us".into(), w.id(ALICE));
    assert_eq!(w.judge(&w.direct(ALICE).state(|state| *state = to_group)), Err(Rule::Kind));
    let to_others = GroupState::direct(w.id(ALICE), w.id(EVE));
    assert_eq!(w.judge(&w.direct(ALICE).state(|state| *state = to_others)), Err(Rule::Kind));
    let to_direct = GroupState::direct(w.id(ALICE), w.id(BOB));
    assert_eq!(w.judge(&w.group(ALICE).state(|state| *state = to_direct)), Err(Rule::Kind));
    assert_eq!(w.judge(&w.group(ALICE).state(|state| state.version = 2)), Err(Rule::Kind));
}

#[test]
fn a_state_has_one_encoding() {
    let w = World::new();
    for state in [w.group(ALICE).before, w.direct(BOB).before] {
        assert_eq!(GroupState::decode(&state.encode()).unwrap(), state);
        assert!(GroupState::decode(&[&state.encode()[..], &[0]].concat()).is_err());
    }
    let [low, high] = [AccountId([1; 32]), AccountId([2; 32])];
    assert_eq!(GroupState::direct(high, low).direct_accounts(), Some([low, high]));
    let bad = [
        GroupState { kind: GroupKind::Dm { accounts: [high, low] }, ..GroupState::default() },
        GroupState { kind: GroupKind::Dm { accounts: [low, low] }, ..GroupState::default() },
        GroupState { version: 2, ..GroupState::group("x".into(), low) },
        GroupState { roles: BTreeMap::new(), ..GroupState::group("x".into(), low) },
        GroupState::group(Text::default(), low),
        GroupState::group("x".repeat(GROUP_NAME_BYTES_MAX + 1).into(), low),
        GroupState::default(),
    ];
    for state in bad {
        assert!(GroupState::decode(&state.encode()).is_err(), "{state:?}");
    }
    // Two roles in the wrong order: the owner of the higher id first.
    let mut group = GroupState::group("x".into(), high);
    group.roles.insert(low, Role::Admin);
    let bytes = group.encode();
    let (head, roles) = bytes.split_at(bytes.len() - 70);
    let swapped = [head, &roles[35..], &roles[..35]].concat();
    assert!(GroupState::decode(&bytes).is_ok() && GroupState::decode(&swapped).is_err());
}

#[test]
fn a_state_has_these_bytes() {
    let group = hex::encode(GroupState::group("hi".into(), AccountId([1; 32])).encode());
    assert_eq!(group, format!("a400010182018002626869 03a15820{}02", "01".repeat(32)).replace(' ', ""));
    let direct = hex::encode(GroupState::direct(AccountId([1; 32]), AccountId([2; 32])).encode());
    assert_eq!(
        direct,
        format!("a40001018200818258 20{}5820{}026003a0", "01".repeat(32), "02".repeat(32)).replace(' ', "")
    );
}

#[test]
fn the_largest_state_is_within_its_bound() {
    let mut group = GroupState::group("x".repeat(GROUP_NAME_BYTES_MAX).into(), AccountId([255; 32]));
    for n in 1..u32::try_from(GROUP_MEMBERS_MAX).unwrap() {
        let mut account = AccountId([0; 32]);
        account.0[..4].copy_from_slice(&n.to_be_bytes());
        group.roles.insert(account, Role::Admin);
    }
    assert_eq!(GroupState::decode(&group.encode()).unwrap(), group);
}

proptest! {
    #[test]
    fn no_bytes_make_the_state_decoder_panic(bytes: Vec<u8>) {
        let _ = GroupState::decode(&bytes);
    }

    #[test]
    fn a_group_with_members_has_one_acting_owner(members in proptest::collection::btree_map(0_u32..50, 0_u8..8, 1..12), admins: u8) {
        let account = |n: u8| AccountId([n; 32]);
        let mut state = GroupState::group("x".into(), account(7));
        for n in (0..7).filter(|n| admins >> n & 1 == 1) {
            state.roles.insert(account(n), Role::Admin);
        }
        let members: Vec<_> = members.into_iter().map(|(index, n)| (index, account(n))).collect();
        let roles = roles_effective(&state, &members);
        prop_assert_eq!(roles.values().filter(|role| **role == Role::Owner).count(), 1);
        // Writing it down changes nothing.
        let mut settled = state.clone();
        settled.settle(&members, &[], &[], &[]);
        prop_assert_eq!(roles_effective(&settled, &members), roles);
        prop_assert_eq!(GroupState::decode(&settled.encode()), Ok(settled));
    }
}
