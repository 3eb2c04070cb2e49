//! Anonymous tokens: issued to an account against its allowance of the day, spent by nobody in particular.
//!
//! VOPRF mode of RFC 9497 over ristretto255-SHA512. The server evaluates blinded inputs and later recognises the unblinded
//! outputs, so it can tell a token from a forgery and cannot tell whom it was issued to.

use rand_core::{CryptoRng, RngCore};
use sha2::{Digest, Sha256};
use stonechat_wire::limits::TOKENS_PER_REQUEST_MAX;
use stonechat_wire::message::Element;
use stonechat_wire::{AccountId, ErrorCode, Failure, List, Reply, Seq, Timestamp, Token};
use subtle::ConstantTimeEq;
use voprf::{BlindedElement, Group, Ristretto255, VoprfServer};

use super::{Services, keys, refuse, retry_later};
use crate::store::{Append, Expect, KeyedLog};

/// The key that tokens are issued and recognised under.
pub struct TokenKey {
    server: VoprfServer<Ristretto255>,
    public: [u8; 32],
    id: [u8; 8],
}

impl TokenKey {
    /// Derives the key (RFC 9497 section 3.2.1, `DeriveKeyPair`) from a secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let server = VoprfServer::<Ristretto255>::new_from_seed(seed, b"stonechat v1 token key")
            .expect("seed and info are far under 65,532 bytes, and 256 tries at a non-zero scalar do not all fail");
        let public: [u8; 32] = Ristretto255::serialize_elem(server.get_public_key()).into();
        let digest = Sha256::digest(public);
        Self { server, public, id: std::array::from_fn(|i| digest[i]) }
    }

    /// The public key, as clients verify issued tokens under.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    fn recognises(&self, token: &Token) -> bool {
        self.server.evaluate(&token.nonce).is_ok_and(|output| bool::from(output.as_slice().ct_eq(&token.output)))
    }
}

/// What a token is spent on, hashed with the token's nonce, so that the record of it tells nobody who knows not the token.
pub(crate) struct Purpose(Sha256);

impl Purpose {
    /// Starts with the request's name.
    pub(crate) fn new(name: &str) -> Self {
        Self(Sha256::new_with_prefix(b"stonechat v1 token purpose").chain_update([name.len() as u8]).chain_update(name))
    }

    /// Adds one part of fixed length.
    pub(crate) fn with<const N: usize>(self, part: &[u8; N]) -> Self {
        Self(self.0.chain_update(part))
    }

    fn hash(self, nonce: &[u8; 32]) -> [u8; 32] {
        self.0.chain_update(nonce).finalize().into()
    }
}

/// How often a request that is not idempotent may be sent again on one token, after lost replies.
pub(crate) const SPENDS_MAX: u64 = 16;

impl<S: KeyedLog> Services<S> {
    /// How many tokens an account may still draw today.
    pub(crate) async fn tokens_left(&self, account: &AccountId, now: Timestamp) -> Result<u32, Failure> {
        let key = keys::quota(account, day(now));
        let drawn = self.last(&key, now).await?.map_or(0, |entry| drawn(&entry.bytes));
        Ok(self.settings.tokens_per_day.saturating_sub(drawn))
    }

    /// [`stonechat_wire::Request::IssueTokens`]: all of them or none.
    pub(crate) async fn issue_tokens<R: RngCore + CryptoRng>(
        &self,
        account: &AccountId,
        now: Timestamp,
        rng: &mut R,
        blinded: &List<Element, TOKENS_PER_REQUEST_MAX>,
    ) -> Result<Reply, Failure> {
        let elements: Vec<BlindedElement<Ristretto255>> = blinded
            .iter()
            .map(|element| BlindedElement::deserialize(&element.0))
            .collect::<Result<_, _>>()
            .map_err(|_| refuse(ErrorCode::Malformed))?;
        if elements.is_empty() {
            return Err(refuse(ErrorCode::Malformed));
        }
        self.draw(account, now, elements.len() as u32).await?;
        let issued =
            self.tokens.server.batch_blind_evaluate(rng, &elements).map_err(|_| refuse(ErrorCode::Malformed))?;
        let evaluated: Vec<Element> =
            issued.messages.iter().map(|element| Element(element.serialize().into())).collect();
        let mut proof = [0; 64];
        proof.copy_from_slice(&issued.proof.serialize());
        Ok(Reply::Tokens { evaluated: List::new(evaluated).expect("as many as were asked for"), proof })
    }

    async fn draw(&self, account: &AccountId, now: Timestamp, count: u32) -> Result<(), Failure> {
        let key = keys::quota(account, day(now));
        for _ in 0..super::CONFLICTS_MAX {
            let last = self.last(&key, now).await?;
            let total = last.as_ref().map_or(0, |entry| drawn(&entry.bytes)).saturating_add(count);
            if total > self.settings.tokens_per_day {
                let midnight = (day(now) + 1) * DAY_MILLIS;
                return Err(retry_later(ErrorCode::Quota, (midnight - now.0).div_ceil(1_000) as u32));
            }
            let expect = last.map_or(Expect::Empty, |entry| Expect::Last(entry.seq));
            let appended =
                self.append_bytes(&key, expect, total.to_be_bytes().to_vec(), Some(QUOTA_TTL_SECS), now).await?;
            if let Append::Appended(_) = appended {
                return Ok(());
            }
        }
        Err(retry_later(ErrorCode::Slow, 1))
    }

    /// Spends a token on a request. The same token with the same request again is no error, so that a client may repeat
    /// it after a lost reply: without bound when `idempotent`, else [`SPENDS_MAX`] times.
    pub(crate) async fn redeem(
        &self,
        token: &Token,
        purpose: Purpose,
        idempotent: bool,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if !self.tokens.recognises(token) {
            return Err(refuse(ErrorCode::InvalidToken));
        }
        let key = keys::spent(&self.tokens.id, &token.nonce);
        let purpose = purpose.hash(&token.nonce);
        // No expiry: a token is good as long as the key that it was issued under, so its record must last as long.
        let Append::Conflict { last } = self.append_bytes(&key, Expect::Empty, purpose.to_vec(), None, now).await?
        else {
            return Ok(());
        };
        let first = self.entry_at(&key, Seq(1), now).await?;
        if first.is_none_or(|entry| entry.bytes != purpose) {
            return Err(refuse(ErrorCode::InvalidToken));
        }
        if !idempotent {
            if last.is_none_or(|last| last.0 >= SPENDS_MAX) {
                return Err(refuse(ErrorCode::InvalidToken));
            }
            // Whatever becomes of it, it was counted.
            let _counted = self.append_bytes(&key, Expect::Any, Vec::new(), None, now).await?;
        }
        Ok(())
    }
}

fn day(now: Timestamp) -> u64 {
    now.0 / DAY_MILLIS
}

/// The number in a quota record.
pub(crate) fn drawn(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(u32::MAX, u32::from_be_bytes)
}

const DAY_MILLIS: u64 = 24 * 3_600 * 1_000;
/// Two days: past the end of the day that it counts, wherever in it the first draw was.
pub(crate) const QUOTA_TTL_SECS: u64 = 2 * 24 * 3_600;

#[cfg(test)]
mod tests {
    use stonechat_wire::{Admission, Bytes, Request};

    use super::*;
    use crate::services::testing::{Chat, Person, blind, person, world};

    fn copy(token: &Token) -> Token {
        Token { nonce: token.nonce, output: token.output }
    }

    fn post(to: &Person, token: &Token, byte: u8) -> Request {
        let sealed = Bytes::new(vec![byte; 8]).unwrap();
        Request::PostEnvelope {
            account: to.account,
            device: to.device,
            admission: Admission::Token(copy(token)),
            sealed,
        }
    }

    #[test]
    fn a_token_is_spent_once_and_a_repeated_request_is_no_second_spend() {
        let world = world();
        let (chat, other, token) = (Chat::new(), Chat::new(), world.token());
        let create = |chat: &Chat| Request::CreateConversation {
            conversation: chat.id,
            first: chat.first.caps(),
            token: copy(&token),
        };
        let mut session = world.session();
        for _ in 0..40 {
            assert_eq!(world.ask(&mut session, create(&chat)), Ok(Reply::Done));
        }
        assert_eq!(world.refused(&mut session, create(&other)), ErrorCode::InvalidToken);
    }

    #[test]
    fn a_repeated_request_that_is_not_idempotent_has_a_bound() {
        let world = world();
        let (alice, token) = (person("alice"), world.token());
        world.device(&alice);
        let mut session = world.session();
        for _ in 0..SPENDS_MAX {
            assert_eq!(world.ask(&mut session, post(&alice, &token, 1)), Ok(Reply::Done));
        }
        assert_eq!(world.refused(&mut session, post(&alice, &token, 1)), ErrorCode::InvalidToken);
        assert_eq!(world.refused(&mut session, post(&alice, &token, 2)), ErrorCode::InvalidToken);
    }

    #[test]
    fn a_forged_token_is_refused() {
        let world = world();
        let alice = person("alice");
        world.device(&alice);
        let mut token = world.token();
        token.output[63] ^= 1;
        assert_eq!(world.refused(&mut world.session(), post(&alice, &token, 1)), ErrorCode::InvalidToken);
    }

    #[test]
    fn the_allowance_of_a_day_is_drawn_whole_or_not_at_all() {
        let world = world();
        let mut device = world.device(&person("alice"));
        let draw = |count: usize| {
            let blinded = (0..count).map(|_| blind().0).collect::<Vec<_>>();
            Request::IssueTokens { blinded: List::new(blinded).unwrap() }
        };
        world.ask(&mut device, draw(60)).unwrap();
        let refused = world.ask(&mut device, draw(41)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Quota);
        assert!(refused.retry_after_secs.is_some_and(|secs| (1..=86_400).contains(&secs)));
        world.ask(&mut device, draw(40)).unwrap();
        assert_eq!(world.refused(&mut device, draw(1)), ErrorCode::Quota);
        world.later(86_400);
        world.ask(&mut device, draw(64)).unwrap();
        let malformed = Request::IssueTokens { blinded: List::new(vec![Element([255; 32])]).unwrap() };
        assert_eq!(world.refused(&mut device, malformed), ErrorCode::Malformed);
    }
}
