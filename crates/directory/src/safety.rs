//! Safety numbers: what two people compare, by voice or by camera, who trust no server at all.
//!
//! Made of the two account ids. An account id is the hash of the log's first entry, and every later entry hangs from it:
//! so the number stays when a device is added in the open, and changes when an account starts over or is not the one that
//! it seems.

use std::fmt;

use sha2::{Digest as _, Sha512};
use stonechat_wire::AccountId;

/// 60 digits, the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyNumber(String);

impl SafetyNumber {
    /// The number of two accounts; their order does not matter.
    pub fn of(one: &AccountId, other: &AccountId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self(half(low) + &half(high))
    }

    /// The digits without spaces.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The twelve groups of five, as they are read aloud.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        (0..12).map(|group| &self.0[group * 5..group * 5 + 5])
    }
}

impl fmt::Display for SafetyNumber {
    /// Three lines of four groups.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, group) in self.groups().enumerate() {
            let before = match at {
                0 => "",
                4 | 8 => "\n",
                _ => " ",
            };
            write!(f, "{before}{group}")?;
        }
        Ok(())
    }
}

/// The 30 digits of one account. Hashed many times, so that making an account whose digits look like another's costs that
/// many times more.
fn half(account: &AccountId) -> String {
    let mut hash = Sha512::new_with_prefix(b"stonechat v1 safety number").chain_update(account.0).finalize();
    for _ in 1..ROUNDS {
        hash = Sha512::new_with_prefix(hash).chain_update(account.0).finalize();
    }
    let groups = hash[..30].chunks_exact(5).map(|five| {
        let number = five.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{:05}", number % 100_000)
    });
    groups.collect()
}

/// What a person's QR code says: their own account and the one that they believe to talk to. Upper-case letters and
/// digits only, which QR codes pack best.
pub fn code(own: &AccountId, contact: &AccountId) -> String {
    format!("{CODE_PREFIX}{}:{}", hex::encode_upper(own.0), hex::encode_upper(contact.0))
}

/// What scanning the other's code shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannedCode {
    /// Both sides mean the same two accounts.
    Match,
    /// They do not: one of the two is not who the other believes.
    Mismatch,
    /// It is some other code, or one of a newer version.
    Unreadable,
}

impl ScannedCode {
    /// Compares a scanned text with the accounts as this side has them.
    pub fn compare(own: &AccountId, contact: &AccountId, scanned: &str) -> Self {
        let Some((theirs, mine)) = scanned.trim().strip_prefix(CODE_PREFIX).and_then(|rest| rest.split_once(':'))
        else {
            return Self::Unreadable;
        };
        match (theirs.parse::<AccountId>(), mine.parse::<AccountId>()) {
            (Ok(theirs), Ok(mine)) if theirs == *contact && mine == *own => Self::Match,
            (Ok(_), Ok(_)) => Self::Mismatch,
            _ => Self::Unreadable,
        }
    }
}

const CODE_PREFIX: &str = "STONECHAT:1:";
const ROUNDS: u32 = 5_200;

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId([n; 32])
    }

    #[test]
    fn both_sides_see_the_same_60_digits() {
        let number = SafetyNumber::of(&account(1), &account(2));
        assert_eq!(number, SafetyNumber::of(&account(2), &account(1)));
        assert!(number.digits().len() == 60 && number.digits().bytes().all(|b| b.is_ascii_digit()));
        assert_eq!(number.to_string().split_whitespace().collect::<String>(), number.digits());
        assert_eq!(number.to_string().lines().count(), 3);
    }

    #[test]
    fn another_account_has_other_digits_on_its_half_only() {
        let (one, two) = (SafetyNumber::of(&account(1), &account(2)), SafetyNumber::of(&account(1), &account(3)));
        assert_eq!(one.digits()[..30], two.digits()[..30]);
        assert_ne!(one.digits()[30..], two.digits()[30..]);
    }

    #[test]
    fn a_scanned_code_matches_only_the_same_two_accounts() {
        let (alice, bob, mallory) = (account(1), account(2), account(3));
        let shown_by_bob = code(&bob, &alice);
        assert!(shown_by_bob.len() == 141 && !shown_by_bob.bytes().any(|b| b.is_ascii_lowercase()));
        assert_eq!(ScannedCode::compare(&alice, &bob, &shown_by_bob), ScannedCode::Match);
        assert_eq!(ScannedCode::compare(&alice, &bob, &code(&mallory, &alice)), ScannedCode::Mismatch);
        assert_eq!(ScannedCode::compare(&alice, &bob, &code(&bob, &mallory)), ScannedCode::Mismatch);
        for other in ["", "https://example.com", "STONECHAT:2:AA:BB", "STONECHAT:1:AA:BB"] {
            assert_eq!(ScannedCode::compare(&alice, &bob, other), ScannedCode::Unreadable);
        }
    }
}
