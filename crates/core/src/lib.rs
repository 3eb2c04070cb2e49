//! Stonechat's client as a pure state machine: accounts, devices, conversations, messages, trust.
//!
//! No sockets, no clock, no files: time and randomness come in with each [`Input`], and out comes a [`Step`]: changes for
//! the vault, to be committed in one transaction, then effects, each of which is safe to repeat. The cursor into a
//! conversation, the MLS state and the decrypted message move in one transaction: that one rule is what keeps a
//! conversation readable through any crash.
//!
//! Each folder (and each larger file) is a **room** that owns some records of the vault and some memory. A room uses only
//! rooms above it in this list; what it has for one below, it leaves as mail in the step's context, and this file, which
//! alone sees them all, hands it over in the same step:
//!
//! | room | owns |
//! |---|---|
//! | [`limits`] | every bound of the client |
//! | `store` | the vault's tables, typed records, the overlay of a step |
//! | `crypto` | every key derivation, sealing, tokens |
//! | [`content`], [`api`], `error` | the words that everybody uses: inside a message, at the entrance, when a step stops |
//! | [`mls`] | the MLS library |
//! | `identity` | this account and device |
//! | `links` | the two connections |
//! | `step` | the context of a step, and the mail |
//! | `session` | registering, logging in |
//! | `supplies` | key packages, inbox settings, tokens |
//! | `blobs` | what is too large for a letter |
//! | `people` | who is known, what is believed, alarms |
//! | `post` | letters between devices |
//! | `log` | the logs of conversations: cursor, epoch, members, commits |
//! | `talk` | messages |
//! | `view` | what a person sees; read-only |
//! | `commands` | what a person asks for |

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod api;
pub mod content;
pub mod limits;
pub mod mls;

mod blobs;
mod commands;
mod crypto;
mod error;
mod identity;
mod links;
mod log;
mod people;
mod post;
mod session;
mod step;
mod store;
mod supplies;
mod talk;
#[cfg(test)]
mod testing;
mod view;

use rand_core::CryptoRngCore;
use stonechat_wire::{ConversationId, Push, ServerFrame, Timestamp};

pub use api::{
    Alarm, AlarmId, AlarmKind, Check, Command, CommandError, CommandId, ContactRequest, Conversation, Effect, Event,
    Input, Link, Lock, Me, Member, Message, Outcome, OwnDevice, Role, Safety, Status, Step, Target, Why,
};
pub use crypto::{keys, letter as envelope, outer, tokens};
pub use error::CoreError;
pub use log::policy;
pub use people::sign_up::{SignUp, SignUpError, add_device_entry, own_log, pin_policy, sign_up};
pub use store::upgrade::{VAULT_VERSION, upgrade};
pub use store::vault::{self, Change, VaultError, VaultRead};
pub use view::{conversations as query, history, trust};

use blobs::Blobs;
use commands::House;
use identity::Identity;
use links::{Links, Room};
use log::Log;
use people::People;
use post::Post;
use session::{Progress, Session};
use step::Ctx;
use store::Read as _;
use supplies::Supplies;

/// The client. One for each vault; what it holds in memory can be dropped at any time and is read again.
pub struct Core {
    identity: Option<Identity>,
    links: Links,
    rooms: Rooms,
}

/// What the rooms hold in memory.
#[derive(Default)]
struct Rooms {
    session: Session,
    supplies: Supplies,
    blobs: Blobs,
    people: People,
    post: Post,
    log: Log,
    /// Commands that wait for everything to settle.
    syncing: Vec<CommandId>,
}

impl Core {
    /// Opens the client over a vault, with or without an account in it.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn open(vault: &dyn VaultRead) -> Result<Self, CoreError> {
        Ok(Self { identity: Identity::load(vault)?, links: Links::default(), rooms: Rooms::default() })
    }

    /// Takes one input. Commit the step's changes, then perform its effects.
    ///
    /// Without an account in the vault, commands finish with [`CommandError::NoAccount`] and everything else is passed over:
    /// sign up first, then open connections.
    ///
    /// # Errors
    /// [`CoreError`]: nothing of the step happened; drop this core and open another.
    pub fn handle(
        &mut self,
        vault: &dyn VaultRead,
        rng: &mut dyn CryptoRngCore,
        now: Timestamp,
        input: Input,
    ) -> Result<Step, CoreError> {
        if self.identity.is_none() {
            self.identity = Identity::load(vault)?;
        }
        let Some(me) = &mut self.identity else { return Ok(without_account(&input)) };
        let mut ctx = Ctx::new(vault, rng, now, me, &mut self.links);
        self.rooms.route(&mut ctx, input)?;
        self.rooms.drive(&mut ctx)?;
        let step = ctx.into_step();
        me.record.registered |= std::mem::take(&mut self.rooms.session.registered);
        Ok(step)
    }

    /// The changes of the last step could not be committed: forget everything that is not in the vault. Connections must be
    /// opened again.
    pub fn abandon(&mut self) {
        self.identity = None;
        self.links = Links::default();
        self.rooms = Rooms::default();
    }
}

impl Rooms {
    /// Hands an input to the room that it is for.
    fn route(&mut self, ctx: &mut Ctx<'_>, input: Input) -> Result<(), CoreError> {
        match input {
            Input::Connected { link, host, hello } => {
                if ctx.links.is_open(link) {
                    self.disconnected(ctx, link);
                }
                if ctx.links.opened(link, host, &hello).is_err() {
                    ctx.refused(None, api::Refusal::TokenKeys);
                    ctx.disconnect(link);
                    return Ok(());
                }
                self.connected(ctx, link)
            }
            Input::Disconnected { link } => {
                self.disconnected(ctx, link);
                Ok(())
            }
            Input::Frame { link, frame } => self.frame(ctx, link, frame),
            Input::Tick => Ok(()),
            Input::Command { id, command } => self.command(ctx, id, command),
        }
    }

    fn connected(&mut self, ctx: &mut Ctx<'_>, link: Link) -> Result<(), CoreError> {
        self.supplies.connected(link);
        self.post.connected(link);
        self.log.connected(ctx, link)?;
        self.people.connected(ctx, link)?;
        match link {
            Link::Anonymous => ctx.event(Event::Link { link, ready: true }),
            Link::Device => self.session.log_in(ctx),
        }
        Ok(())
    }

    fn disconnected(&mut self, ctx: &mut Ctx<'_>, link: Link) {
        let was_ready = ctx.links.closed(link);
        self.session.disconnected(ctx, link);
        self.supplies.disconnected(link);
        self.blobs.disconnected(link);
        self.people.disconnected(ctx, link);
        self.post.disconnected(ctx, link);
        self.log.disconnected(link);
        for command in std::mem::take(&mut self.syncing) {
            ctx.finish(command, Err(CommandError::Offline));
        }
        if was_ready {
            ctx.event(Event::Link { link, ready: false });
        }
    }

    fn frame(&mut self, ctx: &mut Ctx<'_>, link: Link, frame: ServerFrame) -> Result<(), CoreError> {
        let fits = match frame {
            ServerFrame::Push(Push::Entries { conversation, epoch, page }) if link == Link::Anonymous => {
                self.log.page(ctx, conversation, epoch, &page)?;
                true
            }
            ServerFrame::Push(Push::Envelopes(envelopes)) if link == Link::Device => {
                self.post.envelopes(ctx, &envelopes)?;
                true
            }
            ServerFrame::Reply(id, reply) => match ctx.links.end(link, id) {
                Some(Room::Session) => match self.session.answered(ctx, link, id, reply)? {
                    Progress::LoggedIn(found) => {
                        self.supplies.logged_in(&found);
                        self.post.expected = found.envelopes;
                        true
                    }
                    Progress::Waiting => true,
                    Progress::Misfit => false,
                },
                Some(Room::Supplies) => self.supplies.answered(ctx, link, id, reply)?,
                Some(Room::Blobs) => self.blobs.answered(ctx, link, id, reply)?,
                Some(Room::People) => self.people.answered(ctx, link, id, reply)?,
                Some(Room::Post) => self.post.answered(ctx, link, id, &reply),
                Some(Room::Log) => self.log.answered(ctx, link, id, reply)?,
                None => false,
            },
            ServerFrame::Refused(id, failure) => {
                let room = ctx.links.end(link, id);
                match room {
                    Some(Room::Session) => self.session.refused(ctx, link, id, &failure),
                    Some(Room::Supplies) => self.supplies.refused(ctx, link, id, &failure),
                    Some(Room::Blobs) => self.blobs.refused(ctx, link, id, &failure),
                    Some(Room::People) => self.people.refused(ctx, link, id, &failure)?,
                    Some(Room::Post) => self.post.refused(ctx, link, id, &failure)?,
                    Some(Room::Log) => self.log.refused(ctx, link, id, &failure)?,
                    None => {}
                }
                room.is_some()
            }
            ServerFrame::Closing(_) => {
                ctx.disconnect(link);
                true
            }
            ServerFrame::Hello(_) | ServerFrame::Push(_) => false,
        };
        if !fits {
            ctx.misbehaved(link);
        }
        Ok(())
    }

    fn command(&mut self, ctx: &mut Ctx<'_>, id: CommandId, command: Command) -> Result<(), CoreError> {
        match command {
            Command::Register { invite } => self.session.register(ctx, id, invite),
            Command::Sync => self.syncing.push(id),
            Command::PostLetters => self.post.finish_when_posted(id),
            command => {
                let mut house = House { people: &mut self.people, log: &mut self.log, blobs: &mut self.blobs };
                commands::run(ctx, &mut house, id, command)?;
            }
        }
        Ok(())
    }

    /// Does whatever has become possible or due.
    fn drive(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for link in [Link::Device, Link::Anonymous] {
            match ctx.links.deadline(link) {
                Some(deadline) if deadline <= ctx.now => {
                    ctx.links.give_up(link);
                    ctx.disconnect(link);
                }
                Some(deadline) => ctx.wake(deadline, "a request has no answer yet"),
                None => {}
            }
        }
        self.log.take_due(ctx);
        self.people.drive(ctx)?;
        self.supplies.drive(ctx)?;
        self.deliver(ctx)?;
        loop {
            while let Some(id) = ctx.dirty.pop_first() {
                self.drive_conversation(ctx, id)?;
            }
            self.post.drive(ctx, &mut self.blobs)?;
            self.log.drive_requests(ctx, &mut self.blobs)?;
            self.deliver(ctx)?;
            if ctx.dirty.is_empty() && ctx.mail.is_empty() {
                break;
            }
        }
        self.settle(ctx)?;
        self.log.wake(ctx);
        Ok(())
    }

    fn drive_conversation(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let Some(mut progress) = ctx.txn.load(&id)? else { return Ok(()) };
        if self.log.is_caught_up(&id) {
            progress = talk::receipts::answer(ctx, id, progress)?;
        }
        self.log.drive(ctx, id, progress)?;
        self.deliver(ctx)
    }

    /// Hands over the mail: to each room what those below it have for it.
    fn deliver(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for waiting in self.people.take_mail(ctx) {
            self.command(ctx, waiting.id, waiting.command)?;
        }
        self.supplies.take_mail(ctx);
        self.post.take_mail(ctx);
        self.log.take_mail(ctx)?;
        talk::take_mail(ctx)
    }

    /// Whoever waits for everything to be fetched and sent is told.
    fn settle(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if self.syncing.is_empty() {
            return Ok(());
        }
        let settled = ctx.links.is_ready(Link::Device)
            && ctx.links.is_ready(Link::Anonymous)
            && self.supplies.are_there()
            && self.post.expected == 0
            && self.people.is_settled(ctx)?
            && post::outbox::is_empty(ctx)?
            && blobs::all_settled(ctx)?
            && self.log.is_settled(ctx)?;
        if settled {
            for command in std::mem::take(&mut self.syncing) {
                ctx.finish(command, Ok(Outcome::Done));
            }
        }
        Ok(())
    }
}

/// What becomes of an input when nobody is signed up.
fn without_account(input: &Input) -> Step {
    let mut step = Step { changes: Vec::new(), effects: Vec::new(), wake_at: None };
    if let Input::Command { id, .. } = input {
        let result = Err(CommandError::NoAccount);
        step.effects.push(Effect::Event(Event::Finished { command: *id, result }));
    }
    step
}
