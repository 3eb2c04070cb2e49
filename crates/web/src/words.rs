//! The words for the client's codes, in each language that the page speaks. English is the client's own table; a language that lacks
//! a code does not compile.

use stonechat_api::{Check, Finding, Hold, Notice, Problem, Refusal, words};

use crate::protocol::{Fault, Lasting};

mod de;

/// One language's words. Each gives whole sentences.
pub struct CodeWords {
    /// Why something cannot be done.
    pub fault: fn(&Fault) -> String,
    /// Why waiting for a connection does not help.
    pub lasting: fn(Lasting) -> &'static str,
    /// What was refused.
    pub refusal: fn(&Refusal) -> String,
    /// What holds a conversation up.
    pub hold: fn(&Hold) -> String,
    /// What this device noticed.
    pub notice: fn(&Notice) -> String,
    /// What was checked and holds.
    pub check: fn(&Check) -> String,
    /// What opens a lock. An alarm that stands is told by its heading.
    pub problem: fn(&Problem) -> String,
    /// What an alarm is about, what it means, what to do.
    pub finding: fn(&Finding) -> String,
}

/// English.
pub static ENGLISH: CodeWords = CodeWords {
    fault: english_fault,
    lasting: english_lasting,
    refusal: |refusal| english(&refusal.to_string()),
    hold: |hold| english(&hold.to_string()),
    notice: |notice| english(&notice.to_string()),
    check: |check| english(&check.to_string()),
    problem: |problem| english(&problem.to_string()),
    finding: |finding| english(&finding.to_string()),
};

/// German.
pub static GERMAN: CodeWords = CodeWords {
    fault: de::fault,
    lasting: de::lasting,
    refusal: de::refusal,
    hold: de::hold,
    notice: de::notice,
    check: de::check,
    problem: de::problem,
    finding: de::finding,
};

/// The client's text as a page sets it: a whole sentence, with the apostrophes of print.
fn english(text: &str) -> String {
    words::sentence(text).replace('\'', "’")
}

fn english_fault(fault: &Fault) -> String {
    match fault {
        Fault::Command(error) => english(&error.to_string()),
        Fault::TimedOut => "This takes too long. It may still happen: look before you do it again.".into(),
        Fault::TabClosed => {
            "The tab that was doing this has been closed. It may have happened: look before you do it again.".into()
        }
        Fault::Unconfirmed => {
            "The server did not confirm the account. Sign up with the same handle once more, and it goes on where it stopped.".into()
        }
        Fault::AlreadySignedUp { handle } => format!("This browser belongs to {handle} already; sign out first."),
        Fault::WordsForgotten => "The recovery words were confirmed, and are not kept here any more.".into(),
        Fault::NoStorage => {
            "This browser gives this page no storage of its own: perhaps a private window, a frame in another page, or a version that is \
             too old. Open Stonechat in an ordinary window of a current browser."
                .into()
        }
        Fault::StorageFull => {
            "This browser’s storage for this site is full. Nothing that was saved is lost. Free some space, and reload the page."
                .into()
        }
        Fault::StorageBroken { detail } => format!(
            "What is stored in this browser is damaged or cannot be read; it was left as it is. ({detail})"
        ),
        Fault::StorageNewer => {
            "A newer version of this app wrote what is stored here. Reload the page to get it.".into()
        }
        Fault::Unsupported { detail } => format!(
            "This browser, or the way this page was opened, lacks what Stonechat needs ({detail}). Open it over https, in a window of its \
             own, in a current browser."
        ),
        Fault::OtherTab => {
            "Another tab of this browser has Stonechat open and does not answer: it may be of an older version. Close it, and this one \
             goes on."
                .into()
        }
        Fault::Busy => "One moment: something else is not finished.".into(),
        Fault::Stopped => {
            "Stonechat has stopped: this is a fault of ours, or this browser is too old for it. Reload the page.".into()
        }
        Fault::Bug { detail } => format!("This is a fault in Stonechat ({detail}). Reload the page."),
    }
}

fn english_lasting(lasting: Lasting) -> &'static str {
    match lasting {
        Lasting::NotStonechat => "What answers at this address is not a Stonechat server. Check the address.",
        Lasting::Version => {
            "The server speaks another version of the protocol. Reload the page to get the app of that version."
        }
        Lasting::Insecure => "There is no secure connection to the server. Nothing was sent.",
    }
}

#[cfg(test)]
mod tests;
