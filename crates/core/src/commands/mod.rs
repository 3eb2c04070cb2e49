//! What a person asks for: checked here, then one call into a room.
//!
//! Owns nothing. A command that names people waits until they are looked up; the ones that wait for everything to settle are
//! the entrance's ([`crate::Core`]).

mod groups;
mod messages;
mod people;

use stonechat_wire::{AccountId, Handle};

use crate::api::{Command, CommandError, CommandId, Invalid, Outcome};
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
        Command::Register { .. } | Command::Sync | Command::PostLetters => {
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

fn check_bounds(command: &Command) -> Result<(), CommandError> {
    let invalid = |what| Err(CommandError::Invalid(what));
    match command {
        Command::Send { text, .. } if text.is_empty() => invalid(Invalid::EmptyText),
        Command::Send { text, .. } if text.len() > TEXT_BYTES_MAX => {
            invalid(Invalid::TextTooLong { bytes: text.len() as u64 })
        }
        Command::CreateGroup { name, .. } | Command::Rename { name, .. } if name.trim().is_empty() => {
            invalid(Invalid::NoGroupName)
        }
        Command::CreateGroup { name, .. } | Command::Rename { name, .. } if name.len() > GROUP_NAME_BYTES_MAX => {
            invalid(Invalid::GroupNameTooLong { bytes: name.len() as u64 })
        }
        Command::CreateGroup { members, .. } | Command::AddMembers { members, .. }
            if members.len() >= GROUP_MEMBERS_MAX =>
        {
            invalid(Invalid::TooManyMembers)
        }
        Command::AddMembers { members, .. } if members.is_empty() => invalid(Invalid::NoMembers),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use stonechat_wire::{ConversationId, DeviceId};

    use super::*;
    use crate::api::{Role, Target, Text};
    use crate::log::policy::GroupState;
    use crate::log::rows::{Info, Intent, Phase, Progress};
    use crate::store::Read as _;
    use crate::testing::{Home, Out, Person};

    fn command(home: &mut Home, command: Command) -> Out<()> {
        let (mut people, mut log, mut blobs) = (People::default(), Log::default(), Blobs::default());
        home.step(|ctx| {
            let mut house = House { people: &mut people, log: &mut log, blobs: &mut blobs };
            run(ctx, &mut house, CommandId(1), command).unwrap();
        })
    }

    fn error(home: &mut Home, asked: Command) -> CommandError {
        command(home, asked).finished(1).expect("it finished").expect_err("it was refused")
    }

    fn done(home: &mut Home, asked: Command) {
        assert_eq!(command(home, asked).finished(1).expect("it finished"), Ok(Outcome::Done));
    }

    fn intents(home: &mut Home, id: ConversationId) -> Vec<Intent> {
        home.step(|ctx| ctx.txn.need::<Info>(&id).unwrap().intents).value
    }

    /// A group with somebody, in which this account is the owner, or somebody else is.
    fn group(home: &mut Home, other: &Person, own: bool) -> ConversationId {
        let owner = if own { home.identity.account() } else { other.id() };
        home.converse(1, &GroupState::group("g".into(), owner), &[other])
    }

    fn handle(text: &str) -> Handle {
        Handle::parse(text).unwrap()
    }

    #[test]
    fn a_text_and_a_name_have_bounds() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let to = Target::Conversation(id);
        for text in [Text::default(), "x".repeat(TEXT_BYTES_MAX + 1).into()] {
            assert!(matches!(error(&mut home, Command::Send { to: to.clone(), text }), CommandError::Invalid(_)));
        }
        let sent = command(&mut home, Command::Send { to, text: "x".repeat(TEXT_BYTES_MAX).into() }).finished(1);
        assert!(matches!(sent, Some(Ok(Outcome::Queued { conversation, .. })) if conversation == id));
        for name in [Text::from(" "), "x".repeat(GROUP_NAME_BYTES_MAX + 1).into()] {
            let made = Command::CreateGroup { name, members: vec![handle("bob")] };
            assert!(matches!(error(&mut home, made), CommandError::Invalid(_)));
        }
        let name = "x".repeat(GROUP_NAME_BYTES_MAX).into();
        let made = command(&mut home, Command::CreateGroup { name, members: vec![handle("bob")] }).finished(1);
        assert!(matches!(made, Some(Ok(Outcome::Conversation(_)))));
    }

    #[test]
    fn nobody_writes_to_themselves_or_to_somebody_unknown_without_a_connection() {
        let mut home = Home::of("alice");
        let to = |name| Command::Send { to: Target::Person(handle(name)), text: "hi".into() };
        assert_eq!(error(&mut home, to("alice")), CommandError::Yourself);
        assert_eq!(error(&mut home, to("bob")), CommandError::Offline);
        home.meet("bob", 10);
        let sent = command(&mut home, to("bob")).finished(1);
        assert!(matches!(sent, Some(Ok(Outcome::Queued { .. }))));
    }

    #[test]
    fn what_is_over_and_what_is_unknown_takes_no_message() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let to = |id| Command::Send { to: Target::Conversation(id), text: "hi".into() };
        assert_eq!(error(&mut home, to(ConversationId([99; 32]))), CommandError::UnknownConversation);
        home.step(|ctx| {
            let mut progress: Progress = ctx.txn.need(&id).unwrap();
            progress.phase = Phase::Gone;
            ctx.txn.store(&id, &progress);
        });
        assert!(matches!(error(&mut home, to(id)), CommandError::NotAllowed(_)));
        assert!(matches!(error(&mut home, Command::Refresh { conversation: id }), CommandError::NotAllowed(_)));
    }

    #[test]
    fn an_owner_changes_a_group_and_a_member_does_not() {
        let ask = |group| {
            let member = handle("bob");
            [
                Command::Rename { group, name: "other".into() },
                Command::RemoveMember { group, member: member.clone() },
                Command::SetRole { group, member, role: Role::Admin },
                Command::AddMembers { group, members: vec![handle("carol")] },
            ]
        };
        let mut home = Home::of("alice");
        let (bob, carol) = (home.meet("bob", 10), home.meet("carol", 20));
        let own = group(&mut home, &bob, true);
        ask(own).into_iter().for_each(|asked| done(&mut home, asked));
        let expected = [
            Intent::Rename("other".into()),
            Intent::Remove(bob.id()),
            Intent::SetRole(bob.id(), Role::Admin),
            Intent::Add(carol.id(), Vec::new()),
        ];
        assert_eq!(intents(&mut home, own), expected);
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        home.meet("carol", 20);
        let theirs = group(&mut home, &bob, false);
        for asked in ask(theirs) {
            assert!(matches!(error(&mut home, asked), CommandError::NotAllowed(_)));
        }
        assert_eq!(intents(&mut home, theirs), []);
    }

    #[test]
    fn a_change_of_a_group_is_none_of_direct_messages() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        for asked in [Command::Leave { group: id }, Command::Rename { group: id, name: "g".into() }] {
            assert!(matches!(error(&mut home, asked), CommandError::NotAllowed(_)));
        }
    }

    #[test]
    fn a_group_that_is_left_has_nothing_else_to_do() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = group(&mut home, &bob, true);
        done(&mut home, Command::Rename { group: id, name: "other".into() });
        done(&mut home, Command::Leave { group: id });
        done(&mut home, Command::Leave { group: id });
        assert_eq!(intents(&mut home, id), [Intent::Leave]);
    }

    #[test]
    fn a_safety_number_that_matches_is_remembered_and_one_that_does_not_takes_it_back() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let digits = stonechat_directory::SafetyNumber::of(&home.identity.account(), &bob.id()).digits().to_owned();
        let verify = |shown: &str| Command::Verify { handle: handle("bob"), shown: shown.to_owned() };
        let compared = |home: &mut Home| {
            home.step(|ctx| ctx.txn.need::<crate::people::accounts::Contact>(&bob.id()).unwrap().compared.is_some())
                .value
        };
        assert!(matches!(error(&mut home, verify("12")), CommandError::Invalid(_)));
        done(&mut home, verify(&digits));
        assert!(compared(&mut home));
        assert_eq!(error(&mut home, verify(&"0".repeat(60))), CommandError::Mismatch(handle("bob")));
        assert!(!compared(&mut home));
    }

    #[test]
    fn this_device_and_an_unknown_one_are_not_revoked() {
        let mut home = Home::online("alice");
        let this = home.identity.record.device;
        assert_eq!(error(&mut home, Command::RevokeDevice { device: this }), CommandError::ThisDevice);
        let unknown = DeviceId([99; 16]);
        assert_eq!(error(&mut home, Command::RevokeDevice { device: unknown }), CommandError::UnknownDevice(unknown));
    }

    #[test]
    fn a_request_that_nobody_made_is_neither_accepted_nor_declined() {
        let mut home = Home::of("alice");
        home.meet("bob", 10);
        let from = handle("bob");
        assert_eq!(
            error(&mut home, Command::Accept { from: from.clone() }),
            CommandError::UnknownRequest(from.clone())
        );
        assert_eq!(error(&mut home, Command::Decline { from: from.clone() }), CommandError::UnknownRequest(from));
    }
}
