//! What the full-screen interface is at, and what each key and each piece of news makes of it.
//!
//! Pure: nothing here reads a clock, a socket or a terminal. A key or a piece of news goes in, the [`Action`]s that it asks
//! for come out, and the loop in the parent module performs them. Texts of other people are kept as they are here; the view
//! makes them harmless. [`keys`] has the keys.

mod keys;

use std::collections::BTreeMap;

use stonechat_client::{
    Alarm, AlarmId, ContactRequest, Conversation, ConversationId, DeviceId, Handle, Me, Message, MessageId, Role,
    Status, Target, Text,
};

use super::editor::Editor;

/// Something for the loop to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read the last `limit` messages of a conversation.
    Load { conversation: ConversationId, limit: usize },
    /// Its messages were seen.
    MarkRead(ConversationId),
    /// Send a text.
    Send { to: Target, text: Text },
    /// Accept a request.
    Accept(Handle),
    /// Decline a request.
    Decline(Handle),
    /// Make a group.
    CreateGroup { name: Text, members: Vec<Handle> },
    /// Add people to a group.
    AddMembers { group: ConversationId, members: Vec<Handle> },
    /// Remove somebody.
    RemoveMember { group: ConversationId, member: Handle },
    /// Make somebody something else.
    SetRole { group: ConversationId, member: Handle, role: Role },
    /// Rename a group.
    Rename { group: ConversationId, name: Text },
    /// Leave a group.
    Leave(ConversationId),
    /// Explain a lock.
    Why(ConversationId),
    /// Take a device out of this account.
    Revoke(DeviceId),
    /// Put an alarm away.
    Dismiss(AlarmId),
    /// Make an account.
    SignUp { handle: Handle, server: String },
    /// The end.
    Quit,
}

/// Something that happened outside.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The account, at the start.
    Me(Me),
    /// All conversations, latest first.
    Conversations(Vec<Conversation>),
    /// All requests.
    Requests(Vec<ContactRequest>),
    /// The last messages of a conversation, oldest first, as [`Action::Load`] asked.
    Messages { conversation: ConversationId, messages: Vec<Message>, limit: usize },
    /// A message is new or its status changed.
    Message(Message),
    /// How the connection is.
    Connection(Connection),
    /// A conversation to show: it was just made or joined.
    Opened(ConversationId),
    /// The first text to somebody is on its way, in this conversation.
    Reached { person: Handle, conversation: ConversationId },
    /// A text could not be sent; it goes back to where it was written.
    Unsent { to: Target, text: Text, why: String },
    /// Something to tell.
    Said(String),
    /// Everything alarming that was found.
    Alarms(Vec<Alarm>),
    /// Why a lock is what it is.
    Why { title: String, lines: Vec<String> },
    /// The account was made.
    SignedUp { me: Me, words: Vec<String> },
    /// It was not.
    NotSignedUp(String),
}

/// How the connection is, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Not known yet.
    #[default]
    Connecting,
    /// Everything can be done.
    Online,
    /// Nothing can be sent now, and why.
    Offline(String),
}

/// What the right side shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Open {
    /// What one can do here.
    #[default]
    Nothing,
    /// The requests.
    Requests,
    /// A conversation.
    Conversation(ConversationId),
    /// A person that nothing was written to yet.
    Person(Handle),
}

/// A line of the list on the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The requests.
    Requests,
    /// A conversation.
    Conversation(ConversationId),
}

/// Which side the keys go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Focus {
    /// The list of conversations.
    #[default]
    List,
    /// What is open.
    Pane,
}

/// What lies over the rest and takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialog {
    /// All keys.
    Help,
    /// Something to fill in.
    Form(Form),
    /// Who is in the open conversation.
    Members { conversation: ConversationId, at: usize },
    /// Something to read, from a line on.
    Text { title: String, lines: Vec<String>, at: usize },
    /// The alarms that stand, one at a time.
    Alarms { at: usize },
    /// Are you sure?
    Confirm { question: String, then: Action },
    /// The recovery words, until one of them was typed.
    Words { words: Vec<String>, ask: usize, answer: Editor, warned: bool, error: Option<String> },
}

/// Something to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// What is asked for.
    pub kind: FormKind,
    /// What was filled in.
    pub fields: Vec<Editor>,
    /// Which field has the cursor.
    pub at: usize,
    /// What is wrong.
    pub error: Option<String>,
    /// Whether the answer is on its way.
    pub busy: bool,
}

/// What a form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormKind {
    /// Handle, server.
    SignUp,
    /// Handle.
    NewDm,
    /// Name, members.
    NewGroup,
    /// Members.
    Add(ConversationId),
    /// Name.
    Rename(ConversationId),
}

impl FormKind {
    /// The title and the names of the fields.
    pub(crate) fn labels(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::SignUp => ("Welcome to Stonechat", &["Your handle", "Server"]),
            Self::NewDm => ("New message", &["To"]),
            Self::NewGroup => ("New group", &["Name", "Members"]),
            Self::Add(_) => ("Add people", &["Members"]),
            Self::Rename(_) => ("Rename the group", &["Name"]),
        }
    }
}

/// The interface.
#[derive(Debug, Default)]
pub(crate) struct App {
    pub me: Option<Me>,
    pub connection: Connection,
    pub conversations: Vec<Conversation>,
    pub requests: Vec<ContactRequest>,
    /// Those that stand.
    pub alarms: Vec<Alarm>,
    pub selected: Option<Entry>,
    pub request_at: usize,
    pub open: Open,
    pub focus: Focus,
    pub dialog: Option<Dialog>,
    /// A line for the person, until the next key.
    pub said: Option<String>,
    /// Of the open conversation, oldest first.
    pub messages: Vec<Message>,
    /// How many were asked for.
    pub loaded: usize,
    /// Whether there may be older ones.
    pub more: bool,
    /// The last message shown at the bottom while scrolled up.
    pub pinned: Option<MessageId>,
    /// Screen lines scrolled up from there. The view bounds it.
    pub scroll: usize,
    /// The oldest message that was read is on the screen, told by the view.
    pub at_top: bool,
    /// Lines of messages on the screen, told by the view.
    pub page: usize,
    /// Drafts by what they are for.
    drafts: BTreeMap<String, Editor>,
    pub composer: Editor,
}

impl App {
    /// The list on the left.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let conversations = self.conversations.iter().map(|c| Entry::Conversation(c.id));
        std::iter::once(Entry::Requests).chain(conversations).collect()
    }

    /// A conversation by its id.
    pub(crate) fn conversation(&self, id: &ConversationId) -> Option<&Conversation> {
        self.conversations.iter().find(|c| c.id == *id)
    }

    /// The open conversation.
    pub(crate) fn current(&self) -> Option<&Conversation> {
        match &self.open {
            Open::Conversation(id) => self.conversation(id),
            _ => None,
        }
    }

    /// Messages below the pinned one.
    pub(crate) fn newer(&self) -> usize {
        let pinned = self.pinned.and_then(|id| self.messages.iter().position(|m| m.id == id));
        pinned.map_or(0, |at| self.messages.len() - at - 1)
    }

    /// There is no account yet: offer to make one.
    pub(crate) fn offer_sign_up(&mut self) {
        self.dialog = Some(Dialog::Form(form(FormKind::SignUp)));
    }

    // News

    /// Takes a piece of news.
    pub(crate) fn news(&mut self, news: News) -> Vec<Action> {
        match news {
            News::Me(me) => self.me = Some(me),
            News::Conversations(conversations) => return self.took_conversations(conversations),
            News::Requests(requests) => {
                self.requests = requests;
                self.request_at = self.request_at.min(self.requests.len().saturating_sub(1));
            }
            News::Messages { conversation, messages, limit } if self.open == Open::Conversation(conversation) => {
                self.more = messages.len() >= limit && limit < MESSAGES_MAX;
                self.loaded = limit;
                self.messages = messages;
            }
            News::Messages { .. } => {}
            News::Message(message) => return self.took_message(message),
            News::Alarms(alarms) => {
                self.alarms = alarms.into_iter().filter(|alarm| !alarm.dismissed).collect();
                if self.alarms.is_empty() && matches!(self.dialog, Some(Dialog::Alarms { .. })) {
                    self.dialog = None;
                }
            }
            News::Why { title, lines } => self.dialog = Some(Dialog::Text { title, lines, at: 0 }),
            News::Connection(connection) => self.connection = connection,
            News::Opened(id) => return self.show(Open::Conversation(id)),
            News::Reached { person, conversation } if self.open == Open::Person(person.clone()) => {
                // What was typed meanwhile is meant for the same person.
                let (draft, focus) = (std::mem::take(&mut self.composer), self.focus);
                let actions = self.show(Open::Conversation(conversation));
                self.focus = focus;
                if self.composer.is_empty() {
                    self.composer = draft;
                }
                return actions;
            }
            News::Reached { .. } => {}
            News::Unsent { to, text, why } => {
                self.said = Some(why);
                let place = match to {
                    Target::Person(handle) => Open::Person(handle),
                    Target::Conversation(id) => Open::Conversation(id),
                };
                let editor = if self.open == place {
                    &mut self.composer
                } else {
                    self.drafts.entry(draft_key(&place)).or_default()
                };
                if editor.is_empty() {
                    *editor = Editor::with(&text);
                }
            }
            News::Said(text) => self.said = Some(text),
            News::SignedUp { me, words } => {
                let ask = words.iter().flat_map(|w| w.bytes()).map(usize::from).sum::<usize>() % words.len().max(1);
                self.me = Some(me);
                self.dialog = Some(Dialog::Words { words, ask, answer: Editor::default(), warned: false, error: None });
            }
            News::NotSignedUp(why) => {
                if let Some(Dialog::Form(form)) = &mut self.dialog {
                    form.busy = false;
                    form.error = Some(why);
                }
            }
        }
        Vec::new()
    }

    fn took_conversations(&mut self, conversations: Vec<Conversation>) -> Vec<Action> {
        // Direct messages that both sides opened at once become one of the two.
        let peer = match &self.open {
            Open::Person(handle) => Some(handle.clone()),
            Open::Conversation(_) => self.current().filter(|c| !c.is_group).and_then(|c| Handle::parse(&c.title).ok()),
            Open::Nothing | Open::Requests => None,
        };
        self.conversations = conversations;
        if let Some(person) = peer
            && let Some(conversation) = self.dm_with(&person)
            && self.open != Open::Conversation(conversation)
        {
            self.open = Open::Person(person.clone());
            return self.news(News::Reached { person, conversation });
        }
        if self.selected.is_none_or(|entry| !self.entries().contains(&entry)) {
            self.selected = self.entries().get(1).or(self.entries().first()).copied();
        }
        self.seen()
    }

    fn took_message(&mut self, message: Message) -> Vec<Action> {
        if self.open != Open::Conversation(message.conversation) {
            return Vec::new();
        }
        match self.messages.iter().rposition(|m| m.id == message.id) {
            Some(at) => self.messages[at] = message,
            // An old one, above those that are loaded.
            None if message.status == Status::Delivered => {}
            None => self.messages.push(message),
        }
        Vec::new()
    }

    /// The open conversation's messages are in front of the person.
    fn seen(&self) -> Vec<Action> {
        match self.current() {
            Some(c) if c.unread > 0 && self.pinned.is_none() && self.dialog.is_none() => vec![Action::MarkRead(c.id)],
            _ => Vec::new(),
        }
    }

    fn dm_with(&self, handle: &Handle) -> Option<ConversationId> {
        self.conversations
            .iter()
            .find(|c| !c.is_group && c.title.strip_prefix('@').unwrap_or(&c.title) == handle.as_str())
            .map(|c| c.id)
    }

    /// Opens something on the right; its draft comes back.
    fn show(&mut self, open: Open) -> Vec<Action> {
        self.focus = Focus::Pane;
        if self.open == open {
            return self.seen();
        }
        let draft = std::mem::take(&mut self.composer);
        if !draft.is_empty() {
            self.drafts.insert(draft_key(&self.open), draft);
        }
        self.composer = self.drafts.remove(&draft_key(&open)).unwrap_or_default();
        self.messages.clear();
        (self.pinned, self.scroll, self.more) = (None, 0, false);
        self.selected = match &open {
            Open::Requests => Some(Entry::Requests),
            Open::Conversation(id) => Some(Entry::Conversation(*id)),
            Open::Person(_) | Open::Nothing => self.selected,
        };
        self.open = open;
        match self.open {
            Open::Conversation(conversation) => {
                let mut actions = vec![Action::Load { conversation, limit: PAGE_MESSAGES }];
                actions.extend(self.seen());
                actions
            }
            _ => Vec::new(),
        }
    }
}

fn form(kind: FormKind) -> Form {
    Form { kind, fields: vec![Editor::default(); kind.labels().1.len()], at: 0, error: None, busy: false }
}

fn draft_key(open: &Open) -> String {
    match open {
        Open::Nothing | Open::Requests => String::new(),
        Open::Conversation(id) => id.to_string(),
        Open::Person(handle) => handle.to_string(),
    }
}

/// Messages read at once.
pub(crate) const PAGE_MESSAGES: usize = 200;
/// Messages kept while scrolling up. Older ones are read with `stonechat read`.
const MESSAGES_MAX: usize = 5_000;

#[cfg(test)]
mod tests;
