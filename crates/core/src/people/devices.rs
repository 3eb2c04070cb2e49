//! What this device writes into the log of its own account.

use stonechat_wire::{AccountLog, DeviceId, List, LogBody, LogEntry, Request, Signer};

use super::accounts::{Contact, known, learn};
use super::{People, Question};
use crate::api::{CommandError, CommandId, Link, Outcome};
use crate::error::{Answer, CoreError, refusal_of};
use crate::step::Ctx;
use crate::store::Read as _;

impl People {
    /// Signs a device out of this account's log. The answer comes when the server has it.
    pub(crate) fn revoke_device(&mut self, ctx: &mut Ctx<'_>, command: CommandId, device: DeviceId) -> Answer<()> {
        let me = ctx.me;
        if device == me.record.device {
            return Err(CommandError::ThisDevice.into());
        }
        let account = me.account();
        let signing = me.signing.clone();
        let by = Signer::Device(me.record.device);
        let Some(state) = known(ctx, &account)? else {
            return Err(CoreError::bug("this account's log is missing").into());
        };
        if state.device(&device).is_none() {
            return Err(CommandError::UnknownDevice(device).into());
        }
        if !ctx.links.is_ready(Link::Device) {
            return Err(CommandError::Offline.into());
        }
        let (_, previous) = state.head();
        let entry = LogEntry::sign(&LogBody::RevokeDevice { previous, device, at: ctx.now }, &[(by, &signing)]);
        self.questions.ask(
            ctx,
            Link::Device,
            Request::ExtendAccount { account, entry: entry.clone() },
            Question::ExtendAccount { command, entry },
        );
        Ok(())
    }

    pub(super) fn account_extended(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: CommandId,
        entry: LogEntry,
    ) -> Result<(), CoreError> {
        let account = ctx.me.account();
        let contact =
            ctx.txn.load::<Contact>(&account)?.ok_or_else(|| CoreError::bug("this account's log is missing"))?;
        let mut entries = contact.log.0.into_vec();
        entries.push(entry);
        let result = match List::new(entries) {
            Ok(entries) => match refusal_of(learn(ctx, &AccountLog(entries), Some(account)))? {
                Ok(_) => Ok(Outcome::Done),
                // Another device was faster: the watch brings its entry, and the person may try again.
                Err(_) => Err(CommandError::Overtaken),
            },
            Err(_) => Err(CommandError::LogFull),
        };
        self.monitor.look_at(ctx.now.plus_secs(1));
        ctx.finish(command, result);
        Ok(())
    }
}
