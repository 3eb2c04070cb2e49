//! How a step ends early: refused, which somebody is told of, or by a fault, which undoes the step.

use crate::api::CommandError;
use crate::store::VaultError;

/// The core cannot go on: the vault cannot be read, or this is our own bug. Drop the [`crate::Core`] and open it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An assumption of ours does not hold.
    #[error("this is a fault in Stonechat: {0}")]
    Bug(String),
}

impl CoreError {
    pub(crate) fn bug(what: impl Into<String>) -> Self {
        Self::Bug(what.into())
    }
}

/// Why something did not happen.
#[derive(Debug)]
pub(crate) enum Stop<R> {
    /// It may not be. Whoever asked for it is told why, and the step goes on.
    Refused(R),
    /// The step fails.
    Fault(CoreError),
}

/// What becomes of something that a person asked for.
pub(crate) type Answer<T> = Result<T, Stop<CommandError>>;

/// What becomes of something that a peer or the server sent, with a code for why it is refused.
pub(crate) type Judged<T, R> = Result<T, Stop<R>>;

impl<R> From<CoreError> for Stop<R> {
    fn from(fault: CoreError) -> Self {
        Self::Fault(fault)
    }
}

impl<R> From<VaultError> for Stop<R> {
    fn from(fault: VaultError) -> Self {
        Self::Fault(fault.into())
    }
}

impl From<CommandError> for Stop<CommandError> {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

/// A peer's fault.
pub(crate) fn refuse<T, R>(why: R) -> Judged<T, R> {
    Err(Stop::Refused(why))
}

/// Parts what was refused, which is handled here, from a fault, which is not.
pub(crate) fn refusal_of<T, R>(result: Result<T, Stop<R>>) -> Result<Result<T, R>, CoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(why)) => Ok(Err(why)),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_handled_and_a_fault_is_passed_on() {
        assert_eq!(refusal_of(Ok::<_, Stop<String>>(1)).unwrap(), Ok(1));
        assert_eq!(refusal_of(refuse::<(), _>("no")).unwrap(), Err("no"));
        let damaged = VaultError { detail: "damaged".into() };
        let fault: Result<(), Stop<String>> = Err(damaged.into());
        assert!(matches!(refusal_of(fault), Err(CoreError::Vault(_))));
        let bug: Answer<()> = Err(CoreError::bug("impossible").into());
        assert!(matches!(refusal_of(bug), Err(CoreError::Bug(_))));
        let refused: Answer<()> = Err(CommandError::Offline.into());
        assert!(matches!(refusal_of(refused), Ok(Err(CommandError::Offline))));
    }
}
