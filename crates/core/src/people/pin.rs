//! The directory's policy: pinned at the first use, once and for all.

use sha2::{Digest as _, Sha256};
use stonechat_directory::DirectoryPolicy;

use super::alarms::{Raised, raise};
use super::belief::{pinned, policy};
use crate::api::{AlarmKind, Finding};
use crate::error::CoreError;
use crate::step::Ctx;

pub(super) fn policy_answered(ctx: &mut Ctx<'_>, json: &[u8]) -> Result<(), CoreError> {
    let Ok(offered) = DirectoryPolicy::from_json(json) else {
        raise(ctx, Raised::new(AlarmKind::Policy, b"malformed", Finding::PolicyUnreadable, None));
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
            raise(ctx, Raised::new(AlarmKind::Policy, &Sha256::digest(json), Finding::OtherPolicy, None));
        }
    }
    Ok(())
}
