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
    let members = members(vault, info, &state)?;
    let lock = trust::lock(&trust::checks(&vault, info)?);
    let own = vault.load::<MeRecord>(&())?.map(|me| me.account);
    let mut others = members.iter().filter(|member| Some(member.account) != own).peekable();
    let compared = others.peek().is_some() && others.all(|member| member.compared);
    let title = match &info.peer {
        Some(peer) => handle_of(&vault, peer)?.map_or_else(|| "?".to_owned(), |handle| handle.to_string()),
        None => state.name.clone(),
    };
    let last = messages(vault, &id, None, 1)?.pop();
    Ok(Conversation {
        id,
        title,
        is_group: info.peer.is_none(),
        members,
        unread,
        last,
        lock,
        notice: info.notice.clone(),
        active: progress.phase != Phase::Gone,
        compared,
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
fn members(vault: &dyn VaultRead, info: &Info, state: &GroupState) -> Result<Vec<Member>, VaultError> {
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
