//! What clients ask of the directory: accounts with proof, heads, consistency, their own history; and adding to an account
//! log. Nothing waits here: what is not published yet is [`ErrorCode::Unpublished`], and the shell asks again.

use stonechat_wire::limits::{ACCOUNT_ENTRIES_MAX, HISTORY_VERSIONS_MAX};
use stonechat_wire::{
    AccountId, AccountLog, Bytes, ErrorCode, Failure, Handle, List, LogEntry, LogHead, ProvenAccount, Reply, Seq,
    Timestamp, encode,
};

use super::{Principal, Services, Session, keys, refuse, retry_later, store_failed};
use crate::directory::{Directory, DirectoryError, Listing, Publication};
use crate::store::{Append, Expect, KeyedLog, StoreError};

impl<S: KeyedLog> Services<S> {
    /// The directory.
    pub fn directory(&self) -> &Directory<S> {
        &self.directory
    }

    /// Publishes what has changed. The server calls it when something has, and once a second; a simulator as its time
    /// passes.
    ///
    /// # Errors
    /// [`DirectoryError`]; the next call goes on.
    ///
    /// # Cancel safety
    /// As after a crash: the next call finishes what was begun.
    pub async fn publish(&self, now: Timestamp) -> Result<Publication, DirectoryError> {
        self.directory.publish(now, |account| self.listing(account, now)).await
    }

    async fn listing(&self, account: AccountId, now: Timestamp) -> Result<Option<Listing>, StoreError> {
        let failed = |failure: Failure| StoreError::Unavailable { cause: failure.to_string() };
        let Some(known) = self.account(&account, now).await.map_err(failed)? else { return Ok(None) };
        let (length, hash) = known.state.head();
        let handle = known.state.handle();
        let holds = self.holder(handle, now).await.map_err(failed)? == Some(account);
        Ok(Some(Listing { log: LogHead { length: length as u64, hash }, handle: holds.then(|| handle.clone()) }))
    }

    /// [`stonechat_wire::Request::LookUpHandle`].
    pub(crate) async fn look_up_handle(&self, now: Timestamp, handle: &Handle) -> Result<Reply, Failure> {
        let account = self.holder(handle, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        self.proven_account(now, &account, Some(handle)).await
    }

    /// [`stonechat_wire::Request::GetAccount`].
    pub(crate) async fn get_account(&self, now: Timestamp, account: &AccountId) -> Result<Reply, Failure> {
        self.proven_account(now, account, None).await
    }

    async fn proven_account(
        &self,
        now: Timestamp,
        account: &AccountId,
        handle: Option<&Handle>,
    ) -> Result<Reply, Failure> {
        let known = self.account(account, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        let found = self.directory.look_up(account, handle).await;
        let behind = match &found {
            Ok((_, head)) => head.length < known.log.0.len() as u64,
            Err(error) => matches!(error, DirectoryError::Unpublished),
        };
        if behind {
            // Most likely it stands in the queue already. After a crash between the log and the queue it does not.
            self.enqueue(account, now).await?;
        }
        let (proof, head) = found.map_err(directory_failed)?;
        // Cut to what is published: the rest follows within a second.
        let mut entries = known.log.0.clone().into_vec();
        entries.truncate(usize::try_from(head.length).unwrap_or(usize::MAX));
        let log = AccountLog(List::new(entries).expect("no longer than before"));
        Ok(Reply::Account(ProvenAccount { log, proof }))
    }

    /// [`stonechat_wire::Request::GetHead`].
    pub(crate) fn get_head(&self) -> Result<Reply, Failure> {
        self.directory.signed_head().map(Reply::Head).map_err(directory_failed)
    }

    /// [`stonechat_wire::Request::GetConsistency`].
    pub(crate) async fn get_consistency(&self, from: u64, to: u64) -> Result<Reply, Failure> {
        let proof = self.directory.consistency(from, to).await.map_err(directory_failed)?;
        proof.map(Reply::Consistency).ok_or(refuse(ErrorCode::NotFound))
    }

    /// [`stonechat_wire::Request::GetDirectoryPolicy`].
    pub(crate) fn get_directory_policy(&self) -> Result<Reply, Failure> {
        let json = Bytes::new(self.directory.policy().to_json().into_bytes());
        json.map(Reply::DirectoryPolicy).map_err(|_| store_failed("the directory's policy is too long"))
    }

    /// [`stonechat_wire::Request::GetOwnHistory`].
    pub(crate) async fn get_own_history(
        &self,
        Principal { account, .. }: Principal,
        now: Timestamp,
        versions: u32,
    ) -> Result<Reply, Failure> {
        if !(1..=HISTORY_VERSIONS_MAX).contains(&versions) {
            return Err(refuse(ErrorCode::Malformed));
        }
        let known = self.account(&account, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        let history = self.directory.history(&account, known.state.handle(), versions).await;
        history.map(Reply::History).map_err(directory_failed)
    }

    /// [`stonechat_wire::Request::ExtendAccount`]: the log first, then the queue of what is to be published. After a crash
    /// between, the same request does the second, or the next look-up, which every device makes of itself.
    pub(crate) async fn extend_account(
        &self,
        session: &Session,
        now: Timestamp,
        account: AccountId,
        entry: LogEntry,
    ) -> Result<Reply, Failure> {
        if session.principal().is_ok_and(|who| who.account != account) {
            return Err(refuse(ErrorCode::WrongConnection));
        }
        let known = self.account(&account, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        let mut entries = known.log.0.clone().into_vec();
        if entries.last().is_some_and(|last| last.body == entry.body) {
            self.enqueue(&account, now).await?;
            return Ok(Reply::Done);
        }
        let length = entries.len() as u64;
        let invalid = |detail: String| Failure { detail: Some(detail), ..refuse(ErrorCode::InvalidAccount) };
        entries.push(entry.clone());
        let log = List::new(entries)
            .map_err(|_| invalid(format!("an account log has at most {ACCOUNT_ENTRIES_MAX} entries")))?;
        let next = stonechat_wire::AccountState::verify(&AccountLog(log), Some(account))
            .map_err(|error| invalid(error.to_string()))?;
        let key = keys::account(&account);
        match self.append_bytes(&key, Expect::Last(Seq(length)), encode(&entry), None, now).await? {
            Append::Appended(_) => {}
            // Another device was first: the caller reads the log again.
            Append::Conflict { .. } => return Err(refuse(ErrorCode::Conflict)),
        }
        self.enqueue(&account, now).await?;
        // A device that was revoked leaves nothing behind that could still be used; its connections end by themselves, because
        // they watch the log.
        for gone in known.state.devices().iter().filter(|device| next.device(&device.id).is_none()) {
            for key in keys::of_device(&account, &gone.id) {
                self.store.remove(&key).await.map_err(store_failed)?;
            }
        }
        Ok(Reply::Done)
    }

    pub(super) async fn enqueue(&self, account: &AccountId, now: Timestamp) -> Result<(), Failure> {
        self.directory.enqueue(account, now).await.map_err(store_failed)
    }
}

fn directory_failed(error: DirectoryError) -> Failure {
    match error {
        DirectoryError::Unpublished => retry_later(ErrorCode::Unpublished, 1),
        other => store_failed(other),
    }
}

#[cfg(test)]
mod tests;
