//! One of each code, for tests that look at the words. Not for programs: with the feature `samples` only.

use stonechat_wire::{DeviceId, ErrorCode, Handle};

use crate::{
    AlarmId, AlarmKind, ChangeFault, Check, CommandError, Distrust, Doubt, Finding, Hold, Invalid, InvitationFault,
    KeyPackageFault, LetterFault, NotAllowed, Notice, Problem, Refusal, Rule,
};

fn bob() -> Handle {
    Handle::parse("bob").expect("it is one")
}

/// Error codes of the server.
pub fn server() -> Vec<ErrorCode> {
    (0..=15).map(|number| stonechat_wire::decode(&[number]).expect("codes have no gaps")).collect()
}

/// Why it is not believed who somebody is.
pub fn distrusts() -> Vec<Distrust> {
    let own = [
        Distrust::NoPolicy,
        Distrust::Witnesses { have: 1, need: 17 },
        Distrust::Head,
        Distrust::Proof,
        Distrust::OtherLog,
        Distrust::OtherAccount,
        Distrust::NoHandle,
        Distrust::Old,
        Distrust::Future,
        Distrust::TakenBack,
        Distrust::Forked,
        Distrust::Log,
        Distrust::Contradicts,
    ];
    own.into_iter().chain(server().into_iter().map(Distrust::Server)).collect()
}

/// Why a command cannot be done.
pub fn errors() -> Vec<CommandError> {
    let not_allowed = [
        NotAllowed::NotInConversation,
        NotAllowed::NotInGroup,
        NotAllowed::NotAGroup,
        NotAllowed::OwnerOnly { group: "crew".into() },
        NotAllowed::AdminsOnly { group: "crew".into() },
        NotAllowed::NotAMember { who: bob(), group: "crew".into() },
        NotAllowed::OwnerRemoves { who: bob() },
        NotAllowed::GiveOwnership,
    ];
    let invalid = [
        Invalid::EmptyText,
        Invalid::TextTooLong { bytes: 70_000 },
        Invalid::DraftTooLong { bytes: 70_000 },
        Invalid::NoGroupName,
        Invalid::GroupNameTooLong { bytes: 129 },
        Invalid::TooManyMembers,
        Invalid::NoMembers,
        Invalid::SafetyNumber,
        Invalid::Policy,
    ];
    let mut all = vec![
        CommandError::Offline,
        CommandError::NoAccount,
        CommandError::HandleTaken(bob()),
        CommandError::UnknownHandle(bob()),
        CommandError::NotReady(bob()),
        CommandError::Yourself,
        CommandError::UnknownConversation,
        CommandError::UnknownRequest(bob()),
        CommandError::Refused { code: ErrorCode::Quota, retry_after_secs: Some(60) },
        CommandError::Overtaken,
        CommandError::LogFull,
        CommandError::StartedOver(bob()),
        CommandError::Mismatch(bob()),
        CommandError::UnknownDevice(DeviceId([7; 16])),
        CommandError::ThisDevice,
        CommandError::UnknownAlarm,
    ];
    all.extend(not_allowed.map(CommandError::NotAllowed));
    all.extend(invalid.map(CommandError::Invalid));
    all.extend(server().into_iter().map(|code| CommandError::Refused { code, retry_after_secs: None }));
    for why in distrusts() {
        all.extend([CommandError::Untrusted(bob(), why), CommandError::Directory(why)]);
    }
    all
}

fn rules() -> [Rule; 19] {
    [
        Rule::External,
        Rule::Proposal,
        Rule::Committer,
        Rule::NoSuchLeaf,
        Rule::UnknownAccount,
        Rule::UnknownDevice,
        Rule::Identity,
        Rule::Duplicate,
        Rule::TooMany,
        Rule::Kind,
        Rule::DirectState,
        Rule::Stranger,
        Rule::Add,
        Rule::Remove,
        Rule::Rename,
        Rule::Roles,
        Rule::RoleOfStranger,
        Rule::Unsettled,
        Rule::State,
    ]
}

/// Why a change is not followed or cannot be made.
pub fn changes() -> Vec<ChangeFault> {
    let own = [
        ChangeFault::Unsealed,
        ChangeFault::NotACommit,
        ChangeFault::Mls,
        ChangeFault::State,
        ChangeFault::Evidence,
        ChangeFault::NeedlessLog,
        ChangeFault::Account(Distrust::NoHandle),
        ChangeFault::Unproven,
        ChangeFault::Capabilities,
        ChangeFault::TooMany,
        ChangeFault::TooLarge,
    ];
    own.into_iter().chain(rules().map(ChangeFault::Rule)).collect()
}

/// What was refused.
pub fn refusals() -> Vec<Refusal> {
    let key_package = [
        KeyPackageFault::Malformed,
        KeyPackageFault::UnknownDevice,
        KeyPackageFault::OtherDevice,
        KeyPackageFault::OtherKey,
        KeyPackageFault::Expired,
    ];
    let mut letters = vec![
        LetterFault::Unreadable,
        LetterFault::Signature,
        LetterFault::Sender(Distrust::Proof),
        LetterFault::Unknown,
        LetterFault::AlreadyIn,
        LetterFault::TooMany,
        LetterFault::OtherConversation,
    ];
    letters.extend(key_package.map(LetterFault::KeyPackage));
    let invitations = [
        InvitationFault::TooOld,
        InvitationFault::Malformed,
        InvitationFault::Account(Distrust::Log),
        InvitationFault::Mls,
        InvitationFault::OtherKeyPackage,
        InvitationFault::OtherThanSaid,
        InvitationFault::State,
        InvitationFault::StrangeMember,
        InvitationFault::OtherKind,
    ];
    let mut all = vec![
        Refusal::Unsealed,
        Refusal::Undecryptable,
        Refusal::Proposal,
        Refusal::Disguised,
        Refusal::Malformed,
        Refusal::LeftOut,
        Refusal::OtherLogs,
        Refusal::OwnAccount(Distrust::Old),
        Refusal::Handle { who: bob() },
        Refusal::Inbox { who: bob() },
        Refusal::LetterLost(ErrorCode::Closed),
        Refusal::Head,
        Refusal::UnsignedHead,
        Refusal::TokenKeys,
        Refusal::Tokens,
        Refusal::Misbehaved,
        Refusal::LogIn(ErrorCode::NotAuthenticated),
        Refusal::Supplies(ErrorCode::Full),
        Refusal::InboxKept(ErrorCode::Unavailable),
    ];
    all.extend(changes().into_iter().map(Refusal::Change));
    all.extend(letters.into_iter().map(Refusal::Letter));
    all.extend(invitations.map(Refusal::Invitation));
    all.extend(key_package.map(|why| Refusal::OfferedDevice { who: bob(), why }));
    all
}

/// What holds a conversation up.
pub fn holds() -> Vec<Hold> {
    let mut all = vec![
        Hold::NotMade(None),
        Hold::NotMade(Some(ErrorCode::Full)),
        Hold::NotReady { who: Some(bob()), waits: true },
        Hold::NotReady { who: None, waits: false },
        Hold::Rejoining,
        Hold::OtherLogs,
        Hold::Leaving,
        Hold::Left,
        Hold::Removed,
        Hold::Unrecorded,
    ];
    all.extend(changes().into_iter().map(Hold::Change));
    all
}

/// What is noticed about people.
pub fn notices() -> Vec<Notice> {
    vec![Notice::DeviceAdded(bob()), Notice::DeviceRevoked(bob()), Notice::StartedOver(bob())]
}

/// What holds.
pub fn checks() -> Vec<Check> {
    vec![
        Check::Pinned { origin: "chat.test/directory".into(), threshold: 2, witnesses: 3 },
        Check::OneLog { records: 1 },
        Check::OneLog { records: 17 },
        Check::Log { who: bob(), entries: 1 },
        Check::Log { who: bob(), entries: 17 },
        Check::Proven { who: bob(), records: 17 },
        Check::Connected { who: bob() },
        Check::Handle { who: bob() },
        Check::Devices { who: bob(), count: 1 },
        Check::Devices { who: bob(), count: 17 },
        Check::OwnDevices,
    ]
}

/// What is in the way.
pub fn problems() -> Vec<Problem> {
    let doubts = [
        Doubt::OtherThanFirst,
        Doubt::HandleDenied,
        Doubt::TakenBack,
        Doubt::StartedOver,
        Doubt::KeptBack,
        Doubt::OtherForThem,
    ];
    let mut all = vec![
        Problem::NotPinned,
        Problem::Forked,
        Problem::Log,
        Problem::NotProven { who: bob() },
        Problem::NotConnected { who: bob() },
        Problem::NotTheirHandle { who: bob() },
        Problem::StrangeDevice { who: bob() },
        Problem::StrangeOwnDevice,
    ];
    all.extend(doubts.map(|doubt| Problem::Doubt { who: bob(), doubt }));
    let alarm = |finding| Problem::Alarm { alarm: AlarmId([7; 16]), kind: AlarmKind::Proof, finding };
    all.extend(findings().into_iter().map(alarm));
    all
}

/// What alarms are about.
pub fn findings() -> Vec<Finding> {
    let device = DeviceId([0xd7; 16]);
    vec![
        Finding::Unrecorded,
        Finding::DeviceAdded { device },
        Finding::DeviceRevoked { device },
        Finding::ThisDeviceRevoked,
        Finding::RecoveryReplaced,
        Finding::OwnLogForged,
        Finding::OwnLogWasForged { epoch: 17 },
        Finding::OwnLogTakenBack,
        Finding::OwnLogUnpublished,
        Finding::OwnHandleGiven { handle: bob() },
        Finding::OwnProofFails { why: Distrust::Proof },
        Finding::OtherLog { who: bob() },
        Finding::OtherLogForThem { who: Some(bob()) },
        Finding::OtherLogForThem { who: None },
        Finding::ProofFails { who: Some(bob()), why: Distrust::Head },
        Finding::ProofFails { who: None, why: Distrust::Log },
        Finding::TakenBack { who: bob() },
        Finding::HandleMoved { handle: bob() },
        Finding::KeptBack { who: bob() },
        Finding::Stale,
        Finding::Future,
        Finding::Forked,
        Finding::Unwitnessed { have: 1, need: 17 },
        Finding::PolicyUnreadable,
        Finding::OtherPolicy,
    ]
}
