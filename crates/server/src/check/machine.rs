//! The machine: the data folder and what is in it, the port, the disk, the clock, the bounds of the process.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access};
use rustix::process::{Resource, geteuid, getrlimit};

use super::Report;
use super::tls::private;
use crate::admin::free_bytes;
use crate::config::Config;
use crate::secrets;
use crate::store::SqliteLog;

pub(super) fn check(config: &Config, now: SystemTime, report: &mut Report) {
    let running = folder(&config.data, report);
    if !running {
        port(config, report);
    }
    disk(config, report);
    clock(config, now, report);
    process(config, report);
}

/// The data folder. Returns whether a server runs on it.
fn folder(data: &Path, report: &mut Report) -> bool {
    let shown = data.display();
    match data.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = data.ancestors().skip(1).find(|path| path.exists() || path.as_os_str().is_empty());
            let parent = parent.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if access(parent, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                let why = format!(
                    "{shown} is not there, and this user cannot make it in {}. Make it, owned by the server's user.",
                    parent.display()
                );
                report.problem("data", why);
            }
            return false;
        }
        Err(error) => {
            report.problem("data", format!("cannot look at {shown}: {error}."));
            return false;
        }
        Ok(folder) if !folder.is_dir() => {
            report.problem("data", format!("{shown} is not a folder. Name another."));
            return false;
        }
        Ok(_) => {}
    }
    if access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let why =
            format!("this user cannot read and write {shown}. Run the check as the server's user, which owns it.");
        report.problem("data", why);
        return false;
    }
    if let Ok(folder) = data.metadata()
        && std::os::unix::fs::PermissionsExt::mode(&folder.permissions()) & 0o077 != 0
    {
        report.warning("data", format!("{shown} is open to other users of this machine: `chmod 700` it."));
    }
    let store = data.join("store.db");
    if store.exists()
        && let Err(error) = SqliteLog::inspect(data)
    {
        report.problem("data", format!("{error}."));
    }
    for name in [secrets::TOKEN_KEY, secrets::DIRECTORY_KEY] {
        let path = data.join(name);
        match path.metadata() {
            Ok(file) if file.len() != 32 => {
                let why = format!("{} is damaged: it must hold 32 bytes. Restore it from a backup.", path.display());
                report.problem("data", why);
            }
            Ok(_) => private(&path, "data", report),
            Err(_) if store.exists() => {
                let why = format!(
                    "{} is missing beside a store that has been used. Restore it from a backup: with another key, \
                     {}.",
                    path.display(),
                    secrets::lost_with(name)
                );
                report.problem("data", why);
            }
            Err(_) => {}
        }
    }
    SqliteLog::is_in_use(data)
}

fn port(config: &Config, report: &mut Report) {
    let Err(error) = TcpListener::bind(config.listen) else { return };
    let address = config.listen;
    let why = match error.kind() {
        ErrorKind::AddrInUse => format!("another program listens on {address}. Stop it, or choose another address."),
        ErrorKind::PermissionDenied => {
            format!("this user may not listen on {address}. Ports under 1024 need a privilege (CAP_NET_BIND_SERVICE).")
        }
        ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine."),
        _ => format!("cannot listen on {address}: {error}."),
    };
    report.problem("listen", why);
}

fn disk(config: &Config, report: &mut Report) {
    let folder = config.data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let Some(free) = free_bytes(folder) else { return };
    let mib = free >> 20;
    if free < FREE_BYTES_MIN {
        let why = format!("{mib} MiB are free under {}. The server refuses what is new.", folder.display());
        report.problem("disk", why);
    } else if free < FREE_BYTES_COMFORTABLE {
        report.warning("disk", format!("{mib} MiB are free under {}.", folder.display()));
    }
    let used = config.data.join("store.db").metadata().map_or(0, |file| file.len());
    if let Some(max) = config.data_bytes_max
        && max > used.saturating_add(free)
    {
        let why = "the disk is full before this bound is reached. Lower it, so that the server and the rest of the \
                   machine are not stopped by a full disk.";
        report.warning("data_bytes_max", why);
    }
    if config.data_bytes_max.is_some_and(|max| max < used) {
        report.problem("data_bytes_max", "the store has more already, so the server refuses what is new.");
    }
}

/// A clock that is wrong is noticed against what was written before.
fn clock(config: &Config, now: SystemTime, report: &mut Report) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = config.data.join("store.db").metadata().and_then(|file| file.modified());
    if since < BUILT_AFTER {
        report
            .problem("clock", "this machine's clock is years behind. Set it: messages expire by it, clients check it.");
    } else if written.is_ok_and(|at| at > now + CLOCK_ERROR) {
        let why = "the store was last written at a later time than this machine's clock shows. Set the clock: clients \
                   and witnesses refuse a directory whose time goes back.";
        report.problem("clock", why);
    }
}

fn process(config: &Config, report: &mut Report) {
    if geteuid().is_root() {
        report.warning("user", "this is root. Run the check, and the server, as a user of its own.");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = config.connections_max as u64 + FILES_BESIDE_CONNECTIONS;
    if files < needed {
        let why = format!(
            "it needs {needed} file descriptors, and this shell gives {files}. Raise `ulimit -n` (LimitNOFILE= in a \
             systemd unit), or lower connections_max."
        );
        report.warning("connections_max", why);
    }
}

/// Under this, SQLite's log alone may fill the disk.
const FREE_BYTES_MIN: u64 = 128 << 20;
const FREE_BYTES_COMFORTABLE: u64 = 2 << 30;
/// The store's files, the listener, standard streams, and connections that are no WebSockets.
const FILES_BESIDE_CONNECTIONS: u64 = 128;
/// No clock was right before it: 2026-01-01.
const BUILT_AFTER: Duration = Duration::from_secs(1_767_225_600);
const CLOCK_ERROR: Duration = Duration::from_secs(300);
