//! The command line. Secrets are never arguments: a process list would show them.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use stonechat_client::{InviteCode, Text};

use crate::audit::AuditArgs;

/// Encrypted direct messages. Without a command, a full-screen interface.
#[derive(Debug, Parser)]
#[command(name = "stonechat", version, after_long_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// The folder of the account on this machine [default: stonechat in the system's folder for data]
    #[arg(long, global = true, env = "STONECHAT_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Answer in JSON, one object a line; errors too, on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell on stderr what is being done; twice for more. Never what is said
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account; shows 24 words for a later recovery, once
    Signup {
        /// Who you want to be: 1 to 15 of a-z 0-9 _
        #[arg(value_name = "@HANDLE")]
        handle: String,
        /// The server's address, as https://chat.example.org
        #[arg(long, value_name = "URL")]
        server: String,
        /// Ask for a passphrase that protects the account's files (or set STONECHAT_PASSPHRASE)
        #[arg(long)]
        passphrase: bool,
        /// Where sign-up is closed: the code of an invitation, from whoever runs the server
        #[arg(long, value_name = "CODE")]
        invite: Option<InviteCode>,
        /// The directory's policy, as the operator publishes it; without it, the one that the server gives out is pinned
        #[arg(long, value_name = "FILE")]
        directory_policy: Option<PathBuf>,
    },
    /// Who you are here
    Whoami,
    /// All conversations, the latest first
    Conversations,
    /// Who wants to write to you
    Requests,
    /// Accept somebody's request
    Accept {
        /// The person who asked
        #[arg(value_name = "@HANDLE")]
        handle: String,
    },
    /// Decline somebody's request; they are not told
    Decline {
        /// The person who asked
        #[arg(value_name = "@HANDLE")]
        handle: String,
    },
    /// Send what waits and take what waits
    Sync,
    /// Send a text; returns when the server has it
    Send {
        /// @handle, or a group's name or id
        target: String,
        /// The text, or - to read it from standard input
        #[arg(allow_hyphen_values = true)]
        text: Text,
    },
    /// Show messages, oldest first, and mark them as read
    Read {
        /// @handle, or a group's name or id
        target: String,
        /// Go on showing new ones until Ctrl-C
        #[arg(long, short)]
        follow: bool,
        /// How many of the latest
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        limit: u32,
    },
    /// Make and change groups
    #[command(subcommand)]
    Group(Group),
    /// Show the safety number that you share with somebody: 60 digits and a QR code
    Safety {
        /// The other person
        #[arg(value_name = "@HANDLE")]
        handle: String,
    },
    /// Compare what somebody reads out or shows with your safety number, and mark them as verified
    #[command(group = clap::ArgGroup::new("shown").required(true))]
    Verify {
        /// The other person
        #[arg(value_name = "@HANDLE")]
        handle: String,
        /// The 60 digits that they see, with or without spaces
        #[arg(group = "shown", value_name = "DIGITS")]
        digits: Vec<String>,
        /// The text of their QR code instead
        #[arg(long, group = "shown", value_name = "TEXT")]
        scan: Option<String>,
    },
    /// Why a conversation's lock is closed or open: everything that was checked
    Why {
        /// @handle, or a group's name or id
        target: String,
    },
    /// The devices of your account
    Devices,
    /// Change the devices of your account
    #[command(subcommand)]
    Device(Device),
    /// What was found that must not be: devices that you did not add, a directory that lies
    Alarms {
        /// Put one away, once it is settled
        #[arg(long, value_name = "ID")]
        dismiss: Option<String>,
    },
    /// Verify a directory's whole history from the outside, or judge a file of evidence; needs no account
    Audit(AuditArgs),
}

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Take a device out of your account, for good: it reads nothing new
    Revoke {
        /// Its id, from the list of devices
        #[arg(value_name = "ID")]
        device: String,
    },
}

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Make a group
    Create {
        /// What it is called
        name: Text,
        /// Who else is in it
        #[arg(value_name = "@HANDLE")]
        members: Vec<String>,
    },
    /// Add people
    Add {
        /// Its name or id
        group: String,
        /// Whom
        #[arg(value_name = "@HANDLE", required = true)]
        members: Vec<String>,
    },
    /// Remove somebody
    Remove {
        /// Its name or id
        group: String,
        /// Whom
        #[arg(value_name = "@HANDLE")]
        member: String,
    },
    /// Leave
    Leave {
        /// Its name or id
        group: String,
    },
    /// Who is in it
    Members {
        /// Its name or id
        group: String,
    },
    /// Call it something else
    Rename {
        /// Its name or id
        group: String,
        /// The new name
        name: Text,
    },
    /// Make somebody a member, an admin or the owner
    Role {
        /// Its name or id
        group: String,
        /// The member
        #[arg(value_name = "@HANDLE")]
        member: String,
        /// What they become
        role: RoleName,
    },
}

/// A role as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Writes
    Member,
    /// Also adds and removes people and renames the group
    Admin,
    /// Also gives roles; the giver becomes an admin
    Owner,
}

const AFTER_HELP: &str = "\
Environment:
  STONECHAT_HOME        stands in for --home
  STONECHAT_PASSPHRASE  stands in for the prompt, where the home has a passphrase
  NO_COLOR              no colours

Without --home: $XDG_DATA_HOME/stonechat or ~/.local/share/stonechat; on macOS
~/Library/Application Support/stonechat; on Windows %APPDATA%\\stonechat.

Exit codes:
  0 done, or saved and sent later   1 unexpected     2 wrong input   3 no server
  4 not found                       5 refused        6 the home or its vault";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("stonechat").chain(line.split_whitespace()))
    }

    #[test]
    fn every_documented_command_parses() {
        for line in [
            "",
            "--home /tmp/a signup @alice --server http://127.0.0.1:1",
            "signup @alice --server http://127.0.0.1:1 --directory-policy policy.json",
            "whoami --json",
            "--json conversations",
            "requests",
            "accept @bob",
            "decline @bob",
            "sync -vv",
            "send @bob hello",
            "send team -",
            "send @bob -hello",
            "send @bob --json hello",
            "send @bob hello --json",
            "send @bob -- --json",
            "read @bob --follow --limit 5",
            "read team -f -n 1",
            "group create team @bob @carol",
            "group add team @dave",
            "group remove team @dave",
            "group leave team",
            "group members team --json",
            "group rename team crew",
            "group role team @dave admin",
            "safety @bob",
            "verify @bob 12345 67890",
            "verify @bob --scan STONECHAT:1:A:B",
            "why @bob",
            "devices --json",
            "device revoke 00112233445566778899aabbccddeeff",
            "alarms",
            "alarms --dismiss 00112233445566778899aabbccddeeff",
            "audit https://chat.example.org --json",
            "audit --evidence file.json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        for line in [
            "send @bob",
            "read",
            "signup @alice",
            "group add team",
            "group role team @dave king",
            "read @bob --limit x",
            "verify @bob",
            "verify @bob 12345 --scan x",
            "device revoke",
            "nonsense",
            "help",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_text_may_look_like_an_option_and_options_may_stand_anywhere() {
        let text = |line| match parse(line).unwrap() {
            Args { command: Some(Command::Send { text, .. }), json, .. } => (text, json),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("send @bob hello --json"), ("hello".into(), true));
        assert_eq!(text("send @bob --json hello"), ("hello".into(), true));
        assert_eq!(text("send @bob -hello"), ("-hello".into(), false));
        assert_eq!(text("send @bob -"), ("-".into(), false));
        assert_eq!(text("send @bob -- --json"), ("--json".into(), false));
    }

    #[test]
    fn no_argument_takes_a_secret() {
        use clap::CommandFactory as _;
        let help = Args::command().render_long_help().to_string();
        assert!(!help.contains("--passphrase <") && !help.contains("[env: STONECHAT_PASSPHRASE"));
        Args::command().debug_assert();
    }
}
