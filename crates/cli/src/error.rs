//! What is said when something cannot be done: a code for programs, a text for people, and how the process ends.
//!
//! Exit codes: 0 done (or saved, to be done later), 1 unexpected, 2 wrong input, 3 no server, 4 not found, 5 refused,
//! 6 the home or its vault. With `--json` the error is one line on stderr: `{"error":{"code":"…","message":"…"}}`.

use std::fmt;
use std::io;

use stonechat_client::{ClientError, CommandError, HomeError, KeyError, OpenError, SignUpError, VaultProblem};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For programs; never changes.
    pub code: &'static str,
    /// How the process ends.
    pub exit: Exit,
    /// What happened, what it means, what to do.
    pub message: String,
    /// The client's own code with its fields, where the client said no; for programs.
    pub reason: Option<CommandError>,
}

/// The kinds of failure, by who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Nobody expected it.
    Unexpected = 1,
    /// What was typed.
    Input = 2,
    /// The server is not there.
    Offline = 3,
    /// No such person, conversation or request.
    NotFound = 4,
    /// The server or the rules of a group say no.
    Refused = 5,
    /// The home or the vault.
    Home = 6,
}

impl Failure {
    pub(crate) fn new(code: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        Self { code, exit, message: message.into(), reason: None }
    }

    /// Wrong input.
    pub(crate) fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Exit::Input, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new("broken_pipe", Exit::Unexpected, "nobody reads this output any more");
        }
        Self::new("io", Exit::Unexpected, format!("input or output failed: {error}"))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        let code = match &error {
            OpenError::Home(HomeError::Missing { .. }) | OpenError::NoAccount { .. } => {
                return Self::new(
                    "no_account",
                    Exit::Home,
                    format!("{message}. Type: stonechat signup @you --server https://…"),
                );
            }
            OpenError::Home(HomeError::InUse { .. }) => "home_in_use",
            OpenError::Home(HomeError::Io { .. }) => "home_unusable",
            OpenError::Key(KeyError::PassphraseNeeded { .. }) => {
                return Self::new(
                    "passphrase_needed",
                    Exit::Home,
                    format!("{message} in the variable STONECHAT_PASSPHRASE, or run this in a terminal"),
                );
            }
            OpenError::Key(KeyError::PassphraseUnexpected { .. }) => {
                return Self::new(
                    "passphrase_unexpected",
                    Exit::Home,
                    format!("{message}: unset STONECHAT_PASSPHRASE"),
                );
            }
            OpenError::Key(KeyError::WrongPassphrase) => "wrong_passphrase",
            OpenError::Key(KeyError::EmptyPassphrase) => "empty_passphrase",
            OpenError::Key(_) => "key_unusable",
            OpenError::Vault(problem) => vault_code(problem),
            OpenError::Unreadable(_) => "vault_corrupt",
            OpenError::Address(_) => "bad_address",
        };
        Self::new(code, Exit::Home, message)
    }
}

impl From<SignUpError> for Failure {
    fn from(error: SignUpError) -> Self {
        let message = error.to_string();
        match error {
            SignUpError::Open(error) => error.into(),
            SignUpError::AlreadySignedUp { .. } => Self::new("already_signed_up", Exit::Home, message),
            SignUpError::Server(_) => Self::new("offline", Exit::Offline, message),
            SignUpError::Refused(error) => error.into(),
            SignUpError::Unconfirmed { .. } => Self::new("unconfirmed", Exit::Offline, message),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        let (code, exit, next) = match &error {
            CommandError::Offline => ("offline", Exit::Offline, None),
            CommandError::NoAccount => ("no_account", Exit::Home, Some("stonechat signup @you --server https://…")),
            CommandError::HandleTaken(_) => ("handle_taken", Exit::Refused, None),
            CommandError::UnknownHandle(_) => ("unknown_handle", Exit::NotFound, None),
            CommandError::NotReady(_) => ("not_ready", Exit::Refused, None),
            CommandError::Untrusted(..) => ("untrusted", Exit::Refused, None),
            CommandError::Yourself => ("yourself", Exit::Input, None),
            CommandError::UnknownConversation => {
                ("unknown_conversation", Exit::NotFound, Some("stonechat conversations"))
            }
            CommandError::UnknownRequest(_) => ("unknown_request", Exit::NotFound, Some("stonechat requests")),
            CommandError::NotAllowed(_) => ("not_allowed", Exit::Refused, None),
            CommandError::Invalid(_) => ("invalid", Exit::Input, None),
            CommandError::Refused { .. } => ("refused", Exit::Refused, None),
            CommandError::Overtaken => ("overtaken", Exit::Refused, None),
            CommandError::LogFull => ("log_full", Exit::Refused, None),
            CommandError::Directory(_) => ("not_proven", Exit::Offline, None),
            CommandError::StartedOver(_) => ("started_over", Exit::Refused, Some("stonechat requests")),
            CommandError::Mismatch(_) => ("mismatch", Exit::Refused, None),
            CommandError::UnknownDevice(_) => ("unknown_device", Exit::NotFound, Some("stonechat devices")),
            CommandError::ThisDevice => ("this_device", Exit::Input, None),
            CommandError::UnknownAlarm => ("unknown_alarm", Exit::NotFound, Some("stonechat alarms")),
        };
        Self { reason: Some(error), ..Self::new(code, exit, with_next(message, next)) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Command(error) => error.into(),
            ClientError::NoTarget { .. } => {
                Self::new("unknown_target", Exit::NotFound, with_next(message, Some("stonechat conversations")))
            }
            ClientError::Ambiguous { .. } => Self::new("ambiguous_target", Exit::Input, message),
            ClientError::Offline { .. } => Self::new("offline", Exit::Offline, message),
            ClientError::Saved { .. } => Self::new("saved", Exit::Offline, with_next(message, Some("stonechat sync"))),
            ClientError::NotSent { .. } => Self::new("not_sent", Exit::Refused, message),
            ClientError::TimedOut { .. } => Self::new("timed_out", Exit::Offline, message),
            ClientError::Vault(problem) => Self::new(vault_code(&problem), Exit::Home, message),
            ClientError::Unreadable(_) => Self::new("vault_corrupt", Exit::Home, message),
            ClientError::Busy(_) => Self::new("busy", Exit::Unexpected, message),
            ClientError::Stopped { .. } => Self::new("stopped", Exit::Home, message),
        }
    }
}

fn vault_code(problem: &VaultProblem) -> &'static str {
    match problem {
        VaultProblem::Corrupt { .. } => "vault_corrupt",
        VaultProblem::Newer { .. } => "vault_newer",
        VaultProblem::Upgrade { .. } => "vault_not_upgraded",
        VaultProblem::Full { .. } => "disk_full",
        VaultProblem::NotWritable { .. } | VaultProblem::Io { .. } => "vault_unusable",
    }
}

fn with_next(message: String, next: Option<&str>) -> String {
    match next {
        Some(next) => format!("{message}. Type: {next}"),
        None => message,
    }
}
