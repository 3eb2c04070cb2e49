//! Commits of this device: from what it means to do ([`Intent`]) to an entry of the log, and the policy that judges others'.
//!
//! One commit of ours is on its way at a time. It is in the vault before it is sent, and it counts only once the log shows it
//! as the first valid commit on its epoch; if another came first, it is dropped and the intents are looked at again in the
//! new epoch.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use stonechat_wire::limits::{ACCOUNT_LOG_BYTES_MAX, CHECKPOINT_BYTES_MAX, ENTRY_BYTES_MAX, LOOKUP_PROOF_BYTES_MAX};
use stonechat_wire::message::DeviceKeyPackage;
use stonechat_wire::{
    AccountId, AccountState, Bytes, ConversationId, DeviceId, EntryKind, EpochId, ErrorCode, Failure, List,
    ProvenAccount, Request, Seq, decode, encode,
};

use crate::api::{Event, Link, Role};
use crate::content::{Body, MessageId};
use crate::crypto::keys::EpochSecrets;
use crate::crypto::outer::OuterKind;
use crate::limits::{ADD_BYTES_PER_COMMIT_MAX, ADDS_PER_COMMIT_MAX, WELCOME_BYTES_MAX};
use crate::links::{Pending, mls_bug};
use crate::log::policy::{self, GroupState, NewLeaf, PolicyLeaf, Proposed};
use crate::mls::{self, Changes, CommitPlan, LeafIdentity};
use crate::people::accounts::known;
use crate::step::Ctx;
use crate::store::records::{
    Head, Info, Intent, KeyPackageRecord, OutRecord, PendingCommit, Phase, Read, Sealed, Write, commit_key, info_key,
    out_key, proof_key,
};
use crate::store::vault::Table;
use crate::{Core, CoreError};

/// What a commit carries for those who judge it, in MLS's authenticated data: the account logs of everybody it adds with what
/// the directory says of them, so that all members judge by the same evidence.
#[derive(Encode, Decode, Default)]
#[cbor(map)]
pub(crate) struct Evidence {
    #[n(1)]
    pub accounts: List<ProvenAccount, ADDS_PER_COMMIT_MAX>,
}

const _: () = assert!(
    ACCOUNT_LOG_BYTES_MAX + 2 * LOOKUP_PROOF_BYTES_MAX + 2 * CHECKPOINT_BYTES_MAX < ENTRY_BYTES_MAX,
    "one account's log and its proof fit a commit"
);
const _: () = assert!(ADD_BYTES_PER_COMMIT_MAX < ENTRY_BYTES_MAX * 4 / 5, "what surrounds it fits beside it");

/// What joiners need beside MLS's welcome: the account logs of all members with their proofs, so that they too judge every
/// leaf.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct WelcomePackage {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub welcome: Vec<u8>,
    #[n(2)]
    pub accounts: Vec<ProvenAccount>,
}

/// How long a commit may stay without an effect before it is looked at again.
const COMMIT_RETRY_MS: u64 = 1_000;
/// Between two looks whether somebody has key packages by now.
const PAUSE_SECS_MIN: u64 = 15;
const PAUSE_SECS_MAX: u64 = 30 * 60;

impl Core {
    /// Works on commits. Returns whether messages have to wait.
    pub(crate) fn drive_commits(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<bool, CoreError> {
        if ctx.txn.get(Table::Outbox, &commit_key(&id))?.is_some() {
            self.post_commit(ctx, id)?;
            return Ok(true);
        }
        let head = ctx.txn.head(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its head".into()))?;
        let mut info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        self.drop_pointless(ctx, id, &mut info)?;
        let (own, removals) =
            self.with_group(ctx, id, |group, _, _| Ok((group.own_leaf(), group.pending_removals())))?;
        let proposals = !removals.is_empty();
        let blocked = proposals || head.refused.is_some() || info.opening;
        let leaving = info.intents.first() == Some(&Intent::Leave);
        if leaving && !removals.contains(&own) {
            return self.propose_leave(ctx, id, &head, &info).map(|()| true);
        }
        if let Some((account, conversation)) = info.intents.iter().find_map(|intent| match intent {
            Intent::Add(account, packages) if packages.is_empty() => Some((*account, id)),
            _ => None,
        }) {
            self.take_key_packages(ctx, conversation, account)?;
            return Ok(blocked);
        }
        let waiting = !ctx.txn.outbox(&id, 1)?.is_empty();
        let due = head.commit_due && (ctx.now >= head.not_before || (proposals && waiting));
        // Leaving is committed by somebody else. When nobody stays, one who leaves commits that the others do, and is alone.
        let somebody_stays = info.leaves.iter().any(|leaf| !removals.contains(&leaf.index));
        let leaving = leaving && somebody_stays;
        // Helping somebody back in is everybody's job: one after the other tries.
        let patient = |intent: &Intent| matches!(intent, Intent::Replace(..) | Intent::RemoveDevice(..));
        let urgent = info.intents.iter().any(|intent| !patient(intent));
        // Whoever is added, and those whom the welcome names, are proven first: new contacts wait for the directory.
        let adding = info.intents.iter().any(|intent| matches!(intent, Intent::Add(..) | Intent::Replace(..)));
        if adding && !leaving_first(&info) && self.unproven(ctx, &info)? {
            return Ok(blocked);
        }
        if !head.commit_due && info.intents.iter().any(|intent| matches!(intent, Intent::RemoveDevice(..))) {
            let mut head = head.clone();
            self.commit_soon(ctx, id, &mut head, COMMIT_RETRY_MS)?;
            ctx.txn.save(Table::Conversation, &id.0, &head);
            return Ok(blocked);
        }
        if !leaving && (due || (urgent && head.refused.is_none())) {
            self.build_commit(ctx, id, &head, info)?;
            return Ok(true);
        }
        if head.commit_due {
            self.at(head.not_before.max(ctx.now.plus_millis(1)), id);
        }
        Ok(blocked)
    }

    /// Whether a commit that adds has to wait for proofs. Those who are added were looked up; this account and members of
    /// conversations from before there was a directory may still be.
    fn unproven(&mut self, ctx: &mut Ctx<'_>, info: &Info) -> Result<bool, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody commits".into()))?.account();
        let added = info.intents.iter().filter_map(|intent| match intent {
            Intent::Add(account, _) | Intent::Replace(account, _) => Some(*account),
            _ => None,
        });
        let all: BTreeSet<_> = info.leaves.iter().map(|leaf| leaf.account).chain(added).chain([me]).collect();
        for account in all {
            if ctx.txn.proof(&account)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops intents from the front that no longer make sense.
    fn drop_pointless(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, info: &mut Info) -> Result<(), CoreError> {
        let before = info.intents.len();
        let leaves = info.leaves.clone();
        let has = |account: &AccountId| leaves.iter().any(|leaf| leaf.account == *account);
        let state = self.group_state(info)?;
        info.intents.retain(|intent| match intent {
            Intent::Add(account, _) => !has(account),
            Intent::Remove(account) | Intent::SetRole(account, _) | Intent::Replace(account, _) => has(account),
            Intent::Rename(name) => state.name != *name,
            Intent::RemoveDevice(account, device) => {
                leaves.iter().any(|leaf| leaf.account == *account && leaf.device == *device)
            }
            Intent::Leave | Intent::Refresh => true,
        });
        if info.intents.len() != before {
            ctx.txn.save(Table::Conversation, &info_key(&id), &*info);
        }
        Ok(())
    }

    fn take_key_packages(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
    ) -> Result<(), CoreError> {
        let asked = |p: &Pending| matches!(p, Pending::TakeKeyPackages { conversation, account: a } if *conversation == id && *a == account);
        if self.session.waits(Link::Anonymous, asked) {
            return Ok(());
        }
        let paused = self.live.get(&id).map(|live| live.paused_until).unwrap_or_default();
        if ctx.now < paused {
            self.at(paused, id);
            return Ok(());
        }
        let Some(token) = self.token(ctx)? else { return Ok(()) };
        self.ask(
            ctx,
            Link::Anonymous,
            Request::TakeKeyPackages { account, token },
            Pending::TakeKeyPackages { conversation: id, account },
        );
        Ok(())
    }

    pub(crate) fn key_packages_taken(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
        packages: &[DeviceKeyPackage],
    ) -> Result<(), CoreError> {
        let Some(state) = known(ctx, &account)? else { return Ok(()) };
        let mut good = Vec::new();
        for DeviceKeyPackage { device, package } in packages {
            match self.vouch(ctx, &state, *device, package)? {
                Ok(()) => good.push(KeyPackageRecord { device: *device, bytes: package.to_vec() }),
                Err(why) => ctx.refused(
                    Some(id),
                    format!("the server offered a device of {} that is not theirs: {why}", state.handle()),
                ),
            }
        }
        if good.is_empty() {
            return self.cannot_add(
                ctx,
                id,
                account,
                format!("{} cannot be reached at the moment: no device of theirs is ready.", state.handle()),
            );
        }
        if let Some(mut info) = ctx.txn.info(&id)? {
            for intent in &mut info.intents {
                if let Intent::Add(a, packages) = intent
                    && *a == account
                    && packages.is_empty()
                {
                    packages.clone_from(&good);
                }
            }
            ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        }
        self.dirty.insert(id);
        Ok(())
    }

    /// Whether a key package is what the verified account log says of that device.
    pub(crate) fn vouch(
        &mut self,
        ctx: &mut Ctx<'_>,
        state: &AccountState,
        device: DeviceId,
        package: &[u8],
    ) -> Result<Result<(), String>, CoreError> {
        let mls = mls::Mls::new(&mut ctx.txn, ctx.rng);
        let inspected = match mls::inspect_key_package(&mls, package) {
            Ok(inspected) => inspected,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let theirs = state.device(&device);
        Ok(match theirs {
            None => Err("the account log does not have that device".into()),
            Some(_) if inspected.identity != (LeafIdentity { account: state.id(), device }) => {
                Err("it names another device".into())
            }
            Some(keys) if keys.signature != inspected.signature_key => Err("it is signed with another key".into()),
            Some(_) if inspected.not_after < ctx.now.0 => Err("it is out of date".into()),
            Some(_) => Ok(()),
        })
    }

    pub(crate) fn key_packages_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match failure.code {
            ErrorCode::NotFound => {
                let who =
                    known(ctx, &account)?.map_or_else(|| "Somebody".to_owned(), |state| state.handle().to_string());
                self.cannot_add(
                    ctx,
                    id,
                    account,
                    format!("{who} cannot be reached at the moment: no device of theirs is ready."),
                )
            }
            _ => {
                self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2))), id);
                Ok(())
            }
        }
    }

    /// Somebody cannot be added. Direct messages are nothing without them and wait; a group goes on.
    fn cannot_add(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
        why: String,
    ) -> Result<(), CoreError> {
        let Some(mut info) = ctx.txn.info(&id)? else { return Ok(()) };
        if info.peer.is_some() && info.leaves.len() <= 1 {
            return self.add_later(ctx, id, &why);
        }
        info.intents.retain(|intent| !matches!(intent, Intent::Add(a, _) if *a == account));
        if info.intents.is_empty() {
            info.opening = false;
        }
        info.notice = Some(why);
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        ctx.event(Event::Conversation(id));
        self.dirty.insert(id);
        Ok(())
    }

    /// Somebody who has just signed up, or whose devices were used up: asked for again, each time after twice as long, because each
    /// time costs a token. What was written waits.
    fn add_later(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, why: &str) -> Result<(), CoreError> {
        let live = self.live.entry(id).or_default();
        live.pause_secs = (2 * live.pause_secs).clamp(PAUSE_SECS_MIN, PAUSE_SECS_MAX);
        live.paused_until = ctx.now.plus_secs(live.pause_secs);
        let until = live.paused_until;
        self.at(until, id);
        self.notice(ctx, id, Some(format!("{why} What you write is sent when one is.")))
    }

    /// Leaving is proposed; another member commits it (RFC 9420 section 12.1.3 and 12.2: nobody commits their own removal).
    fn propose_leave(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &Head,
        info: &Info,
    ) -> Result<(), CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody leaves".into()))?.account();
        if info.leaves.iter().all(|leaf| leaf.account == me) {
            // Nobody is left to commit it, and nobody to tell.
            let mut head = head.clone();
            head.phase = Phase::Gone;
            ctx.txn.save(Table::Conversation, &id.0, &head);
            return self.notice(ctx, id, Some("You left this group.".into()));
        }
        let proposal =
            self.with_group(ctx, id, |group, mls, me| group.propose_leave(mls, &me.signer).map_err(mls_bug))?;
        self.secrets(ctx, id)?;
        let secrets = self
            .live
            .get(&id)
            .and_then(|live| live.secrets.as_ref())
            .ok_or_else(|| CoreError::Bug("secrets vanished".into()))?;
        let blob = secrets
            .outer
            .seal(ctx.rng, &id, &head.epoch_id, OuterKind::Application, &proposal)
            .map_err(|e| CoreError::Bug(format!("sealing a proposal: {e}")))?;
        // A row without content: sent until the log shows it, and not again in another epoch.
        let out = OutRecord {
            content: Vec::new(),
            id: MessageId(ctx.random()),
            visible: false,
            sealed: Some(Sealed { epoch: head.epoch, blob, acknowledged: None }),
        };
        let mut head = head.clone();
        ctx.txn.save(Table::Outbox, &out_key(&id, head.next_out), &out);
        head.next_out += 1;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        self.drive_outbox(ctx, id, true)
    }

    /// One commit for as many intents as fit, with whatever proposals of others wait.
    fn build_commit(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &Head,
        info: Info,
    ) -> Result<(), CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody commits".into()))?.account();
        let before = self.group_state(&info)?;
        let mut draft = Draft::on(before.clone());
        // Nobody commits their own leave.
        let proposed = self.with_group(ctx, id, |group, _, _| {
            let own = group.own_leaf();
            Ok(group.pending_removals().into_iter().filter(|leaf| *leaf != own).collect::<Vec<_>>())
        })?;
        let mut bytes = 0;
        for intent in &info.intents {
            bytes += commit_bytes(ctx, intent)?;
            // One at least: more than fits at once is several commits.
            let full =
                draft.added.len() >= ADDS_PER_COMMIT_MAX || (draft.settles > 0 && bytes > ADD_BYTES_PER_COMMIT_MAX);
            if matches!(intent, Intent::Leave) || full {
                break;
            }
            draft.take(intent, &info, &proposed);
        }
        draft.settle(&info, &proposed, me);
        let evidence = draft.evidence(ctx)?;
        let state_changed = draft.after != before;
        let only_adds = !draft.added.is_empty()
            && draft.removed.is_empty()
            && !state_changed
            && proposed.is_empty()
            && !draft.refresh;
        let plan = CommitPlan {
            add: draft.packages,
            remove: draft.removed,
            state: state_changed.then(|| draft.after.encode()),
            // A path renews this device's keys. Adds alone do without: the commit stays small, and the next one has it.
            update_path: !only_adds,
            aad: encode(&evidence),
        };
        let aad = plan.aad.clone();
        let made = self.with_group(ctx, id, |group, mls, me| {
            Ok(group.commit(mls, &me.signer, plan).map_err(|error| error.to_string()))
        })?;
        // The author judges as everybody else will.
        let judged = match made {
            Ok(made) => self.check_policy(ctx, id, &made.changes, &aad)?.map(|()| made),
            Err(why) => Err(why),
        };
        let mls::PendingCommit { commit, welcome, .. } = match judged {
            Ok(made) => made,
            Err(why) => {
                // What is refused now is refused for ever: the intents go, the person is told.
                self.with_group(ctx, id, |group, mls, _| {
                    if group.pending() { group.clear_pending(mls).map_err(mls_bug) } else { Ok(()) }
                })?;
                return self.drop_intents(ctx, id, info, draft.settles, &why);
            }
        };
        let next = self
            .with_group(ctx, id, |group, mls, _| {
                EpochSecrets::derive(|label| group.export_pending(mls, label, &id.0)).map_err(mls_bug)
            })?
            .caps();
        let welcome = match welcome {
            None => None,
            Some(welcome) => match self.package_welcome(ctx, &info, &draft.added, welcome)? {
                Some(package) => Some(package),
                None => {
                    self.with_group(ctx, id, |group, mls, _| group.clear_pending(mls).map_err(mls_bug))?;
                    return self.drop_intents(
                        ctx,
                        id,
                        info,
                        draft.settles,
                        "the group is too large to invite more people",
                    );
                }
            },
        };
        self.secrets(ctx, id)?;
        let secrets = self
            .live
            .get(&id)
            .and_then(|live| live.secrets.as_ref())
            .ok_or_else(|| CoreError::Bug("secrets vanished".into()))?;
        let sealed = secrets.outer.seal(ctx.rng, &id, &head.epoch_id, OuterKind::Commit, &commit);
        let Ok(blob) = sealed else {
            self.with_group(ctx, id, |group, mls, _| group.clear_pending(mls).map_err(mls_bug))?;
            return self.drop_intents(ctx, id, info, draft.settles, "too many people at once; add fewer");
        };
        let record =
            PendingCommit { epoch: head.epoch, blob, next, welcome, added: draft.added, settles: draft.settles };
        ctx.txn.save(Table::Outbox, &commit_key(&id), &record);
        self.live.entry(id).or_default().commit_posted = false;
        self.post_commit(ctx, id)
    }

    fn drop_intents(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        mut info: Info,
        settles: u32,
        why: &str,
    ) -> Result<(), CoreError> {
        info.intents.drain(..(settles as usize).min(info.intents.len()));
        info.opening = false;
        info.notice = Some(format!("A change could not be made: {why}"));
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    /// The welcome with the account logs of everybody who will be in the conversation.
    fn package_welcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        info: &Info,
        added: &[(AccountId, DeviceId)],
        welcome: Vec<u8>,
    ) -> Result<Option<Bytes<WELCOME_BYTES_MAX>>, CoreError> {
        let mut accounts: Vec<AccountId> =
            info.leaves.iter().map(|leaf| leaf.account).chain(added.iter().map(|(account, _)| *account)).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut proven = Vec::new();
        for account in accounts {
            proven.push(ctx.txn.proof(&account)?.ok_or_else(|| CoreError::Bug("a member without a proof".into()))?);
        }
        let mut package = WelcomePackage { welcome, accounts: proven };
        let mut bytes = encode(&package);
        if bytes.len() > WELCOME_BYTES_MAX {
            // Without the proofs of the handles it may fit: joiners look them up.
            package.accounts.iter_mut().for_each(|account| account.proof.handle = None);
            bytes = encode(&package);
        }
        Ok(Bytes::new(bytes).ok())
    }

    /// Sends the pending commit, unless it is on its way or the epoch that it stands on is over.
    fn post_commit(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        if self.session.waits(Link::Anonymous, |p| matches!(p, Pending::AppendCommit(c) if *c == id)) {
            return Ok(());
        }
        let live = self.live.entry(id).or_default();
        if live.commit_posted {
            return Ok(());
        }
        live.commit_posted = true;
        let head = ctx.txn.head(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its head".into()))?;
        let Some(pending) = ctx.txn.record::<PendingCommit>(Table::Outbox, &commit_key(&id))? else { return Ok(()) };
        let write = stonechat_wire::Capability::from_bytes(*self.secrets(ctx, id)?.write.danger_bytes());
        let request = Request::Append {
            conversation: id,
            epoch: head.epoch,
            epoch_id: head.epoch_id,
            write,
            kind: EntryKind::Commit(pending.next),
            skip: head.refused.map(|(seq, _)| seq),
            ttl_secs: None,
            blob: Bytes::new(pending.blob).map_err(|_| CoreError::Bug("a commit over the entry's bound".into()))?,
        };
        self.ask(ctx, Link::Anonymous, request, Pending::AppendCommit(id));
        Ok(())
    }

    /// The server has our commit. Only the log says whether it counts. If the log went past that place without it, it was
    /// shown wrongly and is read again.
    pub(crate) fn commit_acknowledged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        seq: Seq,
    ) -> Result<(), CoreError> {
        let pending = ctx.txn.get(Table::Outbox, &commit_key(&id))?.is_some();
        let Some(mut head) = ctx.txn.head(&id)?.filter(|head| pending && head.epoch < seq && seq <= head.cursor) else {
            return Ok(());
        };
        self.rewind(ctx, id, &mut head);
        ctx.txn.save(Table::Conversation, &id.0, &head);
        Ok(())
    }

    /// The server refused our commit: another is there already.
    pub(crate) fn commit_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let Some(live) = self.live.get_mut(&id) else { return Ok(()) };
        live.commit_posted = false;
        live.caught_up = false;
        live.following = None;
        let wait = match failure.code {
            ErrorCode::EpochOver => COMMIT_RETRY_MS / 2 + ctx.jitter_ms(COMMIT_RETRY_MS),
            _ => u64::from(failure.retry_after_secs.unwrap_or(2)).saturating_mul(1_000),
        };
        self.at(ctx.now.plus_millis(wait), id);
        Ok(())
    }

    /// Our commit is the one that counts: those whom it added are invited, what it settled is settled.
    pub(crate) fn commit_settled(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        pending: &PendingCommit,
        seq: Seq,
        epoch_id: EpochId,
    ) -> Result<(), CoreError> {
        ctx.txn.delete(Table::Outbox, commit_key(&id));
        let mut info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        info.intents.drain(..(pending.settles as usize).min(info.intents.len()));
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        if let Some(welcome) = &pending.welcome {
            self.invite(ctx, id, info.peer.is_none(), seq, epoch_id, welcome, &pending.added)?;
        }
        if !pending.added.is_empty() && head.next_out <= FIRST_OUT {
            self.hand_out_contact(ctx, id, head)?;
        }
        Ok(())
    }

    /// Gives the members this account's contact capability, so that they reach its inbox.
    pub(crate) fn hand_out_contact(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
    ) -> Result<(), CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody introduces themselves".into()))?;
        let capability = me.record.contact.clone();
        // `enqueue` reads and writes the head; the caller's copy follows.
        ctx.txn.save(Table::Conversation, &id.0, &*head);
        self.enqueue(ctx, id, Body::ContactCard { capability })?;
        if let Some(saved) = ctx.txn.head(&id)? {
            head.next_out = saved.next_out;
        }
        Ok(())
    }

    /// Judges a commit by the policy, with the evidence that it carries.
    pub(crate) fn check_policy(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        changes: &Changes,
        aad: &[u8],
    ) -> Result<Result<(), String>, CoreError> {
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let before = self.group_state(&info)?;
        let after = match &changes.state {
            None => before.clone(),
            Some(bytes) => match GroupState::decode(bytes) {
                Ok(state) => state,
                Err(_) => return Ok(Err("the new state of the group is malformed".into())),
            },
        };
        let evidence: Evidence = if aad.is_empty() {
            Evidence::default()
        } else {
            match decode(aad) {
                Ok(evidence) => evidence,
                Err(_) => return Ok(Err("its evidence is malformed".into())),
            }
        };
        let mut proven = BTreeSet::new();
        for account in evidence.accounts.iter() {
            // One that nobody needs could still be one that some members know otherwise: it would divide them for nothing.
            let of = account.log.0.first().map(|entry| AccountId(entry.hash()));
            if !changes.adds.iter().any(|added| Some(added.leaf.identity.account) == of) {
                return Ok(Err("it brings an account log that it does not need".into()));
            }
            match self.believe_member(ctx, account)? {
                Ok(id) => proven.insert(id),
                Err(why) => return Ok(Err(format!("an account that it brings: {why}"))),
            };
        }
        // The same facts for everybody who judges: who is added is proven by the commit itself.
        if changes.adds.iter().any(|added| !proven.contains(&added.leaf.identity.account)) {
            return Ok(Err("it adds somebody without what the directory says of them".into()));
        }
        let before_leaves = self.with_group(ctx, id, |group, _, _| Ok(group.members().to_vec()))?;
        let mut states = BTreeMap::new();
        let named =
            before_leaves.iter().chain(changes.adds.iter().map(|added| &added.leaf)).chain(&changes.sender_update);
        for account in named.map(|leaf| leaf.identity.account).collect::<BTreeSet<_>>() {
            if let Some(state) = known(ctx, &account)? {
                states.insert(account, state);
            }
        }
        let logs = |account: &AccountId| states.get(account);
        let leaf = |leaf: &mls::Leaf| PolicyLeaf {
            index: leaf.index,
            account: leaf.identity.account,
            device: leaf.identity.device,
            signature_key: leaf.signature_key,
        };
        let new =
            |leaf: &mls::Leaf| NewLeaf::from_parts(leaf.identity.account, leaf.identity.device, leaf.signature_key);
        let members_before: Vec<_> = before_leaves.iter().map(leaf).collect();
        let adds: Vec<_> = changes.adds.iter().map(|added| new(&added.leaf)).collect();
        let removes: Vec<_> = changes.removes.iter().map(|leaf| leaf.index).collect();
        let self_leaving: Vec<_> = changes.leaves.iter().map(|leaf| leaf.index).collect();
        let update = changes.sender_update.as_ref().map(new);
        let verdict = policy::check_commit(&Proposed {
            before: &before,
            members_before: &members_before,
            committer: changes.sender.index,
            external: false,
            adds: &adds,
            removes: &removes,
            self_leaving: &self_leaving,
            sender_update: update.as_ref(),
            other_updates: 0,
            other_proposals: false,
            after: &after,
            logs: &logs,
        });
        Ok(verdict.map_err(|refusal| refusal.to_string()))
    }
}

/// A device hands out its contact capability with one of its first messages.
const FIRST_OUT: u64 = 8;

/// A commit in the making.
struct Draft {
    after: GroupState,
    packages: Vec<Vec<u8>>,
    added: Vec<(AccountId, DeviceId)>,
    removed: Vec<u32>,
    roles: Vec<(AccountId, Role)>,
    refresh: bool,
    settles: u32,
}

impl Draft {
    fn on(state: GroupState) -> Self {
        Self {
            after: state,
            packages: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
            roles: Vec::new(),
            refresh: false,
            settles: 0,
        }
    }

    fn take(&mut self, intent: &Intent, info: &Info, proposed: &[u32]) {
        let remove = |removed: &mut Vec<u32>, index: u32| {
            if !proposed.contains(&index) && !removed.contains(&index) {
                removed.push(index);
            }
        };
        match intent {
            Intent::Add(account, packages) => {
                for package in packages {
                    self.packages.push(package.bytes.clone());
                    self.added.push((*account, package.device));
                }
            }
            Intent::Replace(account, package) => {
                let old = info.leaves.iter().find(|leaf| leaf.account == *account && leaf.device == package.device);
                if let Some(old) = old {
                    remove(&mut self.removed, old.index);
                    self.packages.push(package.bytes.clone());
                    self.added.push((*account, package.device));
                }
            }
            Intent::RemoveDevice(account, device) => {
                for leaf in info.leaves.iter().filter(|leaf| leaf.account == *account && leaf.device == *device) {
                    remove(&mut self.removed, leaf.index);
                }
            }
            Intent::Remove(account) => {
                for leaf in info.leaves.iter().filter(|leaf| leaf.account == *account) {
                    remove(&mut self.removed, leaf.index);
                }
            }
            Intent::Rename(name) => self.after.set_name(name.clone()),
            Intent::SetRole(account, role) => self.roles.push((*account, *role)),
            Intent::Refresh => self.refresh = true,
            Intent::Leave => return,
        }
        self.settles += 1;
    }

    /// Writes down the roles of those who stay, then gives the new ones.
    fn settle(&mut self, info: &Info, proposed: &[u32], me: AccountId) {
        let leaves: Vec<_> = info.leaves.iter().map(|leaf| (leaf.index, leaf.account)).collect();
        let added: Vec<_> = self.added.iter().map(|(account, _)| *account).collect();
        if !(added.is_empty() && self.removed.is_empty() && proposed.is_empty()) {
            self.after.settle(&leaves, &self.removed, proposed, &added);
        }
        for (account, role) in std::mem::take(&mut self.roles) {
            self.after.set_role(me, account, role);
        }
    }

    fn evidence(&self, ctx: &Ctx<'_>) -> Result<Evidence, CoreError> {
        let accounts: BTreeSet<_> = self.added.iter().map(|(account, _)| *account).collect();
        let accounts = crate::people::directory::proofs(ctx, accounts)?
            .ok_or_else(|| CoreError::Bug("adding somebody without a proof".into()))?;
        Ok(Evidence { accounts })
    }
}

fn leaving_first(info: &Info) -> bool {
    info.intents.first() == Some(&Intent::Leave)
}

/// What an intent brings into a commit: key packages, and the account logs with their proofs that vouch for them.
fn commit_bytes(ctx: &Ctx<'_>, intent: &Intent) -> Result<usize, CoreError> {
    let (account, packages) = match intent {
        Intent::Add(account, packages) => (account, packages.as_slice()),
        Intent::Replace(account, package) => (account, std::slice::from_ref(package)),
        _ => return Ok(0),
    };
    let evidence = ctx.txn.get(Table::Meta, &proof_key(account))?.map_or(0, |proven| proven.len());
    Ok(evidence + packages.iter().map(|package| package.bytes.len()).sum::<usize>())
}
/// Who may do what, before anything is sent.
pub(crate) fn role_of(state: &GroupState, info: &Info, account: &AccountId) -> Option<Role> {
    let leaves: Vec<_> = info.leaves.iter().map(|leaf| (leaf.index, leaf.account)).collect();
    policy::roles_effective(state, &leaves).get(account).copied()
}
