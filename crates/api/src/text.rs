//! [`Text`]: what people wrote.

use std::fmt;
use std::ops::Deref;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// What people wrote: a message, a group's name, a draft. Shown on screens, never in logs: `Debug` tells its size. In serde and CBOR
/// it is a plain string.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Text(#[n(0)] pub String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} B)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use stonechat_wire::{AccountId, ConversationId, Handle, Timestamp};

    use super::*;
    use crate::{Body, Command, Conversation, Draft, Event, Lock, Message, MessageId, Page, Role, Status, Target};

    #[test]
    fn a_text_is_a_plain_string_wherever_it_travels_and_hides_in_a_log() {
        let text = Text::from("the stonechat sings");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"the stonechat sings\"");
        assert_eq!(minicbor::to_vec(&text).unwrap(), minicbor::to_vec("the stonechat sings").unwrap());
        assert_eq!(format!("{text:?}"), "Text(19 B)");
        assert_eq!(format!("{text:>21}"), "  the stonechat sings");
    }

    #[test]
    fn no_type_that_holds_what_people_wrote_shows_it_in_a_log() {
        const SECRET: &str = "the stonechat sings at noon";
        let id = ConversationId([7; 32]);
        let message = Message {
            id: MessageId([1; 16]),
            conversation: id,
            sender: AccountId([2; 32]),
            sender_handle: Handle::parse("bob").unwrap(),
            sent_at: Timestamp(1),
            body: Body::Text(SECRET.into()),
            status: Status::Received,
        };
        let conversation = Conversation {
            id,
            title: SECRET.into(),
            is_group: true,
            peer: None,
            members: Vec::new(),
            role: Role::Owner,
            unread: 0,
            last: Some(message.clone()),
            lock: Lock::Closed,
            hold: None,
            active: true,
            compared: false,
            draft: Some(SECRET.into()),
        };
        let shown = [
            format!("{:?}", Event::Message(message.clone())),
            format!("{conversation:?}"),
            format!("{:?}", Page { messages: vec![message], older: 0, newer: 0 }),
            format!("{:?}", Draft { conversation: id, text: SECRET.into() }),
            format!("{:?}", Command::Send { to: Target::Conversation(id), text: SECRET.into() }),
            format!("{:?}", Command::CreateGroup { name: SECRET.into(), members: Vec::new() }),
            format!("{:?}", Command::Rename { group: id, name: SECRET.into() }),
        ];
        for text in shown {
            assert!(!text.contains("stonechat"), "{text}");
        }
    }
}
