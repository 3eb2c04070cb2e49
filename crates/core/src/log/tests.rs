//! A log followed by one device, written by another: real MLS on both sides, and no server between them.

use stonechat_wire::message::Page;
use stonechat_wire::{
    Bytes, Capability, ConversationId, Entry, EntryKind, EpochCaps, EpochId, List, Seq, Timestamp, epoch_id,
};

use super::rows::{Info, LeafRecord, Phase, Progress};
use super::*;
use crate::content::{Body, Content, LogView, MessageId};
use crate::crypto::outer::OuterKind;
use crate::log::policy::GroupState;
use crate::mls::{CommitPlan, Mls, generate_key_package, open_welcome};
use crate::people::accounts::{Contact, remember_handle};
use crate::step::{Came, News};
use crate::testing::{Home, NOW, Out};

const ID: ConversationId = ConversationId([5; 32]);
const FIRST: EpochId = EpochId([6; 32]);

/// Alice follows the log of direct messages with Bob, who writes it by hand.
struct Pair {
    alice: Home,
    log: Log,
    bob: Home,
    group: Group,
    /// The commit that opened the epoch, and the epoch.
    epoch: Seq,
    epoch_id: EpochId,
    next: u64,
}

impl Pair {
    fn new() -> Self {
        let (mut alice, mut bob) = (Home::online("alice"), Home::of("bob"));
        let (me, them) = (alice.identity.leaf(), bob.identity.leaf());
        alice.step(|ctx| {
            ctx.txn.store(&them.account, &Contact::new(bob.identity.log.clone()));
            remember_handle(ctx, &bob.identity.record.handle, them.account);
        });
        let state = GroupState::direct(me.account, them.account);
        let package = bob
            .step(|ctx| {
                let (now, signer) = (ctx.now.0, &ctx.me.signer);
                let mls = Mls::new(&mut ctx.txn, ctx.rng);
                generate_key_package(&mls, signer, them, now, 1_000, false).unwrap()
            })
            .value;
        let (group, welcome) = alice
            .step(|ctx| {
                let signer = &ctx.me.signer;
                let mls = Mls::new(&mut ctx.txn, ctx.rng);
                let mut group = Group::create(&mls, signer, me, &ID.0, state.encode()).unwrap();
                let plan = CommitPlan { add: vec![package], ..CommitPlan::default() };
                let made = group.commit(&mls, signer, plan).unwrap();
                group.merge_pending(&mls).unwrap();
                (group, made.welcome.unwrap())
            })
            .value;
        let leaves = group.members().iter();
        let leaves = leaves
            .map(|l| LeafRecord { index: l.index, account: l.identity.account, device: l.identity.device })
            .collect();
        let info = Info {
            peer: Some(them.account),
            state: state.encode(),
            leaves,
            intents: Vec::new(),
            hold: None,
            opening: false,
        };
        let mut log = Log::default();
        let live = Live { group: Some(group), following: Some(Seq(1)), caught_up: true, ..Live::default() };
        log.live.insert(ID, live);
        alice.step(|ctx| {
            ctx.txn.store(&ID, &Progress::new(Phase::Live, Seq(1), FIRST));
            ctx.txn.store(&ID, &info);
        });
        let joined = bob.step(|ctx| {
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            open_welcome(&mls, &welcome).unwrap().accept(&mls).unwrap()
        });
        Self { alice, log, bob, group: joined.value, epoch: Seq(1), epoch_id: FIRST, next: 2 }
    }

    /// An entry of Bob's device.
    fn entry(&mut self, kind: EntryKind, blob: Vec<u8>) -> Entry {
        let seq = Seq(self.next);
        self.next += 1;
        Entry { seq, time: NOW.plus_secs(seq.0), kind, blob: Bytes::new(blob).unwrap() }
    }

    fn sealed(&mut self, kind: OuterKind, mls: &[u8]) -> Vec<u8> {
        let (group, epoch_id) = (&self.group, self.epoch_id);
        self.bob
            .step(|ctx| {
                let library = Mls::new(&mut ctx.txn, ctx.rng);
                let secrets = EpochSecrets::derive(|label| group.export(&library, label, &ID.0)).unwrap();
                drop(library);
                secrets.outer.seal(ctx.rng, &ID, &epoch_id, kind, mls).unwrap()
            })
            .value
    }

    fn text(&mut self, view: Option<LogView>) -> Entry {
        let id = MessageId([u8::try_from(self.next).unwrap(); 16]);
        let content = Content { view, ..Content::new(id, Timestamp(1), Body::Text("hi".into())) };
        let group = &mut self.group;
        let encrypted = self
            .bob
            .step(|ctx| {
                let signer = &ctx.me.signer;
                let mls = Mls::new(&mut ctx.txn, ctx.rng);
                group.encrypt(&mls, signer, &content.encode(), &[]).unwrap()
            })
            .value;
        let blob = self.sealed(OuterKind::Application, &encrypted);
        self.entry(EntryKind::Application, blob)
    }

    /// A commit that renews Bob's keys; it names what `claim` makes of the true capabilities.
    fn refresh(&mut self, claim: impl FnOnce(EpochCaps) -> EpochCaps) -> (Entry, EpochCaps) {
        let group = &mut self.group;
        let (commit, caps) = self
            .bob
            .step(|ctx| {
                let signer = &ctx.me.signer;
                let mls = Mls::new(&mut ctx.txn, ctx.rng);
                let plan = CommitPlan { update_path: true, ..CommitPlan::default() };
                let made = group.commit(&mls, signer, plan).unwrap();
                let next = EpochSecrets::derive(|label| group.export_pending(&mls, label, &ID.0)).unwrap();
                (made.commit, next.caps())
            })
            .value;
        let caps = claim(caps);
        let blob = self.sealed(OuterKind::Commit, &commit);
        (self.entry(EntryKind::Commit(caps), blob), caps)
    }

    /// Alice gets a page of these.
    fn page(&mut self, entries: Vec<Entry>) -> Out<Vec<Came>> {
        let (log, epoch) = (&mut self.log, self.epoch);
        let page = Page { entries: List::new(entries).unwrap(), more: false };
        self.alice.step(|ctx| {
            log.page(ctx, ID, epoch, &page).unwrap();
            let came = ctx.mail.messages.iter().filter_map(|news| match news {
                News::Came(came) => Some(came.clone()),
                _ => None,
            });
            came.collect()
        })
    }

    fn progress(&mut self) -> Progress {
        self.alice.step(|ctx| ctx.txn.need(&ID).unwrap()).value
    }
}

fn again(entry: &Entry) -> Entry {
    Entry { seq: entry.seq, time: entry.time, kind: entry.kind, blob: entry.blob.clone() }
}

#[test]
fn a_message_is_handed_on_once_however_often_it_is_shown() {
    let mut pair = Pair::new();
    let entry = pair.text(None);
    let copy = Entry { seq: Seq(9), ..again(&entry) };
    let first = pair.page(vec![again(&entry)]);
    assert!(matches!(&first.value[..], [came] if came.seq == Seq(2) && came.time == NOW.plus_secs(2)));
    assert!(pair.page(vec![entry]).value.is_empty(), "the place was read already");
    assert!(pair.page(vec![copy]).value.is_empty(), "the same in another place");
}

#[test]
fn garbage_is_passed_over_and_what_is_behind_it_is_read() {
    let mut pair = Pair::new();
    let garbage = pair.entry(EntryKind::Application, vec![7; 400]);
    let out = pair.page(vec![garbage]);
    assert_eq!((out.value.len(), out.refusals()), (0, 1));
    // The epoch is read again once, in case it was only shown wrongly.
    let progress = pair.progress();
    assert_eq!(progress.cursor, progress.epoch);
    let garbage =
        Entry { seq: Seq(2), time: NOW, kind: EntryKind::Application, blob: Bytes::new(vec![7; 400]).unwrap() };
    let text = pair.text(None);
    let out = pair.page(vec![garbage, text]);
    assert_eq!(out.value.len(), 1);
    assert_eq!(pair.progress().cursor, Seq(3));
}

#[test]
fn a_view_that_agrees_is_handed_on_and_one_that_differs_is_a_server_that_lies() {
    let mut pair = Pair::new();
    let first = pair.text(None);
    pair.page(vec![first]);
    let seen = *pair.progress().view.last().unwrap();
    let honest = pair.text(Some(LogView { seq: seen.seq, hash: seen.hash }));
    let out = pair.page(vec![honest]);
    assert_eq!((out.value[0].agreed, out.refusals()), (Some((Seq(1), Seq(2))), 0));
    let other = pair.text(Some(LogView { seq: seen.seq, hash: [9; 32] }));
    let out = pair.page(vec![other]);
    assert_eq!((out.value[0].agreed, out.refusals()), (None, 1));
    assert!(pair.alice.step(|ctx| ctx.txn.need::<Info>(&ID).unwrap().hold.is_some()).value);
}

#[test]
fn a_commit_that_names_its_epochs_capabilities_is_followed() {
    let mut pair = Pair::new();
    let (commit, caps) = pair.refresh(|caps| caps);
    let expected = epoch_id(&FIRST, &commit.blob, &caps);
    let out = pair.page(vec![commit]);
    let progress = pair.progress();
    assert_eq!((progress.epoch, progress.epoch_id, out.refusals()), (Seq(2), expected, 0));
    // What stands on the new epoch is read there.
    let group = &mut pair.group;
    pair.bob.step(|ctx| group.merge_pending(&Mls::new(&mut ctx.txn, ctx.rng)).unwrap());
    (pair.epoch, pair.epoch_id) = (Seq(2), expected);
    let text = pair.text(None);
    assert_eq!(pair.page(vec![text]).value.len(), 1);
}

#[test]
fn a_commit_that_names_other_capabilities_is_passed_over_and_so_is_garbage() {
    let mut pair = Pair::new();
    let other = |caps: EpochCaps| EpochCaps { read: Capability::from_bytes([1; 32]).hash(), ..caps };
    let (commit, _) = pair.refresh(other);
    let copy = again(&commit);
    let out = pair.page(vec![commit]);
    assert_eq!((pair.progress().epoch, out.refusals()), (Seq(1), 1));
    // Read again from the start, it is the same: then help is called for and the way around is prepared.
    pair.page(vec![copy]);
    let progress = pair.progress();
    assert!(progress.refused.is_some_and(|(seq, _)| seq == Seq(2)) && progress.commit_due);
    let mut pair = Pair::new();
    let caps =
        EpochCaps { read: Capability::from_bytes([1; 32]).hash(), write: Capability::from_bytes([2; 32]).hash() };
    let garbage = pair.entry(EntryKind::Commit(caps), vec![7; 400]);
    let out = pair.page(vec![garbage]);
    assert_eq!((pair.progress().epoch, out.refusals()), (Seq(1), 1));
}

#[test]
fn entries_of_an_epoch_that_is_over_are_not_read() {
    let mut pair = Pair::new();
    let text = pair.text(None);
    pair.epoch = Seq(7);
    assert!(pair.page(vec![text]).value.is_empty());
    assert_eq!(pair.progress().cursor, Seq(1));
}

#[test]
fn what_this_device_wrote_is_recognised_in_the_log() {
    let mut pair = Pair::new();
    let log = &mut pair.log;
    let sent = pair.alice.step(|ctx| {
        let id = crate::talk::send::send(ctx, ID, Body::Text("hi".into())).unwrap();
        log.drive_outbox(ctx, ID, false).unwrap();
        let (_, out) = outgoing(&ctx.txn, &ID, 1).unwrap().remove(0);
        (id, out.sealed.unwrap().blob)
    });
    let entry = pair.entry(EntryKind::Application, sent.value.1);
    let log = &mut pair.log;
    let page = Page { entries: List::new(vec![entry]).unwrap(), more: false };
    let news = pair.alice.step(|ctx| {
        log.page(ctx, ID, Seq(1), &page).unwrap();
        (ctx.mail.messages.clone(), outgoing(&ctx.txn, &ID, 1).unwrap().len())
    });
    assert!(matches!(&news.value.0[..], [News::Sent { id, seq: Seq(2), .. }] if *id == sent.value.0));
    assert_eq!(news.value.1, 0);
}
