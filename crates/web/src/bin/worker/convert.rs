//! The client's troubles as faults that a page has words for.

use stonechat_client::{
    self as client, ClientError, CommandError, ConnectError, ConnectionStatus, HomeError, KeyError, NotAllowed, Note,
    OpenError, SignUpError, VaultProblem,
};
use stonechat_web::protocol::{Connection, Fault, Lasting};
use stonechat_wire::ErrorCode;

pub(crate) fn connection(status: &ConnectionStatus) -> Connection {
    if status.is_ready() {
        return Connection::Ready;
    }
    if status.stopped {
        return Connection::Stopped { why: status.note.as_ref().and_then(stopped) };
    }
    let mut troubles =
        [&status.device, &status.anonymous].into_iter().filter_map(|link| link.trouble.as_ref()).peekable();
    if status.note.is_none() && troubles.peek().is_none() {
        return Connection::Opening;
    }
    Connection::Offline { lasting: troubles.find_map(lasting) }
}

fn stopped(note: &Note) -> Option<Fault> {
    match note {
        Note::Vault(problem) => Some(vault_fault(problem)),
        Note::Fault(detail) => Some(Fault::StorageBroken { detail: detail.clone() }),
        Note::Refused(_) => None,
    }
}

fn lasting(trouble: &ConnectError) -> Option<Lasting> {
    match trouble {
        ConnectError::NotStonechat { .. } => Some(Lasting::NotStonechat),
        ConnectError::Tls { .. } => Some(Lasting::Insecure),
        ConnectError::Closed { failure, .. } if failure.code == ErrorCode::Version => Some(Lasting::Version),
        ConnectError::Closed { .. }
        | ConnectError::Resolve { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Unavailable { .. }
        | ConnectError::Lost { .. } => None,
    }
}

pub(crate) fn client_fault(error: ClientError) -> Fault {
    match error {
        ClientError::Command(error) => Fault::Command(error),
        ClientError::Vault(problem) => vault_fault(&problem),
        ClientError::NoTarget { .. } | ClientError::Ambiguous { .. } => CommandError::UnknownConversation.into(),
        ClientError::Offline { .. } => CommandError::Offline.into(),
        ClientError::Saved { .. } | ClientError::TimedOut { .. } => Fault::TimedOut,
        ClientError::NotSent { .. } => CommandError::NotAllowed(NotAllowed::NotInConversation).into(),
        ClientError::Unreadable(error) => Fault::StorageBroken { detail: error.to_string() },
        ClientError::Busy(_) => Fault::Busy,
        ClientError::Stopped { .. } => Fault::Stopped,
    }
}

pub(crate) fn open_fault(error: &OpenError) -> Fault {
    match error {
        OpenError::Vault(problem) => vault_fault(problem),
        OpenError::Home(HomeError::NoStorage { .. }) | OpenError::Key(KeyError::NoStorage { .. }) => Fault::NoStorage,
        OpenError::Home(HomeError::InUse { .. }) => Fault::OtherTab,
        OpenError::Home(HomeError::Missing { .. }) | OpenError::NoAccount { .. } => CommandError::NoAccount.into(),
        OpenError::Key(KeyError::NoCrypto) => Fault::Unsupported { detail: "Web Crypto".into() },
        OpenError::Home(HomeError::Io { .. })
        | OpenError::Key(KeyError::Missing | KeyError::Malformed)
        | OpenError::Unreadable(_)
        | OpenError::Address(_) => Fault::StorageBroken { detail: error.to_string() },
    }
}

pub(crate) fn sign_up_fault(error: &SignUpError) -> Fault {
    match error {
        SignUpError::Open(error) => open_fault(error),
        SignUpError::Refused(error) => Fault::Command(error.clone()),
        SignUpError::AlreadySignedUp { handle, .. } => Fault::AlreadySignedUp { handle: handle.clone() },
        SignUpError::Server(_) => client::CommandError::Offline.into(),
        SignUpError::Unconfirmed { .. } => Fault::Unconfirmed,
    }
}

fn vault_fault(problem: &VaultProblem) -> Fault {
    match problem {
        VaultProblem::Full { .. } => Fault::StorageFull,
        VaultProblem::Newer { .. } => Fault::StorageNewer,
        VaultProblem::Corrupt { detail, .. }
        | VaultProblem::Upgrade { detail, .. }
        | VaultProblem::NotWritable { detail, .. }
        | VaultProblem::Io { detail, .. } => Fault::StorageBroken { detail: detail.clone() },
    }
}
