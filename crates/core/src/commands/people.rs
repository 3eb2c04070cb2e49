//! What a person asks for about people: whom they accept, and whom they compared safety numbers with.

use stonechat_directory::{SafetyNumber, ScannedCode};
use stonechat_wire::Handle;

use super::account_looked_up;
use crate::api::{CommandError, Event, Invalid, Outcome};
use crate::error::Answer;
use crate::log::join::{accept_requests, requests_of};
use crate::log::rows::RequestRecord;
use crate::people::accounts::{Contact, accept_successor, account_of, successor_of};
use crate::step::Ctx;
use crate::store::Read as _;

pub(super) fn accept_from(ctx: &mut Ctx<'_>, from: &Handle) -> Answer<Outcome> {
    let account = match accept_successor(ctx, from)? {
        Some(account) => account,
        None => account_looked_up(ctx, from)?,
    };
    match accept_requests(ctx, account)? {
        Some(id) => Ok(Outcome::Conversation(id)),
        None => Err(CommandError::UnknownRequest(from.clone()).into()),
    }
}

pub(super) fn decline(ctx: &mut Ctx<'_>, from: &Handle) -> Answer<Outcome> {
    let account = match successor_of(&ctx.txn, from)? {
        Some(account) => account,
        None => account_looked_up(ctx, from)?,
    };
    let requests = requests_of(ctx, account)?;
    if requests.is_empty() {
        return Err(CommandError::UnknownRequest(from.clone()).into());
    }
    for (id, _) in requests {
        ctx.txn.remove::<RequestRecord>(&id);
    }
    ctx.event(Event::Requests);
    Ok(Outcome::Done)
}

/// Compares what the other person shows, and remembers that it matched.
pub(super) fn compare(ctx: &mut Ctx<'_>, handle: &Handle, shown: &str) -> Answer<Outcome> {
    let me = ctx.me.account();
    let Some(other) = account_of(&ctx.txn, handle)? else {
        return Err(CommandError::UnknownHandle(handle.clone()).into());
    };
    let digits: String = shown.chars().filter(|c| !c.is_whitespace()).collect();
    let matches = if digits.len() == SAFETY_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        SafetyNumber::of(&me, &other).digits() == digits
    } else {
        match ScannedCode::compare(&me, &other, shown) {
            ScannedCode::Match => true,
            ScannedCode::Mismatch => false,
            ScannedCode::Unreadable => {
                return Err(CommandError::Invalid(Invalid::SafetyNumber).into());
            }
        }
    };
    let Some(mut contact) = ctx.txn.load::<Contact>(&other)? else {
        return Err(CommandError::UnknownHandle(handle.clone()).into());
    };
    contact.compared = matches.then_some(ctx.now);
    ctx.txn.store(&other, &contact);
    ctx.mail.changed.insert(other);
    if matches { Ok(Outcome::Done) } else { Err(CommandError::Mismatch(handle.clone()).into()) }
}

const SAFETY_DIGITS: usize = 60;
