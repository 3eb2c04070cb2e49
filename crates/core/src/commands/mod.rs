//! What a person asks for, turned into look-ups, intents and messages.

use stonechat_wire::{AccountId, ConversationId, ErrorCode, Failure, Handle, Request, Seq};

use crate::api::{Command, CommandError, CommandId, Doubt, Event, Link, Outcome, Role, Target};
use crate::content::Body;
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::links::{Pending, Waiting, mls_bug};
use crate::log::commit::role_of;
use crate::log::policy::GroupState;
use crate::mls::{Group, Mls};
use crate::people::accounts::{accept, known, remember_handle};
use crate::step::Ctx;
use crate::store::records::{CHECKS, Head, Info, Intent, Phase, Read, Write, info_key, moved_key};
use crate::store::vault::Table;
use crate::{Core, CoreError};

/// Claims that are looked up at one time.
const CHECKS_AT_ONCE: usize = 16;

impl Core {
    pub(crate) fn command(&mut self, ctx: &mut Ctx<'_>, id: CommandId, command: Command) -> Result<(), CoreError> {
        if self.identity.is_none() {
            ctx.finish(id, Err(CommandError::NoAccount));
            return Ok(());
        }
        if let Some(result) = self.attempt(ctx, id, command)? {
            ctx.finish(id, result);
        }
        Ok(())
    }

    /// Does a command, or begins it: `None` when it finishes later.
    fn attempt(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CommandId,
        command: Command,
    ) -> Result<Option<Result<Outcome, CommandError>>, CoreError> {
        if let Err(error) = check_bounds(&command) {
            return Ok(Some(Err(error)));
        }
        let me =
            self.identity.as_ref().ok_or_else(|| CoreError::Bug("a command of nobody".into()))?.record.handle.clone();
        for handle in command.handles() {
            if *handle == me && !matches!(command, Command::SetRole { .. }) {
                return Ok(Some(Err(CommandError::Yourself)));
            }
            // Whoever took the handle over is accepted or declined, and not written to by mistake.
            let answers = matches!(command, Command::Accept { .. } | Command::Decline { .. });
            if ctx.txn.moved(handle)?.is_some() && !answers && !matches!(command, Command::RemoveMember { .. }) {
                return Ok(Some(Err(CommandError::StartedOver(handle.clone()))));
            }
            let member = match &command {
                Command::RemoveMember { group, member } => self.member_called(ctx, *group, member)?,
                _ => None,
            };
            if ctx.txn.account_of(handle)?.is_none() && member.is_none() {
                return Ok(self.look_up(ctx, handle.clone(), Waiting { id, command: command.clone() }).map(Err));
            }
        }
        let result = match command {
            Command::Register => {
                self.register(ctx, id);
                return Ok(None);
            }
            Command::Sync => {
                self.syncing.push(id);
                return Ok(None);
            }
            Command::PostLetters => {
                self.posting.push(id);
                return Ok(None);
            }
            Command::Send { to, text } => self.send(ctx, &to, text)?,
            Command::CreateGroup { name, members } => {
                let accounts = self.accounts(ctx, &members)?;
                Ok(Outcome::Conversation(self.create_group(ctx, name, &accounts)?))
            }
            Command::AddMembers { group, members } => self.change(ctx, group, Role::Admin, |core, ctx, info| {
                let accounts = core.accounts(ctx, &members)?;
                if info.leaves.len() + accounts.len() > GROUP_MEMBERS_MAX {
                    return Ok(Err(CommandError::Invalid(format!("a group has at most {GROUP_MEMBERS_MAX} members"))));
                }
                for account in accounts {
                    accept(ctx, &account)?;
                    info.intents.push(Intent::Add(account, Vec::new()));
                }
                Ok(Ok(()))
            })?,
            Command::RemoveMember { group, member } => self.remove_member(ctx, group, &member)?,
            Command::Rename { group, name } => self.change(ctx, group, Role::Admin, |_, _, info| {
                info.intents.push(Intent::Rename(name));
                Ok(Ok(()))
            })?,
            Command::SetRole { group, member, role } => self.set_role(ctx, group, &member, role)?,
            Command::Leave { group } => self.leave(ctx, group)?,
            Command::Refresh { conversation } => self.refresh(ctx, conversation)?,
            Command::Accept { from } => self.accept_from(ctx, &from)?,
            Command::Decline { from } => self.decline(ctx, &from)?,
            Command::MarkRead { conversation } => self.mark_read(ctx, conversation)?,
            Command::RevokeDevice { device } => return self.revoke_device(ctx, id, device),
            Command::Verify { handle, shown } => self.compare(ctx, &handle, &shown)?,
            Command::LookUp { .. } => Ok(Outcome::Done),
            Command::DismissAlarm { alarm } => self.dismiss(ctx, alarm)?,
        };
        Ok(Some(result))
    }

    // --- look-ups ------------------------------------------------------------------------------------------------------

    fn look_up(&mut self, ctx: &mut Ctx<'_>, handle: Handle, waiting: Waiting) -> Option<CommandError> {
        if !self.session.anonymous.ready {
            return Some(CommandError::Offline);
        }
        let asked = self.session.look_ups.iter().any(|(other, _)| *other == handle);
        self.session.look_ups.push((handle.clone(), waiting));
        if !asked {
            self.ask(
                ctx,
                Link::Anonymous,
                Request::LookUpHandle { handle: handle.clone() },
                Pending::LookUp { handle },
            );
        }
        None
    }

    /// Asks the server whose the handles are that accounts claim in their logs. Until then nobody is shown under them with a
    /// closed lock.
    pub(crate) fn check_handles(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !self.session.anonymous.ready {
            return Ok(());
        }
        for (key, _) in ctx.txn.prefixed(Table::Meta, CHECKS, CHECKS_AT_ONCE)? {
            let claimed = key.get(CHECKS.len() + 32..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let Some(handle) = claimed.and_then(|text| Handle::parse(text).ok()) else {
                ctx.txn.delete(Table::Meta, key);
                continue;
            };
            let later = self.session.look_up_again.get(&handle).map(|(at, _)| *at).filter(|at| *at > ctx.now);
            if let Some(at) = later {
                ctx.wake(at, "a handle is looked up again");
            } else if !self
                .session
                .waits(Link::Anonymous, |p| matches!(p, Pending::LookUp { handle: h } if *h == handle))
            {
                self.ask(
                    ctx,
                    Link::Anonymous,
                    Request::LookUpHandle { handle: handle.clone() },
                    Pending::LookUp { handle },
                );
            }
        }
        Ok(())
    }

    /// The server said whose a handle is, or that it is nobody's: every other account that claims it is alarming.
    pub(crate) fn settle_claims(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        owner: Option<AccountId>,
    ) -> Result<(), CoreError> {
        for (key, _) in ctx.txn.prefixed(Table::Meta, CHECKS, usize::MAX)? {
            let (account, claimed) = key[CHECKS.len()..].split_at(32);
            if claimed != handle.as_str().as_bytes() {
                continue;
            }
            let account =
                AccountId(account.try_into().map_err(|_| CoreError::Bug("a claim without its account".into()))?);
            if owner != Some(account)
                && let Some(mut contact) = ctx.txn.contact(&account)?
            {
                contact.doubt = Some(Doubt::HandleDenied);
                ctx.txn.save(Table::Account, &account.0, &contact);
                ctx.refused(
                    None,
                    format!("somebody calls themselves {handle}, which the server says is not their handle"),
                );
            }
            ctx.txn.delete(Table::Meta, key);
        }
        ctx.event(Event::Requests);
        Ok(())
    }

    pub(crate) fn take_waiting(&mut self, handle: &Handle) -> Vec<Waiting> {
        let (mine, rest) =
            std::mem::take(&mut self.session.look_ups).into_iter().partition(|(other, _)| other == handle);
        self.session.look_ups = rest;
        mine.into_iter().map(|(_, waiting)| waiting).collect()
    }

    pub(crate) fn look_up_failed(
        &mut self,
        ctx: &mut Ctx<'_>,
        handle: &Handle,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match failure.code {
            ErrorCode::NotFound => self.settle_claims(ctx, handle, None)?,
            // About to be published, or the directory is slow.
            ErrorCode::Unpublished | ErrorCode::Unavailable | ErrorCode::Slow => {
                return self.look_up_later(ctx, handle, &failure.to_string());
            }
            _ => {}
        }
        for waiting in self.take_waiting(handle) {
            let error = match failure.code {
                ErrorCode::NotFound => CommandError::UnknownHandle(handle.clone()),
                _ => CommandError::Refused(failure.to_string()),
            };
            ctx.finish(waiting.id, Err(error));
        }
        Ok(())
    }

    fn accounts(&self, ctx: &Ctx<'_>, handles: &[Handle]) -> Result<Vec<AccountId>, CoreError> {
        let mut accounts = Vec::new();
        for handle in handles {
            let account =
                ctx.txn.account_of(handle)?.ok_or_else(|| CoreError::Bug("a handle that was not looked up".into()))?;
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        Ok(accounts)
    }

    // --- conversations -------------------------------------------------------------------------------------------------

    fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: &Target,
        text: String,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let id = match to {
            Target::Conversation(id) => *id,
            Target::Person(handle) => {
                let peer = self.accounts(ctx, std::slice::from_ref(handle))?[0];
                match self.direct_with(ctx, peer)? {
                    Some(id) => id,
                    None => return Ok(Err(CommandError::NotReady(handle.clone()))),
                }
            }
        };
        let Some(head) = ctx.txn.head(&id)? else { return Ok(Err(CommandError::UnknownConversation)) };
        if head.phase == Phase::Gone {
            return Ok(Err(CommandError::NotAllowed("you are no longer in this conversation".into())));
        }
        let message = self.enqueue(ctx, id, Body::Text(text))?;
        Ok(Ok(Outcome::Queued { conversation: id, message }))
    }

    /// The direct messages with somebody: those that exist, those that they asked for, or new ones.
    fn direct_with(&mut self, ctx: &mut Ctx<'_>, peer: AccountId) -> Result<Option<ConversationId>, CoreError> {
        if let Some(id) = ctx.txn.direct(&peer)? {
            return Ok(Some(id));
        }
        // To write to somebody is to accept them.
        if self.requests_of(ctx, peer)?.iter().any(|(_, request)| !request.is_group) {
            self.accept_requests(ctx, peer)?;
            self.drive_requests(ctx)?;
            if let Some(id) = ctx.txn.direct(&peer)? {
                return Ok(Some(id));
            }
        }
        accept(ctx, &peer)?;
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody writes".into()))?.account();
        let state = GroupState::direct(me, peer);
        self.found(ctx, &state, Some(peer), &[peer]).map(Some)
    }

    fn create_group(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: String,
        members: &[AccountId],
    ) -> Result<ConversationId, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody founds a group".into()))?.account();
        for member in members {
            accept(ctx, member)?;
        }
        self.found(ctx, &GroupState::group(name, me), None, members)
    }

    /// Makes a conversation with this device alone in it, and means to add the others.
    fn found(
        &mut self,
        ctx: &mut Ctx<'_>,
        state: &GroupState,
        peer: Option<AccountId>,
        members: &[AccountId],
    ) -> Result<ConversationId, CoreError> {
        let id = ConversationId(ctx.random());
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody founds a conversation".into()))?;
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let group = Group::create(&mls, &me.signer, me.leaf(), &id.0, state.encode()).map_err(mls_bug)?;
        self.live.entry(id).or_default().group = Some(group);
        let head = Head::new(Phase::Founding, Seq(0), stonechat_wire::EpochId([0; 32]));
        let intents = members.iter().map(|account| Intent::Add(*account, Vec::new())).collect();
        let info = Info {
            peer,
            state: state.encode(),
            leaves: Vec::new(),
            intents,
            notice: None,
            opening: !members.is_empty(),
        };
        ctx.txn.save(Table::Conversation, &id.0, &head);
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        if let Some(peer) = peer {
            self.prefer_direct(ctx, peer, id)?;
        }
        self.refresh_info(ctx, id)?;
        self.dirty.insert(id);
        Ok(id)
    }

    /// A change of a group, if this account's role allows it.
    fn change(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        least: Role,
        edit: impl FnOnce(&mut Self, &mut Ctx<'_>, &mut Info) -> Result<Result<(), CommandError>, CoreError>,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let mut info = match self.group_of(ctx, id)? {
            Ok(info) => info,
            Err(error) => return Ok(Err(error)),
        };
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody changes a group".into()))?.account();
        let state = self.group_state(&info)?;
        if role_of(&state, &info, &me).is_none_or(|role| role < least) {
            let who = if least == Role::Owner { "only the owner" } else { "only the owner and admins" };
            return Ok(Err(CommandError::NotAllowed(format!("{who} can do this in {}", state.name))));
        }
        if let Err(error) = edit(self, ctx, &mut info)? {
            return Ok(Err(error));
        }
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        self.dirty.insert(id);
        Ok(Ok(Outcome::Done))
    }

    fn group_of(&self, ctx: &Ctx<'_>, id: ConversationId) -> Result<Result<Info, CommandError>, CoreError> {
        let (Some(head), Some(info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else {
            return Ok(Err(CommandError::UnknownConversation));
        };
        if info.peer.is_some() {
            return Ok(Err(CommandError::NotAllowed("these are direct messages, not a group".into())));
        }
        if head.phase == Phase::Gone {
            return Ok(Err(CommandError::NotAllowed("you are no longer in this group".into())));
        }
        Ok(Ok(info))
    }

    /// The member whom people see under a handle: the one whose it is, or else one who only says so. Whoever came in under a
    /// handle that is not theirs must be removable too.
    fn member_called(
        &self,
        ctx: &Ctx<'_>,
        group: ConversationId,
        handle: &Handle,
    ) -> Result<Option<AccountId>, CoreError> {
        let Some(info) = ctx.txn.info(&group)? else { return Ok(None) };
        let owner = ctx.txn.account_of(handle)?;
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

    fn remove_member(
        &mut self,
        ctx: &mut Ctx<'_>,
        group: ConversationId,
        member: &Handle,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody removes".into()))?.account();
        let account = match self.member_called(ctx, group, member)? {
            Some(account) => account,
            None => self.accounts(ctx, std::slice::from_ref(member))?[0],
        };
        let member = member.clone();
        self.change(ctx, group, Role::Admin, move |core, _, info| {
            let state = core.group_state(info)?;
            let Some(theirs) = role_of(&state, info, &account) else {
                return Ok(Err(CommandError::NotAllowed(format!("{member} is not in {}", state.name))));
            };
            if role_of(&state, info, &me).is_none_or(|mine| mine <= theirs) {
                return Ok(Err(CommandError::NotAllowed(format!("only the owner can remove {member}"))));
            }
            info.intents.push(Intent::Remove(account));
            Ok(Ok(()))
        })
    }

    fn set_role(
        &mut self,
        ctx: &mut Ctx<'_>,
        group: ConversationId,
        member: &Handle,
        role: Role,
    ) -> Result<Result<Outcome, CommandError>, CoreError> {
        let account = self.accounts(ctx, std::slice::from_ref(member))?[0];
        let member = member.clone();
        self.change(ctx, group, Role::Owner, move |core, _, info| {
            let state = core.group_state(info)?;
            match role_of(&state, info, &account) {
                None => Ok(Err(CommandError::NotAllowed(format!("{member} is not in {}", state.name)))),
                Some(Role::Owner) if role != Role::Owner => {
                    Ok(Err(CommandError::NotAllowed("give ownership to somebody else instead".into())))
                }
                Some(_) => {
                    info.intents.push(Intent::SetRole(account, role));
                    Ok(Ok(()))
                }
            }
        })
    }

    fn leave(&mut self, ctx: &mut Ctx<'_>, group: ConversationId) -> Result<Result<Outcome, CommandError>, CoreError> {
        let mut info = match self.group_of(ctx, group)? {
            Ok(info) => info,
            Err(error) => return Ok(Err(error)),
        };
        if !info.intents.contains(&Intent::Leave) {
            info.intents = vec![Intent::Leave];
            info.notice = Some("Leaving…".into());
            ctx.txn.save(Table::Conversation, &info_key(&group), &info);
            ctx.event(Event::Conversation(group));
        }
        self.dirty.insert(group);
        Ok(Ok(Outcome::Done))
    }

    fn refresh(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<Result<Outcome, CommandError>, CoreError> {
        let (Some(head), Some(mut info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else {
            return Ok(Err(CommandError::UnknownConversation));
        };
        if head.phase == Phase::Gone {
            return Ok(Err(CommandError::NotAllowed("you are no longer in this conversation".into())));
        }
        info.intents.push(Intent::Refresh);
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        self.dirty.insert(id);
        Ok(Ok(Outcome::Done))
    }

    fn accept_from(&mut self, ctx: &mut Ctx<'_>, from: &Handle) -> Result<Result<Outcome, CommandError>, CoreError> {
        let account = match ctx.txn.moved(from)? {
            // The person says that it is them.
            Some(account) => {
                ctx.txn.delete(Table::Meta, moved_key(from));
                remember_handle(ctx, from, account);
                self.touch_conversations(ctx, &account)?;
                account
            }
            None => self.accounts(ctx, std::slice::from_ref(from))?[0],
        };
        Ok(match self.accept_requests(ctx, account)? {
            Some(id) => Ok(Outcome::Conversation(id)),
            None => Err(CommandError::UnknownRequest(from.clone())),
        })
    }

    fn decline(&mut self, ctx: &mut Ctx<'_>, from: &Handle) -> Result<Result<Outcome, CommandError>, CoreError> {
        let account = match ctx.txn.moved(from)? {
            Some(account) => account,
            None => self.accounts(ctx, std::slice::from_ref(from))?[0],
        };
        let requests = self.requests_of(ctx, account)?;
        if requests.is_empty() {
            return Ok(Err(CommandError::UnknownRequest(from.clone())));
        }
        for (id, _) in requests {
            ctx.txn.delete(Table::Request, id.0);
        }
        ctx.event(Event::Requests);
        Ok(Ok(Outcome::Done))
    }

    fn mark_read(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<Result<Outcome, CommandError>, CoreError> {
        let Some(info) = ctx.txn.info(&id)? else { return Ok(Err(CommandError::UnknownConversation)) };
        // Direct messages that were opened from both sides are two logs and one thread.
        let ids = match info.peer {
            None => vec![id],
            Some(peer) => {
                let mut same = Vec::new();
                for other in ctx.txn.conversation_ids()? {
                    if ctx.txn.info(&other)?.is_some_and(|info| info.peer == Some(peer)) {
                        same.push(other);
                    }
                }
                same
            }
        };
        for id in ids {
            if let Some(mut head) = ctx.txn.head(&id)?.filter(|head| head.unread > 0) {
                head.unread = 0;
                ctx.txn.save(Table::Conversation, &id.0, &head);
                ctx.event(Event::Conversation(id));
            }
        }
        Ok(Ok(Outcome::Done))
    }
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
