//! What this device means to commit, and what it needs for that: key packages of those whom it adds.
//!
//! Each intent is checked again when its turn comes, and dropped when it no longer makes sense.

use stonechat_wire::message::DeviceKeyPackage;
use stonechat_wire::{
    AccountId, AccountState, ConversationId, DeviceId, ErrorCode, Failure, Handle, Request, Timestamp,
};

use super::rows::{Info, Intent, KeyPackageRecord, LeafRecord, Phase, Progress, conversation_ids, set_hold};
use super::{Log, Question};
use crate::api::{Event, Hold, KeyPackageFault, Link, Refusal};
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
pub(super) fn vouch(
    ctx: &mut Ctx<'_>,
    state: &AccountState,
    device: DeviceId,
    package: &[u8],
) -> Judged<(), KeyPackageFault> {
    let mls = mls::Mls::new(&mut ctx.txn, ctx.rng);
    let inspected = mls::inspect_key_package(&mls, package).or_else(|_| refuse(KeyPackageFault::Malformed))?;
    match state.device(&device) {
        None => refuse(KeyPackageFault::UnknownDevice),
        Some(_) if inspected.identity != (LeafIdentity { account: state.id(), device }) => {
            refuse(KeyPackageFault::OtherDevice)
        }
        Some(keys) if keys.signature != inspected.signature_key => refuse(KeyPackageFault::OtherKey),
        Some(_) if inspected.not_after < ctx.now.0 => refuse(KeyPackageFault::Expired),
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
                Err(why) => ctx.refused(Some(id), Refusal::OfferedDevice { who: state.handle().clone(), why }),
            }
        }
        if good.is_empty() {
            return self.cannot_add(ctx, id, account, Some(state.handle().clone()));
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
                let who = known(ctx, &account)?.map(|state| state.handle().clone());
                self.cannot_add(ctx, id, account, who)
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
        who: Option<Handle>,
    ) -> Result<(), CoreError> {
        let Some(mut info) = ctx.txn.load::<Info>(&id)? else { return Ok(()) };
        if info.peer.is_some() && info.leaves.len() <= 1 {
            return self.add_later(ctx, id, who);
        }
        info.intents.retain(|intent| !matches!(intent, Intent::Add(a, _) if *a == account));
        if info.intents.is_empty() {
            info.opening = false;
        }
        info.hold = Some(Hold::NotReady { who, waits: false });
        ctx.txn.store(&id, &info);
        ctx.event(Event::Conversation(id));
        ctx.dirty.insert(id);
        Ok(())
    }

    /// Somebody who has just signed up, or whose devices were used up: asked for again, each time after twice as long, because each
    /// time costs a token. What was written waits.
    fn add_later(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, who: Option<Handle>) -> Result<(), CoreError> {
        let live = self.live.entry(id).or_default();
        live.pause_secs = (2 * live.pause_secs).clamp(PAUSE_SECS_MIN, PAUSE_SECS_MAX);
        live.paused_until = ctx.now.plus_secs(live.pause_secs);
        let until = live.paused_until;
        self.at(until, id);
        set_hold(ctx, id, Some(Hold::NotReady { who, waits: true }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Role;
    use crate::log::policy::GroupState;
    use crate::mls::{Mls, Signer, generate_key_package};
    use crate::testing::{Home, Person};

    /// A key package of a person's device, as they would make it, or with another's key or name.
    fn package(home: &mut Home, signer: &Person, named: &Person) -> Vec<u8> {
        let leaf = LeafIdentity { account: named.id(), device: named.device };
        home.step(|ctx| {
            let now = ctx.now.0;
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            let signer = Signer::from_seed(signer.secrets.signature.danger_bytes());
            generate_key_package(&mls, &signer, leaf, now, 1_000, false).unwrap()
        })
        .value
    }

    fn judged(home: &mut Home, of: &Person, package: &[u8]) -> Result<(), KeyPackageFault> {
        home.step(|ctx| refusal_of(vouch(ctx, &of.state, of.device, package)).unwrap()).value
    }

    #[test]
    fn a_key_package_is_what_the_account_log_says_of_its_device() {
        let (mut home, bob, eve) = (Home::of("alice"), Person::of("bob", 10), Person::of("eve", 20));
        let good = package(&mut home, &bob, &bob);
        assert_eq!(judged(&mut home, &bob, &good), Ok(()));
        let forged = package(&mut home, &eve, &bob);
        assert_eq!(judged(&mut home, &bob, &forged), Err(KeyPackageFault::OtherKey));
        let of_eve = package(&mut home, &eve, &eve);
        assert_eq!(judged(&mut home, &bob, &of_eve), Err(KeyPackageFault::OtherDevice));
        assert_eq!(judged(&mut home, &bob, b"nothing"), Err(KeyPackageFault::Malformed));
        let unknown = Person { device: DeviceId([99; 16]), ..Person::of("bob", 10) };
        assert_eq!(judged(&mut home, &unknown, &good), Err(KeyPackageFault::UnknownDevice));
        home.now = home.now.plus_secs(1_001);
        assert_eq!(judged(&mut home, &bob, &good), Err(KeyPackageFault::Expired));
    }

    #[test]
    fn an_intent_that_makes_no_sense_any_more_is_dropped_and_another_stays() {
        let mut home = Home::of("alice");
        let (bob, carol) = (home.meet("bob", 10), Person::of("carol", 20));
        let me = home.identity.account();
        let id = home.converse(1, &GroupState::group("g".into(), me), &[&bob]);
        let (here, gone) = (bob.id(), carol.id());
        let sense = vec![
            Intent::Add(gone, Vec::new()),
            Intent::Remove(here),
            Intent::SetRole(here, Role::Admin),
            Intent::Rename("other".into()),
            Intent::RemoveDevice(here, bob.device),
            Intent::Refresh,
            Intent::Leave,
        ];
        let nonsense = vec![
            Intent::Add(here, Vec::new()),
            Intent::Remove(gone),
            Intent::SetRole(gone, Role::Admin),
            Intent::Rename("g".into()),
            Intent::RemoveDevice(here, carol.device),
        ];
        let left = home.step(|ctx| {
            let mut info: Info = ctx.txn.need(&id).unwrap();
            info.intents = nonsense.into_iter().chain(sense.clone()).collect();
            drop_pointless(ctx, id, &mut info).unwrap();
            ctx.txn.need::<Info>(&id).unwrap().intents
        });
        assert_eq!(left.value, sense);
    }

    #[test]
    fn a_revoked_device_is_to_be_removed_from_conversations_and_another_is_not() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let (longer, added) = bob.with_device(30);
        let mut log = Log::default();
        let mut intents = |home: &mut Home, log_of_bob| {
            home.step(|ctx| {
                refusal_of(crate::people::accounts::learn(ctx, &log_of_bob, None)).unwrap().unwrap();
                log.take_mail(ctx).unwrap();
                ctx.txn.need::<Info>(&id).unwrap().intents
            })
            .value
        };
        assert_eq!(intents(&mut home, longer.clone()), []);
        // A device that is in no conversation goes without a change.
        assert_eq!(intents(&mut home, bob.without_device(&longer, added)), []);
        let mut again = Home::of("alice");
        let bob = again.meet("bob", 10);
        let id = again.converse_with(&bob);
        let (longer, _) = bob.with_device(30);
        let without = bob.without_device(&longer, bob.device);
        let mut log = Log::default();
        let left = again.step(|ctx| {
            refusal_of(crate::people::accounts::learn(ctx, &without, None)).unwrap().unwrap();
            log.take_mail(ctx).unwrap();
            ctx.txn.need::<Info>(&id).unwrap().intents
        });
        assert_eq!(left.value, [Intent::RemoveDevice(bob.id(), bob.device)]);
    }

    #[test]
    fn who_has_no_device_ready_is_asked_for_later_in_direct_messages_and_left_out_of_a_group() {
        let mut home = Home::online("alice");
        let bob = home.meet("bob", 10);
        let me = home.identity.account();
        let group = home.converse(1, &GroupState::group("g".into(), me), &[]);
        let direct = home.converse(2, &GroupState::direct(me, bob.id()), &[]);
        let mut log = Log::default();
        let failure = Failure { code: ErrorCode::NotFound, retry_after_secs: None, detail: None };
        let mut refused = |home: &mut Home, id| {
            home.step(|ctx| {
                let mut info: Info = ctx.txn.need(&id).unwrap();
                info.intents = vec![Intent::Add(bob.id(), Vec::new())];
                ctx.txn.store(&id, &info);
                log.key_packages_refused(ctx, id, bob.id(), &failure).unwrap();
                let info: Info = ctx.txn.need(&id).unwrap();
                (info.intents.len(), info.hold.is_some())
            })
            .value
        };
        assert_eq!(refused(&mut home, direct), (1, true));
        assert_eq!(refused(&mut home, group), (0, true));
    }
}
