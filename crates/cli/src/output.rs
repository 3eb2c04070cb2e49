//! What the commands print: one JSON object a line with stable names, or lines for people.
//!
//! Results go to stdout, everything else to stderr. A reader that went away (`stonechat read … | head`) is no error.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde::Serialize;
use stonechat_client::{Body, ContactRequest, Conversation, Hold, KeySource, Lock, Me, Member, Message, Role, Status};

use crate::error::Failure;
use crate::text::{cells, one_line, printable};
use crate::time;

/// The notice in every conversation.
pub(crate) const ENCRYPTED: &str = "Messages are end-to-end encrypted";
/// Instead of a message of a kind that this version does not know.
pub(crate) const NEWER_THAN_THIS_APP: &str = "[newer than this app: update it to see this message]";
/// What the words are for.
pub(crate) const RECOVERY_WORDS_ARE_FOR: &str = "These 24 words are for a recovery that is not built yet: today, a lost account stays lost. \
Write them on paper, in this order, and keep them where only you find them: who has them can become you. They are shown only this once.";
/// Cells of one numbered recovery word: the longest has 8 letters.
pub(crate) const WORD_CELLS: usize = 14;

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// For programs.
    pub json: bool,
}

impl Output {
    /// Prints one result: the object, or the lines of `human`.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn print<T: Serialize>(self, object: &T, human: impl FnOnce() -> String) -> io::Result<()> {
        let mut line = if self.json { serde_json::to_string(object).map_err(io::Error::other)? } else { human() };
        if line.is_empty() {
            return Ok(());
        }
        line.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()
    }

    /// Tells something on the side, on stderr.
    pub(crate) fn notice(self, code: &str, message: &str) {
        self.notice_of(code, message, &());
    }

    /// As [`Output::notice`], with what it is about for programs.
    pub(crate) fn notice_of<T: Serialize>(self, code: &str, message: &str, what: &T) {
        let line = if self.json {
            serde_json::json!({ "notice": { "code": code, "message": message, "what": what } }).to_string()
        } else {
            printable(message).into_owned()
        };
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Tells why it failed, on stderr.
    pub(crate) fn failure(self, failure: &Failure) {
        let line = if self.json {
            let Failure { code, message, reason, .. } = failure;
            serde_json::json!({ "error": { "code": code, "message": message, "reason": reason } }).to_string()
        } else {
            format!("stonechat: {}", printable(&failure.message))
        };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// `signup`.
#[derive(Serialize)]
pub(crate) struct SignedUp<'a> {
    account: String,
    handle: String,
    device: String,
    recovery_phrase: &'a str,
}

impl<'a> SignedUp<'a> {
    pub(crate) fn new(me: &Me, recovery_phrase: &'a str) -> Self {
        Self {
            account: me.account.to_string(),
            handle: me.handle.to_string(),
            device: me.device.to_string(),
            recovery_phrase,
        }
    }

    pub(crate) fn human(&self, me: &Me, key: KeySource) -> String {
        let words: Vec<_> = self.recovery_phrase.split_whitespace().collect();
        let mut grid = String::new();
        for (row, words) in words.chunks(4).enumerate() {
            let line: String = words
                .iter()
                .enumerate()
                .map(|(i, w)| format!("{:<WORD_CELLS$}", format!("{:>2} {w}", row * 4 + i + 1)))
                .collect();
            grid.push_str(&format!("  {}\n", line.trim_end()));
        }
        let purpose =
            crate::text::wrap(RECOVERY_WORDS_ARE_FOR, 76).into_iter().map(|r| RECOVERY_WORDS_ARE_FOR[r].trim_end());
        let purpose = purpose.collect::<Vec<_>>().join("\n");
        format!(
            "You are {} on {}.\n\nYour recovery words:\n\n{grid}\n{purpose}\n\nThe key of this account's files is {key}.\n\
             Next: stonechat send @somebody \"hello\", or stonechat alone for the full screen.",
            me.handle,
            one_line(&me.server)
        )
    }
}

/// `whoami`.
#[derive(Serialize)]
pub(crate) struct WhoAmI {
    account: String,
    handle: String,
    device: String,
    server: String,
    registered: bool,
    key: &'static str,
}

impl WhoAmI {
    pub(crate) fn new(me: &Me, key: KeySource) -> Self {
        Self {
            account: me.account.to_string(),
            handle: me.handle.to_string(),
            device: me.device.to_string(),
            server: me.server.clone(),
            registered: me.registered,
            key: match key {
                KeySource::Passphrase => "passphrase",
                KeySource::Keyring => "keyring",
                KeySource::File => "file",
            },
        }
    }

    pub(crate) fn human(&self, key: KeySource) -> String {
        format!(
            "{} on {}{}\naccount  {}\ndevice   {}\nThe key of this account's files is {key}.",
            self.handle,
            one_line(&self.server),
            if self.registered { "" } else { " (the server does not know this account yet)" },
            self.account,
            self.device
        )
    }
}

/// One message.
#[derive(Serialize)]
pub(crate) struct MessageLine<'a> {
    id: String,
    conversation: String,
    sender: String,
    sent_at: String,
    body: BodyLine<'a>,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum BodyLine<'a> {
    Text(&'a str),
    /// What this device noticed.
    Notice(String),
    /// A kind that this version does not know.
    Unknown(&'static str),
}

impl<'a> MessageLine<'a> {
    pub(crate) fn new(message: &'a Message) -> Self {
        Self {
            id: message.id.to_string(),
            conversation: message.conversation.to_string(),
            sender: message.sender_handle.to_string(),
            sent_at: time::rfc3339(message.sent_at),
            body: match &message.body {
                Body::Text(text) => BodyLine::Text(text),
                Body::Notice(notice) => BodyLine::Notice(notice.to_string()),
                _ => BodyLine::Unknown(NEWER_THAN_THIS_APP),
            },
            status: status_name(message.status),
        }
    }

    /// Date, time, sender, text; further lines of the text stand under its first, so that no text looks like another message.
    pub(crate) fn human(message: &Message, zone: &TimeZone) -> String {
        if let Body::Notice(notice) = &message.body {
            let mark = if notice.is_loud() { "***" } else { "·" };
            return format!("{}  {mark} {notice}", time::short(message.sent_at, zone));
        }
        let head = format!("{}  {}  ", time::short(message.sent_at, zone), message.sender_handle);
        let body = match &message.body {
            Body::Text(text) => printable(text),
            _ => NEWER_THAN_THIS_APP.into(),
        };
        let body = body.replace('\n', &format!("\n{}", " ".repeat(cells(&head))));
        let tail = match message.status {
            Status::Queued => "  (queued)",
            Status::Failed => "  (not sent)",
            Status::Sent | Status::Delivered | Status::Received => "",
        };
        format!("{head}{body}{tail}")
    }
}

/// One conversation.
#[derive(Serialize)]
pub(crate) struct ConversationLine<'a> {
    id: String,
    title: &'a str,
    kind: &'static str,
    unread: u64,
    members: Vec<String>,
    last: Option<MessageLine<'a>>,
    lock: &'static str,
    lock_reason: Option<String>,
    verified: bool,
    /// What holds it up, in English.
    notice: Option<String>,
    hold: Option<&'a Hold>,
    active: bool,
}

impl<'a> ConversationLine<'a> {
    pub(crate) fn new(conversation: &'a Conversation) -> Self {
        let (lock, lock_reason) = match &conversation.lock {
            Lock::Closed => ("closed", None),
            Lock::Open(why) => ("open", Some(why.to_string())),
        };
        Self {
            id: conversation.id.to_string(),
            title: &conversation.title,
            kind: kind(conversation.is_group),
            unread: conversation.unread,
            members: conversation.members.iter().map(|m| m.handle.to_string()).collect(),
            last: conversation.last.as_ref().map(MessageLine::new),
            lock,
            lock_reason,
            verified: conversation.compared,
            notice: conversation.hold.as_ref().map(ToString::to_string),
            hold: conversation.hold.as_ref(),
            active: conversation.active,
        }
    }

    pub(crate) fn human(conversation: &Conversation, unicode: bool) -> String {
        let lock = match (&conversation.lock, unicode) {
            (Lock::Closed, true) => "🔒",
            (Lock::Open(_), true) => "🔓",
            (Lock::Closed, false) => "[lock]",
            (Lock::Open(_), false) => "[OPEN]",
        };
        let mut line = format!("{lock} {}", one_line(&conversation.title));
        if conversation.compared {
            line.push_str(if unicode { " ✓" } else { " [verified]" });
        }
        if conversation.unread > 0 {
            line.push_str(&format!("  ({} unread)", conversation.unread));
        }
        if let Some(last) = &conversation.last {
            let text = match &last.body {
                Body::Text(text) => crate::text::fit(&one_line(text), PREVIEW_CELLS).into_owned(),
                Body::Notice(notice) => crate::text::fit(&notice.to_string(), PREVIEW_CELLS).into_owned(),
                _ => NEWER_THAN_THIS_APP.into(),
            };
            line.push_str(&format!("  {}: {text}", last.sender_handle));
        }
        if conversation.is_group {
            line.push_str(&format!("  [{}]", &conversation.id.to_string()[..8]));
        }
        if !conversation.active && conversation.hold.is_none() {
            line.push_str("\n   You are no longer in this group.");
        }
        if let Lock::Open(why) = &conversation.lock {
            line.push_str(&format!("\n   Not verified: {}", one_line(&why.to_string())));
        }
        if let Some(hold) = &conversation.hold {
            line.push_str(&format!("\n   {}", one_line(&hold.to_string())));
        }
        line
    }
}

/// One request.
#[derive(Serialize)]
pub(crate) struct RequestLine {
    handle: String,
    account: String,
    conversation: String,
    kind: &'static str,
    at: String,
    started_over: bool,
}

impl RequestLine {
    pub(crate) fn new(request: &ContactRequest) -> Self {
        Self {
            handle: request.handle.to_string(),
            account: request.from.to_string(),
            conversation: request.conversation.to_string(),
            kind: kind(request.is_group),
            at: time::rfc3339(request.at),
            started_over: request.started_over,
        }
    }

    pub(crate) fn human(request: &ContactRequest, zone: &TimeZone) -> String {
        let what = if request.is_group { "invites you to a group" } else { "wants to write to you" };
        let (handle, at) = (&request.handle, time::short(request.at, zone));
        let warning = if request.started_over {
            "\n   ANOTHER ACCOUNT than the one that you know under this handle: ask them by another way before you accept."
        } else {
            ""
        };
        format!("{at}  {handle} {what}.  stonechat accept {handle}, or decline{warning}")
    }
}

/// One member of a group.
#[derive(Serialize)]
pub(crate) struct MemberLine {
    handle: String,
    account: String,
    role: &'static str,
    devices: u32,
    verified: bool,
}

impl MemberLine {
    pub(crate) fn new(member: &Member) -> Self {
        let role = match member.role {
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Owner => "owner",
        };
        Self {
            handle: member.handle.to_string(),
            account: member.account.to_string(),
            role,
            devices: member.devices,
            verified: member.compared,
        }
    }

    pub(crate) fn human(&self) -> String {
        format!(
            "{:<16}  {:<6}  {} device{}{}",
            self.handle,
            self.role,
            self.devices,
            if self.devices == 1 { "" } else { "s" },
            if self.verified { "  verified" } else { "" }
        )
    }
}

/// The word for a message's status.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Sent => "sent",
        Status::Delivered => "delivered",
        Status::Received => "received",
        Status::Failed => "failed",
    }
}

fn kind(is_group: bool) -> &'static str {
    if is_group { "group" } else { "dm" }
}

/// Cells of the last message in the list of conversations.
const PREVIEW_CELLS: usize = 40;

#[cfg(test)]
mod tests;
