//! What this device means to commit, and what it needs for that: key packages of those whom it adds.
//!
//! Each intent is checked again when its turn comes, and dropped when it no longer makes sense.

use stonechat_wire::message::DeviceKeyPackage;
use stonechat_wire::{AccountId, AccountState, ConversationId, DeviceId, ErrorCode, Failure, Request, Timestamp};

use super::rows::{Info, Intent, KeyPackageRecord, LeafRecord, Phase, Progress, conversation_ids, set_notice};
use super::{Log, Question};
use crate::api::{Event, Link};
use crate::error::{CoreError, Judged, refusal_of, refuse};
use crate::mls::{self, LeafIdentity};
use crate::people::accounts::known;
use crate::step::Ctx;
use crate::store::Read as _;
use crate::supplies::take_token;

/// Drops intents from the front that no longer make sense.
pub(super) fn drop_pointless(ctx: &mut Ctx<'_>, id: ConversationId, info: &mut Info) -> Result<(), CoreError> {
    let before = info.intents.len();
    let leaves = info.leaves.clone();
    let has = |account: &AccountId| leaves.iter().any(|leaf| leaf.account == *account);
    let state = info.group_state()?;
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
        ctx.txn.store(&id, &*info);
    }
    Ok(())
}

/// Whether a key package is what the verified account log says of that device.
pub(super) fn vouch(ctx: &mut Ctx<'_>, state: &AccountState, device: DeviceId, package: &[u8]) -> Judged<()> {
    let mls = mls::Mls::new(&mut ctx.txn, ctx.rng);
    let inspected = mls::inspect_key_package(&mls, package).or_else(refuse)?;
    match state.device(&device) {
        None => refuse("the account log does not have that device"),
        Some(_) if inspected.identity != (LeafIdentity { account: state.id(), device }) => {
            refuse("it names another device")
        }
        Some(keys) if keys.signature != inspected.signature_key => refuse("it is signed with another key"),
        Some(_) if inspected.not_after < ctx.now.0 => refuse("it is out of date"),
        Some(_) => Ok(()),
    }
}

impl Log {
    pub(super) fn take_key_packages(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
    ) -> Result<(), CoreError> {
        let asked = |q: &Question| matches!(q, Question::TakeKeyPackages { conversation, account: a } if *conversation == id && *a == account);
        if self.questions.has(asked) {
            return Ok(());
        }
        let paused = self.live.get(&id).map(|live| live.paused_until).unwrap_or_default();
        if ctx.now < paused {
            self.at(paused, id);
            return Ok(());
        }
        let Some(token) = take_token(ctx)? else { return Ok(()) };
        self.questions.ask(
            ctx,
            Link::Anonymous,
            Request::TakeKeyPackages { account, token },
            Question::TakeKeyPackages { conversation: id, account },
        );
        Ok(())
    }

    pub(super) fn key_packages_taken(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        account: AccountId,
        packages: &[DeviceKeyPackage],
    ) -> Result<(), CoreError> {
        let Some(state) = known(ctx, &account)? else { return Ok(()) };
        let mut good = Vec::new();
        for DeviceKeyPackage { device, package } in packages {
            match refusal_of(vouch(ctx, &state, *device, package))? {
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
        if let Some(mut info) = ctx.txn.load::<Info>(&id)? {
            for intent in &mut info.intents {
                if let Intent::Add(a, packages) = intent
                    && *a == account
                    && packages.is_empty()
                {
                    packages.clone_from(&good);
                }
            }
            ctx.txn.store(&id, &info);
        }
        ctx.dirty.insert(id);
        Ok(())
    }

    pub(super) fn key_packages_refused(
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
        let Some(mut info) = ctx.txn.load::<Info>(&id)? else { return Ok(()) };
        if info.peer.is_some() && info.leaves.len() <= 1 {
            return self.add_later(ctx, id, &why);
        }
        info.intents.retain(|intent| !matches!(intent, Intent::Add(a, _) if *a == account));
        if info.intents.is_empty() {
            info.opening = false;
        }
        info.notice = Some(why);
        ctx.txn.store(&id, &info);
        ctx.event(Event::Conversation(id));
        ctx.dirty.insert(id);
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
        set_notice(ctx, id, Some(format!("{why} What you write is sent when one is.")))
    }
}

impl Log {
    /// Renews this device's keys every week or two, so that a compromise ends by itself (post-compromise security).
    pub(super) fn refresh_keys(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
    ) -> Result<(), CoreError> {
        if ctx.now < progress.refresh_at {
            return Ok(());
        }
        let first = progress.refresh_at == Timestamp(0);
        // Spread, so that a group's members do not all commit at once.
        let wait = REFRESH_SECS * 1_000 + ctx.jitter_ms(REFRESH_SECS * 1_000);
        progress.refresh_at = ctx.now.plus_millis(wait);
        ctx.txn.store(&id, &*progress);
        if let Some(mut info) =
            ctx.txn.load::<Info>(&id)?.filter(|info| !first && info.intents.is_empty() && info.leaves.len() > 1)
        {
            info.intents.push(Intent::Refresh);
            ctx.txn.store(&id, &info);
        }
        Ok(())
    }
}

impl Log {
    /// Somebody's log no longer has some devices: they are to be removed from every conversation.
    pub(super) fn remove_revoked(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for account in std::mem::take(&mut ctx.mail.revoked) {
            let Some(state) = known(ctx, &account)? else { continue };
            let own = ctx.me.account() == account;
            for id in conversation_ids(&ctx.txn)? {
                let (Some(mut progress), Some(mut info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?)
                else {
                    continue;
                };
                let gone = |leaf: &&LeafRecord| leaf.account == account && state.device(&leaf.device).is_none();
                let intents: Vec<_> = info
                    .leaves
                    .iter()
                    .filter(gone)
                    .map(|leaf| Intent::RemoveDevice(account, leaf.device))
                    .filter(|intent| !info.intents.contains(intent))
                    .collect();
                if intents.is_empty() || progress.phase != Phase::Live {
                    continue;
                }
                info.intents.extend(intents);
                ctx.txn.store(&id, &info);
                // The own other devices at once; otherwise one member after the other tries.
                self.commit_soon(ctx, id, &mut progress, if own { 400 } else { REMOVE_JITTER_MS })?;
                ctx.txn.store(&id, &progress);
                ctx.event(Event::Conversation(id));
                ctx.dirty.insert(id);
            }
        }
        Ok(())
    }
}

/// Between two looks whether somebody has key packages by now.
const PAUSE_SECS_MIN: u64 = 15;

const PAUSE_SECS_MAX: u64 = 30 * 60;

/// A device renews its keys in each conversation after this time, and at most twice this.
const REFRESH_SECS: u64 = 7 * 24 * 3_600;

/// Before a member removes another's revoked device.
const REMOVE_JITTER_MS: u64 = 2_000;
