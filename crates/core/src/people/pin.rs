//! The directory's policy: pinned at the first use, once and for all.

use sha2::{Digest as _, Sha256};
use stonechat_directory::DirectoryPolicy;

use super::alarms::{Finding, raise};
use super::belief::{pinned, policy};
use crate::api::AlarmKind;
use crate::error::CoreError;
use crate::step::Ctx;

pub(super) fn policy_answered(ctx: &mut Ctx<'_>, json: &[u8]) -> Result<(), CoreError> {
    let Ok(offered) = DirectoryPolicy::from_json(json) else {
        raise(
            ctx,
            Finding::new(AlarmKind::Policy, b"malformed", "The server's directory policy cannot be read.".into(), None),
        );
        return Ok(());
    };
    match policy(&ctx.txn)? {
        // Trust on first use, once and for all.
        None => {
            ctx.txn.apply(pinned(&offered));
            ctx.mail.policy_pinned = true;
        }
        Some(pinned) if pinned == offered => {}
        Some(_) => {
            let what =
                "The server gives out another directory policy than the one that was pinned when this account was \
                        made. The pinned one still counts. If the operator has not announced other keys, do not trust \
                        this server."
                    .to_owned();
            raise(ctx, Finding::new(AlarmKind::Policy, &Sha256::digest(json), what, None));
        }
    }
    Ok(())
}
