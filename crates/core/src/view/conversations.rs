//! What a person sees, read from the committed state of a vault. Nothing here changes anything.

use std::collections::BTreeMap;

use stonechat_wire::{AccountId, ConversationId, Handle};

use super::trust;
use crate::api::{ContactRequest, Conversation, Me, Member, Message, Role};
use crate::content::MessageId;
use crate::identity::MeRecord;
use crate::limits::REQUESTS_MAX;
use crate::log::policy::{self, GroupState};
use crate::log::rows::{Info, Phase, Progress, RequestRecord, conversation_ids, direct};
use crate::people::accounts::{Contact, account_of, handle_of, successor_of};
use crate::store::{Order, Read as _, Record as _, Table, VaultError, VaultRead, prefix_end};
use crate::talk::messages::{MessageRecord, message, place_of, thread};

/// This account, once there is one.
///
/// # Errors
/// When the vault cannot be read.
pub fn me(vault: &dyn VaultRead) -> Result<Option<Me>, VaultError> {
    Ok(vault.load::<MeRecord>(&())?.map(|me| me.public()))
}

/// All conversations, the one with the latest message first. Direct messages that were opened from both sides at once are one.
///
/// # Errors
/// When the vault cannot be read.
pub fn conversations(vault: &dyn VaultRead) -> Result<Vec<Conversation>, VaultError> {
    let mut all_progress = Vec::new();
    // Both of the two count.
    let mut unread_from = BTreeMap::<AccountId, u64>::new();
    for id in conversation_ids(&vault)? {
        let (Some(progress), Some(info)) = (vault.load::<Progress>(&id)?, vault.load::<Info>(&id)?) else { continue };
        if let Some(peer) = info.peer {
            *unread_from.entry(peer).or_default() += progress.unread;
        }
        all_progress.push((id, progress, info));
    }
    let mut all = Vec::with_capacity(all_progress.len());
    for (id, progress, info) in all_progress {
        let (shown, unread) = match &info.peer {
            Some(peer) => (direct(&vault, peer)?.is_none_or(|preferred| preferred == id), unread_from[peer]),
            None => (true, progress.unread),
        };
        if shown {
            all.push((latest_key(vault, &id, &info)?, describe(vault, id, &progress, &info, unread)?));
        }
    }
    all.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.title.cmp(&y.title)));
    Ok(all.into_iter().map(|(_, conversation)| conversation).collect())
}

/// One conversation.
///
/// # Errors
/// When the vault cannot be read.
pub fn conversation(vault: &dyn VaultRead, id: &ConversationId) -> Result<Option<Conversation>, VaultError> {
    let (Some(progress), Some(info)) = (vault.load::<Progress>(id)?, vault.load::<Info>(id)?) else { return Ok(None) };
    let unread = unread(vault, &progress, &info, id)?;
    describe(vault, *id, &progress, &info, unread).map(Some)
}

/// What a person may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing here is called that.
    Nothing,
    /// Exactly this.
    One(ConversationId),
    /// Several groups of that name, or ids with that beginning.
    Several(Vec<ConversationId>),
}

/// Finds a conversation by a person's `@handle`, a group's name, or an id (at least 8 of its first hex digits).
///
/// # Errors
/// When the vault cannot be read.
pub fn find(vault: &dyn VaultRead, text: &str) -> Result<Found, VaultError> {
    if text.starts_with('@') {
        let Ok(handle) = Handle::parse(text) else { return Ok(Found::Nothing) };
        let Some(account) = account_of(&vault, &handle)? else { return Ok(Found::Nothing) };
        return Ok(direct(&vault, &account)?.map_or(Found::Nothing, Found::One));
    }
    let all = conversations(vault)?;
    let named = |exact: bool| {
        let matches = |c: &&Conversation| {
            if exact {
                c.is_group && c.title == text
            } else {
                text.len() >= 8 && c.id.to_string().starts_with(&text.to_ascii_lowercase())
            }
        };
        all.iter().filter(matches).map(|c| c.id).collect::<Vec<_>>()
    };
    let mut found = named(true);
    if found.is_empty() {
        found = named(false);
    }
    Ok(match found.len() {
        0 => Found::Nothing,
        1 => Found::One(found[0]),
        _ => Found::Several(found),
    })
}

/// The last `limit` messages of a conversation, or the last before `before`; oldest first.
///
/// # Errors
/// When the vault cannot be read.
pub fn messages(
    vault: &dyn VaultRead,
    id: &ConversationId,
    before: Option<(AccountId, MessageId)>,
    limit: usize,
) -> Result<Vec<Message>, VaultError> {
    let Some(info) = vault.load::<Info>(id)? else { return Ok(Vec::new()) };
    let thread = thread(id, &info);
    let end = match before {
        Some((sender, message)) => place_of(&vault, &thread, &sender, &message)?.unwrap_or_else(|| prefix_end(&thread)),
        None => prefix_end(&thread),
    };
    let rows = vault.values(Table::Message, &thread, &end, Order::Descending, limit)?;
    let mut messages = Vec::with_capacity(rows.len());
    for (_, value) in rows.into_iter().rev() {
        messages.extend(message(&vault, &MessageRecord::from_bytes(&value)?)?);
    }
    Ok(messages)
}

/// Requests that wait, latest first.
///
/// # Errors
/// When the vault cannot be read.
pub fn requests(vault: &dyn VaultRead) -> Result<Vec<ContactRequest>, VaultError> {
    let mut requests = Vec::new();
    for (id, request) in vault.list::<RequestRecord>(REQUESTS_MAX)? {
        let Some(handle) = handle_of(&vault, &request.from)? else { continue };
        // Shown once the directory proved that the handle is theirs: anybody can claim one in a letter.
        let started_over = successor_of(&vault, &handle)? == Some(request.from);
        if !request.accepted && (started_over || account_of(&vault, &handle)? == Some(request.from)) {
            requests.push(ContactRequest {
                from: request.from,
                handle,
                conversation: id,
                is_group: request.is_group,
                at: request.at,
                started_over,
            });
        }
    }
    requests.sort_by_key(|request| std::cmp::Reverse(request.at));
    Ok(requests)
}

fn describe(
    vault: &dyn VaultRead,
    id: ConversationId,
    progress: &Progress,
    info: &Info,
    unread: u64,
) -> Result<Conversation, VaultError> {
    let state =
        GroupState::decode(&info.state).map_err(|_| VaultError { detail: "a group's state does not decode".into() })?;
    let own = vault.load::<MeRecord>(&())?.map(|me| me.account);
    let members = members(vault, info, &state, own)?;
    let lock = trust::checked(&vault, info)?.lock();
    let mut others = members.iter().filter(|member| !member.is_me).peekable();
    let compared = others.peek().is_some() && others.all(|member| member.compared);
    let title = match &info.peer {
        Some(peer) => handle_of(&vault, peer)?.map_or_else(|| "?".to_owned(), |handle| handle.to_string()).into(),
        None => state.name.clone(),
    };
    let last = messages(vault, &id, None, 1)?.pop();
    Ok(Conversation {
        id,
        title,
        is_group: info.peer.is_none(),
        peer: info.peer,
        role: members.iter().find(|member| member.is_me).map_or(Role::Member, |member| member.role),
        members,
        unread,
        last,
        lock,
        hold: info.hold.clone(),
        active: progress.phase != Phase::Gone,
        compared,
        draft: None,
    })
}

fn unread(vault: &dyn VaultRead, progress: &Progress, info: &Info, id: &ConversationId) -> Result<u64, VaultError> {
    let Some(peer) = info.peer else { return Ok(progress.unread) };
    let mut sum = progress.unread;
    for other in conversation_ids(&vault)?.into_iter().filter(|other| other != id) {
        if vault.load::<Info>(&other)?.is_some_and(|info| info.peer == Some(peer)) {
            sum += vault.load::<Progress>(&other)?.map_or(0, |progress| progress.unread);
        }
    }
    Ok(sum)
}

/// Who is in it.
fn members(
    vault: &dyn VaultRead,
    info: &Info,
    state: &GroupState,
    own: Option<AccountId>,
) -> Result<Vec<Member>, VaultError> {
    let leaves: Vec<_> = info.leaves.iter().map(|leaf| (leaf.index, leaf.account)).collect();
    let roles = policy::roles_effective(state, &leaves);
    let mut members: Vec<Member> = Vec::new();
    for leaf in &info.leaves {
        if let Some(member) = members.iter_mut().find(|member| member.account == leaf.account) {
            member.devices += 1;
            continue;
        }
        let (Some(contact), Some(handle)) = (vault.load::<Contact>(&leaf.account)?, handle_of(&vault, &leaf.account)?)
        else {
            continue;
        };
        members.push(Member {
            account: leaf.account,
            handle,
            role: roles.get(&leaf.account).copied().unwrap_or(Role::Member),
            devices: 1,
            is_me: Some(leaf.account) == own,
            compared: contact.compared.is_some(),
        });
    }
    Ok(members)
}

fn latest_key(vault: &dyn VaultRead, id: &ConversationId, info: &Info) -> Result<Vec<u8>, VaultError> {
    let thread = thread(id, info);
    let last = vault.values(Table::Message, &thread, &prefix_end(&thread), Order::Descending, 1)?.pop();
    // Without the thread, what is left of the key is the time.
    Ok(last.map(|(key, _)| key[thread.len()..].to_vec()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Body;
    use crate::crypto::letter::Welcome;
    use crate::people::accounts::remember_handle;
    use crate::talk::send::send;
    use crate::testing::{Home, NOW, Person};
    use stonechat_wire::{Bytes, EpochId, Seq};

    #[test]
    fn direct_messages_are_called_after_the_person_and_groups_after_their_name() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let id = home.converse_with(&bob);
        let me = home.identity.account();
        let group = home.converse(1, &GroupState::group("friends".into(), me), &[&bob]);
        let direct = conversation(&home.vault, &id).unwrap().unwrap();
        assert_eq!((&*direct.title, direct.is_group, direct.members.len()), ("@bob", false, 2));
        let group = conversation(&home.vault, &group).unwrap().unwrap();
        assert_eq!((&*group.title, group.is_group), ("friends", true));
        let roles: Vec<_> = group.members.iter().map(|member| member.role).collect();
        assert_eq!(roles, [Role::Owner, Role::Member]);
    }

    #[test]
    fn the_conversation_with_the_latest_message_is_first() {
        let mut home = Home::of("alice");
        let (bob, carol) = (home.meet("bob", 10), home.meet("carol", 20));
        let (with_bob, with_carol) = (home.converse_with(&bob), home.converse_with(&carol));
        let order = |home: &Home| conversations(&home.vault).unwrap().iter().map(|c| c.id).collect::<Vec<_>>();
        for (to, expected) in [(with_bob, [with_bob, with_carol]), (with_carol, [with_carol, with_bob])] {
            home.step(|ctx| {
                let message = send(ctx, to, Body::Text("hi".into())).unwrap();
                // The later one has the larger number in its log.
                let seq = Seq(u64::from(to == with_carol) + 2);
                let news = crate::step::News::Sent { conversation: to, id: message, time: NOW, seq };
                ctx.mail.messages.push(news);
                crate::talk::take_mail(ctx).unwrap();
            });
            assert_eq!(order(&home), expected);
        }
    }

    #[test]
    fn somebody_is_found_by_handle_name_or_the_beginning_of_an_id() {
        let mut home = Home::of("alice");
        let bob = home.meet("bob", 10);
        let me = home.identity.account();
        let groups = [1, 2].map(|n| home.converse(n, &GroupState::group("twice".into(), me), &[&bob]));
        let once = home.converse(3, &GroupState::group("once".into(), me), &[&bob]);
        let found = |text: &str| find(&home.vault, text).unwrap();
        assert_eq!(found("once"), Found::One(once));
        assert!(matches!(found("twice"), Found::Several(ids) if ids.len() == groups.len()));
        assert_eq!(found(&once.to_string()[..8]), Found::One(once));
        assert_eq!(found(&once.to_string()[..7]), Found::Nothing);
        assert_eq!((found("@carol"), found("nothing")), (Found::Nothing, Found::Nothing));
    }

    #[test]
    fn a_request_is_shown_once_the_handle_is_proven_and_not_after_it_was_accepted() {
        let mut home = Home::of("alice");
        let bob = Person::of("bob", 10);
        let (id, welcome) = (ConversationId([1; 32]), Welcome::Inline(Bytes::new(Vec::new()).unwrap()));
        let from = bob.id();
        let request = RequestRecord {
            from,
            epoch: Seq(2),
            epoch_id: EpochId([1; 32]),
            is_group: false,
            at: NOW,
            welcome,
            accepted: false,
        };
        home.step(|ctx| {
            ctx.txn.store(&from, &Contact::new(bob.log.clone()));
            ctx.txn.store(&id, &request);
        });
        assert!(requests(&home.vault).unwrap().is_empty(), "anybody can claim a handle");
        home.step(|ctx| remember_handle(ctx, &bob.handle(), from));
        assert!(matches!(&requests(&home.vault).unwrap()[..], [one] if one.from == from && !one.started_over));
        home.step(|ctx| ctx.txn.store(&id, &RequestRecord { accepted: true, ..request.clone() }));
        assert!(requests(&home.vault).unwrap().is_empty());
    }
}
