//! Accounts: making one, and reading account logs. Nothing here is believed by clients: they verify the log themselves, and
//! against the directory that it is the one that everybody sees.

use std::sync::Arc;

use stonechat_wire::limits::ACCOUNT_ENTRIES_MAX;
use stonechat_wire::{
    AccountId, AccountLog, AccountState, ErrorCode, Failure, Handle, InviteCode, List, LogEntry, Reply, Seq, Timestamp,
    decode, encode,
};

use super::{Services, SignUp, keys, refuse, store_failed};
use crate::store::{Append, Expect, KeyedLog};

/// A verified account log as it was read: the state, and the log that says so.
pub(crate) struct KnownAccount {
    pub(crate) state: AccountState,
    pub(crate) log: AccountLog,
}

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::CreateAccount`]: the account's log first, then its handle. A crash between leaves an
    /// account without a handle, which the same request completes and which blocks nobody.
    pub(crate) async fn create_account(
        &self,
        now: Timestamp,
        genesis: LogEntry,
        invite: Option<&InviteCode>,
    ) -> Result<Reply, Failure> {
        let log = AccountLog(List::new(vec![genesis]).expect("one entry"));
        let state = AccountState::verify(&log, None)
            .map_err(|error| Failure { detail: Some(error.to_string()), ..refuse(ErrorCode::InvalidAccount) })?;
        let (account, handle_key) = (keys::account(&state.id()), keys::handle(state.handle()));
        match self.holder(state.handle(), now).await? {
            Some(holder) if holder != state.id() => return Err(refuse(ErrorCode::HandleTaken)),
            Some(_) => {}
            None => {
                if self.settings.signup == SignUp::Invite {
                    self.use_invite(invite, &state.id(), now).await?;
                }
                // Before it has its handle: who is repeated after a crash stands there twice, never not at all.
                self.add_to_list(&state.id(), now).await?;
            }
        }
        // A conflict is the same genesis: the key is its hash.
        let _same = self.append_bytes(&account, Expect::Empty, encode(&log.0[0]), None, now).await?;
        let id = state.id().0.to_vec();
        let appended = self.append_bytes(&handle_key, Expect::Empty, id, None, now).await?;
        if matches!(appended, Append::Appended(_)) || self.holder(state.handle(), now).await? == Some(state.id()) {
            // Last: what is in the queue is there to be published.
            self.enqueue(&state.id(), now).await?;
            return Ok(Reply::Done);
        }
        // Lost the race for the handle: this account can never have it.
        self.store.remove(&account).await.map_err(store_failed)?;
        Err(refuse(ErrorCode::HandleTaken))
    }

    /// The account that holds a handle.
    pub(crate) async fn holder(&self, handle: &Handle, now: Timestamp) -> Result<Option<AccountId>, Failure> {
        let entry = self.last(&keys::handle(handle), now).await?;
        Ok(entry.and_then(|entry| Some(AccountId(entry.bytes.as_slice().try_into().ok()?))))
    }

    /// An account's verified log. Verifying costs two signatures an entry, so the result is kept for as long as the log
    /// has not grown.
    pub(crate) async fn account(&self, id: &AccountId, now: Timestamp) -> Result<Option<Arc<KnownAccount>>, Failure> {
        let key = keys::account(id);
        let cached = self.accounts.lock().expect("no holder panics").get(id).cloned();
        if let Some(known) = cached {
            let last = self.last(&key, now).await?.map(|entry| entry.seq);
            if last == Some(Seq(known.log.0.len() as u64)) {
                return Ok(Some(known));
            }
        }
        let mut entries = Vec::new();
        while entries.len() < ACCOUNT_ENTRIES_MAX {
            let page = self
                .read(&key, Seq(entries.len() as u64), ACCOUNT_ENTRIES_MAX - entries.len(), usize::MAX, now)
                .await?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                entries.push(
                    decode::<LogEntry>(&entry.bytes).map_err(|_| store_failed("an account log entry is damaged"))?,
                );
            }
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let log = AccountLog(List::new(entries).map_err(|_| store_failed("an account log is too long"))?);
        let state = AccountState::verify(&log, Some(*id)).map_err(|_| store_failed("an account log is damaged"))?;
        let known = Arc::new(KnownAccount { state, log });
        self.accounts.lock().expect("no holder panics").put(*id, Arc::clone(&known));
        Ok(Some(known))
    }
}

#[cfg(test)]
mod tests {
    use stonechat_wire::Request;

    use super::*;
    use crate::services::testing::{person, world};

    #[test]
    fn an_account_is_found_by_handle_and_by_id() {
        let world = world();
        let alice = person("alice");
        let create = || Request::CreateAccount { genesis: alice.genesis.clone(), invite: None };
        assert_eq!(world.ask(&mut world.session(), create()), Ok(Reply::Done));
        assert_eq!(world.ask(&mut world.session(), create()), Ok(Reply::Done), "the same again is no error");
        world.publish();
        let mut anonymous = world.session();
        let handle = Handle::parse("alice").unwrap();
        for request in [Request::LookUpHandle { handle }, Request::GetAccount { account: alice.account }] {
            let Ok(Reply::Account(found)) = world.ask(&mut anonymous, request) else { panic!() };
            assert_eq!(found.log.0[..], *std::slice::from_ref(&alice.genesis));
        }
        let handle = Handle::parse("nobody").unwrap();
        assert_eq!(world.refused(&mut anonymous, Request::LookUpHandle { handle }), ErrorCode::NotFound);
    }

    #[test]
    fn a_taken_handle_is_refused_and_leaves_nothing() {
        let world = world();
        world.device(&person("alice"));
        let other = person("alice");
        let create = Request::CreateAccount { genesis: other.genesis, invite: None };
        assert_eq!(world.refused(&mut world.session(), create), ErrorCode::HandleTaken);
        let get = Request::GetAccount { account: other.account };
        assert_eq!(world.refused(&mut world.session(), get), ErrorCode::NotFound);
    }

    #[test]
    fn an_entry_with_a_false_signature_is_refused() {
        let world = world();
        let mut genesis = person("alice").genesis;
        genesis.signatures = person("alice").genesis.signatures;
        assert_eq!(
            world.refused(&mut world.session(), Request::CreateAccount { genesis, invite: None }),
            ErrorCode::InvalidAccount
        );
    }
}
