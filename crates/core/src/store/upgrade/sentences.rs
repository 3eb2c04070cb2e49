//! What version 1 of the vault said in English, as codes. The sentences stand here as they were written; what is not among them becomes a
//! code that says so.

use stonechat_api::{ChangeFault, Distrust, Finding, Hold, Rule};
use stonechat_wire::{DeviceId, ErrorCode, Handle, decode};

/// What held a conversation up.
pub(super) fn hold(sentence: &str) -> Hold {
    match sentence {
        "Leaving…" => Hold::Leaving,
        "You left this group." => Hold::Left,
        "You were removed from this group." => Hold::Removed,
        "This device was away for too long and has asked the others to add it again." => Hold::Rejoining,
        "The server showed members different versions of this conversation. Compare what you see." => Hold::OtherLogs,
        "The group is too large to invite more people." => Hold::Change(ChangeFault::TooLarge),
        other => not_ready(other)
            .or_else(|| {
                Some(Hold::NotMade(error_code(other.strip_prefix("the server does not make this conversation: ")?)))
            })
            .or_else(|| change(other.strip_prefix("A change could not be made: ")?).map(Hold::Change))
            .unwrap_or(Hold::Unrecorded),
    }
}

fn not_ready(sentence: &str) -> Option<Hold> {
    let without = sentence.strip_suffix(" What you write is sent when one is.");
    let who =
        without.unwrap_or(sentence).strip_suffix(" cannot be reached at the moment: no device of theirs is ready.")?;
    Some(Hold::NotReady { who: handle(who), waits: without.is_some() })
}

fn change(why: &str) -> Option<ChangeFault> {
    Some(match why {
        "too many people at once; add fewer" => ChangeFault::TooMany,
        "the group is too large to invite more people" => ChangeFault::TooLarge,
        "the new state of the group is malformed" => ChangeFault::State,
        "its evidence is malformed" => ChangeFault::Evidence,
        "it brings an account log that it does not need" => ChangeFault::NeedlessLog,
        "it adds somebody without what the directory says of them" => ChangeFault::Unproven,
        other => match other.strip_prefix("an account that it brings: ") {
            Some(why) => ChangeFault::Account(distrust(why)?),
            None => ChangeFault::Rule(rule(other)?),
        },
    })
}

fn rule(why: &str) -> Option<Rule> {
    Some(match why {
        "a commit came from outside of the group" => Rule::External,
        "a commit has a kind of proposal that is not used here" => Rule::Proposal,
        "a commit was not made by a member who stays" => Rule::Committer,
        "a commit removes a leaf that is not there" => Rule::NoSuchLeaf,
        "a commit names an account whose log is not known" => Rule::UnknownAccount,
        "a commit names a device that its account does not have" => Rule::UnknownDevice,
        "a commit's author changed who its own leaf says it is" => Rule::Identity,
        "a commit adds a device that is in the conversation already" => Rule::Duplicate,
        "a commit makes the group larger than 1000 people" => Rule::TooMany,
        "a commit changes what kind of conversation it is" => Rule::Kind,
        "a commit changes the state of direct messages, which have none" => Rule::DirectState,
        "a commit adds somebody else to direct messages" => Rule::Stranger,
        "a member who is neither owner nor admin added somebody" => Rule::Add,
        "a member removed somebody whom their role does not let them remove" => Rule::Remove,
        "a member who is neither owner nor admin renamed the group" => Rule::Rename,
        "a member who is not the owner changed roles" => Rule::Roles,
        "a commit gives a role to somebody who is not in the group" => Rule::RoleOfStranger,
        "a commit leaves roles behind that would fall to somebody else" => Rule::Unsettled,
        "a commit leads to a state of the group that is not valid" => Rule::State,
        _ => return None,
    })
}

/// What an alarm was about.
pub(super) fn finding(sentence: &str) -> Finding {
    own(sentence).or_else(|| of_others(sentence)).or_else(|| of_the_directory(sentence)).unwrap_or(Finding::Unrecorded)
}

fn own(sentence: &str) -> Option<Finding> {
    let begins = |start: &str| sentence.starts_with(start);
    if let Some(device) =
        between(sentence, "A device was added to your account, and not by this one: ", ". If it was not you")
    {
        return Some(Finding::DeviceAdded { device: device.parse::<DeviceId>().ok()? });
    }
    if let Some(device) = between(sentence, "The device ", " of your account was revoked, and not by this one.") {
        return Some(Finding::DeviceRevoked { device: device.parse::<DeviceId>().ok()? });
    }
    if let Some(epoch) =
        between(sentence, "In its epoch ", " the directory named an account log for you that your keys")
    {
        return Some(Finding::OwnLogWasForged { epoch: epoch.parse().ok()? });
    }
    if let Some(who) = between(sentence, "The directory gives your handle ", " to another account") {
        return Some(Finding::OwnHandleGiven { handle: handle(who)? });
    }
    if let Some(why) = between(sentence, "What the directory says of your own account does not hold: ", ".") {
        return Some(Finding::OwnProofFails { why: distrust(why)? });
    }
    Some(if begins("This device was revoked by another device of your account.") {
        Finding::ThisDeviceRevoked
    } else if begins("Your recovery words were replaced, and not by this device.") {
        Finding::RecoveryReplaced
    } else if begins("The directory names an account log for you that your keys did not sign") {
        Finding::OwnLogForged
    } else if begins("The directory took back a part of your account log") {
        Finding::OwnLogTakenBack
    } else if begins("The server took a change of your devices and does not publish it") {
        Finding::OwnLogUnpublished
    } else {
        return None;
    })
}

fn of_others(sentence: &str) -> Option<Finding> {
    if let Some(who) = between(sentence, "The directory shows another account log for ", " than before.") {
        return Some(Finding::OtherLog { who: handle(who)? });
    }
    if let Some(who) =
        between(sentence, "", "'s own account log is another than the one that the directory shows here.")
    {
        return Some(Finding::OtherLogForThem { who: handle(who) });
    }
    if let Some(both) = between(sentence, "What the server says about ", ". It may not be them.") {
        let (who, why) = both.split_once(" does not hold: ")?;
        return Some(Finding::ProofFails { who: handle(who), why: distrust(why)? });
    }
    if let Some(who) = between(sentence, "The directory took back what it had said about ", "'s account: ") {
        return Some(Finding::TakenBack { who: handle(who)? });
    }
    if let Some(who) = between(sentence, "", " belongs to another account than before.") {
        return Some(Finding::HandleMoved { handle: handle(who)? });
    }
    let who = between(sentence, "", " says that their account log is longer than the directory shows")?;
    Some(Finding::KeptBack { who: handle(who)? })
}

fn of_the_directory(sentence: &str) -> Option<Finding> {
    if let Some(why) = between(sentence, "Whoever you write to for the first time cannot be checked: ", ".") {
        return match distrust(why)? {
            Distrust::Old => Some(Finding::Stale),
            Distrust::Future => Some(Finding::Future),
            _ => None,
        };
    }
    if let Some(why) = between(sentence, "The directory shows no state that enough of its witnesses confirm (", "). ") {
        let Distrust::Witnesses { have, need } = distrust(why)? else { return None };
        return Some(Finding::Unwitnessed { have, need });
    }
    match sentence {
        "The server's directory policy cannot be read." => Some(Finding::PolicyUnreadable),
        other if other.starts_with("The directory shows different people different states, or cannot show") => {
            Some(Finding::Forked)
        }
        other if other.starts_with("The server gives out another directory policy than the one that was pinned") => {
            Some(Finding::OtherPolicy)
        }
        _ => None,
    }
}

fn distrust(why: &str) -> Option<Distrust> {
    if let Some(both) = between(why, "the directory's head has ", " witnesses that it needs") {
        let (have, need) = both.split_once(" of the ")?;
        return Some(Distrust::Witnesses { have: have.parse().ok()?, need: need.parse().ok()? });
    }
    Some(match why {
        "the directory's policy is not known here yet" => Distrust::NoPolicy,
        "the directory's record is not the last one of the head that was signed" => Distrust::Head,
        "the directory's proof cannot be read" => Distrust::Proof,
        "the account log is not the one that the directory has" => Distrust::OtherLog,
        "the handle belongs to another account than the one that came with it" => Distrust::OtherAccount,
        "the proof of the handle is missing" => Distrust::NoHandle,
        "their account log contradicts the one first seen" => Distrust::Contradicts,
        "the account log is empty" | "the account log belongs to another account" => Distrust::Log,
        other if other.starts_with("the directory shows an old state") => Distrust::Old,
        other if other.starts_with("the directory shows a state of the future") => Distrust::Future,
        other if other.starts_with("the directory's head is not signed by its key: ") => Distrust::Head,
        other if other.starts_with("the directory's proof does not hold: ") => Distrust::Proof,
        other if other.starts_with("The directory took back what it had said about ") => Distrust::TakenBack,
        other if other.starts_with("entry ") && other.contains(" of the account log ") => Distrust::Log,
        _ => return None,
    })
}

/// The code whose text a failure began with.
fn error_code(text: &str) -> Option<ErrorCode> {
    (0..=15).filter_map(|number| decode::<ErrorCode>(&[number]).ok()).find(|code| text.starts_with(&code.to_string()))
}

/// A handle as sentences have it, with its sign. `Somebody` and `somebody` are nobody's.
fn handle(text: &str) -> Option<Handle> {
    text.starts_with('@').then(|| Handle::parse(text).ok())?
}

/// What stands between the beginning of a sentence and the first place where something follows.
fn between<'a>(sentence: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = sentence.strip_prefix(start)?;
    rest.find(end).map(|at| &rest[..at])
}
