//! Every sentence that version 1 could write becomes its code; what no program wrote becomes an honest general one.

use minicbor::{Decode, Encode};
use stonechat_api::{AlarmKind, ChangeFault, Distrust, Finding, Hold, Rule};
use stonechat_wire::{AccountId, DeviceId, ErrorCode, Handle, Timestamp, decode};

use super::*;
use crate::store::vault::MemoryVault;

/// An alarm as version 1 wrote it.
#[derive(Encode, Decode)]
#[cbor(map)]
struct AlarmV1 {
    #[n(0)]
    kind: AlarmKind,
    #[n(1)]
    what: String,
    #[n(2)]
    at: Timestamp,
    #[n(3)]
    device: Option<DeviceId>,
    #[n(4)]
    evidence: Option<String>,
    #[n(5)]
    dismissed: bool,
    #[n(6)]
    about: Option<AccountId>,
}

/// An alarm as version 2 has it.
#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct AlarmV2 {
    #[n(0)]
    kind: AlarmKind,
    #[n(2)]
    at: Timestamp,
    #[n(3)]
    device: Option<DeviceId>,
    #[n(4)]
    evidence: Option<String>,
    #[n(5)]
    dismissed: bool,
    #[n(6)]
    about: Option<AccountId>,
    #[n(7)]
    finding: Finding,
}

/// The parts of a conversation's information that the step touches or must leave alone, as version 1 wrote them.
#[derive(Encode, Decode)]
#[cbor(map)]
struct InfoV1 {
    #[n(0)]
    peer: Option<AccountId>,
    #[cbor(n(1), with = "minicbor::bytes")]
    state: Vec<u8>,
    #[n(4)]
    notice: Option<String>,
    #[n(5)]
    opening: bool,
}

#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct InfoV2 {
    #[n(0)]
    peer: Option<AccountId>,
    #[cbor(n(1), with = "minicbor::bytes")]
    state: Vec<u8>,
    #[n(5)]
    opening: bool,
    #[n(6)]
    hold: Option<Hold>,
}

fn row<T: Encode<()>>(record: &T) -> Vec<u8> {
    [&[1], encode(record).as_slice()].concat()
}

fn put(table: Table, key: impl Into<Vec<u8>>, value: Vec<u8>) -> Change {
    Change { table, key: key.into(), value: Some(value) }
}

fn bob() -> Handle {
    Handle::parse("bob").unwrap()
}

#[test]
fn rows_keep_everything_but_their_sentences() {
    let mut vault = MemoryVault::default();
    let (alarm_key, info_key) = ([b"directory/alarm/".as_slice(), &[7; 16]].concat(), [&[3; 32][..], b"i"].concat());
    let alarm = AlarmV1 {
        kind: AlarmKind::Device,
        what: format!(
            "A device was added to your account, and not by this one: {}. If it was not you, revoke it now: it can read what is \
             written from here on.",
            DeviceId([9; 16])
        ),
        at: Timestamp(5),
        device: Some(DeviceId([9; 16])),
        evidence: Some("{}".into()),
        dismissed: true,
        about: Some(AccountId([4; 32])),
    };
    let info =
        InfoV1 {
            peer: Some(AccountId([2; 32])), state: vec![1, 2, 3], notice: Some("Leaving…".into()), opening: true
        };
    let other = put(Table::Conversation, [3; 32], vec![1, 0xa0]);
    let held = put(Table::Conversation, info_key.clone(), row(&info));
    let free = put(Table::Conversation, [&[5; 32][..], b"i"].concat(), row(&InfoV1 { notice: None, ..info }));
    vault.commit(vec![put(Table::Meta, alarm_key.clone(), row(&alarm)), held, free, other.clone()]);
    let changes = upgrade(1, &vault).unwrap();
    vault.commit(changes);

    let read = |table, key: &[u8]| vault.get(table, key).unwrap().unwrap();
    let expected = AlarmV2 {
        kind: AlarmKind::Device,
        at: Timestamp(5),
        device: Some(DeviceId([9; 16])),
        evidence: Some("{}".into()),
        dismissed: true,
        about: Some(AccountId([4; 32])),
        finding: Finding::DeviceAdded { device: DeviceId([9; 16]) },
    };
    assert_eq!(decode::<AlarmV2>(&read(Table::Meta, &alarm_key)[1..]).unwrap(), expected);
    let expected = |hold| InfoV2 { peer: Some(AccountId([2; 32])), state: vec![1, 2, 3], opening: true, hold };
    assert_eq!(decode::<InfoV2>(&read(Table::Conversation, &info_key)[1..]).unwrap(), expected(Some(Hold::Leaving)));
    let free = read(Table::Conversation, &[&[5; 32][..], b"i"].concat());
    assert_eq!(decode::<InfoV2>(&free[1..]).unwrap(), expected(None));
    assert_eq!(Some(read(Table::Conversation, &[3; 32])), other.value);
}

#[test]
fn a_damaged_row_stops_the_step_and_there_is_no_step_from_nowhere() {
    for damaged in [&[][..], &[2, 0xa0], &[1], &[1, 0xa1], &[1, 0xa0, 0]] {
        let mut vault = MemoryVault::default();
        vault.commit(vec![put(Table::Conversation, [&[3; 32][..], b"i"].concat(), damaged.to_vec())]);
        assert!(upgrade(1, &vault).is_err(), "{damaged:?}");
    }
    for other in [0, VAULT_VERSION, 99] {
        assert!(upgrade(other, &MemoryVault::default()).is_err(), "{other}");
    }
}

#[test]
fn what_held_a_conversation_up_is_understood() {
    let not_ready = |who, waits| Hold::NotReady { who, waits };
    for (sentence, hold) in [
        ("Leaving…", Hold::Leaving),
        ("You left this group.", Hold::Left),
        ("You were removed from this group.", Hold::Removed),
        ("This device was away for too long and has asked the others to add it again.", Hold::Rejoining),
        ("The server showed members different versions of this conversation. Compare what you see.", Hold::OtherLogs),
        ("The group is too large to invite more people.", Hold::Change(ChangeFault::TooLarge)),
        ("@bob cannot be reached at the moment: no device of theirs is ready.", not_ready(Some(bob()), false)),
        (
            "@bob cannot be reached at the moment: no device of theirs is ready. What you write is sent when one is.",
            not_ready(Some(bob()), true),
        ),
        ("Somebody cannot be reached at the moment: no device of theirs is ready.", not_ready(None, false)),
        (
            "the server does not make this conversation: today's allowance is used up (try again in 60 s)",
            Hold::NotMade(Some(ErrorCode::Quota)),
        ),
        ("the server does not make this conversation: 42", Hold::NotMade(None)),
        ("A change could not be made: too many people at once; add fewer", Hold::Change(ChangeFault::TooMany)),
        (
            "A change could not be made: a member who is not the owner changed roles",
            Hold::Change(ChangeFault::Rule(Rule::Roles)),
        ),
        (
            "A change could not be made: an account that it brings: the proof of the handle is missing",
            Hold::Change(ChangeFault::Account(Distrust::NoHandle)),
        ),
        ("A change could not be made: the moon is full", Hold::Unrecorded),
        ("waiting for @bob", Hold::Unrecorded),
        ("", Hold::Unrecorded),
    ] {
        assert_eq!(sentences::hold(sentence), hold, "{sentence}");
    }
}

#[test]
fn what_alarms_were_about_is_understood() {
    let id = DeviceId([0xd7; 16]);
    let (added, revoked) = (
        format!(
            "A device was added to your account, and not by this one: {id}. If it was not you, revoke it now: it can."
        ),
        format!("The device {id} of your account was revoked, and not by this one."),
    );
    for (sentence, finding) in [
        (added.as_str(), Finding::DeviceAdded { device: id }),
        (&revoked, Finding::DeviceRevoked { device: id }),
        (
            "This device was revoked by another device of your account. It can read nothing new.",
            Finding::ThisDeviceRevoked,
        ),
        ("Your recovery words were replaced, and not by this device. If it was not you, …", Finding::RecoveryReplaced),
        ("The directory names an account log for you that your keys did not sign: others …", Finding::OwnLogForged),
        (
            "In its epoch 17 the directory named an account log for you that your keys did not sign.",
            Finding::OwnLogWasForged { epoch: 17 },
        ),
        ("The directory took back a part of your account log: others are shown …", Finding::OwnLogTakenBack),
        ("The server took a change of your devices and does not publish it: others …", Finding::OwnLogUnpublished),
        (
            "The directory gives your handle @bob to another account: whoever looks you up …",
            Finding::OwnHandleGiven { handle: bob() },
        ),
        ("The directory gives your handle @bob to another account.", Finding::OwnHandleGiven { handle: bob() }),
        (
            "What the directory says of your own account does not hold: the directory's proof cannot be read.",
            Finding::OwnProofFails { why: Distrust::Proof },
        ),
        ("The directory shows another account log for @bob than before.", Finding::OtherLog { who: bob() }),
        (
            "@bob's own account log is another than the one that the directory shows here.",
            Finding::OtherLogForThem { who: Some(bob()) },
        ),
        (
            "Somebody's own account log is another than the one that the directory shows here.",
            Finding::OtherLogForThem { who: None },
        ),
        (
            "What the server says about @bob does not hold: entry 1 of the account log is not signed by a key that was valid then. \
             It may not be them.",
            Finding::ProofFails { who: Some(bob()), why: Distrust::Log },
        ),
        (
            "What the server says about somebody does not hold: the directory's head is not signed by its key: no. It may not be them.",
            Finding::ProofFails { who: None, why: Distrust::Head },
        ),
        (
            "The directory took back what it had said about @bob's account: it may hide a device or a revocation.",
            Finding::TakenBack { who: bob() },
        ),
        (
            "@bob belongs to another account than before. They started over, or …",
            Finding::HandleMoved { handle: bob() },
        ),
        (
            "@bob says that their account log is longer than the directory shows: it may hide …",
            Finding::KeptBack { who: bob() },
        ),
        (
            "Whoever you write to for the first time cannot be checked: the directory shows an old state, or this machine's clock is \
             ahead.",
            Finding::Stale,
        ),
        (
            "Whoever you write to for the first time cannot be checked: the directory shows a state of the future: this machine's clock \
             is behind, or the directory's is ahead.",
            Finding::Future,
        ),
        (
            "The directory shows different people different states, or cannot show that it does not. Nobody's …",
            Finding::Forked,
        ),
        (
            "The directory shows no state that enough of its witnesses confirm (the directory's head has 1 of the 2 witnesses that it \
             needs). Nobody new can be written to until it does.",
            Finding::Unwitnessed { have: 1, need: 2 },
        ),
        ("The server's directory policy cannot be read.", Finding::PolicyUnreadable),
        (
            "The server gives out another directory policy than the one that was pinned when this account was made. …",
            Finding::OtherPolicy,
        ),
        ("Something else.", Finding::Unrecorded),
        ("", Finding::Unrecorded),
    ] {
        assert_eq!(sentences::finding(sentence), finding, "{sentence}");
    }
}
