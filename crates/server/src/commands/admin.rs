//! `stonechatd admin`: asks the server that runs on a data folder, and shows what it says.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use stonechat_server::admin::client::ask;
use stonechat_wire::Handle;

use super::{Place, print, runtime};

#[derive(Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    place: Place,
    /// Prints the server's answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Admin,
}

#[derive(Subcommand)]
enum Admin {
    /// How the server is: connections, directory, storage.
    Status,
    /// The accounts, in the order in which they signed up.
    Accounts {
        /// Behind this place; the end of an answer says which.
        #[arg(long, value_name = "PLACE", default_value_t = 0)]
        after: u64,
        /// How many at most, up to 1000.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// One account.
    Account {
        /// Whose.
        #[arg(value_name = "@HANDLE")]
        handle: Handle,
    },
    /// Keeps an account from logging in, and ends its connections. It can still write in conversations that it is in:
    /// nobody can tell there who writes.
    Suspend {
        /// Whose.
        #[arg(value_name = "@HANDLE")]
        handle: Handle,
        /// Why, for its devices to say; at most 200 bytes.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Ends a suspension.
    Resume {
        /// Whose.
        #[arg(value_name = "@HANDLE")]
        handle: Handle,
    },
    /// Makes an invitation for closed sign-up. Its code is shown this once.
    Invite {
        /// How many accounts it may make, up to 1000.
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        uses: u32,
        /// How many days it is good, up to 366.
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        days: u32,
        /// For you, to know it again; at most 200 bytes.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// The invitations that are still good.
    Invites,
    /// Ends an invitation.
    EndInvite {
        /// Its id, as `invites` shows it.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// What the store has on its disk.
    Storage,
    /// Lets the server finish what it was asked, tell its clients, and end. They come back by themselves.
    Drain,
}

pub(crate) fn run(args: AdminArgs) -> anyhow::Result<()> {
    let data = args.place.load()?.data;
    let (method, path, body) = match &args.what {
        Admin::Status | Admin::Storage => (Method::GET, "/status".to_owned(), None),
        Admin::Accounts { after, limit } => (Method::GET, format!("/accounts?after={after}&limit={limit}"), None),
        Admin::Account { handle } => (Method::GET, format!("/accounts/{}", handle.as_str()), None),
        Admin::Suspend { handle, reason } => {
            (Method::POST, format!("/accounts/{}/suspend", handle.as_str()), Some(json!({ "reason": reason })))
        }
        Admin::Resume { handle } => (Method::POST, format!("/accounts/{}/resume", handle.as_str()), None),
        Admin::Invite { uses, days, note } => {
            (Method::POST, "/invites".to_owned(), Some(json!({ "uses_max": uses, "days": days, "note": note })))
        }
        Admin::Invites => (Method::GET, "/invites".to_owned(), None),
        // An id is hex; anything else names nothing, and must not become another address.
        Admin::EndInvite { id } => {
            (Method::DELETE, format!("/invites/{}", hex::encode(hex::decode(id).unwrap_or_default())), None)
        }
        Admin::Drain => (Method::POST, "/drain".to_owned(), None),
    };
    let mut answer = runtime()?.block_on(ask(&data, method, &path, body))?;
    if matches!(args.what, Admin::Storage) {
        answer = answer["storage"].take();
    }
    print(&if args.json { format!("{answer}\n") } else { to_text(&args.what, &answer) })
}

/// For a person to read.
fn to_text(what: &Admin, answer: &Value) -> String {
    let mut out = String::new();
    match what {
        Admin::Accounts { .. } => {
            for card in answer["accounts"].as_array().into_iter().flatten() {
                account(&mut out, card);
            }
            if let Some(next) = answer["next"].as_u64() {
                line(&mut out, &format!("more: --after {next}"));
            }
        }
        Admin::Account { .. } | Admin::Suspend { .. } | Admin::Resume { .. } => account(&mut out, answer),
        Admin::Invite { .. } => {
            line(&mut out, &format!("invitation code: {}", text(answer, "code")));
            line(&mut out, "It is not shown again. Whoever signs up types it.");
            invite(&mut out, answer);
        }
        Admin::Invites => answer.as_array().into_iter().flatten().for_each(|card| invite(&mut out, card)),
        Admin::EndInvite { .. } => line(&mut out, "The invitation is no longer good."),
        Admin::Drain => {
            let connections = &answer["connections"];
            line(&mut out, &format!("The server goes down: {connections} connections are told, and end within 10 s."));
        }
        Admin::Status | Admin::Storage => fields(&mut out, "", answer),
    }
    if out.is_empty() { "none\n".to_owned() } else { out }
}

fn account(out: &mut String, card: &Value) {
    let (devices, tokens) = (&card["devices"], &card["tokens_left_today"]);
    line(out, &format!("{}  {devices} devices, {tokens} tokens left today", text(card, "handle")));
    if let Some(reason) = card["suspended"]["reason"].as_str() {
        line(out, &format!("    suspended: {}", printable(reason)));
    }
}

fn invite(out: &mut String, card: &Value) {
    let (uses, max, ends) = (&card["uses"], &card["uses_max"], &card["expires_at_millis"]);
    let id = text(card, "id");
    line(out, &format!("{id}  used {uses} of {max}, ends at {ends} (ms since 1970)  {}", text(card, "note")));
}

fn fields(out: &mut String, prefix: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => fields(out, &format!("{prefix}{name}."), value),
            Value::String(text) => line(out, &format!("{prefix}{name}: {}", printable(text))),
            other => line(out, &format!("{prefix}{name}: {other}")),
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    printable(value[name].as_str().unwrap_or("?"))
}

/// What somebody typed once does not steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing into a String is infallible");
}
