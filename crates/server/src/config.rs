//! The operator's file: every key of `stonechatd`, its default and what it bounds.
//!
//! [`DEFAULT_FILE`] is the documentation: `stonechatd config` prints it, a test parses it and compares it with
//! [`Config::default`]. An unknown key is refused by name. Nothing is read from the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stonechat_directory::VerifierKey;
use stonechat_wire::limits;

use crate::directory::DirectorySettings;
use crate::services::{Settings, SignUp};
use crate::store::postgres::{LANES, PostgresOptions, Shard};

/// The file with every key at its default. Keys that have no default stand in it as comments.
pub const DEFAULT_FILE: &str = r#"# stonechatd: every key with its default. Unknown keys are refused.

# Address to listen on. Port 0 picks a free one, which is printed.
listen = "127.0.0.1:8440"

# Folder for everything that the server keeps. Made with mode 0700 when it is missing. One server at a time.
data = "stonechat-data"

# What the database file may have at most, in bytes. Without it, the disk is the bound. When it is reached, the server
# refuses what is new, serves what is there, and resumes by itself when there is room.
# data_bytes_max = 100000000000

# The host[:port] that clients dial. A device signs it when it logs in, so that a signature made for one server is
# useless at another. Set it behind a proxy that changes the Host header; without it, that header is taken.
# public_host = "chat.example.org"

# How long a message stays on the server unless its sender asked for less, in seconds (30 days).
retention_secs = 2592000

# Anonymous tokens that an account may draw in one day (UTC).
tokens_per_day = 1024

# WebSocket connections at one time; more are answered with 503. Each needs a file descriptor: see `ulimit -n`.
connections_max = 20000

# How long a connection may stay silent before its first frame, in seconds.
hello_timeout_secs = 10

# Requests that one connection may make in a second, averaged over ten seconds. More are refused with "slow down".
requests_per_sec = 2000

[signup]
# Who may make an account: "open" is everybody, "invite" is whoever has an invitation of `stonechatd admin invite`.
mode = "open"

[store]
# Where everything is kept. "sqlite": files in the data folder, for one server. "postgres": PostgreSQL 15 or newer, for
# several servers at once; each still has a data folder, for its keys.
kind = "sqlite"
# Certificates of the authorities that sign those of the databases. Without it, the system's.
# ca_file = "/etc/stonechat/database-ca.pem"
# With "postgres": one database, with its standbys as further hosts; the server takes the one that accepts writes. Or
# several databases that share the lanes 0 to 1023 of what is stored. All servers need the same list, for ever.
# [[store.databases]]
# url = "postgres://stonechat:password@db1,db2,db3/stonechat?sslmode=require"
# lanes = [0, 1023]

[directory]
# The directory's name in what it signs. Without it, one is made from its key. Clients and witnesses pin it: choose it
# before the first account, never change it.
# origin = "chat.example.org/directory"
# Witnesses: the verifier keys that `stonechat-witness` prints, and how many of them must have cosigned a head before
# clients believe it. Clients pin both when they sign up. With threshold 0 they believe the server's signature alone.
witnesses = []
threshold = 0
# Where witnesses answer with the newest head that they cosigned (their option --listen). The server asks them when it
# starts, and `stonechatd restore` before it puts a backup in place: a directory that is behind what a witness saw is
# never published. Give one for each witness.
# witness_addresses = ["https://witness.example.org"]
# The name of this server among those that share one store. One of them publishes; another takes over when it is gone.
node = "main"

[log]
# error, warn, info, debug or trace. No level prints content, names, ids, capabilities or addresses.
level = "info"
# text or json (one object a line). Logs go to stderr.
format = "text"

# TLS. Without this table the server speaks plain HTTP: put a proxy that terminates TLS in front of it.
# [tls]
# Certificate chain and private key, PEM. Read once at the start: restart after renewing.
# cert_file = "/etc/stonechat/fullchain.pem"
# key_file = "/etc/stonechat/privkey.pem"
"#;

/// What [`DEFAULT_FILE`] documents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Folder for everything that the server keeps.
    pub data: PathBuf,
    /// What the database file may have at most.
    pub data_bytes_max: Option<u64>,
    /// The `host[:port]` that clients dial, when the Host header does not say it.
    pub public_host: Option<String>,
    /// How long an application entry stays, at most.
    pub retention_secs: u64,
    /// Tokens that an account may draw in a day.
    pub tokens_per_day: u32,
    /// WebSocket connections at one time.
    pub connections_max: usize,
    /// How long a connection may stay silent before its first frame.
    pub hello_timeout_secs: u64,
    /// Requests of one connection in a second, averaged over ten.
    pub requests_per_sec: u32,
    /// Who may sign up.
    pub signup: SignUpConfig,
    /// Where everything is kept.
    pub store: StoreConfig,
    /// The directory.
    pub directory: DirectoryConfig,
    /// Logging.
    pub log: LogConfig,
    /// TLS, when the server itself terminates it.
    pub tls: Option<TlsConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8440)),
            data: PathBuf::from("stonechat-data"),
            data_bytes_max: None,
            public_host: None,
            retention_secs: limits::ENTRY_TTL_SECS,
            tokens_per_day: limits::TOKENS_PER_DAY,
            connections_max: 20_000,
            hello_timeout_secs: limits::HELLO_TIMEOUT_SECS,
            requests_per_sec: 2_000,
            signup: SignUpConfig::default(),
            store: StoreConfig::default(),
            directory: DirectoryConfig::default(),
            log: LogConfig::default(),
            tls: None,
        }
    }
}

/// Who may sign up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignUpConfig {
    /// Everybody, or whoever has an invitation.
    pub mode: SignUp,
}

/// Where everything is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Which engine.
    pub kind: StoreKind,
    /// Whose certificates PostgreSQL's are checked against.
    pub ca_file: Option<PathBuf>,
    /// PostgreSQL's databases.
    pub databases: Vec<DatabaseConfig>,
}

/// Which engine keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Files, for one server.
    #[default]
    Sqlite,
    /// Databases, for several.
    Postgres,
}

/// A database, and the first and the last lane of what is in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// How to reach it.
    pub url: String,
    /// The first lane in it and the last.
    #[serde(default = "all_lanes")]
    pub lanes: (u16, u16),
}

impl std::fmt::Debug for DatabaseConfig {
    /// Without the address, which has a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseConfig({:?})", self.lanes)
    }
}

const fn all_lanes() -> (u16, u16) {
    (0, LANES - 1)
}

impl StoreConfig {
    /// What [`PostgresLog::open`](crate::store::PostgresLog::open) needs of it.
    pub fn postgres(&self) -> PostgresOptions {
        let shard = |database: &DatabaseConfig| Shard {
            url: database.url.clone(),
            first_lane: database.lanes.0,
            last_lane: database.lanes.1,
        };
        let shards = self.databases.iter().map(shard).collect();
        PostgresOptions { shards, ca_file: self.ca_file.clone() }
    }
}

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Its name in what it signs.
    pub origin: Option<String>,
    /// Verifier keys of witnesses.
    pub witnesses: Vec<VerifierKey>,
    /// How many of them clients need.
    pub threshold: u32,
    /// Where they say what they have seen.
    pub witness_addresses: Vec<String>,
    /// The name of this server among those that share a store.
    pub node: String,
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        Self {
            origin: None,
            witnesses: Vec::new(),
            threshold: 0,
            witness_addresses: Vec::new(),
            node: "main".to_owned(),
        }
    }
}

/// How the server logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The least severe level that is printed.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// Log levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Our bugs.
    Error,
    /// What needs an operator soon.
    Warn,
    /// Rare changes.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Messages, without their content.
    Trace,
}

impl LogLevel {
    /// The name that `tracing` filters by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM certificate chain.
    pub cert_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
}

/// Why a configuration cannot be used. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}. Check the path and its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not the TOML that the server knows.
    #[error("the configuration file {} is not valid:\n{source}\n`stonechatd config` prints every key", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Which key or character, and where.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its bounds.
    #[error("the configuration is not valid: {0}. `stonechatd config` prints every key")]
    Value(&'static str),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with the file's name and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
        match config.problems().first() {
            Some(problem) => Err(ConfigError::Value(problem)),
            None => Ok(config),
        }
    }

    /// What of it the services need.
    pub fn settings(&self) -> Settings {
        let DirectoryConfig { origin, witnesses, threshold, node, .. } = self.directory.clone();
        let directory = DirectorySettings { origin, witnesses, threshold, node };
        Settings {
            retention_secs: self.retention_secs,
            tokens_per_day: self.tokens_per_day,
            signup: self.signup.mode,
            directory,
        }
    }

    /// Every value that is out of its bounds, as a sentence that begins with its key.
    pub(crate) fn problems(&self) -> Vec<&'static str> {
        let rules = [
            (
                self.directory.threshold as usize <= self.directory.witnesses.len(),
                "directory.threshold is at most the number of directory.witnesses",
            ),
            (!self.directory.node.is_empty(), "directory.node has at least one character"),
            (
                (self.store.kind == StoreKind::Postgres) != self.store.databases.is_empty(),
                "store.databases has a database when store.kind is postgres, and none otherwise",
            ),
            (self.connections_max > 0, "connections_max is at least 1"),
            (self.hello_timeout_secs > 0, "hello_timeout_secs is at least 1"),
            (self.requests_per_sec > 0, "requests_per_sec is at least 1"),
            (
                (60..=limits::CONVERSATION_TTL_SECS).contains(&self.retention_secs),
                "retention_secs is from 60 to 34560000 (400 days)",
            ),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
    }
}

/// [`DEFAULT_FILE`] with every key that stands in it as a comment, too: which keys there are, with a value that fits each.
pub(crate) fn every_key() -> String {
    let key = |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines = DEFAULT_FILE.lines().map(|line| line.strip_prefix("# ").filter(|rest| key(rest)).unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_says_the_defaults() {
        let parsed: Config = toml::from_str(DEFAULT_FILE).unwrap();
        assert_eq!(parsed, Config::default());
    }

    #[test]
    fn every_commented_key_is_a_real_one() {
        let parsed: Config = toml::from_str(&every_key()).unwrap();
        assert_eq!(parsed.public_host.as_deref(), Some("chat.example.org"));
        assert!(parsed.tls.is_some());
        assert_eq!(parsed.store.databases[0].lanes, all_lanes());
    }

    #[test]
    fn a_database_goes_with_postgres() {
        let load = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            if config.problems().is_empty() { Ok(config) } else { Err(config.problems()) }
        };
        let databases =
            "[[store.databases]]\nurl = \"host=a\"\nlanes = [0, 511]\n[[store.databases]]\nurl = \"host=b\"\n";
        assert!(load("[store]\nkind = \"postgres\"\n").is_err());
        assert!(load(databases).is_err());
        let config = load(&format!("[store]\nkind = \"postgres\"\n{databases}")).unwrap();
        let shards = config.store.postgres().shards;
        assert_eq!(shards[0], Shard { url: "host=a".to_owned(), first_lane: 0, last_lane: 511 });
        assert!(!format!("{config:?}").contains("host="), "an address may hold a password");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "retention_sec = 5\n").unwrap();
        let text = Config::load(&path).unwrap_err().to_string();
        assert!(text.contains("retention_sec") && text.contains("stonechatd config"), "{text}");
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "retention_secs = 5\n").unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().contains("60 to 34560000"));
        assert!(matches!(Config::load(&dir.path().join("none")), Err(ConfigError::Read { .. })));
    }
}
