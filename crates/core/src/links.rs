//! The two connections: which of them is open, what may be asked on it, and whose question each answer is for.
//!
//! In memory only: what was asked on a connection that is gone is asked again by whoever still needs it. Never reads the
//! vault, and never looks into a request or its answer.

use std::collections::BTreeMap;

use stonechat_wire::{HelloReply, Timestamp};

use crate::api::Link;
use crate::limits::REPLY_TIMEOUT_MS;

/// Who asks, and gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Session,
    Supplies,
    Blobs,
    People,
    Post,
    Log,
}

/// One connection.
#[derive(Default)]
struct LinkState {
    /// The server answered `Hello`.
    connected: bool,
    host: String,
    nonce: [u8; 32],
    token_key: Option<[u8; 32]>,
    /// Usable: logged in, where that applies.
    ready: bool,
    next_id: u32,
    /// Requests without an answer: until when one is waited for, and whose it is.
    waiting: BTreeMap<u32, (Timestamp, Room)>,
}

/// Both connections.
#[derive(Default)]
pub(crate) struct Links {
    device: LinkState,
    anonymous: LinkState,
}

/// The server shows different token keys on two connections, which would let it link them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OtherTokenKey;

impl Links {
    /// A connection is open.
    pub(crate) fn opened(&mut self, link: Link, host: String, hello: &HelloReply) -> Result<(), OtherTokenKey> {
        let (state, other) = match link {
            Link::Device => (&mut self.device, &self.anonymous),
            Link::Anonymous => (&mut self.anonymous, &self.device),
        };
        *state = LinkState::default();
        if other.token_key.is_some_and(|key| key != hello.token_key) {
            return Err(OtherTokenKey);
        }
        *state = LinkState {
            connected: true,
            host,
            nonce: hello.nonce,
            token_key: Some(hello.token_key),
            ready: link == Link::Anonymous,
            ..LinkState::default()
        };
        Ok(())
    }

    /// A connection is gone. Returns whether it was ready.
    pub(crate) fn closed(&mut self, link: Link) -> bool {
        std::mem::take(self.state_mut(link)).ready
    }

    /// This device is logged in.
    pub(crate) fn logged_in(&mut self) {
        self.device.ready = true;
    }

    pub(crate) fn is_open(&self, link: Link) -> bool {
        self.state(link).connected
    }

    pub(crate) fn is_ready(&self, link: Link) -> bool {
        self.state(link).ready
    }

    /// What logging in is bound to: the host that was dialled and the server's nonce.
    pub(crate) fn challenge(&self) -> (&str, [u8; 32]) {
        (&self.device.host, self.device.nonce)
    }

    /// The key that tokens are issued with.
    pub(crate) fn token_key(&self) -> Option<[u8; 32]> {
        self.device.token_key
    }

    /// Numbers a request, or `None` without a connection.
    pub(crate) fn begin(&mut self, link: Link, now: Timestamp, room: Room) -> Option<u32> {
        let state = self.state_mut(link);
        if !state.connected {
            return None;
        }
        state.next_id = state.next_id.wrapping_add(1);
        state.waiting.insert(state.next_id, (now.plus_millis(REPLY_TIMEOUT_MS), room));
        Some(state.next_id)
    }

    /// Whose question the answer with this number is for, if there was one.
    pub(crate) fn end(&mut self, link: Link, id: u32) -> Option<Room> {
        self.state_mut(link).waiting.remove(&id).map(|(_, room)| room)
    }

    /// Until when the first answer is waited for.
    pub(crate) fn deadline(&self, link: Link) -> Option<Timestamp> {
        self.state(link).waiting.values().map(|(deadline, _)| *deadline).min()
    }

    /// Waits for no answer any more.
    pub(crate) fn give_up(&mut self, link: Link) {
        self.state_mut(link).waiting.clear();
    }

    fn state(&self, link: Link) -> &LinkState {
        match link {
            Link::Device => &self.device,
            Link::Anonymous => &self.anonymous,
        }
    }

    fn state_mut(&mut self, link: Link) -> &mut LinkState {
        match link {
            Link::Device => &mut self.device,
            Link::Anonymous => &mut self.anonymous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(token_key: u8) -> HelloReply {
        HelloReply { nonce: [1; 32], now: Timestamp(0), token_key: [token_key; 32] }
    }

    fn open(link: Link) -> Links {
        let mut links = Links::default();
        links.opened(link, "host".into(), &hello(1)).unwrap();
        links
    }

    #[test]
    fn the_anonymous_connection_is_ready_at_once_and_the_devices_once_it_is_logged_in() {
        assert!(open(Link::Anonymous).is_ready(Link::Anonymous));
        let mut links = open(Link::Device);
        assert!(links.is_open(Link::Device) && !links.is_ready(Link::Device));
        links.logged_in();
        assert!(links.is_ready(Link::Device));
        assert!(links.closed(Link::Device) && !links.is_open(Link::Device));
    }

    #[test]
    fn two_connections_with_different_token_keys_are_not_both_used() {
        let mut links = open(Link::Device);
        assert_eq!(links.opened(Link::Anonymous, "host".into(), &hello(2)), Err(OtherTokenKey));
        assert!(!links.is_open(Link::Anonymous));
        assert_eq!(links.opened(Link::Anonymous, "host".into(), &hello(1)), Ok(()));
    }

    #[test]
    fn an_answer_goes_to_whoever_asked_and_only_once() {
        let mut links = open(Link::Anonymous);
        let now = Timestamp(1_000);
        let first = links.begin(Link::Anonymous, now, Room::Log).unwrap();
        let second = links.begin(Link::Anonymous, now.plus_secs(1), Room::Post).unwrap();
        assert_eq!(links.deadline(Link::Anonymous), Some(now.plus_millis(REPLY_TIMEOUT_MS)));
        assert_eq!(links.end(Link::Anonymous, first), Some(Room::Log));
        assert_eq!(links.end(Link::Anonymous, first), None);
        assert_eq!(links.end(Link::Device, second), None);
        assert_eq!(links.deadline(Link::Anonymous), Some(now.plus_secs(1).plus_millis(REPLY_TIMEOUT_MS)));
        links.give_up(Link::Anonymous);
        assert_eq!(links.deadline(Link::Anonymous), None);
    }

    #[test]
    fn nothing_is_asked_without_a_connection() {
        assert_eq!(Links::default().begin(Link::Device, Timestamp(0), Room::Supplies), None);
    }
}
