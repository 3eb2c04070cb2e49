//! Each code has words in each language. That none is forgotten, the compiler sees to; here they are looked at.

use stonechat_api::samples;

use super::*;
use crate::protocol::{Fault, Lasting};

fn faults() -> Vec<Fault> {
    let detail = String::from("where it stands");
    let handle = stonechat_wire::Handle::parse("bob").unwrap();
    let own = [
        Fault::TimedOut,
        Fault::TabClosed,
        Fault::Unconfirmed,
        Fault::AlreadySignedUp { handle },
        Fault::WordsForgotten,
        Fault::NoStorage,
        Fault::StorageFull,
        Fault::StorageBroken { detail: detail.clone() },
        Fault::StorageNewer,
        Fault::Unsupported { detail: detail.clone() },
        Fault::OtherTab,
        Fault::Busy,
        Fault::Stopped,
        Fault::Bug { detail },
    ];
    samples::errors().into_iter().map(Fault::Command).chain(own).collect()
}

/// Everything that a language says, in one order.
fn all(words: &CodeWords) -> Vec<String> {
    let lasting = [Lasting::NotStonechat, Lasting::Version, Lasting::Insecure];
    let mut all: Vec<_> = faults().iter().map(words.fault).collect();
    all.extend(lasting.into_iter().map(|why| (words.lasting)(why).to_owned()));
    all.extend(samples::refusals().iter().map(words.refusal));
    all.extend(samples::holds().iter().map(words.hold));
    all.extend(samples::notices().iter().map(words.notice));
    all.extend(samples::checks().iter().map(words.check));
    all.extend(samples::problems().iter().map(words.problem));
    all.extend(samples::findings().iter().map(words.finding));
    all
}

#[test]
fn each_code_has_a_whole_sentence_in_each_language_and_no_two_languages_share_one() {
    let (english, german) = (all(&ENGLISH), all(&GERMAN));
    assert_eq!(english.len(), german.len());
    assert!(english.len() > 150, "{} codes were looked at", english.len());
    for (one, other) in english.iter().zip(&german) {
        for text in [one, other] {
            let begins = text.starts_with(|first: char| first.is_uppercase() || first == '@');
            assert!(begins && text.ends_with(['.', '…', ')']) && text.len() > 8, "{text:?}");
            assert!(!text.contains("..") && !text.contains("  ") && !text.contains('\''), "{text:?}");
        }
        assert_ne!(one, other, "said in English to everybody");
    }
}

#[test]
fn the_fields_of_a_code_are_in_its_words() {
    for words in [&ENGLISH, &GERMAN] {
        for finding in samples::findings() {
            let (text, code) = ((words.finding)(&finding), format!("{finding:?}"));
            for field in ["@bob", "17"] {
                let is_in_code = code.contains(&format!("Handle({field})")) || code.contains(&format!(": {field}"));
                assert!(!is_in_code || text.contains(field), "{code}: {text}");
            }
        }
    }
}
