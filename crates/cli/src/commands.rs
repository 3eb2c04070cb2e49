//! What each command does: open the home, ask the SDK, print.
//!
//! What shows something first takes what waits at the server, for a bounded time; without a server it shows what the vault has
//! and says so. What changes something returns when it is durable.

use std::collections::{BTreeSet, VecDeque};
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::tz::TimeZone;
use serde_json::json;
use stonechat_client::{
    AccountId, Client, ClientError, CommandError, ConversationId, Event, GROUP_NAME_BYTES_MAX, Handle, InviteCode,
    KeyChoice, KeyError, Message, MessageId, OpenError, Role, ServerUrl, TEXT_BYTES_MAX, Target, Text,
};

use crate::args::{Command, Device, Group, RoleName};
use crate::error::{Exit, Failure};
use crate::output::{ConversationLine, MemberLine, MessageLine, Output, RequestLine, SignedUp, WhoAmI};
use crate::trust::{self, Trust};

/// What every command needs.
pub(crate) struct Context {
    /// The account's folder.
    pub home: PathBuf,
    /// Where results go.
    pub out: Output,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

/// Runs one command to its end.
///
/// # Errors
/// [`Failure`]; what it says was not done, was not.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    if let Command::Signup { handle, server, passphrase, invite, directory_policy } = command {
        return sign_up(context, &handle, &server, passphrase, invite, directory_policy.as_deref()).await;
    }
    // What is wrong with the words themselves is said before anything is opened.
    let command = Checked::new(command)?;
    let client = open(&context.home).await?;
    let quiet = matches!(command, Checked::Trust(Trust::Alarms | Trust::Dismiss(_)));
    let result = command.run(context, &client).await;
    if !quiet {
        trust::tell_alarms(&client, context.out).await;
    }
    client.shutdown().await;
    result
}

/// Opens the home, asking for the passphrase if it has one and there is somebody to ask.
///
/// # Errors
/// As the SDK says.
pub(crate) async fn open(home: &Path) -> Result<Client, Failure> {
    let builder = Client::builder().home(home);
    if let Some(words) = passphrase_of_environment() {
        return Ok(builder.key(KeyChoice::passphrase(words)).open().await?);
    }
    match builder.clone().key(KeyChoice::Auto).open().await {
        Err(OpenError::Key(KeyError::PassphraseNeeded { .. })) if std::io::stdin().is_terminal() => {
            let words = prompt("Passphrase: ").await?;
            Ok(builder.key(KeyChoice::passphrase(words)).open().await?)
        }
        opened => Ok(opened?),
    }
}

/// What `STONECHAT_PASSPHRASE` says, unless it is empty.
pub(crate) fn passphrase_of_environment() -> Option<String> {
    std::env::var("STONECHAT_PASSPHRASE").ok().filter(|words| !words.is_empty())
}

async fn prompt(question: &'static str) -> Result<String, Failure> {
    let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(question)).await;
    Ok(asked.map_err(std::io::Error::other)??)
}

async fn sign_up(
    context: &Context,
    handle: &str,
    server: &str,
    ask: bool,
    invite: Option<InviteCode>,
    policy: Option<&Path>,
) -> Result<(), Failure> {
    // Before anything is made.
    let policy = policy.map(read_policy).transpose()?;
    let handle = parse_handle(handle)?;
    let server: ServerUrl = server.parse().map_err(|error| Failure::input("bad_address", format!("{error}")))?;
    let key = match passphrase_of_environment() {
        Some(words) => KeyChoice::passphrase(words),
        None if ask && std::io::stdin().is_terminal() => {
            let words = prompt("New passphrase: ").await?;
            if prompt("Once more: ").await? != words {
                return Err(Failure::input(
                    "passphrase_mismatch",
                    "the two passphrases differ; nothing was done, start again",
                ));
            }
            KeyChoice::passphrase(words)
        }
        None if ask => {
            return Err(Failure::input(
                "no_terminal",
                "there is no terminal to ask in; set STONECHAT_PASSPHRASE instead",
            ));
        }
        None => KeyChoice::Auto,
    };
    let (client, phrase) = Client::sign_up_invited(&context.home, key, handle, &server, invite).await?;
    let me = client.me().await?;
    let signed_up = SignedUp::new(&me, phrase.danger_words());
    let printed = context.out.print(&signed_up, || signed_up.human(&me, client.key_source()));
    // After the words were shown, whatever comes of it.
    if let Some(policy) = policy
        && !client.pin_directory_policy(&policy).await?
    {
        let message = "ALARM: the server gives out another directory policy than the one in the file. The file's is pinned; \
                       nobody can be checked until the server follows it.";
        context.out.notice("alarm", message);
    }
    client.shutdown().await;
    Ok(printed?)
}

fn read_policy(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::input("bad_policy", format!("{} cannot be used: {error}; nothing was done", path.display()))
    };
    let json = std::fs::read(path).map_err(|error| unreadable(&error))?;
    stonechat_directory::DirectoryPolicy::from_json(&json).map_err(|error| unreadable(&error))?;
    Ok(json)
}

/// A command whose words are in order.
enum Checked {
    WhoAmI,
    Conversations,
    Requests,
    Accept(Handle),
    Decline(Handle),
    Sync,
    Send { target: String, text: Text },
    Read { target: String, follow: bool, limit: usize },
    Create { name: Text, members: Vec<Handle> },
    Change { group: String, change: Change },
    Members { group: String },
    Trust(Trust),
}

/// A change of a group.
enum Change {
    Add(Vec<Handle>),
    Remove(Handle),
    Leave,
    Rename(Text),
    Role(Handle, Role),
}

impl Checked {
    fn new(command: Command) -> Result<Self, Failure> {
        Ok(match command {
            Command::Signup { .. } | Command::Audit(_) => unreachable!("handled before: there is no home to open"),
            Command::Whoami => Self::WhoAmI,
            Command::Conversations => Self::Conversations,
            Command::Requests => Self::Requests,
            Command::Accept { handle } => Self::Accept(parse_handle(&handle)?),
            Command::Decline { handle } => Self::Decline(parse_handle(&handle)?),
            Command::Sync => Self::Sync,
            Command::Send { target, text } => {
                let target = checked_target(target)?;
                let text = if text == "-" { text_of_stdin()?.into() } else { text };
                check_text(text.len())?;
                Self::Send { target, text }
            }
            Command::Read { target, follow, limit } => Self::Read {
                target: checked_target(target)?,
                follow,
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            Command::Group(group) => match group {
                Group::Create { name, members } => {
                    Self::Create { name: group_name(name)?, members: handles(&members)? }
                }
                Group::Add { group, members } => Self::Change { group, change: Change::Add(handles(&members)?) },
                Group::Remove { group, member } => {
                    Self::Change { group, change: Change::Remove(parse_handle(&member)?) }
                }
                Group::Leave { group } => Self::Change { group, change: Change::Leave },
                Group::Rename { group, name } => Self::Change { group, change: Change::Rename(group_name(name)?) },
                Group::Role { group, member, role } => {
                    let role = match role {
                        RoleName::Member => Role::Member,
                        RoleName::Admin => Role::Admin,
                        RoleName::Owner => Role::Owner,
                    };
                    Self::Change { group, change: Change::Role(parse_handle(&member)?, role) }
                }
                Group::Members { group } => Self::Members { group },
            },
            Command::Safety { handle } => Self::Trust(Trust::Safety(parse_handle(&handle)?)),
            Command::Verify { handle, digits, scan } => {
                Self::Trust(Trust::Verify(parse_handle(&handle)?, scan.unwrap_or_else(|| digits.concat())))
            }
            Command::Why { target } => Self::Trust(Trust::Why(checked_target(target)?)),
            Command::Devices => Self::Trust(Trust::Devices),
            Command::Device(Device::Revoke { device }) => Self::Trust(Trust::Revoke(trust::parse_device(&device)?)),
            Command::Alarms { dismiss: None } => Self::Trust(Trust::Alarms),
            Command::Alarms { dismiss: Some(alarm) } => {
                let alarm = alarm.parse().map_err(|_| {
                    Failure::input("bad_alarm", format!("{alarm:?} is no alarm; the ids are in: stonechat alarms"))
                })?;
                Self::Trust(Trust::Dismiss(alarm))
            }
        })
    }

    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let out = context.out;
        match self {
            Self::WhoAmI => {
                let me = WhoAmI::new(&client.me().await?, client.key_source());
                out.print(&me, || me.human(client.key_source()))?;
            }
            Self::Conversations => {
                catch_up(client, out).await;
                let conversations = client.conversations().await?;
                for conversation in &conversations {
                    out.print(&ConversationLine::new(conversation), || {
                        ConversationLine::human(conversation, context.unicode)
                    })?;
                }
                let waiting = client.requests().await?.len();
                if !out.json && conversations.is_empty() {
                    out.notice("none", "No conversations yet. Type: stonechat send @somebody \"hello\"");
                }
                if !out.json && waiting > 0 {
                    let s = if waiting == 1 { "" } else { "s" };
                    out.notice(
                        "requests",
                        &format!("{waiting} request{s} waiting for your answer. Type: stonechat requests"),
                    );
                }
            }
            Self::Requests => {
                catch_up(client, out).await;
                let requests = client.requests().await?;
                let zone = TimeZone::system();
                for request in &requests {
                    out.print(&RequestLine::new(request), || RequestLine::human(request, &zone))?;
                }
                if !out.json && requests.is_empty() {
                    out.notice("none", "Nobody waits for an answer.");
                }
            }
            Self::Accept(from) => {
                catch_up(client, out).await;
                let conversation = client.accept(from.clone()).await?;
                // Joining takes a few exchanges; the answer is worth more when the conversation is there.
                settle(client).await;
                let joined = match conversation {
                    Some(id) => client.conversation(id).await?,
                    None => None,
                };
                let target = joined.filter(|c| c.is_group).map_or_else(|| from.to_string(), |c| quoted(&c.title));
                out.print(
                    &json!({ "accepted": from.to_string(), "conversation": conversation.map(|id| id.to_string()) }),
                    || format!("Accepted. Type: stonechat read {target}"),
                )?;
            }
            Self::Decline(from) => {
                catch_up(client, out).await;
                client.decline(from.clone()).await?;
                out.print(&json!({ "declined": from.to_string() }), || format!("Declined. {from} is not told."))?;
            }
            Self::Sync => {
                client.connected(CONNECT_PATIENCE).await?;
                client.sync(SYNC_PATIENCE).await?;
                out.print(&json!({ "status": "synced" }), || "Everything is sent and up to date.".into())?;
            }
            Self::Trust(trust) => {
                catch_up(client, out).await;
                trust.run(client, out, context.unicode).await?;
            }
            Self::Send { target, text } => send(client, out, &target, text).await?,
            Self::Read { target, follow, limit } => read(client, out, &target, follow, limit).await?,
            Self::Create { name, members } => {
                let id = client.create_group(name.clone(), members).await?;
                settle(client).await;
                out.print(&json!({ "conversation": id.to_string(), "name": name }), || {
                    format!("Made the group. Type: stonechat send {} \"hello\"", quoted(&name))
                })?;
            }
            Self::Change { group, change } => {
                let id = group_id(client, out, &group).await?;
                let leaving = matches!(change, Change::Leave);
                match change {
                    Change::Add(members) => client.add_members(id, members).await?,
                    Change::Remove(member) => client.remove_member(id, member).await?,
                    Change::Leave => client.leave(id).await?,
                    Change::Rename(name) => client.rename(id, name).await?,
                    Change::Role(member, role) => client.set_role(id, member, role).await?,
                }
                // Nobody takes himself out of the keys: another member's app does it, as soon as it is there.
                let patience = if leaving { LEAVE_PATIENCE } else { SYNC_PATIENCE };
                let done = settle_within(client, patience).await;
                let (status, text) = match (done, leaving) {
                    (true, _) => ("done", "Done."),
                    (false, true) => ("leaving", "Leaving: you are out as soon as another member's app has seen it."),
                    (false, false) => ("queued", "Saved; it goes out with the next connection. Type: stonechat sync"),
                };
                out.print(&json!({ "conversation": id.to_string(), "status": status }), || text.into())?;
            }
            Self::Members { group } => {
                let id = group_id(client, out, &group).await?;
                let conversation = client.conversation(id).await?.ok_or(CommandError::UnknownConversation)?;
                for member in &conversation.members {
                    let line = MemberLine::new(member);
                    out.print(&line, || line.human())?;
                }
            }
        }
        Ok(())
    }
}

async fn send(client: &Client, out: Output, target: &str, text: Text) -> Result<(), Failure> {
    let target = match client.target(target).await {
        // A group that this account was just put in.
        Err(ClientError::NoTarget { .. }) => {
            catch_up(client, out).await;
            client.target(target).await?
        }
        found => found?,
    };
    let (conversation, message, status) = match client.send(target, text).await {
        Ok(sent) => (sent.conversation, sent.message, "sent"),
        Err(error @ ClientError::Saved { conversation, message, .. }) => {
            out.notice("saved", &error.to_string());
            (conversation, message, "queued")
        }
        Err(error) => return Err(error.into()),
    };
    out.print(
        &json!({ "id": message.to_string(), "conversation": conversation.to_string(), "status": status }),
        || match status {
            "sent" => "Sent.".into(),
            _ => "Saved. Type: stonechat sync".into(),
        },
    )?;
    Ok(())
}

async fn read(client: &Client, out: Output, target: &str, follow: bool, limit: usize) -> Result<(), Failure> {
    // From before the first look, so that nothing falls between.
    let mut events = client.events();
    catch_up(client, out).await;
    let target = client.target(target).await?;
    let mut reader = Reader { client, out, zone: TimeZone::system(), printed: BTreeSet::new(), order: VecDeque::new() };
    let mut open = client.find(&target).await?;
    match (open, &target) {
        (Some(id), _) => reader.print_last(id, limit).await?,
        (None, Target::Person(handle)) => {
            if client.requests().await?.iter().any(|r| r.handle == *handle && !r.is_group) {
                let message = format!(
                    "{handle} wants to write to you, and you did not answer yet. To read it, type: stonechat accept {handle}"
                );
                return Err(Failure::new("request_pending", Exit::NotFound, message));
            }
            if !follow {
                let message =
                    format!("there is nothing between you and {handle} yet. Type: stonechat send {handle} \"hello\"");
                return Err(Failure::new("no_conversation", Exit::NotFound, message));
            }
        }
        (None, Target::Conversation(_)) => return Err(CommandError::UnknownConversation.into()),
    }
    if !follow {
        return Ok(());
    }
    let mut stop = std::pin::pin!(crate::stop_asked());
    loop {
        let event = tokio::select! {
            () = &mut stop => return Ok(()),
            event = events.next() => event,
        };
        match event {
            None => {
                return Err(Failure::new(
                    "stopped",
                    Exit::Home,
                    client.status().why().unwrap_or_else(|| "the client has stopped".into()),
                ));
            }
            Some(Event::Message(_) | Event::Conversation(_) | Event::Missed(_)) => {}
            Some(Event::Alarm(alarm)) => {
                let message = format!("ALARM: {} Type: stonechat alarms", alarm.finding);
                out.notice_of("alarm", &message, &alarm.finding);
                continue;
            }
            Some(Event::Refused { conversation, what }) if conversation.is_none() || conversation == open => {
                out.notice_of("refused", &what.to_string(), &what);
                continue;
            }
            Some(_) => continue,
        }
        // Direct messages that both sides opened at once change their id: look again each time.
        open = client.find(&target).await?.or(open);
        if let Some(id) = open {
            reader.print_new(id).await?;
        }
    }
}

/// Prints messages, each once.
struct Reader<'a> {
    client: &'a Client,
    out: Output,
    zone: TimeZone,
    printed: BTreeSet<(AccountId, MessageId)>,
    order: VecDeque<(AccountId, MessageId)>,
}

impl Reader<'_> {
    async fn print_last(&mut self, id: ConversationId, limit: usize) -> Result<(), Failure> {
        let messages = self.client.messages(id, None, limit.max(1)).await?;
        let skipped = messages.len() - messages.len().min(limit);
        for message in &messages[..skipped] {
            self.remember(message);
        }
        for message in &messages[skipped..] {
            self.print(message)?;
        }
        self.mark_read(id).await
    }

    async fn print_new(&mut self, id: ConversationId) -> Result<(), Failure> {
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = self.client.messages(id, before, FOLLOW_PAGE).await?;
            let known = page.iter().any(|m| self.printed.contains(&(m.sender, m.id)));
            let end = known || page.len() < FOLLOW_PAGE;
            before = page.first().map(|m| (m.sender, m.id));
            pages.push(page);
            if end || pages.len() >= FOLLOW_PAGES_MAX {
                break;
            }
        }
        let new: Vec<_> =
            pages.into_iter().rev().flatten().filter(|m| !self.printed.contains(&(m.sender, m.id))).collect();
        for message in &new {
            self.print(message)?;
        }
        if new.is_empty() { Ok(()) } else { self.mark_read(id).await }
    }

    fn print(&mut self, message: &Message) -> Result<(), Failure> {
        self.remember(message);
        Ok(self.out.print(&MessageLine::new(message), || MessageLine::human(message, &self.zone))?)
    }

    fn remember(&mut self, message: &Message) {
        let key = (message.sender, message.id);
        if self.printed.insert(key) {
            self.order.push_back(key);
        }
        if self.order.len() > PRINTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.printed.remove(&oldest);
        }
    }

    async fn mark_read(&self, id: ConversationId) -> Result<(), Failure> {
        Ok(self.client.mark_read(id).await?)
    }
}

/// Takes what waits at the server, for a bounded time. Without a server: says so and goes on with what is here.
async fn catch_up(client: &Client, out: Output) {
    let caught_up = async {
        client.connected(CONNECT_PATIENCE).await?;
        client.sync(SYNC_PATIENCE).await
    };
    if let Err(error) = caught_up.await {
        out.notice("offline", &format!("Not up to date: {error}. This is what is here."));
    }
}

/// Waits until what was just begun is done; `false` if that takes too long.
async fn settle(client: &Client) -> bool {
    settle_within(client, SYNC_PATIENCE).await
}

async fn settle_within(client: &Client, patience: Duration) -> bool {
    client.connected(CONNECT_PATIENCE).await.is_ok() && client.sync(patience).await.is_ok()
}

async fn group_id(client: &Client, out: Output, text: &str) -> Result<ConversationId, Failure> {
    catch_up(client, out).await;
    match client.target(text).await? {
        Target::Conversation(id) => Ok(id),
        Target::Person(handle) => {
            Err(Failure::input("not_a_group", format!("{handle} is a person; a group is named by its name or id")))
        }
    }
}

fn parse_handle(text: &str) -> Result<Handle, Failure> {
    Handle::parse(text).map_err(|error| Failure::input("bad_handle", format!("{text:?} is not a handle: {error}")))
}

fn handles(texts: &[String]) -> Result<Vec<Handle>, Failure> {
    texts.iter().map(|text| parse_handle(text)).collect()
}

fn checked_target(text: String) -> Result<String, Failure> {
    if text.starts_with('@') {
        parse_handle(&text)?;
    }
    Ok(text)
}

fn group_name(name: Text) -> Result<Text, Failure> {
    match name.len() {
        _ if name.trim().is_empty() => Err(Failure::input("bad_name", "a group needs a name")),
        bytes if bytes > GROUP_NAME_BYTES_MAX => Err(Failure::input(
            "bad_name",
            format!("the name has {bytes} bytes, and at most {GROUP_NAME_BYTES_MAX} fit; shorten it"),
        )),
        _ => Ok(name),
    }
}

fn check_text(bytes: usize) -> Result<(), Failure> {
    match bytes {
        0 => Err(Failure::input("empty_text", "the text is empty: there is nothing to send")),
        bytes if bytes > TEXT_BYTES_MAX => Err(Failure::input(
            "text_too_long",
            format!("the text has {bytes} bytes, and at most {TEXT_BYTES_MAX} fit; send it in parts"),
        )),
        _ => Ok(()),
    }
}

/// Standard input, without its last line break.
fn text_of_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    check_text(bytes.len())?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::input("bad_text", "standard input is not UTF-8 text; nothing was sent"))
}

fn quoted(name: &str) -> String {
    let name = crate::text::one_line(name);
    if name.chars().all(|c| c.is_ascii_alphanumeric()) { name.into_owned() } else { format!("'{name}'") }
}

/// How long a command waits for a connection before it shows what is here.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits to be up to date.
const SYNC_PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for another member to take this one out.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// Messages looked at on each piece of news while following.
const FOLLOW_PAGE: usize = 100;
/// Pages of those at once.
const FOLLOW_PAGES_MAX: usize = 100;
/// Messages remembered as printed.
const PRINTED_MAX: usize = 2 * FOLLOW_PAGE * FOLLOW_PAGES_MAX;
/// Read from standard input: enough to say how far over the limit a text is.
const STDIN_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_1_to_65536_bytes_and_both_numbers_are_named() {
        assert_eq!(check_text(0).unwrap_err().code, "empty_text");
        assert!(check_text(1).is_ok() && check_text(65_536).is_ok());
        let error = check_text(102_400).unwrap_err();
        assert!(error.message.contains("102400") && error.message.contains("65536"), "{error}");
        assert_eq!(error.exit, Exit::Input);
    }

    #[test]
    fn odd_handles_are_refused_with_the_rule_they_break() {
        for (text, rule) in
            [("@Bob!", "lower case"), ("", "at least one"), ("@abcdefghijklmnop", "at most 15"), ("@böb", "a to z")]
        {
            let error = parse_handle(text).unwrap_err();
            assert!(error.code == "bad_handle" && error.message.contains(rule), "{error}");
        }
        assert!(checked_target("a group".into()).is_ok());
        assert!(checked_target("@A".into()).is_err());
    }

    #[test]
    fn a_groups_name_has_1_to_128_bytes() {
        assert!(group_name("  ".into()).is_err());
        assert!(group_name("x".repeat(128).into()).is_ok());
        assert!(group_name("x".repeat(129).into()).unwrap_err().message.contains("129"));
    }
}
