//! What an operator may ask about accounts, and suspensions. Nothing here says more than lies in the store anyway: no times
//! of use, no contacts, no conversations, because the server does not have them.
//!
//! **A suspended account** cannot log in: it draws no tokens, gives out no key packages, fetches no letters and changes
//! nothing of its inbox. What it still can: read and write in the conversations that it is in, because nobody can tell
//! there who writes; spend tokens that it has; extend its account log, so that a thief's device can be revoked. Letters to
//! it wait as for anybody who is away. Its handle stays its own.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use stonechat_wire::{AccountId, ErrorCode, Failure, Handle, Seq, Timestamp, decode, encode};

use super::{Services, keys, store_failed};
use crate::store::{Expect, KeyedLog};

/// An account as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCard {
    /// With its sign.
    pub handle: String,
    /// Hex.
    pub account: String,
    /// How many devices may log in.
    pub devices: usize,
    /// Entries of its log.
    pub log_entries: usize,
    /// Tokens that it may still draw today (UTC).
    pub tokens_left_today: u32,
    /// Absent when it is not suspended.
    pub suspended: Option<SuspensionCard>,
}

/// Why an account is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionCard {
    /// What its person is told.
    pub reason: String,
    /// In milliseconds since 1970-01-01.
    pub since_millis: u64,
}

/// Some of the accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPage {
    /// In the order in which they signed up.
    pub accounts: Vec<AccountCard>,
    /// What to ask behind, when there may be more.
    pub next: Option<u64>,
}

/// The last entry counts.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Suspension {
    #[n(0)]
    is_suspended: bool,
    #[n(1)]
    reason: String,
    #[n(2)]
    since: Timestamp,
}

impl<S: KeyedLog> Services<S> {
    /// Accounts in the order in which they signed up, behind a place in that order.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn list_accounts(&self, after: u64, max: usize, now: Timestamp) -> Result<AccountPage, Failure> {
        let max = max.clamp(1, ACCOUNTS_PER_PAGE_MAX);
        let listed = self.read(&keys::accounts(), Seq(after), max, usize::MAX, now).await?;
        let next = listed.last().filter(|_| listed.len() == max).map(|last| last.seq.0);
        let (mut accounts, mut seen) = (Vec::new(), BTreeSet::new());
        for entry in listed {
            let Ok(id) = entry.bytes.as_slice().try_into().map(AccountId) else { continue };
            // Twice when a sign-up was repeated, and not there when it lost the race for its handle.
            if seen.insert(id)
                && let Some(card) = self.account_card(&id, now).await?
            {
                accounts.push(card);
            }
        }
        Ok(AccountPage { accounts, next })
    }

    /// The account that holds a handle.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn show_account(&self, handle: &Handle, now: Timestamp) -> Result<Option<AccountCard>, Failure> {
        match self.holder(handle, now).await? {
            Some(account) => self.account_card(&account, now).await,
            None => Ok(None),
        }
    }

    /// Suspends the account that holds a handle, and ends its connections. `reason` is told to its person. Returns whether
    /// there is such an account.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] when the reason is empty or longer than 200 bytes; [`ErrorCode::Unavailable`].
    pub async fn suspend(&self, handle: &Handle, reason: &str, now: Timestamp) -> Result<bool, Failure> {
        if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
            return Err(super::refuse(ErrorCode::Malformed));
        }
        self.set_suspension(handle, Suspension { is_suspended: true, reason: reason.to_owned(), since: now }, now).await
    }

    /// Ends a suspension. Returns whether there is such an account.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn resume(&self, handle: &Handle, now: Timestamp) -> Result<bool, Failure> {
        self.set_suspension(handle, Suspension { is_suspended: false, reason: String::new(), since: now }, now).await
    }

    async fn set_suspension(&self, handle: &Handle, to: Suspension, now: Timestamp) -> Result<bool, Failure> {
        let Some(account) = self.holder(handle, now).await? else { return Ok(false) };
        let key = keys::suspension(&account);
        let appended = self.store.append(&key, Expect::Any, encode(&to), None, now).await;
        if let crate::store::Append::Appended(seq) = appended.map_err(super::append_failed)?
            && seq.0 > 1
        {
            // What was said before is not kept.
            self.store.trim(&key, Seq(seq.0 - 1)).await.map_err(store_failed)?;
        }
        Ok(true)
    }

    /// Refuses an account that is suspended, with the reason.
    pub(crate) async fn not_suspended(&self, account: &AccountId, now: Timestamp) -> Result<(), Failure> {
        match self.suspension(account, now).await? {
            Some(card) => {
                Err(Failure { code: ErrorCode::Suspended, retry_after_secs: None, detail: Some(card.reason) })
            }
            None => Ok(()),
        }
    }

    async fn suspension(&self, account: &AccountId, now: Timestamp) -> Result<Option<SuspensionCard>, Failure> {
        let Some(entry) = self.last(&keys::suspension(account), now).await? else { return Ok(None) };
        let said: Suspension = decode(&entry.bytes).map_err(|_| store_failed("a suspension is damaged"))?;
        let card = SuspensionCard { reason: said.reason, since_millis: said.since.0 };
        Ok(said.is_suspended.then_some(card))
    }

    async fn account_card(&self, account: &AccountId, now: Timestamp) -> Result<Option<AccountCard>, Failure> {
        let Some(known) = self.account(account, now).await? else { return Ok(None) };
        Ok(Some(AccountCard {
            handle: known.state.handle().to_string(),
            account: account.to_string(),
            devices: known.state.devices().len(),
            log_entries: known.log.0.len(),
            tokens_left_today: self.tokens_left(account, now).await?,
            suspended: self.suspension(account, now).await?,
        }))
    }

    /// Puts the accounts of a store that was made before there was a list into the list.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn list_known(&self, accounts: &[AccountId], now: Timestamp) -> Result<(), Failure> {
        if self.last(&keys::accounts(), now).await?.is_none() {
            for account in accounts {
                self.add_to_list(account, now).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn add_to_list(&self, account: &AccountId, now: Timestamp) -> Result<(), Failure> {
        self.append_bytes(&keys::accounts(), Expect::Any, account.0.to_vec(), None, now).await.map(drop)
    }
}

/// Of a reason: it fits the detail of a failure.
const REASON_BYTES_MAX: usize = 200;
/// Accounts in one answer.
pub const ACCOUNTS_PER_PAGE_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use stonechat_wire::{Reply, Request};

    use super::*;
    use crate::services::testing::{blind, person, world};

    #[test]
    fn a_suspended_account_is_told_why_and_cannot_log_in_until_it_is_resumed() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        let (handle, now) = (Handle::parse("alice").unwrap(), world.now.get());
        let suspend = |reason: &str| world.services.suspend(&handle, reason, now).now_or_never().unwrap();
        assert_eq!(suspend("Spam, three reports."), Ok(true));
        // Its open connection ends.
        device.collect_wakes();
        assert!(device.has_work());
        let ended = world.services.next_push(&mut device, now).now_or_never().unwrap().unwrap_err();
        assert_eq!((ended.code, ended.detail.as_deref()), (ErrorCode::Suspended, Some("Spam, three reports.")));
        let mut session = world.session();
        let login = alice.login(&world.nonce(&session), "chat.test");
        let refused = world.ask(&mut session, login).unwrap_err();
        assert_eq!((refused.code, refused.detail.as_deref()), (ErrorCode::Suspended, Some("Spam, three reports.")));
        let draw = Request::IssueTokens { blinded: stonechat_wire::List::new(vec![blind().0]).unwrap() };
        assert_eq!(world.refused(&mut session, draw), ErrorCode::WrongConnection, "it is no device's connection");
        // A stranger with a wrong signature is not told.
        let mut session = world.session();
        let forged = alice.login(&[0; 32], "chat.test");
        assert_eq!(world.refused(&mut session, forged), ErrorCode::NotAuthenticated);

        assert_eq!(world.services.resume(&handle, now).now_or_never().unwrap(), Ok(true));
        let mut session = world.session();
        let login = alice.login(&world.nonce(&session), "chat.test");
        assert!(matches!(world.ask(&mut session, login), Ok(Reply::Authenticated { .. })));
        let dump = world.services.store().danger_dump();
        assert_eq!(dump[&keys::suspension(&alice.account)].len(), 1, "an old reason is not kept");
        for wrong in ["", "  ", &"x".repeat(REASON_BYTES_MAX + 1)] {
            assert_eq!(suspend(wrong).unwrap_err().code, ErrorCode::Malformed);
        }
        let nobody = Handle::parse("nobody").unwrap();
        assert_eq!(world.services.suspend(&nobody, "x", now).now_or_never().unwrap(), Ok(false));
    }

    #[test]
    fn accounts_are_listed_in_pages_each_once() {
        let world = world();
        for name in ["alice", "bob", "carol"] {
            world.device(&person(name));
        }
        let other = Request::CreateAccount { genesis: person("bob").genesis, invite: None };
        assert_eq!(world.refused(&mut world.session(), other), ErrorCode::HandleTaken);
        let page =
            |after, max| world.services.list_accounts(after, max, world.now.get()).now_or_never().unwrap().unwrap();
        let first = page(0, 2);
        assert_eq!(first.accounts.iter().map(|card| card.handle.as_str()).collect::<Vec<_>>(), ["@alice", "@bob"]);
        let rest = page(first.next.unwrap(), 2);
        assert_eq!(rest.accounts.iter().map(|card| card.handle.as_str()).collect::<Vec<_>>(), ["@carol"]);
        assert_eq!((rest.next, rest.accounts[0].devices, rest.accounts[0].tokens_left_today), (None, 1, 100));
    }
}
