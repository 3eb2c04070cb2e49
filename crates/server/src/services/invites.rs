//! Invitations: what a newcomer shows where sign-up is closed.
//!
//! The server keeps a hash of the code, how often it was used and when it ends; not who used it. A use is recorded under a
//! hash of the code and the account, which says nothing to whoever does not know the code, so that a request that is
//! repeated after a lost reply is no second use.

use minicbor::{Decode, Encode};
use rand_core::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stonechat_wire::{AccountId, ErrorCode, Failure, InviteCode, Seq, Timestamp, decode, encode};

use super::{Services, keys, refuse, retry_later, store_failed};
use crate::store::{Append, Expect, KeyedLog};

/// Who may sign up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignUp {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has an invitation.
    Invite,
}

/// An invitation as an operator sees it. The code itself is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCard {
    /// What names it: not the code.
    pub id: String,
    /// How many accounts it makes.
    pub uses_max: u32,
    /// How many it has made.
    pub uses: u32,
    /// When it ends, in milliseconds since 1970-01-01.
    pub expires_at_millis: u64,
    /// The operator's own words about it.
    pub note: String,
}

/// What is asked for in a new invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// How many accounts it may make, 1 to 1,000.
    pub uses_max: u32,
    /// How long it is good, 1 to 366.
    pub days: u32,
    /// Words for the operator, at most 200 bytes.
    #[serde(default)]
    pub note: String,
}

/// The first entry of an invitation's log; the entries behind it are its uses.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Invite {
    #[n(0)]
    uses_max: u32,
    #[n(1)]
    expires_at: Timestamp,
    #[n(2)]
    note: String,
}

/// What of a code is kept: enough to recognise it, not to make it.
type InviteId = [u8; 16];

impl<S: KeyedLog> Services<S> {
    /// Makes an invitation. `None` when what is asked for is out of its bounds.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn invite<R: RngCore + CryptoRng>(
        &self,
        new: &NewInvite,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<Option<(InviteCode, InviteCard)>, Failure> {
        let in_bounds = (1..=INVITE_USES_MAX).contains(&new.uses_max)
            && (1..=INVITE_DAYS_MAX).contains(&new.days)
            && new.note.len() <= NOTE_BYTES_MAX;
        if !in_bounds {
            return Ok(None);
        }
        let mut code = InviteCode([0; 10]);
        rng.fill_bytes(&mut code.0);
        let (id, ttl_secs) = (id_of(&code), u64::from(new.days) * DAY_SECS);
        let invite = Invite { uses_max: new.uses_max, expires_at: now.plus_secs(ttl_secs), note: new.note.clone() };
        let made = self.append_bytes(&keys::invite(&id), Expect::Empty, encode(&invite), Some(ttl_secs), now).await?;
        if !matches!(made, Append::Appended(_)) {
            return Err(store_failed("an invitation's code was drawn twice"));
        }
        let _listed = self.append_bytes(&keys::invites(), Expect::Any, id.to_vec(), Some(ttl_secs), now).await?;
        Ok(Some((code, card(&id, &invite, 0))))
    }

    /// The invitations that are still good, oldest first.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn invites(&self, now: Timestamp) -> Result<Vec<InviteCard>, Failure> {
        let listed = self.read(&keys::invites(), Seq(0), INVITES_LISTED_MAX, usize::MAX, now).await?;
        let mut cards = Vec::new();
        for entry in listed {
            let Ok(id) = InviteId::try_from(entry.bytes.as_slice()) else { continue };
            if let Some((invite, uses)) = self.read_invite(&id, now).await? {
                cards.push(card(&id, &invite, uses));
            }
        }
        Ok(cards)
    }

    /// Ends an invitation. Returns whether there was one.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn end_invite(&self, id: &str, now: Timestamp) -> Result<bool, Failure> {
        let mut bytes = InviteId::default();
        if hex::decode_to_slice(id, &mut bytes).is_err() || self.read_invite(&bytes, now).await?.is_none() {
            return Ok(false);
        }
        self.store.remove(&keys::invite(&bytes)).await.map_err(store_failed)?;
        Ok(true)
    }

    /// Uses an invitation for an account that is about to be made.
    pub(crate) async fn use_invite(
        &self,
        code: Option<&InviteCode>,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let code = code.ok_or(refuse(ErrorCode::InviteNeeded))?;
        let (id, used) = (id_of(code), use_of(code, account));
        let key = keys::invite(&id);
        for _ in 0..super::CONFLICTS_MAX {
            let log = self.read(&key, Seq(0), INVITE_USES_MAX as usize + 1, usize::MAX, now).await?;
            let Some((first, uses)) = log.split_first() else { return Err(refuse(ErrorCode::InviteNeeded)) };
            let invite: Invite = decode(&first.bytes).map_err(|_| store_failed("an invitation is damaged"))?;
            if uses.iter().any(|entry| entry.bytes == used) {
                return Ok(());
            }
            if uses.len() >= invite.uses_max as usize {
                return Err(refuse(ErrorCode::InviteNeeded));
            }
            let expect = Expect::Last(uses.last().map_or(first.seq, |last| last.seq));
            let left = Some(invite.expires_at);
            let appended = self.store.append(&key, expect, used.to_vec(), left, now).await;
            if let Append::Appended(_) = appended.map_err(super::append_failed)? {
                return Ok(());
            }
        }
        Err(retry_later(ErrorCode::Slow, 1))
    }

    async fn read_invite(&self, id: &InviteId, now: Timestamp) -> Result<Option<(Invite, u32)>, Failure> {
        let log = self.read(&keys::invite(id), Seq(0), INVITE_USES_MAX as usize + 1, usize::MAX, now).await?;
        let Some((first, uses)) = log.split_first() else { return Ok(None) };
        let invite = decode(&first.bytes).map_err(|_| store_failed("an invitation is damaged"))?;
        Ok(Some((invite, uses.len() as u32)))
    }
}

fn card(id: &InviteId, invite: &Invite, uses: u32) -> InviteCard {
    InviteCard {
        id: hex::encode(id),
        uses_max: invite.uses_max,
        uses,
        expires_at_millis: invite.expires_at.0,
        note: invite.note.clone(),
    }
}

fn id_of(code: &InviteCode) -> InviteId {
    let hash = Sha256::new_with_prefix(b"stonechat v1 invite").chain_update(code.0).finalize();
    std::array::from_fn(|i| hash[i])
}

fn use_of(code: &InviteCode, account: &AccountId) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"stonechat v1 invite used");
    hash.chain_update(code.0).chain_update(account.0).finalize().into()
}

/// Accounts of one invitation. Its log is read whole for each.
const INVITE_USES_MAX: u32 = 1_000;
/// A year.
const INVITE_DAYS_MAX: u32 = 366;
/// Of an operator's note.
const NOTE_BYTES_MAX: usize = 200;
const INVITES_LISTED_MAX: usize = 10_000;
const DAY_SECS: u64 = 24 * 3_600;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    #[expect(clippy::disallowed_types, reason = "a code in a test is another each time")]
    use rand_core::OsRng;
    use stonechat_wire::{Reply, Request};

    use super::*;
    use crate::services::testing::{Person, World, closed_world, person};

    fn invite(world: &World, uses_max: u32) -> InviteCode {
        let new = NewInvite { uses_max, days: 1, note: "for the choir".to_owned() };
        let made = world.services.invite(&new, world.now.get(), &mut OsRng).now_or_never().unwrap();
        made.unwrap().unwrap().0
    }

    fn sign_up(person: &Person, invite: Option<InviteCode>) -> Request {
        Request::CreateAccount { genesis: person.genesis.clone(), invite }
    }

    #[test]
    fn an_invitation_makes_as_many_accounts_as_it_says_and_no_more() {
        let world = closed_world();
        let people = ["alice", "bob", "carol"].map(person);
        let ask = |person: &Person, code| world.ask(&mut world.session(), sign_up(person, code));
        assert_eq!(ask(&people[0], None).unwrap_err().code, ErrorCode::InviteNeeded);
        assert_eq!(ask(&people[0], Some(InviteCode([9; 10]))).unwrap_err().code, ErrorCode::InviteNeeded);
        let code = invite(&world, 2);
        assert_eq!(ask(&people[0], Some(code)), Ok(Reply::Done));
        assert_eq!(ask(&people[0], Some(code)), Ok(Reply::Done), "the same again is no second use");
        assert_eq!(ask(&people[1], Some(code)), Ok(Reply::Done));
        assert_eq!(ask(&people[2], Some(code)).unwrap_err().code, ErrorCode::InviteNeeded);
        let listed = world.services.invites(world.now.get()).now_or_never().unwrap().unwrap();
        assert_eq!(listed.iter().map(|card| (card.uses, card.uses_max)).collect::<Vec<_>>(), [(2, 2)]);
    }

    #[test]
    fn a_handle_that_is_taken_costs_no_use() {
        let world = closed_world();
        let code = invite(&world, 2);
        assert_eq!(world.ask(&mut world.session(), sign_up(&person("alice"), Some(code))), Ok(Reply::Done));
        let taken = world.refused(&mut world.session(), sign_up(&person("alice"), Some(code)));
        assert_eq!(taken, ErrorCode::HandleTaken);
        assert_eq!(world.ask(&mut world.session(), sign_up(&person("alice2"), Some(code))), Ok(Reply::Done));
    }

    #[test]
    fn an_invitation_ends_with_its_time_and_when_it_is_ended() {
        let world = closed_world();
        let (late, ended) = (invite(&world, 1), invite(&world, 1));
        let listed = world.services.invites(world.now.get()).now_or_never().unwrap().unwrap();
        let end = |id: &str| world.services.end_invite(id, world.now.get()).now_or_never().unwrap().unwrap();
        assert!(end(&listed[1].id) && !end(&listed[1].id) && !end("nonsense"));
        let refused = |code| world.refused(&mut world.session(), sign_up(&person("bob"), Some(code)));
        assert_eq!(refused(ended), ErrorCode::InviteNeeded);
        world.later(DAY_SECS);
        assert_eq!(refused(late), ErrorCode::InviteNeeded);
    }

    #[test]
    fn what_is_kept_of_an_invitation_names_neither_its_code_nor_who_used_it() {
        let world = closed_world();
        let (alice, code) = (person("alice"), invite(&world, 1));
        world.ask(&mut world.session(), sign_up(&alice, Some(code))).unwrap();
        let dump = world.services.store().danger_dump();
        let kept = dump.iter().filter(|(key, _)| [keys::invite(&id_of(&code)), keys::invites()].contains(key));
        let kept: Vec<u8> = kept.flat_map(|(_, entries)| entries.iter().flat_map(|e| e.bytes.clone())).collect();
        let has = |needle: &[u8]| kept.windows(needle.len()).any(|window| window == needle);
        assert!(!kept.is_empty() && !has(&code.0) && !has(&alice.account.0));
    }
}
