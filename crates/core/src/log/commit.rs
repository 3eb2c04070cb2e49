//! Commits of this device: from what it means to do ([`Intent`]) to an entry of the log.
//!
//! One commit of ours is on its way at a time. It is in the vault before it is sent, and it counts only once the log shows it
//! as the first valid commit on its epoch; if another came first, it is dropped and the intents are looked at again in the
//! new epoch.

use std::collections::BTreeSet;

use stonechat_wire::{
    AccountId, Bytes, Capability, ConversationId, DeviceId, EntryKind, EpochId, ErrorCode, Failure, ProvenAccount,
    Request, Seq, encode,
};

use super::intents::drop_pointless;
use super::join::WelcomePackage;
use super::judge::Evidence;
use super::policy::GroupState;
use super::rows::{Info, Intent, Outgoing, PendingCommit, Phase, Progress, Sealed, outgoing, set_hold};
use super::{Log, Question};
use crate::api::{ChangeFault, Event, Hold, Link, Role};
use crate::content::MessageId;
use crate::crypto::keys::EpochSecrets;
use crate::crypto::outer::OuterKind;
use crate::error::{CoreError, refusal_of};
use crate::limits::{ADD_BYTES_PER_COMMIT_MAX, ADDS_PER_COMMIT_MAX, WELCOME_BYTES_MAX};
use crate::mls::{self, CommitPlan};
use crate::people::belief::proofs;
use crate::post::outbox::{Invitation, invite};
use crate::step::{Ctx, News};
use crate::store::{Read as _, Record as _};

impl Log {
    /// Works on commits. Returns whether messages have to wait.
    pub(super) fn drive_commits(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<bool, CoreError> {
        if ctx.txn.has::<PendingCommit>(&id)? {
            self.post_commit(ctx, id)?;
            return Ok(true);
        }
        let progress = ctx.txn.need::<Progress>(&id)?;
        let mut info = ctx.txn.need::<Info>(&id)?;
        drop_pointless(ctx, id, &mut info)?;
        let (own, removals) =
            self.with_group(ctx, id, |group, _, _| Ok((group.own_leaf(), group.pending_removals())))?;
        let proposals = !removals.is_empty();
        let blocked = proposals || progress.refused.is_some() || info.opening;
        let leaving = info.intents.first() == Some(&Intent::Leave);
        if leaving && !removals.contains(&own) {
            return self.propose_leave(ctx, id, &progress, &info).map(|()| true);
        }
        if let Some((account, conversation)) = info.intents.iter().find_map(|intent| match intent {
            Intent::Add(account, packages) if packages.is_empty() => Some((*account, id)),
            _ => None,
        }) {
            self.take_key_packages(ctx, conversation, account)?;
            return Ok(blocked);
        }
        let waiting = !outgoing(&ctx.txn, &id, 1)?.is_empty();
        let due = progress.commit_due && (ctx.now >= progress.not_before || (proposals && waiting));
        // Leaving is committed by somebody else. When nobody stays, one who leaves commits that the others do, and is alone.
        let somebody_stays = info.leaves.iter().any(|leaf| !removals.contains(&leaf.index));
        let leaving = leaving && somebody_stays;
        // Helping somebody back in is everybody's job: one after the other tries.
        let patient = |intent: &Intent| matches!(intent, Intent::Replace(..) | Intent::RemoveDevice(..));
        let urgent = info.intents.iter().any(|intent| !patient(intent));
        // Whoever is added, and those whom the welcome names, are proven first: new contacts wait for the directory.
        let adding = info.intents.iter().any(|intent| matches!(intent, Intent::Add(..) | Intent::Replace(..)));
        if adding && !leaving_first(&info) && unproven(ctx, &info)? {
            return Ok(blocked);
        }
        if !progress.commit_due && info.intents.iter().any(|intent| matches!(intent, Intent::RemoveDevice(..))) {
            let mut progress = progress.clone();
            self.commit_soon(ctx, id, &mut progress, COMMIT_RETRY_MS)?;
            ctx.txn.store(&id, &progress);
            return Ok(blocked);
        }
        if !leaving && (due || (urgent && progress.refused.is_none())) {
            self.build_commit(ctx, id, &progress, info)?;
            return Ok(true);
        }
        if progress.commit_due {
            self.at(progress.not_before.max(ctx.now.plus_millis(1)), id);
        }
        Ok(blocked)
    }

    /// Leaving is proposed; another member commits it (RFC 9420 section 12.1.3 and 12.2: nobody commits their own removal).
    fn propose_leave(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &Progress,
        info: &Info,
    ) -> Result<(), CoreError> {
        let me = ctx.me.account();
        if info.leaves.iter().all(|leaf| leaf.account == me) {
            // Nobody is left to commit it, and nobody to tell.
            let mut progress = progress.clone();
            progress.phase = Phase::Gone;
            ctx.txn.store(&id, &progress);
            return set_hold(ctx, id, Some(Hold::Left));
        }
        let proposal =
            self.with_group(ctx, id, |group, mls, me| group.propose_leave(mls, &me.signer).map_err(CoreError::from))?;
        let secrets = self.secrets(ctx, id)?;
        let blob = secrets
            .outer
            .seal(ctx.rng, &id, &progress.epoch_id, OuterKind::Application, &proposal)
            .map_err(|e| CoreError::Bug(format!("sealing a proposal: {e}")))?;
        // A row without content: sent until the log shows it, and not again in another epoch.
        let out = Outgoing {
            content: Vec::new(),
            id: MessageId(ctx.random()),
            visible: false,
            sealed: Some(Sealed { epoch: progress.epoch, blob, acknowledged: None }),
        };
        let mut progress = progress.clone();
        ctx.txn.store(&(id, progress.next_out), &out);
        progress.next_out += 1;
        ctx.txn.store(&id, &progress);
        self.drive_outbox(ctx, id, true)
    }

    /// One commit for as many intents as fit, with whatever proposals of others wait.
    fn build_commit(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &Progress,
        info: Info,
    ) -> Result<(), CoreError> {
        let me = ctx.me.account();
        let before = info.group_state()?;
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
            Ok(group.commit(mls, &me.signer, plan).map_err(|_| ChangeFault::Mls))
        })?;
        // The author judges as everybody else will.
        let judged = match made {
            Ok(made) => refusal_of(self.check_policy(ctx, id, &made.changes, &aad))?.map(|()| made),
            Err(why) => Err(why),
        };
        let mls::PendingCommit { commit, welcome, .. } = match judged {
            Ok(made) => made,
            Err(why) => {
                // What is refused now is refused for ever: the intents go, the person is told.
                self.with_group(ctx, id, |group, mls, _| {
                    if group.pending() { group.clear_pending(mls).map_err(CoreError::from) } else { Ok(()) }
                })?;
                return drop_intents(ctx, id, info, draft.settles, why);
            }
        };
        let next = self
            .with_group(ctx, id, |group, mls, _| {
                EpochSecrets::derive(|label| group.export_pending(mls, label, &id.0)).map_err(CoreError::from)
            })?
            .caps();
        let welcome = match welcome {
            None => None,
            Some(welcome) => match package_welcome(ctx, &info, &draft.added, welcome)? {
                Some(package) => Some(package),
                None => {
                    self.with_group(ctx, id, |group, mls, _| group.clear_pending(mls).map_err(CoreError::from))?;
                    return drop_intents(ctx, id, info, draft.settles, ChangeFault::TooLarge);
                }
            },
        };
        let sealed = self.secrets(ctx, id)?.outer.seal(ctx.rng, &id, &progress.epoch_id, OuterKind::Commit, &commit);
        let Ok(blob) = sealed else {
            self.with_group(ctx, id, |group, mls, _| group.clear_pending(mls).map_err(CoreError::from))?;
            return drop_intents(ctx, id, info, draft.settles, ChangeFault::TooMany);
        };
        let record =
            PendingCommit { epoch: progress.epoch, blob, next, welcome, added: draft.added, settles: draft.settles };
        ctx.txn.store(&id, &record);
        self.live.entry(id).or_default().commit_posted = false;
        self.post_commit(ctx, id)
    }

    /// Sends the pending commit, unless it is on its way or the epoch that it stands on is over.
    fn post_commit(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        if self.questions.has(|q| matches!(q, Question::AppendCommit(c) if *c == id)) {
            return Ok(());
        }
        let live = self.live.entry(id).or_default();
        if live.commit_posted {
            return Ok(());
        }
        live.commit_posted = true;
        let progress = ctx.txn.need::<Progress>(&id)?;
        let Some(pending) = ctx.txn.load::<PendingCommit>(&id)? else { return Ok(()) };
        let write = Capability::from_bytes(*self.secrets(ctx, id)?.write.danger_bytes());
        let request = Request::Append {
            conversation: id,
            epoch: progress.epoch,
            epoch_id: progress.epoch_id,
            write,
            kind: EntryKind::Commit(pending.next),
            skip: progress.refused.map(|(seq, _)| seq),
            ttl_secs: None,
            blob: Bytes::new(pending.blob).map_err(|_| CoreError::bug("a commit over the entry's bound"))?,
        };
        self.questions.ask(ctx, Link::Anonymous, request, Question::AppendCommit(id));
        Ok(())
    }

    /// The server has our commit. Only the log says whether it counts. If the log went past that place without it, it was
    /// shown wrongly and is read again.
    pub(super) fn commit_acknowledged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        seq: Seq,
    ) -> Result<(), CoreError> {
        let pending = ctx.txn.has::<PendingCommit>(&id)?;
        let Some(mut progress) =
            ctx.txn.load::<Progress>(&id)?.filter(|progress| pending && progress.epoch < seq && seq <= progress.cursor)
        else {
            return Ok(());
        };
        self.rewind(ctx, id, &mut progress);
        ctx.txn.store(&id, &progress);
        Ok(())
    }

    /// The server refused our commit: another is there already.
    pub(super) fn commit_refused(
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
    pub(super) fn commit_settled(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        pending: &PendingCommit,
        seq: Seq,
        epoch_id: EpochId,
    ) -> Result<(), CoreError> {
        ctx.txn.remove::<PendingCommit>(&id);
        let mut info = ctx.txn.need::<Info>(&id)?;
        info.intents.drain(..(pending.settles as usize).min(info.intents.len()));
        ctx.txn.store(&id, &info);
        if let Some(welcome) = &pending.welcome {
            let to = Invitation { conversation: id, is_group: info.peer.is_none(), epoch: seq, epoch_id };
            if refusal_of(invite(ctx, &to, welcome, &pending.added))?.is_err() {
                set_hold(ctx, id, Some(Hold::Change(ChangeFault::TooLarge)))?;
            }
        }
        if !pending.added.is_empty() && progress.next_out <= FIRST_OUT {
            ctx.mail.messages.push(News::Introduce(id));
        }
        Ok(())
    }
}

impl Log {
    /// Something is to be committed by whoever is first: this device's turn comes the later the further back it stands.
    pub(super) fn commit_soon(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        base_ms: u64,
    ) -> Result<(), CoreError> {
        let info = ctx.txn.need::<Info>(&id)?;
        let me = ctx.me.account();
        let rank = info.leaves.iter().position(|leaf| leaf.account == me).unwrap_or(0) as u64;
        let wait = base_ms / 4 + rank.min(32) * base_ms / 2 + ctx.jitter_ms(base_ms);
        progress.commit_due = true;
        progress.not_before = ctx.now.plus_millis(wait);
        self.at(progress.not_before, id);
        Ok(())
    }
}

/// Whether a commit that adds has to wait for proofs. Those who are added were looked up; this account and members of
/// conversations from before there was a directory may still be.
fn unproven(ctx: &mut Ctx<'_>, info: &Info) -> Result<bool, CoreError> {
    let me = ctx.me.account();
    let added = info.intents.iter().filter_map(|intent| match intent {
        Intent::Add(account, _) | Intent::Replace(account, _) => Some(*account),
        _ => None,
    });
    let all: BTreeSet<_> = info.leaves.iter().map(|leaf| leaf.account).chain(added).chain([me]).collect();
    for account in all {
        if ctx.txn.load::<ProvenAccount>(&account)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn drop_intents(
    ctx: &mut Ctx<'_>,
    id: ConversationId,
    mut info: Info,
    settles: u32,
    why: ChangeFault,
) -> Result<(), CoreError> {
    info.intents.drain(..(settles as usize).min(info.intents.len()));
    info.opening = false;
    info.hold = Some(Hold::Change(why));
    ctx.txn.store(&id, &info);
    ctx.event(Event::Conversation(id));
    Ok(())
}

/// The welcome with the account logs of everybody who will be in the conversation.
fn package_welcome(
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
        proven
            .push(ctx.txn.load::<ProvenAccount>(&account)?.ok_or_else(|| CoreError::bug("a member without a proof"))?);
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
        let accounts = proofs(ctx, accounts)?.ok_or_else(|| CoreError::bug("adding somebody without a proof"))?;
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
    let evidence = ctx.txn.get(ProvenAccount::TABLE, &ProvenAccount::key(account))?.map_or(0, |proven| proven.len());
    Ok(evidence + packages.iter().map(|package| package.bytes.len()).sum::<usize>())
}

/// How long a commit may stay without an effect before it is looked at again.
const COMMIT_RETRY_MS: u64 = 1_000;

/// A device hands out its contact capability with one of its first messages.
const FIRST_OUT: u64 = 8;
