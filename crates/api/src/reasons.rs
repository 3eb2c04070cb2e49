//! Why something that others made is not believed or not followed: codes, some with fields.
//!
//! Who made it may be lying, broken or newer; what is sure is which rule it breaks. Each has its words in [`crate::words`].

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use stonechat_wire::{ErrorCode, Handle};

/// Why it is not believed who somebody is. Stored with alarms: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Distrust {
    /// The directory's keys are not known here yet. Time helps.
    #[n(0)]
    NoPolicy,
    /// Too few of its witnesses confirm what it shows. Time helps.
    #[n(1)]
    Witnesses {
        /// Good cosignatures.
        #[n(0)]
        have: u32,
        /// How many there must be.
        #[n(1)]
        need: u32,
    },
    /// The server does not say it now. Time helps.
    #[n(2)]
    Server(#[n(0)] ErrorCode),
    /// What it shows is not signed by the keys that were pinned.
    #[n(3)]
    Head,
    /// Its proof is none, or does not hold.
    #[n(4)]
    Proof,
    /// The account log is not the one that the directory has.
    #[n(5)]
    OtherLog,
    /// The handle is another account's.
    #[n(6)]
    OtherAccount,
    /// The proof of the handle is missing.
    #[n(7)]
    NoHandle,
    /// It shows an old state, or this machine's clock is ahead.
    #[n(8)]
    Old,
    /// It shows a state of the future: this machine's clock is behind, or its own is ahead.
    #[n(9)]
    Future,
    /// It took back what it had said about them.
    #[n(10)]
    TakenBack,
    /// It shows different people different states.
    #[n(11)]
    Forked,
    /// The account log breaks the rules of account logs.
    #[n(12)]
    Log,
    /// The account log contradicts the one that was seen first.
    #[n(13)]
    Contradicts,
}

/// What a peer or the server did that honest software does not do, or that cannot be followed; it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// An entry that no member sealed.
    Unsealed,
    /// An entry that does not decrypt.
    Undecryptable,
    /// A proposal of a kind that is not used.
    Proposal,
    /// A commit that came as a message.
    Disguised,
    /// A message whose content cannot be read.
    Malformed,
    /// The server acknowledged a message and left it out; it is sent again.
    LeftOut,
    /// The server showed two members different logs of this conversation.
    OtherLogs,
    /// A change of a conversation.
    Change(ChangeFault),
    /// What the directory says of this account.
    OwnAccount(Distrust),
    /// Somebody uses a handle that is not theirs.
    Handle {
        /// Which.
        who: Handle,
    },
    /// A letter.
    Letter(LetterFault),
    /// An invitation.
    Invitation(InvitationFault),
    /// Nobody can write to their inbox: the account log has no usable key, or is too long.
    Inbox {
        /// Whose.
        who: Handle,
    },
    /// A letter of this account that no inbox takes.
    LetterLost(ErrorCode),
    /// The server offered a device of somebody's that is not theirs.
    OfferedDevice {
        /// Whose it should be.
        who: Handle,
        /// What is wrong with it.
        why: KeyPackageFault,
    },
    /// A state of the directory that does not hold.
    Head,
    /// A member told of a state of the directory that it never signed.
    UnsignedHead,
    /// The server shows this device different token keys on its two connections: with them it could link both.
    TokenKeys,
    /// The server's tokens do not verify.
    Tokens,
    /// The server sent something that does not fit.
    Misbehaved,
    /// The server does not let this device log in.
    LogIn(ErrorCode),
    /// The server does not keep what this device offers to others.
    Supplies(ErrorCode),
    /// The server did not take back the letters that this device has read.
    InboxKept(ErrorCode),
}

/// Why a change of a conversation is not followed, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum ChangeFault {
    /// No member sealed it.
    #[n(0)]
    Unsealed,
    /// It is not a commit.
    #[n(1)]
    NotACommit,
    /// It breaks the rules of MLS.
    #[n(2)]
    Mls,
    /// The state of the group that it leads to cannot be read.
    #[n(3)]
    State,
    /// What it brings to prove who is added cannot be read.
    #[n(4)]
    Evidence,
    /// It brings an account log that it does not need.
    #[n(5)]
    NeedlessLog,
    /// An account that it brings is not believed.
    #[n(6)]
    Account(#[n(0)] Distrust),
    /// It adds somebody without what the directory says of them.
    #[n(7)]
    Unproven,
    /// It names capabilities that are not those of its epoch.
    #[n(8)]
    Capabilities,
    /// It breaks a rule of the conversation.
    #[n(9)]
    Rule(#[n(0)] Rule),
    /// More people at once than one change can bring in.
    #[n(10)]
    TooMany,
    /// The group is too large to invite more people.
    #[n(11)]
    TooLarge,
}

/// The rules of a conversation that a commit can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Rule {
    /// Nobody comes in from outside: no external commit.
    #[n(0)]
    External,
    /// Only the kinds of proposals that are used: no update by proposal, pre-shared key, re-initialisation or unknown kind.
    #[n(1)]
    Proposal,
    /// Whoever commits is in the tree, and does not remove itself.
    #[n(2)]
    Committer,
    /// What is removed is there.
    #[n(3)]
    NoSuchLeaf,
    /// Something verified is known about each account.
    #[n(4)]
    UnknownAccount,
    /// The account's log has that device with that key now.
    #[n(5)]
    UnknownDevice,
    /// An update path changes neither account, device nor key.
    #[n(6)]
    Identity,
    /// No device is there twice.
    #[n(7)]
    Duplicate,
    /// At most [`crate::GROUP_MEMBERS_MAX`].
    #[n(8)]
    TooMany,
    /// Direct messages stay direct messages, between the same two, and a group stays one.
    #[n(9)]
    Kind,
    /// Direct messages have neither name nor roles.
    #[n(10)]
    DirectState,
    /// Direct messages have no third account.
    #[n(11)]
    Stranger,
    /// Adding takes an admin.
    #[n(12)]
    Add,
    /// Removing a member takes an admin; removing an admin or the owner takes the owner.
    #[n(13)]
    Remove,
    /// Renaming takes an admin.
    #[n(14)]
    Rename,
    /// Changing roles takes the owner.
    #[n(15)]
    Roles,
    /// Only members have roles.
    #[n(16)]
    RoleOfStranger,
    /// No role falls to somebody whom nobody gave it.
    #[n(17)]
    Unsettled,
    /// One owner; name and roles within their bounds.
    #[n(18)]
    State,
}

/// Why a letter was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterFault {
    /// It does not open, or is not a letter.
    Unreadable,
    /// It is not signed by a device of its sender's.
    Signature,
    /// Who sent it is not believed.
    Sender(Distrust),
    /// It is from somebody unknown, and brings no proof of who that is.
    Unknown,
    /// It invites to a conversation that this device is in.
    AlreadyIn,
    /// Too many requests wait already.
    TooMany,
    /// It is about a conversation that this device does not have.
    OtherConversation,
    /// It asks to be added again with a key package that does not fit.
    KeyPackage(KeyPackageFault),
}

/// Why a key package is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPackageFault {
    /// It cannot be read, or breaks the rules of MLS.
    Malformed,
    /// The account log does not have that device.
    UnknownDevice,
    /// It names another device.
    OtherDevice,
    /// It is signed with another key.
    OtherKey,
    /// It is out of date.
    Expired,
}

/// Why an invitation could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationFault {
    /// What it points to is no longer on the server.
    TooOld,
    /// It cannot be read, or is not what was announced.
    Malformed,
    /// An account that it brings is not believed.
    Account(Distrust),
    /// It breaks the rules of MLS.
    Mls,
    /// It does not use the key package that this device asked with.
    OtherKeyPackage,
    /// It is not what the letter said.
    OtherThanSaid,
    /// The state of the group cannot be read.
    State,
    /// It has a member whose keys are not in their account log.
    StrangeMember,
    /// It is another kind of conversation than the letter said.
    OtherKind,
}
