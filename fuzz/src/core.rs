//! What a client reads of other people's making: messages, letters, what members agree on about a group.

use std::collections::BTreeSet;

use stonechat_core::content::Content;
use stonechat_core::envelope::{Letter, UnverifiedLetter, open_blob, seal};
use stonechat_core::keys::Secret;
use stonechat_core::policy::{GroupKind, GroupState, roles_effective};
use stonechat_wire::limits::ENVELOPE_BYTES_MAX;
use stonechat_wire::{decode, encode};

use crate::seeds::{Person, rng};

/// What a member wrote, once it is decrypted.
pub fn content(bytes: &[u8]) -> bool {
    Content::decode(bytes).is_ok_and(|content| {
        let again = content.encode();
        assert!(again.len() <= bytes.len(), "a message grew by being read");
        assert_eq!(Content::decode(&again).as_ref(), Ok(&content));
        true
    })
}

/// A letter in an inbox: what anybody can leave there, and what is in it once it is opened. What was read and sealed again
/// opens to the same letter.
pub fn letter(bytes: &[u8]) -> bool {
    let (alice, bob) = (Person::alice(), Person::bob());
    let opened = UnverifiedLetter::open(bob.secrets(), bob.id(), bob.device(), bytes);
    let is_open = opened.is_ok();
    if let Ok(opened) = opened {
        assert!(bytes.len() <= ENVELOPE_BYTES_MAX);
        if let Ok(letter) = opened.verify(alice.state()) {
            assert_eq!((letter.sender, letter.device), (alice.id(), alice.device()));
        }
    }
    let _ = open_blob(&Secret::from_bytes([1; 32]), &[2; 32], bytes);

    let Ok(mut letter) = decode::<Letter>(bytes) else { return is_open };
    assert_eq!(decode::<Letter>(&encode(&letter)).as_ref(), Ok(&letter));
    (letter.sender, letter.device) = (alice.id(), alice.device());
    if let Ok(sealed) = seal(&mut rng(), bob.id(), bob.keys(), &letter, &alice.secrets().signing_key()) {
        let opened = UnverifiedLetter::open(bob.secrets(), bob.id(), bob.device(), &sealed);
        assert_eq!(opened.and_then(|opened| opened.verify(alice.state())), Ok(letter));
    }
    true
}

/// The state in a group's MLS context: one encoding, and roles that a commit can always settle.
pub fn group_state(bytes: &[u8]) -> bool {
    let Ok(mut state) = GroupState::decode(bytes) else { return false };
    assert_eq!(state.encode(), bytes);
    // Some who have a role, and somebody who has none.
    let mut members: Vec<_> =
        state.roles.keys().copied().zip(1_u32..).map(|(account, n)| (n, account)).take(20).collect();
    members.push((0, Person::alice().id()));
    let accounts: BTreeSet<_> = members.iter().map(|(_, account)| *account).collect();
    assert!(roles_effective(&state, &members).keys().copied().eq(accounts.iter().copied()));
    let owners = |state: &GroupState| {
        use stonechat_core::Role;
        roles_effective(state, &members).values().filter(|role| **role == Role::Owner).count()
    };
    assert_eq!(owners(&state), usize::from(state.kind == GroupKind::Group), "exactly one acts as owner of a group");
    state.settle(&members, &[], &[], &[]);
    assert_eq!(GroupState::decode(&state.encode()).as_ref(), Ok(&state), "what a commit writes down can be read");
    assert!(state.roles.keys().all(|account| accounts.contains(account)), "a role for somebody who is gone");
    true
}
