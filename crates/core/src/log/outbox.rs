//! Entries of this device on their way to a conversation's log: encrypted when their turn comes, sent until the log shows them.

use stonechat_wire::limits::ENTRY_BYTES_MAX;
use stonechat_wire::{Bytes, Capability, ConversationId, EntryKind, ErrorCode, Failure, Request, Seq, Timestamp};

use super::rows::{Outgoing, Progress, Sealed, outgoing};
use super::{Log, Question};
use crate::api::Link;
use crate::content::{Content, LogView, MessageId};
use crate::crypto::outer::OuterKind;
use crate::error::CoreError;
use crate::limits::IN_FLIGHT_MAX;
use crate::people::heads::tell;
use crate::step::{Ctx, News};
use crate::store::Read as _;

/// Puts content into the outbox. Returns its number there, which only grows.
pub(crate) fn enqueue(
    ctx: &mut Ctx<'_>,
    conversation: ConversationId,
    id: MessageId,
    content: Vec<u8>,
    visible: bool,
) -> Result<u64, CoreError> {
    let mut progress: Progress = ctx.txn.need(&conversation)?;
    let number = progress.next_out;
    progress.next_out += 1;
    ctx.txn.store(&conversation, &progress);
    ctx.txn.store(&(conversation, number), &Outgoing { content, id, visible, sealed: None });
    ctx.dirty.insert(conversation);
    Ok(number)
}

impl Log {
    /// Sends what waits. While a commit has to come first (`blocked`), only what was encrypted already.
    pub(super) fn drive_outbox(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        blocked: bool,
    ) -> Result<(), CoreError> {
        let rows = outgoing(&ctx.txn, &id, IN_FLIGHT_MAX)?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut progress = ctx.txn.need::<Progress>(&id)?;
        let write = *self.secrets(ctx, id)?.write.danger_bytes();
        for (number, mut out) in rows {
            if self.live.get(&id).is_some_and(|live| live.posted.contains(&number)) {
                continue;
            }
            let blob = match &out.sealed {
                // Acknowledged: the log will show it.
                Some(sealed) if sealed.epoch == progress.epoch && sealed.acknowledged.is_some() => continue,
                Some(sealed) if sealed.epoch == progress.epoch => sealed.blob.clone(),
                // A proposal dies with its epoch.
                Some(_) if out.content.is_empty() => {
                    ctx.txn.remove::<Outgoing>(&(id, number));
                    continue;
                }
                _ if blocked => continue,
                _ => {
                    let blob = self.seal(ctx, id, &mut progress, &out)?;
                    out.sealed = Some(Sealed { epoch: progress.epoch, blob: blob.clone(), acknowledged: None });
                    ctx.txn.store(&(id, number), &out);
                    blob
                }
            };
            let request = Request::Append {
                conversation: id,
                epoch: progress.epoch,
                epoch_id: progress.epoch_id,
                write: Capability::from_bytes(write),
                kind: EntryKind::Application,
                skip: None,
                ttl_secs: None,
                blob: Bytes::<ENTRY_BYTES_MAX>::new(blob)
                    .map_err(|_| CoreError::bug("a message over the entry's bound"))?,
            };
            self.live.entry(id).or_default().posted.push(number);
            self.questions.ask(
                ctx,
                Link::Anonymous,
                request,
                Question::AppendMessage { conversation: id, number, epoch: progress.epoch },
            );
        }
        Ok(())
    }

    fn seal(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        out: &Outgoing,
    ) -> Result<Vec<u8>, CoreError> {
        let mut content = Content::decode(&out.content).map_err(|_| CoreError::bug("an outbox row does not decode"))?;
        content.view = progress.view.last().map(|point| LogView { seq: point.seq, hash: point.hash });
        if let Some((told, said)) = tell(ctx, progress.told)? {
            progress.told = Some(told);
            content.told = Some(said);
            ctx.txn.store(&id, &*progress);
        }
        let mls_message = self.with_group(ctx, id, |group, mls, me| {
            group.encrypt(mls, &me.signer, &content.encode(), &[]).map_err(CoreError::from)
        })?;
        self.secrets(ctx, id)?
            .outer
            .seal(ctx.rng, &id, &progress.epoch_id, OuterKind::Application, &mls_message)
            .map_err(|e| CoreError::Bug(format!("sealing a message: {e}")))
    }

    pub(super) fn message_acknowledged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        number: u64,
        epoch: Seq,
        seq: Seq,
        time: Timestamp,
    ) -> Result<(), CoreError> {
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        let Some(mut out) = ctx.txn.load::<Outgoing>(&(id, number))? else { return Ok(()) };
        let Some(sealed) = out.sealed.as_mut().filter(|sealed| sealed.epoch == epoch) else { return Ok(()) };
        sealed.acknowledged = Some(seq);
        ctx.txn.store(&(id, number), &out);
        if out.visible {
            ctx.mail.messages.push(News::Sent { conversation: id, id: out.id, time, seq });
        }
        if let Some(mut progress) = ctx.txn.load::<Progress>(&id)?.filter(|progress| seq <= progress.cursor) {
            self.lost_before(ctx, id, &mut progress)?;
            ctx.txn.store(&id, &progress);
        }
        ctx.dirty.insert(id);
        Ok(())
    }

    pub(super) fn message_refused(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, number: u64, failure: &Failure) {
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        match failure.code {
            // What ended the epoch arrives by the log, and then it is encrypted again. A second look in case it does not.
            ErrorCode::EpochOver => self.at(ctx.now.plus_millis(1_000), id),
            _ => self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2))), id),
        }
        // Until then nothing is posted blindly.
        if let Some(live) = self.live.get_mut(&id) {
            live.caught_up = false;
            live.following = None;
        }
    }
}
