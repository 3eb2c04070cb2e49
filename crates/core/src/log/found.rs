//! Conversations that begin here, and those that cannot be.

use stonechat_wire::{AccountId, ConversationId, EpochId, ErrorCode, Failure, Request, Seq, first_epoch_id};

use super::join::prefer_direct;
use super::policy::GroupState;
use super::rows::{Direct, Info, Intent, Outgoing, Phase, Progress, direct, outgoing};
use super::{Log, Question};
use crate::api::{Event, Hold, Link};
use crate::error::CoreError;
use crate::mls::{Group, Mls};
use crate::step::{Ctx, News};
use crate::store::Read as _;
use crate::supplies::take_token;

impl Log {
    /// Makes a conversation with this device alone in it, and means to add the others.
    pub(crate) fn found(
        &mut self,
        ctx: &mut Ctx<'_>,
        state: &GroupState,
        peer: Option<AccountId>,
        members: &[AccountId],
    ) -> Result<ConversationId, CoreError> {
        let id = ConversationId(ctx.random());
        let me = ctx.me;
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let group = Group::create(&mls, &me.signer, me.leaf(), &id.0, state.encode())?;
        self.live.entry(id).or_default().group = Some(group);
        let progress = Progress::new(Phase::Founding, Seq(0), EpochId([0; 32]));
        let intents = members.iter().map(|account| Intent::Add(*account, Vec::new())).collect();
        let info =
            Info { peer, state: state.encode(), leaves: Vec::new(), intents, hold: None, opening: !members.is_empty() };
        ctx.txn.store(&id, &progress);
        ctx.txn.store(&id, &info);
        if let Some(peer) = peer {
            prefer_direct(ctx, peer, id)?;
        }
        self.refresh_info(ctx, id)?;
        ctx.dirty.insert(id);
        Ok(id)
    }
}

impl Log {
    pub(super) fn create_on_server(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        if self.questions.has(|q| matches!(q, Question::CreateConversation(c) if *c == id)) {
            return Ok(());
        }
        let first = self.secrets(ctx, id)?.caps();
        let Some(token) = take_token(ctx)? else { return Ok(()) };
        self.questions.ask(
            ctx,
            Link::Anonymous,
            Request::CreateConversation { conversation: id, first, token },
            Question::CreateConversation(id),
        );
        Ok(())
    }

    pub(super) fn conversation_created(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let first = self.secrets(ctx, id)?.caps();
        let Some(mut progress) = ctx.txn.load::<Progress>(&id)?.filter(|progress| progress.phase == Phase::Founding)
        else {
            return Ok(());
        };
        progress.phase = Phase::Live;
        progress.enter(Seq(1), first_epoch_id(&id, &first));
        ctx.txn.store(&id, &progress);
        ctx.dirty.insert(id);
        Ok(())
    }

    pub(super) fn creation_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match failure.code {
            // Another token next time.
            ErrorCode::InvalidToken | ErrorCode::Unavailable | ErrorCode::Slow => {
                self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(1))), id);
                Ok(())
            }
            _ => give_up(ctx, id, Hold::NotMade(Some(failure.code))),
        }
    }
}

/// The conversation cannot be: its messages fail, visibly.
pub(crate) fn give_up(ctx: &mut Ctx<'_>, id: ConversationId, why: Hold) -> Result<(), CoreError> {
    let (Some(mut progress), Some(mut info)) = (ctx.txn.load::<Progress>(&id)?, ctx.txn.load::<Info>(&id)?) else {
        return Ok(());
    };
    progress.phase = Phase::Gone;
    ctx.txn.store(&id, &progress);
    for (number, out) in outgoing(&ctx.txn, &id, usize::MAX)? {
        ctx.txn.remove::<Outgoing>(&(id, number));
        if out.visible {
            ctx.mail.messages.push(News::Failed { conversation: id, id: out.id });
        }
    }
    if let Some(peer) = info.peer
        && direct(&ctx.txn, &peer)? == Some(id)
    {
        ctx.txn.remove::<Direct>(&peer);
    }
    info.hold = Some(why);
    info.intents.clear();
    ctx.txn.store(&id, &info);
    ctx.event(Event::Conversation(id));
    Ok(())
}
