//! The words for every code, in English: what happened, what it means, what to do. Other languages have a table of their own, beside
//! whoever shows them.
//!
//! Each match is exhaustive: a code without words does not compile. Errors and refusals are parts of sentences, as programs print them
//! behind a colon; [`sentence`] makes whole ones of them. Everything else is whole sentences.

use std::fmt::{self, Display, Formatter};

use stonechat_wire::Handle;

use crate::command::{CommandError, Invalid, NotAllowed};
use crate::reasons::{ChangeFault, Distrust, InvitationFault, KeyPackageFault, LetterFault, Refusal, Rule};
use crate::trust::{Check, Doubt, Finding, Problem};
use crate::view::{Hold, Notice};
use crate::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// A whole sentence of what may be a part of one.
pub fn sentence(part: &str) -> String {
    let mut letters = part.chars();
    let mut sentence: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    sentence.extend(letters);
    if !sentence.is_empty() && !sentence.ends_with(['.', '!', '?', '…']) {
        sentence.push('.');
    }
    sentence
}

// --- commands ---

impl Display for CommandError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("the server cannot be reached; this needs a connection"),
            Self::NoAccount => f.write_str("nobody is signed up here yet; sign up first"),
            Self::HandleTaken(who) => write!(f, "{who} is taken; choose another handle"),
            Self::UnknownHandle(who) => write!(f, "there is nobody called {who} on this server; check the spelling"),
            Self::NotReady(who) => {
                write!(f, "{who} cannot be reached at the moment: no device of theirs is ready; try again later")
            }
            Self::Untrusted(who, why) => write!(
                f,
                "the server's record of {who} does not verify ({why}); nothing was sent, because it may not be them"
            ),
            Self::Yourself => f.write_str("that is your own handle"),
            Self::UnknownConversation => f.write_str("there is no such conversation"),
            Self::UnknownRequest(who) => write!(f, "there is no request from {who}"),
            Self::NotAllowed(what) => what.fmt(f),
            Self::Invalid(what) => what.fmt(f),
            Self::Refused { code, retry_after_secs: None } => write!(f, "the server refused: {code}"),
            Self::Refused { code, retry_after_secs: Some(secs) } => {
                write!(f, "the server refused: {code} (try again in {secs} s)")
            }
            Self::Overtaken => {
                f.write_str("another device of this account changed its devices at the same moment; try again")
            }
            Self::LogFull => {
                f.write_str("the log of this account's devices is full: no device can be added or revoked any more")
            }
            Self::Directory(why) => {
                write!(f, "it cannot be checked yet who that is: {why}; nothing was sent, try again in a moment")
            }
            Self::StartedOver(who) => write!(
                f,
                "{who} belongs to another account now than the one that you know: they started over, or somebody else has the \
                 handle. Nothing was sent. Ask them by another way, then accept {who}"
            ),
            Self::Mismatch(who) => write!(
                f,
                "this is not the safety number that you share with {who}: one of you is not talking to the other. Do not write \
                 what must stay between you, and tell them by another way"
            ),
            Self::UnknownDevice(device) => {
                write!(f, "this account has no device {device}; look at the list of devices")
            }
            Self::ThisDevice => f.write_str("that is this device; revoke it from another one"),
            Self::UnknownAlarm => f.write_str("there is no such alarm"),
        }
    }
}

impl std::error::Error for CommandError {}

impl Display for NotAllowed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInConversation => f.write_str("you are no longer in this conversation"),
            Self::NotInGroup => f.write_str("you are no longer in this group"),
            Self::NotAGroup => f.write_str("these are direct messages, not a group"),
            Self::OwnerOnly { group } => write!(f, "only the owner can do this in {group}"),
            Self::AdminsOnly { group } => write!(f, "only the owner and admins can do this in {group}"),
            Self::NotAMember { who, group } => write!(f, "{who} is not in {group}"),
            Self::OwnerRemoves { who } => write!(f, "only the owner can remove {who}"),
            Self::GiveOwnership => f.write_str("give ownership to somebody else instead"),
        }
    }
}

impl Display for Invalid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyText => f.write_str("the message is empty; write something"),
            Self::TextTooLong { bytes } => write!(
                f,
                "the message is too long: {bytes} bytes, and at most {} KiB fit; split it",
                TEXT_BYTES_MAX / 1024
            ),
            Self::DraftTooLong { bytes } => write!(
                f,
                "the draft is too long to be kept: {bytes} bytes, and at most {} KiB fit into a message",
                TEXT_BYTES_MAX / 1024
            ),
            Self::NoGroupName => f.write_str("the group needs a name"),
            Self::GroupNameTooLong { bytes } => {
                write!(f, "the group's name is too long: {bytes} bytes, and at most {GROUP_NAME_BYTES_MAX} fit")
            }
            Self::TooManyMembers => write!(f, "a group has at most {GROUP_MEMBERS_MAX} members"),
            Self::NoMembers => f.write_str("name somebody to add"),
            Self::SafetyNumber => f.write_str(
                "that is neither a safety number (60 digits) nor the text of its code; nothing was compared",
            ),
            Self::Policy => f.write_str("that is not a directory's policy; take the file as the operator publishes it"),
        }
    }
}

// --- why something is not believed or not followed ---

impl Display for Distrust {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("the directory's keys are not known here yet"),
            Self::Witnesses { have, need } => {
                write!(f, "{have} of the directory's witnesses confirm what it shows, and {need} must")
            }
            Self::Server(code) => code.fmt(f),
            Self::Head => f.write_str("what the directory shows is not signed by its keys"),
            Self::Proof => f.write_str("the directory's proof does not hold"),
            Self::OtherLog => f.write_str("the account log is not the one that the directory has"),
            Self::OtherAccount => f.write_str("the handle belongs to another account"),
            Self::NoHandle => f.write_str("the proof of the handle is missing"),
            Self::Old => f.write_str("the directory shows an old state, or this machine's clock is ahead"),
            Self::Future => f.write_str(
                "the directory shows a state of the future: this machine's clock is behind, or the directory's is ahead",
            ),
            Self::TakenBack => f.write_str("the directory took back what it had said about their account"),
            Self::Forked => f.write_str("the directory shows different people different states"),
            Self::Log => f.write_str("the account log breaks the rules of account logs"),
            Self::Contradicts => f.write_str("their account log contradicts the one first seen"),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsealed => f.write_str("an entry that no member sealed was passed over"),
            Self::Undecryptable => f.write_str("an entry that does not decrypt was passed over"),
            Self::Proposal => f.write_str("a proposal that this app does not accept was passed over"),
            Self::Disguised => f.write_str("a commit disguised as a message was passed over"),
            Self::Malformed => {
                f.write_str("a message that cannot be read was passed over: the sender's app is broken or newer")
            }
            Self::LeftOut => f.write_str("the server acknowledged a message and then left it out; it is sent again"),
            Self::OtherLogs => f.write_str(
                "the server showed two members different logs of this conversation; compare what you see",
            ),
            Self::Change(why) => write!(f, "a change to the conversation was refused: {why}"),
            Self::OwnAccount(why) => write!(f, "what the directory says of this account does not hold: {why}"),
            Self::Handle { who } => {
                write!(f, "somebody calls themselves {who}, which the server says is not their handle")
            }
            Self::Letter(why) => write!(f, "a letter in the inbox was thrown away: {why}"),
            Self::Invitation(why) => write!(f, "an invitation could not be followed: {why}"),
            Self::Inbox { who } => write!(
                f,
                "{who} cannot be invited or helped: a device of theirs has an inbox key that is none, or their account log is too \
                 long"
            ),
            Self::LetterLost(code) => write!(f, "a letter could not be delivered: {code}"),
            Self::OfferedDevice { who, why } => {
                write!(f, "the server offered a device of {who} that is not theirs: {why}")
            }
            Self::Head => f.write_str("a state of the directory that does not hold was thrown away"),
            Self::UnsignedHead => {
                f.write_str("a member told of a state of the directory that it never signed; it was ignored")
            }
            Self::TokenKeys => f.write_str(
                "the server shows different token keys on two connections, which would let it link them; one was closed",
            ),
            Self::Tokens => f.write_str("the server's tokens do not verify and were thrown away"),
            Self::Misbehaved => f.write_str(
                "the server sent something that does not fit; the connection was closed and will be opened again",
            ),
            Self::LogIn(code) => write!(f, "logging in failed: {code}"),
            Self::Supplies(code) => write!(f, "the server refused to keep this device's supplies: {code}"),
            Self::InboxKept(code) => write!(f, "the server did not take back what is in the inbox: {code}"),
        }
    }
}

impl Display for ChangeFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsealed => f.write_str("no member sealed it"),
            Self::NotACommit => f.write_str("it is not a commit"),
            Self::Mls => f.write_str("it breaks the rules of MLS"),
            Self::State => f.write_str("the new state of the group is malformed"),
            Self::Evidence => f.write_str("its evidence is malformed"),
            Self::NeedlessLog => f.write_str("it brings an account log that it does not need"),
            Self::Account(why) => write!(f, "an account that it brings: {why}"),
            Self::Unproven => f.write_str("it adds somebody without what the directory says of them"),
            Self::Capabilities => f.write_str("it names capabilities that are not those of its epoch"),
            Self::Rule(rule) => rule.fmt(f),
            Self::TooMany => f.write_str("too many people at once; add fewer"),
            Self::TooLarge => f.write_str("the group is too large to invite more people"),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "a commit came from outside of the group",
            Self::Proposal => "a commit has a kind of proposal that is not used here",
            Self::Committer => "a commit was not made by a member who stays",
            Self::NoSuchLeaf => "a commit removes a leaf that is not there",
            Self::UnknownAccount => "a commit names an account whose log is not known",
            Self::UnknownDevice => "a commit names a device that its account does not have",
            Self::Identity => "a commit's author changed who its own leaf says it is",
            Self::Duplicate => "a commit adds a device that is in the conversation already",
            Self::TooMany => return write!(f, "a commit makes the group larger than {GROUP_MEMBERS_MAX} people"),
            Self::Kind => "a commit changes what kind of conversation it is",
            Self::DirectState => "a commit changes the state of direct messages, which have none",
            Self::Stranger => "a commit adds somebody else to direct messages",
            Self::Add => "a member who is neither owner nor admin added somebody",
            Self::Remove => "a member removed somebody whom their role does not let them remove",
            Self::Rename => "a member who is neither owner nor admin renamed the group",
            Self::Roles => "a member who is not the owner changed roles",
            Self::RoleOfStranger => "a commit gives a role to somebody who is not in the group",
            Self::Unsettled => "a commit leaves roles behind that would fall to somebody else",
            Self::State => "a commit leads to a state of the group that is not valid",
        })
    }
}

impl std::error::Error for Rule {}

impl Display for LetterFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::Signature => f.write_str("it is not signed by a device of its sender's"),
            Self::Sender(why) => why.fmt(f),
            Self::Unknown => f.write_str("it is from somebody unknown and brings no proof of the directory"),
            Self::AlreadyIn => f.write_str("it invites to a conversation that this device is in"),
            Self::TooMany => f.write_str("too many requests wait; decide on some"),
            Self::OtherConversation => f.write_str("it is about a conversation that this device does not have"),
            Self::KeyPackage(why) => write!(f, "the key package that it brings: {why}"),
        }
    }
}

impl Display for KeyPackageFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it cannot be read",
            Self::UnknownDevice => "the account log does not have that device",
            Self::OtherDevice => "it names another device",
            Self::OtherKey => "it is signed with another key",
            Self::Expired => "it is out of date",
        })
    }
}

impl Display for InvitationFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld => f.write_str("it is too old; ask to be added again"),
            Self::Malformed => f.write_str("it is malformed"),
            Self::Account(why) => write!(f, "an account that it brings: {why}"),
            Self::Mls => f.write_str("it breaks the rules of MLS, or was made for keys that this device no longer has"),
            Self::OtherKeyPackage => f.write_str("it does not use the key package that this device asked with"),
            Self::OtherThanSaid => f.write_str("it is not what the letter said"),
            Self::State => f.write_str("the state of the group is malformed"),
            Self::StrangeMember => f.write_str("it has a member whose keys are not in their account log"),
            Self::OtherKind => f.write_str("it is not the kind of conversation that the letter said"),
        }
    }
}

// --- conversations ---

impl Display for Hold {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMade(Some(code)) => write!(f, "The server does not make this conversation: {code}."),
            Self::NotMade(None) => f.write_str("The server does not make this conversation."),
            Self::NotReady { who, waits } => {
                let who = who.as_ref().map_or_else(|| "Somebody".to_owned(), Handle::to_string);
                write!(f, "{who} cannot be reached at the moment: no device of theirs is ready.")?;
                f.write_str(if *waits { " What you write is sent when one is." } else { "" })
            }
            Self::Rejoining => {
                f.write_str("This device was away for too long and has asked the others to add it again.")
            }
            Self::OtherLogs => f.write_str(
                "The server showed members different versions of this conversation. Compare what you see.",
            ),
            Self::Change(why) => write!(f, "A change could not be made: {why}."),
            Self::Leaving => f.write_str("Leaving…"),
            Self::Left => f.write_str("You left this group."),
            Self::Removed => f.write_str("You were removed from this group."),
            Self::Unrecorded => f.write_str(
                "An older version of this app noted that something holds this conversation up, and this version does not know what.",
            ),
        }
    }
}

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceAdded(who) => write!(f, "{who} added a device."),
            Self::DeviceRevoked(who) => write!(f, "{who} removed a device."),
            Self::StartedOver(who) => write!(
                f,
                "{who} has started over with another account. Whoever holds the handle now is not the account that you \
                 know. Ask them by another way before you accept them, and compare safety numbers."
            ),
        }
    }
}

// --- trust ---

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned { origin, threshold, witnesses } => write!(
                f,
                "The directory's keys were pinned when this account was made: {origin}, with {threshold} of {witnesses} witnesses."
            ),
            Self::OneLog { records } => write!(
                f,
                "All states of the directory that you and your contacts saw are consistent: one log, now of {}.",
                count(*records, "record")
            ),
            Self::Log { who, entries: 1 } => {
                write!(f, "{who}: the one entry of their account log is signed by keys of theirs.")
            }
            Self::Log { who, entries } => {
                write!(f, "{who}: each of the {entries} entries of their account log is signed by keys of theirs.")
            }
            Self::Proven { who, records } => write!(
                f,
                "{who}: the directory proved that this is their whole log, in its state of {}.",
                count(*records, "record")
            ),
            Self::Connected { who } => write!(f, "{who}: that state is consistent with those that you saw."),
            Self::Handle { who } => write!(f, "{who}: the directory proved that the handle is this account's."),
            Self::Devices { who, count: 1 } => {
                write!(f, "{who}: one device of theirs is in here, and it is in their account log.")
            }
            Self::Devices { who, count } => {
                write!(f, "{who}: {count} of their devices are in here, each in their account log.")
            }
            Self::OwnDevices => f.write_str("Every device of yours in here is in your own account log."),
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPinned => f.write_str("The directory's keys are not known here yet."),
            Self::Forked => {
                f.write_str("The directory shows different people different states: nobody's keys can be checked.")
            }
            Self::Alarm { finding: Finding::Unrecorded, .. } => {
                f.write_str("There is an alarm. Look at the list of alarms.")
            }
            Self::Alarm { finding, .. } => finding.fmt(f),
            Self::Log => f.write_str("The account log of a member does not verify."),
            Self::NotProven { who } => {
                write!(f, "{who}: the directory has not proved yet that this is their account log.")
            }
            Self::NotConnected { who } => {
                write!(f, "{who}: the directory has not shown yet that their state of it is consistent with yours.")
            }
            Self::NotTheirHandle { who } => {
                write!(f, "That {who} is who they say has not been proved by the directory.")
            }
            Self::StrangeDevice { who } => {
                write!(f, "{who} has a device in here that their account log does not have.")
            }
            Self::Doubt { who, doubt } => write!(f, "{who}: {doubt}."),
            Self::StrangeOwnDevice => f.write_str("A device in here passes for yours, and is not in your account log."),
        }
    }
}

impl Display for Doubt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherThanFirst => "their account log contradicts the one first seen",
            Self::HandleDenied => "the server says that this handle is not theirs",
            Self::TakenBack => "the directory took back what it had said about their account",
            Self::StartedOver => "their handle belongs to another account now; ask them by another way",
            Self::KeptBack => "the directory keeps back what they say about their own devices",
            Self::OtherForThem => "their account log is another for them than for you",
        })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecorded => f.write_str(
                "An older version of this app found this and noted it in words that this version does not know. If it comes up again, \
                 it is told again.",
            ),
            Self::DeviceAdded { device } => write!(
                f,
                "A device was added to your account, and not by this one: {device}. If it was not you, revoke it now: it can read \
                 what is written from here on."
            ),
            Self::DeviceRevoked { device } => write!(
                f,
                "The device {device} of your account was revoked, and not by this one. If it was not you, somebody has keys of your \
                 account."
            ),
            Self::ThisDeviceRevoked => {
                f.write_str("This device was revoked by another device of your account. It can read nothing new.")
            }
            Self::RecoveryReplaced => f.write_str(
                "Your recovery words were replaced, and not by this device. If it was not you, somebody has taken your account's \
                 keys.",
            ),
            Self::OwnLogForged => f.write_str(
                "The directory names an account log for you that your keys did not sign: others are shown devices that are not \
                 yours. Tell your contacts by another way, and keep the evidence.",
            ),
            Self::OwnLogWasForged { epoch } => write!(
                f,
                "In its epoch {epoch} the directory named an account log for you that your keys did not sign: others were shown \
                 devices that are not yours. Tell your contacts by another way."
            ),
            Self::OwnLogTakenBack => f.write_str(
                "The directory took back a part of your account log: others are shown an older list of your devices, with those \
                 that you revoked. Tell them by another way.",
            ),
            Self::OwnLogUnpublished => f.write_str(
                "The server took a change of your devices and does not publish it: others still trust what you revoked. Tell them \
                 by another way.",
            ),
            Self::OwnHandleGiven { handle } => write!(
                f,
                "The directory gives your handle {handle} to another account: whoever looks you up now reaches somebody else. If you \
                 did not start over with it yourself, tell your contacts by another way."
            ),
            Self::OwnProofFails { why } => write!(
                f,
                "What the directory says of your own account does not hold: {why}. Others may be shown devices that are not yours."
            ),
            Self::OtherLog { who } => write!(
                f,
                "The directory shows another account log for {who} than before: it may not be them. Ask them by another way."
            ),
            Self::OtherLogForThem { who } => write!(
                f,
                "{}'s own account log is another than the one that the directory shows here. Tell each other by another way.",
                somebody(who.as_ref(), "Somebody")
            ),
            Self::ProofFails { who, why } => write!(
                f,
                "What the server says about {} does not hold: {why}. It may not be them.",
                somebody(who.as_ref(), "somebody")
            ),
            Self::TakenBack { who } => write!(
                f,
                "The directory took back what it had said about {who}'s account: it may hide a device or a revocation. Write nothing \
                 confidential there until it is settled."
            ),
            Self::HandleMoved { handle } => write!(
                f,
                "{handle} belongs to another account than before. They started over, or somebody else has their handle: ask them \
                 by another way, and compare safety numbers."
            ),
            Self::KeptBack { who } => write!(
                f,
                "{who} says that their account log is longer than the directory shows: it may hide that a device was revoked. Ask \
                 them by another way."
            ),
            Self::Stale => f.write_str(
                "Whoever you write to for the first time cannot be checked: the directory shows an old state, or this machine's \
                 clock is ahead. Set the clock right; if it is, tell the operator.",
            ),
            Self::Future => f.write_str(
                "Whoever you write to for the first time cannot be checked: the directory shows a state of the future. This \
                 machine's clock is behind, or the directory's is ahead. Set the clock right; if it is, tell the operator.",
            ),
            Self::Forked => f.write_str(
                "The directory shows different people different states, or cannot show that it does not. Nobody's keys can be \
                 checked. Keep the evidence, and tell people by another way.",
            ),
            Self::Unwitnessed { have, need } => write!(
                f,
                "The directory shows no state that enough of its witnesses confirm ({have} of {need}). Nobody new can be written to \
                 until it does."
            ),
            Self::PolicyUnreadable => f.write_str(
                "The server's directory policy cannot be read. The pinned one still counts; tell the operator.",
            ),
            Self::OtherPolicy => f.write_str(
                "The server gives out another directory policy than the one that was pinned when this account was made. The pinned \
                 one still counts. If the operator has not announced other keys, do not trust this server.",
            ),
        }
    }
}

fn somebody(who: Option<&Handle>, nobody: &str) -> String {
    who.map_or_else(|| nobody.to_owned(), Handle::to_string)
}

/// `1 record`, `2 records`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use minicbor::{Decode, Encode};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::samples;

    fn same_again<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(codes: &[T]) {
        for code in codes {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), code, "{json}");
        }
    }

    fn stored_again<T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + fmt::Debug>(codes: &[T]) {
        for code in codes {
            assert_eq!(&stonechat_wire::decode::<T>(&stonechat_wire::encode(code)).unwrap(), code);
        }
    }

    #[test]
    fn codes_travel_and_those_that_are_stored_are_read_again() {
        same_again(&samples::errors());
        same_again(&samples::refusals());
        same_again(&samples::holds());
        same_again(&samples::notices());
        same_again(&samples::checks());
        same_again(&samples::problems());
        same_again(&samples::findings());
        stored_again(&samples::holds());
        stored_again(&samples::findings());
        stored_again(&samples::notices());
    }

    /// A vault has them: another number, or another order of fields, would make another thing of what is stored.
    #[test]
    fn what_is_stored_has_these_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let holds: Vec<_> = samples::holds().iter().take(10).map(|hold| hex(stonechat_wire::encode(hold))).collect();
        let expected = [
            "820080",
            "8200810b",
            "82018263626f62f5",
            "820182f6f4",
            "820280",
            "820380",
            "820580",
            "820680",
            "820780",
            "820880",
        ];
        assert_eq!(holds, expected);
    }

    #[test]
    fn parts_become_sentences_and_sentences_stay() {
        assert_eq!(sentence("the server is full"), "The server is full.");
        for whole in ["Leaving…", "It matches. Done!", "@bob added a device.", ""] {
            assert_eq!(sentence(whole), whole);
        }
    }

    #[test]
    fn what_people_wrote_shows_in_words_and_hides_in_a_log() {
        let error = CommandError::NotAllowed(NotAllowed::OwnerOnly { group: "the stonechats".into() });
        assert_eq!(error.to_string(), "only the owner can do this in the stonechats");
        assert!(!format!("{error:?}").contains("stonechats"));
    }
}
