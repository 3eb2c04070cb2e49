//! Groups of two and three devices over vaults in memory. Every call loads the group again and commits its transaction, as a
//! client would that is restarted between any two steps.
//!
//! Long because each test is a rule of RFC 9420 as we use it, and they share one small client.

use std::cell::Cell;

use crate::crypto::Secret;
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{CommitBuilder, Initial, LeafNodeIndex, LeafNodeParameters, Lifetime, MlsMessageOut};
use openmls_traits::OpenMlsProvider as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::store::vault::MemoryVault;
use crate::store::{Order, Row, Table, VaultRead};

pub(super) const GROUP: [u8; 32] = [7; 32];
pub(super) const NOW_MS: u64 = 1_800_000_000_000;
const LIFETIME_SECS: u64 = 90 * 24 * 3_600;

pub(super) struct Device {
    pub vault: MemoryVault,
    pub rng: ChaCha20Rng,
    pub signer: Signer,
    pub identity: LeafIdentity,
    pub classical: bool,
}

impl Device {
    pub(super) fn new(name: u8) -> Self {
        Self {
            vault: MemoryVault::default(),
            rng: ChaCha20Rng::from_seed([name; 32]),
            signer: Signer::from_seed(&[name; 32]),
            identity: LeafIdentity { account: AccountId([name; 32]), device: DeviceId([name; 16]) },
            classical: false,
        }
    }

    /// One step: what it wrote is committed if it went well.
    pub(super) fn step<T, E>(&mut self, work: impl FnOnce(&Mls<'_, '_>, &Signer) -> Result<T, E>) -> Result<T, E> {
        let vault = self.vault.clone();
        let mut txn = Txn::new(&vault);
        let mls =
            if self.classical { Mls::classical(&mut txn, &mut self.rng) } else { Mls::new(&mut txn, &mut self.rng) };
        let result = work(&mls, &self.signer);
        drop(mls);
        if result.is_ok() {
            self.vault.commit(txn.into_changes());
        }
        result
    }

    /// One step on the group, loaded from the vault.
    pub(super) fn group<T, E>(
        &mut self,
        work: impl FnOnce(&mut Group, &Mls<'_, '_>, &Signer) -> Result<T, E>,
    ) -> Result<T, E> {
        self.step(|mls, signer| work(&mut Group::load(mls, &GROUP).unwrap().unwrap(), mls, signer))
    }

    pub(super) fn look<T>(&mut self, work: impl FnOnce(&Group) -> T) -> T {
        self.group(|group, _, _| Ok::<_, MlsError>(work(group))).unwrap()
    }

    pub(super) fn create(&mut self) {
        let me = self.identity;
        self.step(|mls, signer| Group::create(mls, signer, me, &GROUP, b"state 0".to_vec()).map(drop)).unwrap();
    }

    pub(super) fn key_package(&mut self) -> Vec<u8> {
        let me = self.identity;
        self.step(|mls, signer| generate_key_package(mls, signer, me, NOW_MS, LIFETIME_SECS, false)).unwrap()
    }

    pub(super) fn commit(&mut self, plan: CommitPlan) -> PendingCommit {
        self.group(|group, mls, signer| group.commit(mls, signer, plan)).unwrap()
    }

    pub(super) fn merge_pending(&mut self) {
        self.group(|group, mls, _| group.merge_pending(mls)).unwrap();
    }

    pub(super) fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.group(|group, mls, signer| group.encrypt(mls, signer, plaintext, b"aad")).unwrap()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Received, ReceiveError> {
        self.group(|group, mls, _| group.receive(mls, bytes))
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> (LeafIdentity, Vec<u8>) {
        match self.receive(bytes).unwrap() {
            Received::Application { sender, plaintext, aad } => {
                assert_eq!(aad, b"aad");
                (sender.identity, plaintext)
            }
            _ => panic!("not a message"),
        }
    }

    /// Receives a commit, merges it and returns what it changed.
    pub(super) fn follow(&mut self, commit: &[u8]) -> Changes {
        self.group(|group, mls, _| {
            let Received::Commit(staged) = group.receive(mls, commit).unwrap() else { panic!("not a commit") };
            let changes = staged.changes.clone();
            let next = (!staged.self_removed()).then(|| staged.export(mls, "test", b"context").unwrap());
            group.merge(mls, staged)?;
            if let Some(next) = next {
                assert_eq!(group.export(mls, "test", b"context").unwrap(), next);
                assert_eq!(group.members(), changes.members_after);
            }
            Ok::<_, MlsError>(changes)
        })
        .unwrap()
    }

    pub(super) fn join(&mut self, welcome: &[u8]) {
        self.step(|mls, _| open_welcome(mls, welcome).unwrap().accept(mls).map(drop)).unwrap();
    }

    pub(super) fn export(&mut self) -> Secret {
        self.group(|group, mls, _| group.export(mls, "test", b"context")).unwrap()
    }

    /// Adds others with one commit, which everybody follows.
    pub(super) fn invite(&mut self, plan: CommitPlan, present: &mut [&mut Device], new: &mut [&mut Device]) {
        let add = new.iter_mut().map(|device| device.key_package()).collect();
        let pending = self.commit(CommitPlan { add, ..plan });
        self.merge_pending();
        for device in present {
            device.follow(&pending.commit);
        }
        for device in new {
            device.join(pending.welcome.as_ref().unwrap());
        }
    }

    fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.vault.range(Table::Mls, b"", b"", Order::Ascending, usize::MAX).unwrap()
    }

    fn has(&self, needle: &[u8]) -> bool {
        self.rows().iter().any(|(_, value)| value.windows(needle.len()).any(|window| window == needle))
    }
}

fn pair() -> (Device, Device) {
    let (mut alice, mut bob) = (Device::new(1), Device::new(2));
    alice.create();
    alice.invite(CommitPlan::default(), &mut [], &mut [&mut bob]);
    (alice, bob)
}

fn three() -> (Device, Device, Device) {
    let (mut alice, mut bob) = pair();
    let mut carol = Device::new(3);
    alice.invite(CommitPlan { update_path: true, ..CommitPlan::default() }, &mut [&mut bob], &mut [&mut carol]);
    (alice, bob, carol)
}

#[test]
fn two_devices_talk_both_ways_and_agree_on_secrets() {
    let (mut alice, mut bob) = pair();
    let hello = alice.encrypt(b"hello");
    assert_eq!(bob.read(&hello), (alice.identity, b"hello".to_vec()));
    let answer = bob.encrypt(b"answer");
    assert_eq!(alice.read(&answer), (bob.identity, b"answer".to_vec()));
    assert_eq!(alice.export(), bob.export());
    assert_eq!(alice.look(|group| (group.epoch(), group.state().to_vec())), (1, b"state 0".to_vec()));
    assert_eq!(
        bob.look(|group| (group.epoch(), group.own_leaf(), group.is_active(), group.pending())),
        (1, 1, true, false)
    );
}

#[test]
fn three_devices_talk_and_one_welcome_serves_all_who_are_added() {
    let (mut alice, mut bob, mut carol) = (Device::new(1), Device::new(2), Device::new(3));
    alice.create();
    alice.invite(CommitPlan::default(), &mut [], &mut [&mut bob, &mut carol]);
    let hello = carol.encrypt(b"hello");
    assert_eq!(alice.read(&hello).1, b"hello");
    assert_eq!(bob.read(&hello).1, b"hello");
    assert_eq!(alice.export(), carol.export());
    let members = alice.look(|group| group.members().to_vec());
    assert_eq!(members.iter().map(|leaf| leaf.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(members[2].identity, carol.identity);
    assert_eq!(members[2].signature_key, carol.signer.public());
}

#[test]
fn a_welcome_shows_everything_before_it_is_accepted_and_nothing_is_joined_by_looking() {
    let (mut alice, mut bob) = (Device::new(1), Device::new(2));
    alice.create();
    let package = bob.key_package();
    let info = bob.step(|mls, _| inspect_key_package(mls, &package)).unwrap();
    let pending = alice.commit(CommitPlan { add: vec![package], ..CommitPlan::default() });
    let secret = alice.group(|group, mls, _| group.export_pending(mls, "test", b"context")).unwrap();
    let welcome = pending.welcome.unwrap();
    let vault = bob.vault.clone();
    let looked: Result<(), ()> = bob.step(|mls, _| {
        let join = open_welcome(mls, &welcome).unwrap();
        assert_eq!((join.group_id, join.epoch, join.state.as_slice()), (GROUP, 1, b"state 0".as_slice()));
        assert_eq!((join.sender.index, join.own_leaf.index, join.members.len()), (0, 1, 2));
        assert_eq!((join.key_package, join.last_resort), (info.reference, false));
        assert_eq!(join.export(mls, "test", b"context").unwrap(), secret);
        Err(())
    });
    assert!(looked.is_err());
    assert_eq!(bob.rows(), Device { vault, ..Device::new(2) }.rows());
    bob.join(&welcome);
    assert!(matches!(bob.step(|mls, _| open_welcome(mls, &welcome).map(drop)), Err(JoinError::NoKeyPackage)));
}

#[test]
fn a_pending_commit_survives_a_restart_and_exports_what_the_merged_epoch_exports() {
    let (mut alice, mut bob) = pair();
    let pending =
        alice.commit(CommitPlan { state: Some(b"state 1".to_vec()), aad: b"why".to_vec(), ..CommitPlan::default() });
    assert!(alice.look(Group::pending));
    let before = alice.export();
    let next = alice.group(|group, mls, _| group.export_pending(mls, "test", b"context")).unwrap();
    assert_ne!(before, next);
    assert!(matches!(alice.receive(&pending.commit), Err(ReceiveError::Own)));
    alice.merge_pending();
    assert_eq!(alice.export(), next);
    let Received::Commit(staged) = bob.receive(&pending.commit).unwrap() else { panic!("not a commit") };
    assert_eq!((staged.aad.as_slice(), staged.epoch(), staged.self_removed()), (b"why".as_slice(), 2, false));
    assert_eq!(staged.changes, pending.changes);
    bob.follow(&pending.commit);
    assert_eq!(bob.export(), next);
}

#[test]
fn adding_needs_no_update_path_and_a_path_can_be_asked_for() {
    let (mut alice, mut bob) = pair();
    let (mut carol, mut dave) = (Device::new(3), Device::new(4));
    let packages = [carol.key_package(), dave.key_package()];
    let small = alice.commit(CommitPlan { add: vec![packages[0].clone()], ..CommitPlan::default() });
    assert_eq!(small.changes.sender_update, None);
    assert_eq!(small.changes.adds[0].leaf.identity, carol.identity);
    alice.merge_pending();
    assert_eq!(bob.follow(&small.commit), small.changes);
    carol.join(&small.welcome.unwrap());
    let large = bob.commit(CommitPlan { add: vec![packages[1].clone()], update_path: true, ..CommitPlan::default() });
    assert!(large.changes.sender_update.is_some());
    assert!(large.commit.len() > small.commit.len());
    bob.merge_pending();
    alice.follow(&large.commit);
    carol.follow(&large.commit);
    dave.join(&large.welcome.unwrap());
    assert_eq!(alice.export(), dave.export());
    let hello = dave.encrypt(b"hello");
    assert_eq!(carol.read(&hello).1, b"hello");
}

#[test]
fn removal_and_state_change_renew_keys_and_the_removed_device_is_left_with_nothing() {
    let (mut alice, mut bob, mut carol) = three();
    let plan = CommitPlan { remove: vec![2], state: Some(b"state 1".to_vec()), ..CommitPlan::default() };
    let pending = alice.commit(plan);
    assert!(pending.changes.sender_update.is_some());
    assert_eq!(pending.changes.removes[0].identity, carol.identity);
    assert_eq!(pending.changes.state.as_deref(), Some(b"state 1".as_slice()));
    alice.merge_pending();
    assert_eq!(bob.follow(&pending.commit), pending.changes);
    assert_eq!(bob.look(|group| group.state().to_vec()), b"state 1");
    assert_eq!(carol.follow(&pending.commit).members_after.len(), 2);
    assert!(carol.rows().is_empty(), "a removed device keeps no key");
    let secret = alice.encrypt(b"secret");
    assert_eq!(bob.read(&secret).1, b"secret");
}

#[test]
fn a_leave_stops_the_epoch_until_another_member_commits_it() {
    let (mut alice, mut bob, mut carol) = three();
    let leave = carol.group(Group::propose_leave).unwrap();
    for device in [&mut alice, &mut bob, &mut carol] {
        for _ in 0..2 {
            // The second time is the network's: it changes nothing.
            device
                .group(|group, mls, _| {
                    let Received::Proposal(staged) = group.receive(mls, &leave).unwrap() else {
                        panic!("not a proposal")
                    };
                    assert_eq!(staged.leaving().unwrap().index, 2);
                    group.accept_proposal(mls, staged)
                })
                .unwrap();
        }
        assert_eq!(device.look(Group::pending_removals), [2]);
        let refused = device.group(|group, mls, signer| group.encrypt(mls, signer, b"too late", b""));
        assert!(matches!(refused, Err(MlsError::LeavePending)));
    }
    let again = carol.group(Group::propose_leave);
    assert!(matches!(again, Err(MlsError::LeavePending)));
    let pending = bob.commit(CommitPlan { remove: vec![2], ..CommitPlan::default() });
    assert_eq!(pending.changes.leaves[0].identity, carol.identity);
    assert!(pending.changes.removes.is_empty());
    bob.merge_pending();
    assert_eq!(alice.follow(&pending.commit), pending.changes);
    carol.follow(&pending.commit);
    assert!(carol.rows().is_empty());
    assert!(alice.look(Group::pending_removals).is_empty());
    let hello = alice.encrypt(b"hello");
    assert_eq!(bob.read(&hello).1, b"hello");
}

#[test]
fn a_commit_of_the_leaver_does_not_contain_its_own_leave() {
    let (mut alice, mut bob, mut carol) = three();
    carol.group(Group::propose_leave).unwrap();
    let pending = carol.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    assert!(pending.changes.leaves.is_empty());
    carol.merge_pending();
    alice.follow(&pending.commit);
    bob.follow(&pending.commit);
    assert!(carol.look(Group::pending_removals).is_empty(), "a leave is for its epoch only");
    assert_eq!(alice.export(), carol.export());
}

#[test]
fn the_loser_of_a_race_clears_its_commit_and_follows_the_winner() {
    let (mut alice, mut bob) = pair();
    let winner = alice.commit(CommitPlan { state: Some(b"alice".to_vec()), ..CommitPlan::default() });
    bob.commit(CommitPlan { state: Some(b"bob".to_vec()), ..CommitPlan::default() });
    let twice = bob.group(|group, mls, signer| group.commit(mls, signer, CommitPlan::default()));
    assert!(matches!(twice, Err(MlsError::CommitPending)));
    alice.merge_pending();
    bob.group(|group, mls, _| group.clear_pending(mls)).unwrap();
    assert!(!bob.look(Group::pending));
    bob.follow(&winner.commit);
    assert_eq!(bob.look(|group| group.state().to_vec()), b"alice");
    let second = bob.commit(CommitPlan { state: Some(b"bob".to_vec()), ..CommitPlan::default() });
    bob.merge_pending();
    alice.follow(&second.commit);
    assert_eq!(alice.export(), bob.export());
    let late = alice.receive(&winner.commit);
    assert!(matches!(late, Err(ReceiveError::WrongEpoch { theirs: 1 })));
}

#[test]
fn an_own_commit_whose_keys_were_dropped_is_told_from_garbage() {
    let (mut alice, _) = pair();
    let lost = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    alice.group(|group, mls, _| group.clear_pending(mls)).unwrap();
    assert!(matches!(alice.receive(&lost.commit), Err(ReceiveError::OwnCommitLost)));
}

#[test]
fn a_device_that_fell_behind_is_replaced_in_one_commit_and_joins_over_its_old_group() {
    let (mut alice, mut bob, mut carol) = three();
    let missed = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    alice.merge_pending();
    bob.follow(&missed.commit);
    let plan = CommitPlan { add: vec![carol.key_package()], remove: vec![2], ..CommitPlan::default() };
    let pending = alice.commit(plan);
    assert_eq!(pending.changes.adds[0].leaf.index, 2);
    alice.merge_pending();
    bob.follow(&pending.commit);
    let rows = carol.rows().len();
    carol.join(&pending.welcome.unwrap());
    assert_eq!(carol.rows().len(), rows - 1, "the key package is used up and nothing of the old group stays");
    assert_eq!(carol.export(), bob.export());
    let hello = carol.encrypt(b"hello");
    assert_eq!(alice.read(&hello).1, b"hello");
}

#[test]
fn an_author_cannot_read_its_own_message_and_nobody_reads_one_twice() {
    let (mut alice, mut bob) = pair();
    let hello = alice.encrypt(b"hello");
    assert!(matches!(alice.receive(&hello), Err(ReceiveError::Own)));
    bob.read(&hello);
    assert!(matches!(bob.receive(&hello), Err(ReceiveError::Duplicate)));
    let many: Vec<_> = (0..=OUT_OF_ORDER_MAX).map(|_| alice.encrypt(b"more")).collect();
    bob.read(&many[3]);
    bob.read(&many[1]);
    assert!(matches!(bob.receive(&many[1]), Err(ReceiveError::Duplicate)));
    bob.read(&many[OUT_OF_ORDER_MAX as usize]);
    assert!(matches!(bob.receive(&many[0]), Err(ReceiveError::Duplicate)), "its key is gone");
    bob.read(&many[2]);
}

#[test]
fn a_forged_entry_cannot_displace_the_real_message() {
    let (mut alice, mut bob) = pair();
    let genuine = alice.encrypt(b"hello");
    // One group that stays in memory, as a client keeps it: garbage must not spoil that either.
    bob.group(|group, mls, _| {
        for at in 0..genuine.len() {
            for flip in [0x01, 0x80] {
                let mut garbage = genuine.clone();
                garbage[at] ^= flip;
                assert!(group.receive(mls, &garbage).is_err(), "byte {at}");
            }
            assert!(group.receive(mls, &genuine[..at]).is_err());
        }
        assert!(matches!(group.receive(mls, &[genuine.as_slice(), b"x"].concat()), Err(ReceiveError::Invalid(_))));
        let Received::Application { plaintext, .. } = group.receive(mls, &genuine)? else { panic!("not a message") };
        assert_eq!(plaintext, b"hello");
        Ok::<_, ReceiveError>(())
    })
    .unwrap();
}

#[test]
fn garbage_writes_nothing() {
    let (mut alice, mut bob) = pair();
    let (message, commit) =
        (alice.encrypt(b"hello"), alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() }).commit);
    let vault = bob.vault.clone();
    let mut txn = Txn::new(&vault);
    {
        let mls = Mls::new(&mut txn, &mut bob.rng);
        let mut group = Group::load(&mls, &GROUP).unwrap().unwrap();
        for mut garbage in [message, commit] {
            for at in (0..garbage.len()).step_by(5) {
                garbage[at] ^= 0x40;
                assert!(group.receive(&mls, &garbage).is_err());
                garbage[at] ^= 0x40;
            }
        }
    }
    assert!(txn.into_changes().is_empty());
}

#[test]
fn consumed_keys_are_gone_from_the_vault() {
    let (mut alice, mut bob) = (Device::new(1), Device::new(2));
    alice.create();
    let before = bob.rows().len();
    let package = bob.key_package();
    let secrets = bob.rows();
    assert_eq!(secrets.len(), before + 1);
    let pending = alice.commit(CommitPlan { add: vec![package], ..CommitPlan::default() });
    alice.merge_pending();
    bob.join(&pending.welcome.unwrap());
    assert!(!bob.rows().iter().any(|(key, _)| *key == secrets[0].0), "the key package's row is gone");
    // Postcard keeps byte strings whole: what follows the public key package are its two private keys.
    let private = &secrets[0].1[secrets[0].1.len() - 66..];
    let (init, encryption) = (&private[1..33], &private[34..]);
    assert!(!bob.has(init), "the init key is gone");
    assert!(bob.has(encryption), "the leaf's key is the group's now");

    let old: Vec<_> = secret_rows(&bob);
    let commit = bob.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    bob.merge_pending();
    assert!(!bob.has(encryption), "a commit with a path replaces the leaf's key");
    assert!(secret_rows(&bob).iter().all(|row| !old.contains(row)), "every secret of the old epoch was replaced");
    let old: Vec<_> = secret_rows(&alice);
    alice.follow(&commit.commit);
    assert!(secret_rows(&alice).iter().all(|row| !old.contains(row)));

    let message = alice.encrypt(b"hello");
    let old: Vec<_> = bob.rows();
    bob.read(&message);
    assert_ne!(bob.rows(), old, "a received message moves the ratchet on disk");

    bob.step(|mls, _| Group::load(mls, &GROUP).unwrap().unwrap().delete(mls)).unwrap();
    assert!(bob.rows().is_empty(), "a deleted group leaves nothing");
}

/// Rows with secrets of an epoch: message secrets, epoch secrets, keys of the path.
fn secret_rows(device: &Device) -> Vec<Vec<u8>> {
    device.rows().into_iter().filter(|(key, _)| matches!(key[0], 6 | 9 | 12)).map(|(_, value)| value).collect()
}

#[test]
fn a_last_resort_key_package_serves_twice_and_can_be_deleted() {
    let (mut alice, mut bob, mut carol) = (Device::new(1), Device::new(2), Device::new(3));
    let me = bob.identity;
    let package = bob.step(|mls, signer| generate_key_package(mls, signer, me, NOW_MS, 60, true)).unwrap();
    let info = bob.step(|mls, _| inspect_key_package(mls, &package)).unwrap();
    assert!(info.last_resort);
    assert_eq!(info.not_after, NOW_MS + 60_000);
    for inviter in [&mut alice, &mut carol] {
        inviter.create();
        let pending = inviter.commit(CommitPlan { add: vec![package.clone()], ..CommitPlan::default() });
        inviter.merge_pending();
        bob.step(|mls, _| open_welcome(mls, &pending.welcome.unwrap()).unwrap().accept(mls).map(drop)).unwrap();
        let hello = inviter.encrypt(b"hello");
        assert_eq!(bob.read(&hello).1, b"hello");
        assert_eq!(inviter.export(), bob.export());
    }
    bob.step(|mls, _| delete_key_package(mls, &info.reference)).unwrap();
    assert!(bob.rows().iter().all(|(key, _)| key[0] != 13));
}

#[test]
fn key_packages_are_checked_whole() {
    let mut bob = Device::new(2);
    let package = bob.key_package();
    let info = bob.step(|mls, _| inspect_key_package(mls, &package)).unwrap();
    assert_eq!((info.identity, info.signature_key, info.last_resort), (bob.identity, bob.signer.public(), false));
    assert_eq!(info.not_after, NOW_MS + LIFETIME_SECS * 1_000);
    for at in (0..package.len()).step_by(7) {
        let mut forged = package.clone();
        forged[at] ^= 1;
        assert!(bob.step(|mls, _| inspect_key_package(mls, &forged)).is_err(), "byte {at}");
        assert!(bob.step(|mls, _| inspect_key_package(mls, &package[..at])).is_err());
    }
    bob.classical = true;
    let classical = bob.key_package();
    bob.classical = false;
    assert!(bob.step(|mls, _| inspect_key_package(mls, &classical)).is_err(), "a suite that is not post-quantum");
    let mut alice = Device::new(1);
    alice.create();
    let refused = alice.group(|group, mls, signer| {
        group.commit(mls, signer, CommitPlan { add: vec![classical], ..CommitPlan::default() })
    });
    assert!(matches!(refused, Err(MlsError::Plan(_))));
}

#[test]
fn a_plan_that_cannot_be_carried_out_changes_nothing() {
    let (mut alice, mut bob) = pair();
    let again = bob.key_package();
    for plan in [
        CommitPlan { remove: vec![9], ..CommitPlan::default() },
        CommitPlan { remove: vec![0], ..CommitPlan::default() },
        CommitPlan { add: vec![again], ..CommitPlan::default() },
        CommitPlan { add: vec![b"x".to_vec()], ..CommitPlan::default() },
    ] {
        let before = alice.rows();
        let plan = CommitPlan { aad: b"stale".to_vec(), ..plan };
        alice
            .group(|group, mls, signer| {
                assert!(matches!(group.commit(mls, signer, plan), Err(MlsError::Plan(_))));
                assert!(!group.pending());
                Ok::<_, MlsError>(())
            })
            .unwrap();
        assert_eq!(alice.rows(), before);
    }
    let hello = alice.encrypt(b"hello");
    assert_eq!(bob.read(&hello).1, b"hello");
}

#[test]
fn a_step_is_the_same_when_it_is_made_again_from_the_same_randomness() {
    let run = || {
        let (mut alice, mut bob, _) = three();
        let commit = bob.commit(CommitPlan { remove: vec![2], ..CommitPlan::default() }).commit;
        (alice.encrypt(b"hello"), commit)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_gap_in_a_senders_messages_is_bounded() {
    let (mut alice, mut bob) = pair();
    let last = alice
        .group(|group, mls, signer| {
            for _ in 0..=SKIPPED_MESSAGES_MAX {
                group.encrypt(mls, signer, b"lost", b"aad")?;
            }
            group.encrypt(mls, signer, b"last", b"aad")
        })
        .unwrap();
    assert!(matches!(bob.receive(&last), Err(ReceiveError::Gap)));
}

/// Rows of a vault, a message, a welcome: what `a_vault_of_the_first_format_still_opens` is about.
const FIRST_FORMAT: &str = include_str!("../../../../vectors/mls-vault-1.txt");

#[test]
fn a_vault_of_the_first_format_still_opens() {
    let mut bob = Device::new(2);
    let mut rest = Vec::new();
    let mut changes = Vec::new();
    for line in FIRST_FORMAT.lines() {
        let (name, value) = line.split_once(' ').unwrap();
        let value = hex::decode(value).unwrap();
        match hex::decode(name) {
            Ok(key) => changes.push(crate::store::Change { table: Table::Mls, key, value: Some(value) }),
            Err(_) => rest.push(value),
        }
    }
    bob.vault.commit(changes);
    let [message, welcome] = rest.as_slice() else { panic!("a message and a welcome") };
    assert!(bob.look(Group::pending));
    assert_eq!(bob.look(Group::pending_removals), [0]);
    assert_eq!(bob.read(message).1, b"hello");
    bob.merge_pending();
    assert_eq!(bob.look(|group| (group.epoch(), group.members().len())), (2, 1));
    bob.join(welcome);
    assert_eq!(bob.look(|group| group.members()[0].identity), Device::new(3).identity);
}

/// Writes what a vault of today's format looks like. A new format gets a new file; the old ones stay.
#[test]
#[ignore = "writes a vector, once for each format"]
fn write_a_vault_of_this_format() {
    let (mut alice, mut bob) = pair();
    let (mut carol, package) = (Device::new(3), bob.key_package());
    carol.create();
    let welcome = carol.commit(CommitPlan { add: vec![package], ..CommitPlan::default() }).welcome.unwrap();
    let message = alice.encrypt(b"hello");
    let leave = alice.group(Group::propose_leave).unwrap();
    bob.group(|group, mls, signer| {
        let Received::Proposal(staged) = group.receive(mls, &leave).unwrap() else { panic!("not a proposal") };
        group.accept_proposal(mls, staged)?;
        group.commit(mls, signer, CommitPlan::default())
    })
    .unwrap();
    let mut lines: Vec<_> =
        bob.rows().iter().map(|(key, value)| format!("{} {}", hex::encode(key), hex::encode(value))).collect();
    lines.push(format!("message {}", hex::encode(message)));
    lines.push(format!("welcome {}", hex::encode(welcome)));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/mls-vault-1.txt");
    #[expect(clippy::disallowed_methods, reason = "writes the vector, when it is told to")]
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// A commit that this crate would not make, made with the library itself.
fn hostile(
    device: &mut Device,
    build: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
) -> Vec<u8> {
    device
        .group(|group, mls, signer| {
            let (rand, crypto) = (mls.provider.rand(), mls.provider.crypto());
            let builder = build(group.inner.commit_builder()).load_psks(mls.provider.storage()).unwrap();
            let bundle = builder.build(rand, crypto, signer, |_| true).unwrap().stage_commit(&mls.provider).unwrap();
            Ok::<_, MlsError>(bundle.into_messages().0.tls_serialize_detached().unwrap())
        })
        .unwrap()
}

fn is_refused(device: &mut Device, commit: &[u8]) {
    let vault = device.rows();
    let result = device.receive(commit);
    assert!(matches!(result, Err(ReceiveError::Invalid(_))), "{:?}", result.err());
    assert_eq!(device.rows(), vault);
}

#[test]
fn a_commit_that_unmakes_the_groups_frame_is_refused() {
    let (alice, mut bob) = pair();
    let frame = |extensions: Vec<Extension>| Extensions::from_vec(extensions).unwrap();
    let state = || Extension::Unknown(STATE_EXTENSION, UnknownExtension(b"state".to_vec()));
    let required = || Extension::RequiredCapabilities(required_capabilities());
    let more = [ExtensionType::Unknown(STATE_EXTENSION), ExtensionType::Unknown(EXPIRY_EXTENSION)];
    let more = || Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(&more, &[], &[]));
    let outsiders = || Extension::ExternalSenders(Default::default());
    for extensions in [vec![], vec![required()], vec![state(), more()], vec![state(), required(), outsiders()]] {
        let mut alice = Device { vault: alice.vault.clone(), ..Device::new(1) };
        let commit = hostile(&mut alice, |b| b.propose_group_context_extensions(frame(extensions)).unwrap());
        is_refused(&mut bob, &commit);
    }
}

#[test]
fn a_leaf_of_another_shape_is_refused_when_it_comes_and_when_it_changes() {
    let (alice, mut bob) = pair();
    let nobody = |signer: &Signer| CredentialWithKey {
        credential: BasicCredential::new(b"somebody".to_vec()).into(),
        signature_key: signer.public().as_slice().into(),
    };
    let mut turned = Device { vault: alice.vault.clone(), ..Device::new(1) };
    let parameters = LeafNodeParameters::builder().with_credential_with_key(nobody(&turned.signer)).build();
    let commit = hostile(&mut turned, |builder| builder.leaf_node_parameters(parameters));
    is_refused(&mut bob, &commit);

    let mut carol = Device::new(3);
    let mut package = |credential: CredentialWithKey, lifetime: Lifetime| {
        carol
            .step(|mls, signer| {
                let expiry = Extension::Unknown(EXPIRY_EXTENSION, UnknownExtension(vec![0; 8]));
                let bundle = openmls::prelude::KeyPackage::builder()
                    .leaf_node_capabilities(capabilities(SUITE))
                    .key_package_lifetime(lifetime)
                    .key_package_extensions(Extensions::single(expiry).unwrap())
                    .build(SUITE, &mls.provider, signer, credential)
                    .unwrap();
                Ok::<_, MlsError>(bundle.into_key_package())
            })
            .unwrap()
    };
    let signer = Signer::from_seed(&[3; 32]);
    let stranger = package(nobody(&signer), Lifetime::init(0, u64::MAX));
    // Valid now for some clocks and not for others: it would divide the group.
    let mortal = package(signer.credential(Device::new(3).identity), Lifetime::default());
    for package in [stranger, mortal] {
        let mut alice = Device { vault: alice.vault.clone(), ..Device::new(1) };
        let bytes = MlsMessageOut::from(package.clone()).tls_serialize_detached().unwrap();
        assert!(bob.step(|mls, _| inspect_key_package(mls, &bytes)).is_err());
        let commit = hostile(&mut alice, |builder| builder.propose_adds([package]));
        is_refused(&mut bob, &commit);
    }
}

#[test]
fn a_proposal_other_than_a_leave_is_told_apart_and_a_commit_that_refers_to_it_is_refused() {
    let (mut alice, mut bob, mut carol) = three();
    let proposal = alice
        .group(|group, mls, signer| {
            let (message, _) = group.inner.propose_remove_member(&mls.provider, signer, LeafNodeIndex::new(2)).unwrap();
            Ok::<_, MlsError>(message.tls_serialize_detached().unwrap())
        })
        .unwrap();
    bob.group(|group, mls, _| {
        let Received::Proposal(staged) = group.receive(mls, &proposal).unwrap() else { panic!("not a proposal") };
        assert_eq!((staged.sender.index, staged.leaving()), (0, None));
        assert!(matches!(group.accept_proposal(mls, staged), Err(MlsError::Plan(_))));
        Ok::<_, MlsError>(())
    })
    .unwrap();
    let commit = hostile(&mut alice, |builder| builder);
    is_refused(&mut bob, &commit);
    is_refused(&mut carol, &commit);
}

/// A vault that can break.
struct Breakable {
    vault: MemoryVault,
    broken: Cell<bool>,
}

impl VaultRead for Breakable {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        match self.broken.get() {
            true => Err(VaultError { detail: "broken".into() }),
            false => self.vault.get(table, key),
        }
    }

    fn range(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError> {
        match self.broken.get() {
            true => Err(VaultError { detail: "broken".into() }),
            false => self.vault.range(table, low, high, order, limit),
        }
    }
}

#[test]
fn a_vault_that_cannot_be_read_is_never_taken_for_a_peers_fault() {
    let (mut alice, mut bob) = pair();
    let commit = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() }).commit;
    let vault = Breakable { vault: bob.vault.clone(), broken: Cell::new(false) };
    let mut txn = Txn::new(&vault);
    let mls = Mls::new(&mut txn, &mut bob.rng);
    let mut group = Group::load(&mls, &GROUP).unwrap().unwrap();
    vault.broken.set(true);
    assert!(matches!(group.receive(&mls, &commit), Err(ReceiveError::Storage(_))));
    assert!(matches!(Group::load(&mls, &GROUP), Err(MlsError::Storage(_))));
    assert!(matches!(open_welcome(&mls, &[0]), Err(JoinError::Invalid(_))));
    vault.broken.set(false);
    assert!(matches!(group.receive(&mls, &commit), Ok(Received::Commit(_))));
}

/// Prints what MLS costs: `cargo nextest run -p stonechat-core --run-ignored only --no-capture mls::tests::costs`.
#[test]
#[ignore = "a measurement, not a test"]
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn costs() {
    use std::time::Instant;
    let (mut alice, mut bob) = (Device::new(1), Device::new(2));
    alice.create();
    let start = Instant::now();
    let package = bob.key_package();
    println!("key package: {} B, {:?}", package.len(), start.elapsed());
    let start = Instant::now();
    let pending = alice.commit(CommitPlan { add: vec![package], ..CommitPlan::default() });
    println!(
        "commit that adds one: {} B, welcome {} B, {:?}",
        pending.commit.len(),
        pending.welcome.as_ref().unwrap().len(),
        start.elapsed()
    );
    alice.merge_pending();
    let start = Instant::now();
    bob.join(&pending.welcome.unwrap());
    println!("join: {:?}", start.elapsed());
    let update = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    println!("commit with a path, 2 members: {} B", update.commit.len());
    alice.merge_pending();
    bob.follow(&update.commit);

    let rounds = 500;
    let vault = alice.vault.clone();
    let mut txn = Txn::new(&vault);
    let start = Instant::now();
    let mut group = Group::load(&Mls::new(&mut txn, &mut alice.rng), &GROUP).unwrap().unwrap();
    println!("load: {:?}", start.elapsed());
    let start = Instant::now();
    let messages: Vec<_> = (0..rounds)
        .map(|_| group.encrypt(&Mls::new(&mut txn, &mut alice.rng), &alice.signer, &[0; 256], b"").unwrap())
        .collect();
    println!("encrypt 256 B: {:?}, {} B", start.elapsed() / rounds, messages[0].len());
    let written: usize = txn.into_changes().iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Vec::len)).sum();
    println!("written by one message: {written} B");
    let vault = bob.vault.clone();
    let mut txn = Txn::new(&vault);
    let mut group = Group::load(&Mls::new(&mut txn, &mut bob.rng), &GROUP).unwrap().unwrap();
    let start = Instant::now();
    for message in &messages {
        group.receive(&Mls::new(&mut txn, &mut bob.rng), message).unwrap();
    }
    println!("receive 256 B: {:?}", start.elapsed() / rounds);
    let written: usize = txn.into_changes().iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Vec::len)).sum();
    println!("written by one received message: {written} B");

    let last = alice
        .group(|group, mls, signer| {
            for _ in 0..SKIPPED_MESSAGES_MAX - 1 {
                group.encrypt(mls, signer, b"lost", b"aad")?;
            }
            group.encrypt(mls, signer, b"last", b"aad")
        })
        .unwrap();
    let start = Instant::now();
    bob.read(&last);
    println!("walking past {SKIPPED_MESSAGES_MAX} messages: {:?}", start.elapsed());

    let mut others: Vec<_> = (10..109).map(Device::new).collect();
    let add: Vec<_> = others.iter_mut().map(Device::key_package).collect();
    let start = Instant::now();
    let pending = alice.commit(CommitPlan { add, ..CommitPlan::default() });
    println!(
        "add 99: commit {} B, welcome {} B, {:?}",
        pending.commit.len(),
        pending.welcome.as_ref().unwrap().len(),
        start.elapsed()
    );
    alice.merge_pending();
    let start = Instant::now();
    bob.follow(&pending.commit);
    println!("follow it: {:?}", start.elapsed());
    let start = Instant::now();
    others[0].join(&pending.welcome.unwrap());
    println!("join 101: {:?}", start.elapsed());
    let start = Instant::now();
    let update = alice.commit(CommitPlan { update_path: true, ..CommitPlan::default() });
    println!("path in a tree of 101 without paths: {} B, {:?}", update.commit.len(), start.elapsed());
    alice.merge_pending();
    let start = Instant::now();
    bob.follow(&update.commit);
    println!("follow it: {:?}", start.elapsed());
    let vault = alice.vault.clone();
    let mut txn = Txn::new(&vault);
    let start = Instant::now();
    let mut group = Group::load(&Mls::new(&mut txn, &mut alice.rng), &GROUP).unwrap().unwrap();
    println!("load 101: {:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..100 {
        group.encrypt(&Mls::new(&mut txn, &mut alice.rng), &alice.signer, &[0; 256], b"").unwrap();
    }
    println!("encrypt among 101: {:?}", start.elapsed() / 100);
    let written: usize = txn.into_changes().iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Vec::len)).sum();
    println!("written by one message among 101: {written} B");
}
