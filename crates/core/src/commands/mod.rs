//! What a person asks for: checked here, then one call into a room.
//!
//! Owns nothing. A command that names people waits until they are looked up; the ones that wait for everything to settle are
//! the entrance's ([`crate::Core`]).

mod groups;
mod messages;
mod people;

use stonechat_wire::{AccountId, Handle};

use crate::api::{Command, CommandError, CommandId, Outcome, Target};
use crate::blobs::Blobs;
use crate::error::{Answer, CoreError, refusal_of};
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::log::Log;
use crate::people::accounts::{account_of, successor_of};
use crate::people::{People, Waiting, alarms};
use crate::step::Ctx;

/// The rooms that commands call.
pub(crate) struct House<'r> {
    pub people: &'r mut People,
    pub log: &'r mut Log,
    pub blobs: &'r mut Blobs,
}

/// Does a command, or begins it.
pub(crate) fn run(ctx: &mut Ctx<'_>, house: &mut House<'_>, id: CommandId, command: Command) -> Result<(), CoreError> {
    match refusal_of(attempt(ctx, house, id, command))? {
        Ok(Some(outcome)) => ctx.finish(id, Ok(outcome)),
        Ok(None) => {}
        Err(error) => ctx.finish(id, Err(error)),
    }
    Ok(())
}

/// `None` when it finishes later.
fn attempt(ctx: &mut Ctx<'_>, house: &mut House<'_>, id: CommandId, command: Command) -> Answer<Option<Outcome>> {
    check_bounds(&command)?;
    for handle in command.handles() {
        if *handle == ctx.me.record.handle && !matches!(command, Command::SetRole { .. }) {
            return Err(CommandError::Yourself.into());
        }
        // Whoever took the handle over is accepted or declined, and not written to by mistake.
        let answers = matches!(command, Command::Accept { .. } | Command::Decline { .. });
        if !answers && !matches!(command, Command::RemoveMember { .. }) && successor_of(&ctx.txn, handle)?.is_some() {
            return Err(CommandError::StartedOver(handle.clone()).into());
        }
        let member = match &command {
            Command::RemoveMember { group, member } => groups::member_called(ctx, *group, member)?,
            _ => None,
        };
        if account_of(&ctx.txn, handle)?.is_none() && member.is_none() {
            house.people.look_up(ctx, handle.clone(), Waiting { id, command: command.clone() })?;
            return Ok(None);
        }
    }
    let outcome = match command {
        Command::Send { to, text } => messages::send(ctx, house, &to, text)?,
        Command::CreateGroup { name, members } => groups::create(ctx, house.log, name, &members)?,
        Command::AddMembers { group, members } => groups::add_members(ctx, group, &members)?,
        Command::RemoveMember { group, member } => groups::remove_member(ctx, group, &member)?,
        Command::Rename { group, name } => groups::rename(ctx, group, name)?,
        Command::SetRole { group, member, role } => groups::set_role(ctx, group, &member, role)?,
        Command::Leave { group } => groups::leave(ctx, group)?,
        Command::Refresh { conversation } => messages::refresh(ctx, conversation)?,
        Command::Accept { from } => people::accept_from(ctx, &from)?,
        Command::Decline { from } => people::decline(ctx, &from)?,
        Command::MarkRead { conversation } => messages::mark_read(ctx, conversation)?,
        Command::RevokeDevice { device } => {
            house.people.revoke_device(ctx, id, device)?;
            return Ok(None);
        }
        Command::Verify { handle, shown } => people::compare(ctx, &handle, &shown)?,
        Command::LookUp { .. } => Outcome::Done,
        Command::DismissAlarm { alarm } => alarms::dismiss(ctx, alarm)?,
        // The entrance takes these.
        Command::Register | Command::Sync | Command::PostLetters => {
            return Err(CoreError::bug("a command that is none of this room").into());
        }
    };
    Ok(Some(outcome))
}

/// The account behind a handle that was looked up.
fn account_looked_up(ctx: &Ctx<'_>, handle: &Handle) -> Result<AccountId, CoreError> {
    account_of(&ctx.txn, handle)?.ok_or_else(|| CoreError::bug("a handle that was not looked up"))
}

/// The accounts behind handles that were looked up, each once.
fn accounts_of(ctx: &Ctx<'_>, handles: &[Handle]) -> Result<Vec<AccountId>, CoreError> {
    let mut accounts = Vec::new();
    for handle in handles {
        let account = account_looked_up(ctx, handle)?;
        if !accounts.contains(&account) {
            accounts.push(account);
        }
    }
    Ok(accounts)
}

impl Command {
    /// The people whom it names.
    fn handles(&self) -> &[Handle] {
        match self {
            Self::Send { to: Target::Person(handle), .. }
            | Self::RemoveMember { member: handle, .. }
            | Self::SetRole { member: handle, .. }
            | Self::Accept { from: handle }
            | Self::Verify { handle, .. }
            | Self::LookUp { handle }
            | Self::Decline { from: handle } => std::slice::from_ref(handle),
            Self::CreateGroup { members, .. } | Self::AddMembers { members, .. } => members,
            Self::Send { to: Target::Conversation(_), .. }
            | Self::Register
            | Self::Sync
            | Self::PostLetters
            | Self::Leave { .. }
            | Self::Rename { .. }
            | Self::MarkRead { .. }
            | Self::RevokeDevice { .. }
            | Self::DismissAlarm { .. }
            | Self::Refresh { .. } => &[],
        }
    }
}

fn check_bounds(command: &Command) -> Result<(), CommandError> {
    let invalid = |why: String| Err(CommandError::Invalid(why));
    match command {
        Command::Send { text, .. } if text.is_empty() => invalid("the message is empty; write something".into()),
        Command::Send { text, .. } if text.len() > TEXT_BYTES_MAX => invalid(format!(
            "the message is too long: {} bytes, and at most {} KiB fit; split it",
            text.len(),
            TEXT_BYTES_MAX / 1024
        )),
        Command::CreateGroup { name, .. } | Command::Rename { name, .. } if name.trim().is_empty() => {
            invalid("the group needs a name".into())
        }
        Command::CreateGroup { name, .. } | Command::Rename { name, .. } if name.len() > GROUP_NAME_BYTES_MAX => {
            invalid(format!(
                "the group's name is too long: {} bytes, and at most {GROUP_NAME_BYTES_MAX} fit",
                name.len()
            ))
        }
        Command::CreateGroup { members, .. } | Command::AddMembers { members, .. }
            if members.len() >= GROUP_MEMBERS_MAX =>
        {
            invalid(format!("a group has at most {GROUP_MEMBERS_MAX} members"))
        }
        Command::AddMembers { members, .. } if members.is_empty() => invalid("name somebody to add".into()),
        _ => Ok(()),
    }
}
