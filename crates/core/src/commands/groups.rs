//! What a person asks for about groups: whether their role allows it, then an intent for the log.

use stonechat_wire::{AccountId, ConversationId, Handle};

use super::{account_looked_up, accounts_of};
use crate::api::{CommandError, Event, Hold, Invalid, NotAllowed, Outcome, Role, Text};
use crate::error::{Answer, CoreError};
use crate::limits::GROUP_MEMBERS_MAX;
use crate::log::Log;
use crate::log::policy::GroupState;
use crate::log::rows::{Info, Intent, Phase, Progress};
use crate::people::accounts::{accept, account_of, known};
use crate::step::Ctx;
use crate::store::Read as _;

pub(super) fn create(ctx: &mut Ctx<'_>, log: &mut Log, name: Text, members: &[Handle]) -> Answer<Outcome> {
    let members = accounts_of(ctx, members)?;
    for member in &members {
        accept(ctx, member)?;
    }
    let state = GroupState::group(name, ctx.me.account());
    Ok(Outcome::Conversation(log.found(ctx, &state, None, &members)?))
}

pub(super) fn add_members(ctx: &mut Ctx<'_>, group: ConversationId, members: &[Handle]) -> Answer<Outcome> {
    change(ctx, group, Role::Admin, |ctx, info| {
        let accounts = accounts_of(ctx, members)?;
        if info.leaves.len() + accounts.len() > GROUP_MEMBERS_MAX {
            return Err(CommandError::Invalid(Invalid::TooManyMembers).into());
        }
        for account in accounts {
            accept(ctx, &account)?;
            info.intents.push(Intent::Add(account, Vec::new()));
        }
        Ok(())
    })
}

pub(super) fn rename(ctx: &mut Ctx<'_>, group: ConversationId, name: Text) -> Answer<Outcome> {
    change(ctx, group, Role::Admin, |_, info| {
        info.intents.push(Intent::Rename(name));
        Ok(())
    })
}

pub(super) fn remove_member(ctx: &mut Ctx<'_>, group: ConversationId, member: &Handle) -> Answer<Outcome> {
    let me = ctx.me.account();
    let account = match member_called(ctx, group, member)? {
        Some(account) => account,
        None => account_looked_up(ctx, member)?,
    };
    change(ctx, group, Role::Admin, |_, info| {
        let state = info.group_state()?;
        let Some(theirs) = info.role_of(&state, &account) else {
            return Err(not_a_member(member, state).into());
        };
        if info.role_of(&state, &me).is_none_or(|mine| mine <= theirs) {
            return Err(CommandError::NotAllowed(NotAllowed::OwnerRemoves { who: member.clone() }).into());
        }
        info.intents.push(Intent::Remove(account));
        Ok(())
    })
}

pub(super) fn set_role(ctx: &mut Ctx<'_>, group: ConversationId, member: &Handle, role: Role) -> Answer<Outcome> {
    let account = account_looked_up(ctx, member)?;
    change(ctx, group, Role::Owner, |_, info| {
        let state = info.group_state()?;
        match info.role_of(&state, &account) {
            None => Err(not_a_member(member, state).into()),
            Some(Role::Owner) if role != Role::Owner => Err(CommandError::NotAllowed(NotAllowed::GiveOwnership).into()),
            Some(_) => {
                info.intents.push(Intent::SetRole(account, role));
                Ok(())
            }
        }
    })
}

pub(super) fn leave(ctx: &mut Ctx<'_>, group: ConversationId) -> Answer<Outcome> {
    let mut info = group_of(ctx, group)?;
    if !info.intents.contains(&Intent::Leave) {
        info.intents = vec![Intent::Leave];
        info.hold = Some(Hold::Leaving);
        ctx.txn.store(&group, &info);
        ctx.event(Event::Conversation(group));
    }
    ctx.dirty.insert(group);
    Ok(Outcome::Done)
}

/// A change of a group, if this account's role allows it.
fn change(
    ctx: &mut Ctx<'_>,
    id: ConversationId,
    least: Role,
    edit: impl FnOnce(&mut Ctx<'_>, &mut Info) -> Answer<()>,
) -> Answer<Outcome> {
    let mut info = group_of(ctx, id)?;
    let me = ctx.me.account();
    let state = info.group_state()?;
    if info.role_of(&state, &me).is_none_or(|role| role < least) {
        let group = state.name;
        let why = if least == Role::Owner { NotAllowed::OwnerOnly { group } } else { NotAllowed::AdminsOnly { group } };
        return Err(CommandError::NotAllowed(why).into());
    }
    edit(ctx, &mut info)?;
    ctx.txn.store(&id, &info);
    ctx.dirty.insert(id);
    Ok(Outcome::Done)
}

fn not_a_member(who: &Handle, state: GroupState) -> CommandError {
    CommandError::NotAllowed(NotAllowed::NotAMember { who: who.clone(), group: state.name })
}

fn group_of(ctx: &Ctx<'_>, id: ConversationId) -> Answer<Info> {
    let (Some(progress), Some(info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
        return Err(CommandError::UnknownConversation.into());
    };
    if info.peer.is_some() {
        return Err(CommandError::NotAllowed(NotAllowed::NotAGroup).into());
    }
    if progress.phase == Phase::Gone {
        return Err(CommandError::NotAllowed(NotAllowed::NotInGroup).into());
    }
    Ok(info)
}

/// The member whom people see under a handle: the one whose it is, or else one who only says so. Whoever came in under a
/// handle that is not theirs must be removable too.
pub(super) fn member_called(
    ctx: &Ctx<'_>,
    group: ConversationId,
    handle: &Handle,
) -> Result<Option<AccountId>, CoreError> {
    let Some(info) = ctx.txn.load::<Info>(&group)? else { return Ok(None) };
    let owner = account_of(&ctx.txn, handle)?;
    let mut claims = None;
    for leaf in &info.leaves {
        if Some(leaf.account) == owner {
            return Ok(owner);
        }
        if claims.is_none() && known(ctx, &leaf.account)?.is_some_and(|state| state.handle() == handle) {
            claims = Some(leaf.account);
        }
    }
    Ok(claims)
}
