//! Everything that the page says, once for each language. A language that lacks a word does not compile.

use stonechat_api::Role;
use stonechat_web::protocol::Fault;
use stonechat_web::view::days::DayName;
use stonechat_web::words::CodeWords;
use stonechat_wire::HandleError;

use self::trust::TrustWords;

mod de;
mod en;
mod trust;

/// All languages, the first for whoever speaks none of them.
pub(crate) static LANGUAGES: [&Words; 2] = [&en::ENGLISH, &de::GERMAN];

/// The language for a tag such as `de-AT`, if there is one.
pub(crate) fn language(tag: &str) -> Option<&'static Words> {
    let main = tag.split('-').next().unwrap_or_default();
    LANGUAGES.into_iter().find(|words| words.tag.eq_ignore_ascii_case(main))
}

/// One language.
pub(crate) struct Words {
    /// As in `<html lang>`.
    pub(crate) tag: &'static str,
    /// What it calls itself.
    pub(crate) own_name: &'static str,

    // Everywhere.
    pub(crate) cancel: &'static str,
    pub(crate) close: &'static str,
    pub(crate) back: &'static str,
    pub(crate) reload: &'static str,
    pub(crate) working: &'static str,
    pub(crate) dismiss: &'static str,

    // Before there is an account.
    pub(crate) opening: &'static str,
    pub(crate) broken: &'static str,
    pub(crate) broken_erase: &'static str,
    pub(crate) sign_up: &'static str,
    pub(crate) sign_up_lead: &'static str,
    pub(crate) handle: &'static str,
    pub(crate) handle_hint: &'static str,
    pub(crate) handle_bad: fn(HandleError) -> &'static str,
    pub(crate) create_account: &'static str,
    pub(crate) creating: &'static str,
    pub(crate) unfinished: fn(&str) -> String,
    pub(crate) keys_stay: &'static str,
    pub(crate) words_title: &'static str,
    pub(crate) words_lead: &'static str,
    pub(crate) words_list: &'static str,
    pub(crate) words_for: fn(&str, &str) -> String,
    pub(crate) print: &'static str,
    pub(crate) written_down: &'static str,
    pub(crate) confirm_title: &'static str,
    pub(crate) confirm_lead: &'static str,
    pub(crate) word: fn(usize) -> String,
    pub(crate) word_wrong: fn(usize) -> String,
    pub(crate) confirm: &'static str,
    pub(crate) words_again: &'static str,

    // The list.
    pub(crate) conversations: &'static str,
    pub(crate) search: &'static str,
    pub(crate) found_conversations: &'static str,
    pub(crate) found_messages: &'static str,
    pub(crate) found_none: &'static str,
    pub(crate) found_more: &'static str,
    pub(crate) new_message: &'static str,
    pub(crate) new_message_lead: &'static str,
    pub(crate) start: &'static str,
    pub(crate) new_group: &'static str,
    pub(crate) group_name: &'static str,
    pub(crate) group_name_bad: &'static str,
    pub(crate) group_members: &'static str,
    pub(crate) group_members_hint: &'static str,
    pub(crate) create_group: &'static str,
    pub(crate) no_conversations: &'static str,
    pub(crate) no_conversations_lead: fn(&str) -> String,
    pub(crate) pick: &'static str,
    pub(crate) unread: fn(u64) -> String,
    pub(crate) draft: &'static str,
    pub(crate) you: &'static str,
    pub(crate) left: &'static str,

    // Requests.
    pub(crate) requests: &'static str,
    pub(crate) requests_lead: &'static str,
    pub(crate) no_requests: &'static str,
    pub(crate) wants_to_write: &'static str,
    pub(crate) wants_group: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) decline: &'static str,

    // A conversation.
    pub(crate) messages: &'static str,
    pub(crate) message: &'static str,
    pub(crate) send: &'static str,
    pub(crate) encrypted: &'static str,
    pub(crate) encrypted_unverified: &'static str,
    pub(crate) encrypted_first: fn(&str) -> String,
    pub(crate) not_verified: &'static str,
    pub(crate) verified: &'static str,
    pub(crate) lock_closed: &'static str,
    pub(crate) lock_closed_group: &'static str,
    pub(crate) lock_closed_detail: &'static str,
    pub(crate) lock_open_detail: &'static str,
    pub(crate) lock_why: &'static str,
    pub(crate) details: &'static str,
    pub(crate) first_message: fn(&str) -> String,
    pub(crate) newer: &'static str,
    pub(crate) queued: &'static str,
    pub(crate) sent: &'static str,
    pub(crate) delivered: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) write_again: &'static str,
    pub(crate) to_latest: &'static str,
    pub(crate) unread_from_here: &'static str,
    pub(crate) not_in_it: &'static str,
    pub(crate) leads_to: fn(&str) -> String,
    pub(crate) too_long: &'static str,
    pub(crate) gone: &'static str,
    pub(crate) day: fn(DayName) -> Option<&'static str>,
    pub(crate) people: fn(usize) -> String,

    // Details of a conversation.
    pub(crate) group_details: &'static str,
    pub(crate) person_details: &'static str,
    pub(crate) members: &'static str,
    pub(crate) role: fn(Role) -> &'static str,
    pub(crate) devices: fn(u32) -> String,
    pub(crate) rename: &'static str,
    pub(crate) add_members: &'static str,
    pub(crate) add: &'static str,
    pub(crate) remove: fn(&str) -> String,
    pub(crate) remove_short: &'static str,
    pub(crate) make: fn(Role) -> &'static str,
    pub(crate) make_whom: fn(Role, &str) -> String,
    pub(crate) leave: &'static str,
    pub(crate) leave_lead: &'static str,
    pub(crate) write_to: fn(&str) -> String,
    pub(crate) write_short: &'static str,
    pub(crate) remove_lead: fn(&str) -> String,
    pub(crate) give_ownership_lead: fn(&str) -> String,
    pub(crate) account_id: &'static str,
    pub(crate) role_lead: fn(Role) -> &'static str,

    // Settings.
    pub(crate) settings: &'static str,
    pub(crate) language: &'static str,
    pub(crate) theme: &'static str,
    pub(crate) as_system: &'static str,
    pub(crate) light: &'static str,
    pub(crate) dark: &'static str,
    pub(crate) storage: &'static str,
    pub(crate) storage_kept: &'static str,
    pub(crate) storage_may_go: &'static str,
    pub(crate) storage_ask: &'static str,
    pub(crate) storage_refused: &'static str,
    pub(crate) storage_used: fn(u64, Option<u64>) -> String,
    pub(crate) this_account: &'static str,
    pub(crate) device: &'static str,
    pub(crate) server: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) sign_out_lead: &'static str,
    pub(crate) sign_out_lost: [&'static str; 4],
    pub(crate) sign_out_now: &'static str,

    // How things are.
    pub(crate) offline: &'static str,
    pub(crate) offline_lasting: &'static str,
    pub(crate) connecting: &'static str,
    pub(crate) stopped: &'static str,
    pub(crate) follows: &'static str,
    pub(crate) storage_banner: &'static str,
    pub(crate) refused: &'static str,

    // Locks, safety numbers, devices, alarms.
    pub(crate) trust: &'static TrustWords,

    /// What the client says.
    pub(crate) codes: &'static CodeWords,
}

impl Words {
    /// A fault in this language.
    pub(crate) fn fault(&self, fault: &Fault) -> String {
        (self.codes.fault)(fault)
    }
}

/// 1536 as `1.5 KB`, with the language's decimal sign.
fn size(bytes: u64, point: char) -> String {
    let (mut amount, mut unit) = (bytes.saturating_mul(10) / 1000, 0);
    while amount >= 10_000 && unit + 1 < UNITS.len() {
        amount /= 1000;
        unit += 1;
    }
    if amount >= 100 {
        format!("{} {}", amount / 10, UNITS[unit])
    } else {
        format!("{}{point}{} {}", amount / 10, amount % 10, UNITS[unit])
    }
}

const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
