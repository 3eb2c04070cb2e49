//! What this device keeps at the server so that others reach it (key packages, inbox settings), and the tokens that it draws.
//!
//! Owns the unspent tokens. Never sees what they are spent on.

use stonechat_wire::limits::{KEY_PACKAGES_MAX, TOKENS_PER_REQUEST_MAX};
use stonechat_wire::message::Element;
use stonechat_wire::{Bytes, Failure, List, Reply, Request, Timestamp, Token};

use crate::api::{Link, Refusal};
use crate::crypto::tokens;
use crate::error::CoreError;
use crate::limits::{KEY_PACKAGE_POOL, TOKEN_POOL};
use crate::links::Room;
use crate::mls::{self, Mls};
use crate::session::LoggedIn;
use crate::step::{Ctx, Questions};
use crate::store::{Listed, Read as _, Record, Table};

impl Record for Token {
    const TABLE: Table = Table::Token;
    type Key = [u8; 32];
    fn key(nonce: &[u8; 32]) -> Vec<u8> {
        nonce.to_vec()
    }
}

impl Listed for Token {
    fn parse_key(rest: &[u8]) -> Option<[u8; 32]> {
        rest.try_into().ok()
    }
}

/// What is asked.
enum Question {
    Publish { last_resort: bool },
    ConfigureInbox,
    Tokens(tokens::Blinding),
}

/// The supplies, as far as this connection knows.
pub(crate) struct Supplies {
    questions: Questions<Question>,
    /// Key packages in the pool on the server, once it said so.
    pool: u32,
    last_resort: bool,
    inbox_configured: bool,
    /// No tokens before this moment: the allowance is used up.
    no_tokens_before: Timestamp,
}

impl Default for Supplies {
    fn default() -> Self {
        Self {
            questions: Questions::of(Room::Supplies),
            pool: 0,
            last_resort: false,
            inbox_configured: false,
            no_tokens_before: Timestamp(0),
        }
    }
}

impl Supplies {
    pub(crate) fn logged_in(&mut self, found: &LoggedIn) {
        self.pool = found.key_packages;
        self.last_resort = found.last_resort;
    }

    pub(crate) fn connected(&mut self, link: Link) {
        if link == Link::Device {
            self.inbox_configured = false;
        }
    }

    pub(crate) fn disconnected(&mut self, link: Link) {
        self.questions.lost(link);
    }

    /// Whether the server has what others need to reach this device: somebody who signs up and goes offline can be written to.
    pub(crate) fn are_there(&self) -> bool {
        self.inbox_configured && self.last_resort && self.pool >= KEY_PACKAGE_POOL / 2
    }

    /// Key packages that were used since the last time.
    pub(crate) fn take_mail(&mut self, ctx: &mut Ctx<'_>) {
        for last_resort in std::mem::take(&mut ctx.mail.used) {
            self.pool = self.pool.saturating_sub(u32::from(!last_resort));
            if last_resort {
                // Whoever comes next gets a fresh one; the old one still opens what is on its way.
                self.last_resort = false;
            }
        }
    }

    /// Keeps the supplies up.
    pub(crate) fn drive(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if !ctx.links.is_ready(Link::Device) {
            return Ok(());
        }
        if !self.inbox_configured && !self.questions.has(|q| matches!(q, Question::ConfigureInbox)) {
            let contacts = List::new(vec![ctx.me.contact_capability().hash()]).expect("one is within bounds");
            let request = Request::ConfigureInbox { contacts, strangers: true };
            self.questions.ask(ctx, Link::Device, request, Question::ConfigureInbox);
        }
        let low = self.pool < KEY_PACKAGE_POOL / 2 || !self.last_resort;
        if low && !self.questions.has(|q| matches!(q, Question::Publish { .. })) {
            self.publish_key_packages(ctx)?;
        }
        let few = ctx.txn.count_up_to::<Token>(TOKEN_POOL)? < TOKEN_POOL / 2;
        if few && ctx.now >= self.no_tokens_before && !self.questions.has(|q| matches!(q, Question::Tokens(_))) {
            let (blinded, blinding) = tokens::blind(ctx.rng, TOKEN_POOL.min(TOKENS_PER_REQUEST_MAX));
            let blinded = List::new(blinded).expect("within TOKENS_PER_REQUEST_MAX");
            self.questions.ask(ctx, Link::Device, Request::IssueTokens { blinded }, Question::Tokens(blinding));
        }
        Ok(())
    }

    /// Returns whether the answer fits.
    pub(crate) fn answered(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, reply: Reply) -> Result<bool, CoreError> {
        match (self.questions.take(link, id), reply) {
            (Some(Question::Publish { last_resort }), Reply::KeyPackageCount(count)) => {
                self.pool = count;
                self.last_resort |= last_resort;
            }
            (Some(Question::ConfigureInbox), Reply::Done) => self.inbox_configured = true,
            (Some(Question::Tokens(blinding)), Reply::Tokens { evaluated, proof }) => {
                return Ok(tokens_issued(ctx, blinding, &evaluated, &proof));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn refused(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, failure: &Failure) {
        match self.questions.take(link, id) {
            Some(Question::Tokens(_)) => {
                let wait = u64::from(failure.retry_after_secs.unwrap_or(60)).min(3_600);
                self.no_tokens_before = ctx.now.plus_secs(wait);
                ctx.wake(self.no_tokens_before, "tokens can be drawn again");
            }
            Some(Question::Publish { .. } | Question::ConfigureInbox) => self.keep_without(ctx, failure),
            None => {}
        }
    }

    /// The server does not keep them. Asked again after the next log-in; it keeps nobody from reading.
    fn keep_without(&mut self, ctx: &mut Ctx<'_>, failure: &Failure) {
        ctx.refused(None, Refusal::Supplies(failure.code));
        self.pool = KEY_PACKAGE_POOL;
        self.inbox_configured = true;
        self.last_resort = true;
    }

    fn publish_key_packages(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let me = ctx.me;
        let missing = (KEY_PACKAGE_POOL.saturating_sub(self.pool) as usize).min(KEY_PACKAGES_MAX);
        let last_resort_missing = !self.last_resort;
        let now = ctx.now.0;
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let make = |last_resort| {
            let made =
                mls::generate_key_package(&mls, &me.signer, me.leaf(), now, KEY_PACKAGE_LIFETIME_SECS, last_resort)?;
            Bytes::new(made).map_err(|_| CoreError::bug("a key package over its bound"))
        };
        let packages = (0..missing).map(|_| make(false)).collect::<Result<Vec<_>, _>>()?;
        let last_resort = if last_resort_missing { Some(make(true)?) } else { None };
        let packages = List::new(packages).map_err(|_| CoreError::bug("too many key packages"))?;
        let request = Request::PublishKeyPackages { packages, last_resort };
        self.questions.ask(ctx, Link::Device, request, Question::Publish { last_resort: last_resort_missing });
        Ok(())
    }
}

fn tokens_issued(ctx: &mut Ctx<'_>, blinding: tokens::Blinding, evaluated: &[Element], proof: &[u8; 64]) -> bool {
    let Some(key) = ctx.links.token_key() else { return true };
    match tokens::finish(blinding, &key, evaluated, proof) {
        Ok(issued) => {
            for token in issued {
                ctx.txn.store(&token.nonce.clone(), &token);
            }
            // Everything that waited for one looks again.
            ctx.mail.look_again = true;
            true
        }
        Err(_) => {
            ctx.refused(None, Refusal::Tokens);
            false
        }
    }
}

/// Takes a token out of the vault. It is gone with this step, whatever becomes of the request.
pub(crate) fn take_token(ctx: &mut Ctx<'_>) -> Result<Option<Token>, CoreError> {
    let Some((nonce, token)) = ctx.txn.list::<Token>(1)?.pop() else { return Ok(None) };
    ctx.txn.remove::<Token>(&nonce);
    Ok(Some(token))
}

/// How long key packages are valid, in seconds: as long as a conversation that nobody touches. A device that is away for
/// less can be added to conversations all the time.
const KEY_PACKAGE_LIFETIME_SECS: u64 = stonechat_wire::limits::CONVERSATION_TTL_SECS;

#[cfg(test)]
mod tests {
    use stonechat_wire::ErrorCode;

    use super::*;
    use crate::testing::Home;

    fn online(supplies: &mut Supplies, key_packages: u32, last_resort: bool) -> Home {
        let home = Home::online("alice");
        supplies.logged_in(&LoggedIn { key_packages, last_resort, envelopes: 0 });
        home
    }

    #[test]
    fn what_the_server_lacks_is_brought_and_nothing_else() {
        let mut supplies = Supplies::default();
        let mut home = online(&mut supplies, 0, false);
        let out = home.step(|ctx| supplies.drive(ctx).unwrap());
        let kinds = out.requests();
        assert!(matches!(kinds[0], Request::ConfigureInbox { strangers: true, .. }));
        assert!(matches!(kinds[1], Request::PublishKeyPackages { packages, last_resort: Some(_) }
            if packages.len() == (KEY_PACKAGE_POOL as usize).min(KEY_PACKAGES_MAX)));
        assert!(matches!(kinds[2], Request::IssueTokens { .. }));
        // It is asked already.
        assert!(home.step(|ctx| supplies.drive(ctx).unwrap()).requests().is_empty());
        assert!(!supplies.are_there());
        assert!(home.step(|ctx| supplies.answered(ctx, Link::Device, 1, Reply::Done).unwrap()).value);
        let count = Reply::KeyPackageCount(KEY_PACKAGE_POOL);
        assert!(home.step(|ctx| supplies.answered(ctx, Link::Device, 2, count).unwrap()).value);
        assert!(supplies.are_there());
    }

    #[test]
    fn a_last_resort_that_was_used_is_replaced() {
        let mut supplies = Supplies::default();
        let mut home = online(&mut supplies, KEY_PACKAGE_POOL, true);
        home.give_tokens(u8::try_from(TOKEN_POOL).unwrap());
        let wanted = |home: &mut Home, supplies: &mut Supplies, used: Vec<bool>| {
            let out = home.step(|ctx| {
                ctx.mail.used = used;
                supplies.take_mail(ctx);
                supplies.drive(ctx).unwrap();
            });
            out.requests().into_iter().filter(|r| matches!(r, Request::PublishKeyPackages { .. })).count()
        };
        assert_eq!(wanted(&mut home, &mut supplies, vec![false]), 0, "one of many");
        assert_eq!(wanted(&mut home, &mut supplies, vec![true]), 1);
    }

    #[test]
    fn a_token_is_spent_once() {
        let mut home = Home::online("alice");
        home.give_tokens(2);
        let taken = home.step(|ctx| [(); 3].map(|()| take_token(ctx).unwrap().map(|token| token.nonce[0]))).value;
        assert_eq!(taken, [Some(0), Some(1), None]);
    }

    #[test]
    fn an_allowance_that_is_used_up_is_asked_for_again_later() {
        let mut supplies = Supplies::default();
        let mut home = online(&mut supplies, KEY_PACKAGE_POOL, true);
        let asks = |home: &mut Home, supplies: &mut Supplies| {
            let out = home.step(|ctx| supplies.drive(ctx).unwrap());
            out.requests().into_iter().filter(|r| matches!(r, Request::IssueTokens { .. })).count()
        };
        assert_eq!(asks(&mut home, &mut supplies), 1);
        let failure = Failure { code: ErrorCode::Slow, retry_after_secs: Some(10), detail: None };
        home.step(|ctx| supplies.refused(ctx, Link::Device, 2, &failure));
        assert_eq!(asks(&mut home, &mut supplies), 0);
        home.now = home.now.plus_secs(10);
        assert_eq!(asks(&mut home, &mut supplies), 1);
    }

    #[test]
    fn tokens_that_do_not_verify_are_thrown_away_and_cost_the_connection() {
        let mut supplies = Supplies::default();
        let mut home = online(&mut supplies, KEY_PACKAGE_POOL, true);
        home.step(|ctx| supplies.drive(ctx).unwrap());
        let reply = Reply::Tokens { evaluated: List::new(Vec::new()).unwrap(), proof: [0; 64] };
        let out = home.step(|ctx| supplies.answered(ctx, Link::Device, 2, reply).unwrap());
        assert!(!out.value);
        assert_eq!(out.refusals(), 1);
        assert!(home.step(|ctx| take_token(ctx).unwrap()).value.is_none());
    }
}
