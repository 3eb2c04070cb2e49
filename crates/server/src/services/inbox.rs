//! Inboxes: sealed envelopes for a device, in two bounded lanes. Contacts present a capability that the receiver handed out,
//! strangers pay a token. The server cannot see who sends.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use stonechat_wire::limits::{
    CONTACT_CAPABILITIES_MAX, CONTACT_LANE_ENVELOPES_MAX, ENVELOPE_BYTES_MAX, ENVELOPE_TTL_SECS, PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX, STRANGER_LANE_ENVELOPES_MAX,
};
use stonechat_wire::{
    AccountId, Admission, Bytes, CapabilityHash, DeviceId, Envelope, ErrorCode, Failure, Lane, List, Push, Reply, Seq,
    Timestamp, decode, encode,
};

use super::tokens::Purpose;
use super::{Principal, Services, Session, keys, refuse, retry_later, store_failed};
use crate::store::{Append, Expect, KeyedLog};

/// Who may use an account's inbox, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct InboxConfig {
    #[n(0)]
    pub(crate) contacts: List<CapabilityHash, CONTACT_CAPABILITIES_MAX>,
    #[n(1)]
    pub(crate) strangers: bool,
}

impl Default for InboxConfig {
    /// Of an account that has not said otherwise: no contacts yet, open to strangers.
    fn default() -> Self {
        Self { contacts: List::default(), strangers: true }
    }
}

/// How far a device connection has been sent its inbox.
pub(crate) struct InboxCursor {
    who: Principal,
    sent: [Seq; 2],
    behind: [bool; 2],
}

impl InboxCursor {
    pub(crate) fn new(who: Principal) -> Self {
        Self { who, sent: [Seq(0); 2], behind: [true; 2] }
    }

    pub(crate) fn wake(&mut self) {
        self.behind = [true; 2];
    }

    pub(crate) fn has_work(&self) -> bool {
        self.behind.contains(&true)
    }
}

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::ConfigureInbox`].
    pub(crate) async fn configure_inbox(
        &self,
        who: Principal,
        now: Timestamp,
        config: &InboxConfig,
    ) -> Result<Reply, Failure> {
        let key = keys::inbox_config(&who.account);
        if let Append::Appended(seq) = self.append_bytes(&key, Expect::Any, encode(config), None, now).await? {
            self.store.trim(&key, Seq(seq.0 - 1)).await.map_err(store_failed)?;
        }
        Ok(Reply::Done)
    }

    /// [`stonechat_wire::Request::PostEnvelope`].
    pub(crate) async fn post_envelope(
        &self,
        now: Timestamp,
        account: AccountId,
        device: DeviceId,
        admission: &Admission,
        sealed: Bytes<ENVELOPE_BYTES_MAX>,
    ) -> Result<Reply, Failure> {
        let known = self.account(&account, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        known.state.device(&device).ok_or(refuse(ErrorCode::NotFound))?;
        let config = self.inbox_config(&account, now).await?;
        let (lane, admitted) = match admission {
            Admission::Contact(capability) => {
                (Lane::Contacts, config.contacts.iter().any(|contact| capability.opens(contact)))
            }
            Admission::Token(_) => (Lane::Strangers, config.strangers),
        };
        if !admitted {
            return Err(refuse(ErrorCode::Closed));
        }
        let key = keys::inbox(&account, &device, lane);
        if self.count(&key, now).await? >= lane_envelopes_max(lane) {
            return Err(retry_later(ErrorCode::Full, FULL_RETRY_SECS));
        }
        if let Admission::Token(token) = admission {
            let purpose =
                Purpose::new("envelope").with(&account.0).with(&device.0).with(&Sha256::digest(&sealed[..]).into());
            self.redeem(token, purpose, false, now).await?;
        }
        let _any = self.append_bytes(&key, Expect::Any, sealed.into_vec(), Some(ENVELOPE_TTL_SECS), now).await?;
        Ok(Reply::Done)
    }

    /// [`stonechat_wire::Request::AckInbox`].
    pub(crate) async fn ack_inbox(&self, who: Principal, lane: Lane, upto: Seq) -> Result<Reply, Failure> {
        self.store.trim(&keys::inbox(&who.account, &who.device, lane), upto).await.map_err(store_failed)?;
        Ok(Reply::Done)
    }

    /// Who may use an account's inbox.
    pub(crate) async fn inbox_config(&self, account: &AccountId, now: Timestamp) -> Result<InboxConfig, Failure> {
        match self.last(&keys::inbox_config(account), now).await? {
            Some(entry) => decode(&entry.bytes).map_err(|_| store_failed("an inbox configuration is damaged")),
            None => Ok(InboxConfig::default()),
        }
    }

    /// The next envelopes of a device connection that it has not been sent.
    pub(crate) async fn next_envelopes(&self, session: &mut Session, now: Timestamp) -> Result<Option<Push>, Failure> {
        let Some(cursor) = &mut session.inbox else { return Ok(None) };
        for lane in [Lane::Contacts, Lane::Strangers] {
            let index = lane as usize;
            if !cursor.behind[index] {
                continue;
            }
            cursor.behind[index] = false;
            let key = keys::inbox(&cursor.who.account, &cursor.who.device, lane);
            let stored = self.read(&key, cursor.sent[index], PAGE_ENTRIES_MAX, PAGE_BYTES_MAX, now).await?;
            let mut envelopes = Vec::with_capacity(stored.len());
            for entry in stored {
                let sealed = Bytes::new(entry.bytes).map_err(|_| store_failed("a stored envelope is too long"))?;
                envelopes.push(Envelope { lane, seq: entry.seq, sealed });
            }
            if let Some(end) = envelopes.last() {
                cursor.sent[index] = end.seq;
                // There may be more; the next call finds out.
                cursor.behind[index] = true;
                return Ok(Some(Push::Envelopes(List::new(envelopes).expect("read at most PAGE_ENTRIES_MAX"))));
            }
        }
        Ok(None)
    }
}

fn lane_envelopes_max(lane: Lane) -> usize {
    match lane {
        Lane::Contacts => CONTACT_LANE_ENVELOPES_MAX,
        Lane::Strangers => STRANGER_LANE_ENVELOPES_MAX,
    }
}

const FULL_RETRY_SECS: u32 = 300;

#[cfg(test)]
mod tests {
    use stonechat_wire::{Capability, Request};

    use super::*;
    use crate::services::testing::{Person, World, person, world};

    fn contact(byte: u8) -> Admission {
        Admission::Contact(Capability::from_bytes([byte; 32]))
    }

    fn post(to: &Person, admission: Admission, byte: u8) -> Request {
        let sealed = Bytes::new(vec![byte; 8]).unwrap();
        Request::PostEnvelope { account: to.account, device: to.device, admission, sealed }
    }

    fn configure(contacts: &[u8], strangers: bool) -> Request {
        let hashes = contacts.iter().map(|byte| Capability::from_bytes([*byte; 32]).hash()).collect::<Vec<_>>();
        Request::ConfigureInbox { contacts: List::new(hashes).unwrap(), strangers }
    }

    fn received(world: &World, session: &mut Session) -> Vec<(Lane, u64, u8)> {
        let envelopes = world.pushes(session).into_iter().flat_map(|push| match push {
            Push::Envelopes(envelopes) => envelopes.into_vec(),
            Push::Entries { .. } => panic!("a device connection follows nothing"),
        });
        envelopes.map(|envelope| (envelope.lane, envelope.seq.0, envelope.sealed[0])).collect()
    }

    #[test]
    fn both_lanes_are_pushed_and_stay_until_they_are_acknowledged() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        world.ask(&mut device, configure(&[5], true)).unwrap();
        let mut anonymous = world.session();
        world.ask(&mut anonymous, post(&alice, contact(5), 1)).unwrap();
        world.ask(&mut anonymous, post(&alice, Admission::Token(world.token()), 2)).unwrap();
        let both = [(Lane::Contacts, 1, 1), (Lane::Strangers, 1, 2)];
        assert_eq!(received(&world, &mut device), both);
        assert_eq!(received(&world, &mut device), [], "each once a connection");
        let mut again = world.device(&alice);
        assert_eq!(received(&world, &mut again), both, "and on the next, until acknowledged");
        world.ask(&mut again, Request::AckInbox { lane: Lane::Contacts, upto: Seq(1) }).unwrap();
        assert_eq!(received(&world, &mut world.device(&alice)), [(Lane::Strangers, 1, 2)]);
        world.ask(&mut anonymous, post(&alice, contact(5), 3)).unwrap();
        assert_eq!(received(&world, &mut device), [(Lane::Contacts, 2, 3)], "numbers are not used again");
    }

    #[test]
    fn a_closed_lane_is_closed() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        let mut anonymous = world.session();
        assert_eq!(world.refused(&mut anonymous, post(&alice, contact(5), 1)), ErrorCode::Closed);
        world.ask(&mut device, configure(&[5, 6], false)).unwrap();
        world.ask(&mut anonymous, post(&alice, contact(6), 1)).unwrap();
        let stranger = post(&alice, Admission::Token(world.token()), 1);
        assert_eq!(world.refused(&mut anonymous, stranger), ErrorCode::Closed);
        world.ask(&mut device, configure(&[7], false)).unwrap();
        assert_eq!(world.refused(&mut anonymous, post(&alice, contact(6), 1)), ErrorCode::Closed, "taken back");
        let nobody = Person { device: stonechat_wire::DeviceId([0; 16]), ..alice };
        assert_eq!(world.refused(&mut anonymous, post(&nobody, contact(7), 1)), ErrorCode::NotFound);
        assert_eq!(world.refused(&mut anonymous, post(&person("bob"), contact(7), 1)), ErrorCode::NotFound);
    }

    #[test]
    fn a_full_lane_refuses_and_has_room_again_after_an_acknowledgement() {
        let world = world();
        let alice = person("alice");
        let mut device = world.device(&alice);
        world.ask(&mut device, configure(&[5], true)).unwrap();
        let mut anonymous = world.session();
        for _ in 0..CONTACT_LANE_ENVELOPES_MAX {
            world.ask(&mut anonymous, post(&alice, contact(5), 1)).unwrap();
        }
        let full = world.ask(&mut anonymous, post(&alice, contact(5), 1)).unwrap_err();
        assert!(full.code == ErrorCode::Full && full.retry_after_secs.is_some());
        assert_eq!(received(&world, &mut device).len(), CONTACT_LANE_ENVELOPES_MAX);
        world.ask(&mut device, Request::AckInbox { lane: Lane::Contacts, upto: Seq(10) }).unwrap();
        world.ask(&mut anonymous, post(&alice, contact(5), 1)).unwrap();
    }
}
