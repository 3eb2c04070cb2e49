//! The coercion test: whoever takes all that a server has, and records all that passes it, reads nothing and learns of no two
//! people that they talked.
//!
//! Three people talk through a real `stonechatd` and a recorder of its plaintext side. Then everything is searched: the data
//! folder, the log at TRACE, the process's memory, the recorded bytes. What may be found is there as a control.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/friends.rs"]
mod friends;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/search.rs"]
mod search;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use friends::befriend;
use proxy::{Connection, Proxy};
use rusqlite::OpenFlags;
use search::Needles;
use stonechat_core::keys::recovery_entropy;
use stonechat_wire::{
    AccountId, Admission, Capability, ClientFrame, ConversationId, DeviceId, Hello, Request, ServerFrame, Token, decode,
};
use support::{Home, MARK_OF_THE_PROCESS, Server, eventually};

const TEXTS: [&str; 5] = [
    "Meet me at the heron pond by moonlight",
    "Bring the vermilion umbrella, no questions",
    "Kattegat ferry, berth nine, Thursday",
    "Ünïcödé under the ice: ptarmigan 雷鳥",
    "The third lighthouse keeper knows",
];
const GROUP: &str = "Society of Quiet Cartographers";

#[test]
fn what_a_server_has_and_sees_tells_neither_words_nor_who_talks_with_whom() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let homes = ["@alice_kestrel", "@bob_wolverine", "@carol_pangolin"].map(|h| Home::sign_up(h, proxy.address()));
    let conversations = talk(&homes);
    let people: Vec<Person> = homes.iter().map(Person::new).collect();
    let recorded = proxy.recorded();

    let mut canaries = canaries(&people);
    let said = Needles::new(canaries.iter().map(|(name, bytes)| (name.clone(), &bytes[..])));
    for (name, bytes) in memory(&server) {
        assert_eq!(said.found_in(&bytes), Vec::<&str>::new(), "in the memory at {name}");
    }
    let mut presented = Presented::default();
    for connection in &recorded {
        assert_eq!(said.found_in(&connection.text()), Vec::<&str>::new(), "in the traffic");
        presented.collect(connection);
        a_device_connection_names_one_account(connection, &people);
    }
    assert!(presented.capabilities.len() >= 6, "read and write capabilities of two conversations, and contacts'");
    assert!(!presented.tokens.is_empty() && presented.logged_in.len() == people.len());

    canaries.extend(presented.secrets());
    let secrets = Needles::new(canaries.iter().map(|(name, bytes)| (name.clone(), &bytes[..])));
    let files = files(&server.data());
    for (name, bytes) in &files {
        assert_eq!(secrets.found_in(bytes), Vec::<&str>::new(), "in the file {name}");
    }
    no_record_relates_two(&server.data(), &people, &conversations);

    let log = std::fs::read(server.log()).unwrap();
    assert_eq!(secrets.found_in(&log), Vec::<&str>::new(), "in the log");
    the_log_names_nobody(&log, &people, &conversations);

    the_search_finds_what_is_there(&server, &people, &recorded, &presented, &files);
}

/// A direct conversation and a group, with words both ways. Their ids.
fn talk(homes: &[Home; 3]) -> [ConversationId; 2] {
    let [alice, bob, carol] = homes;
    let group = befriend([alice, bob, carol], TEXTS[0], GROUP);
    bob.ok(&["send", &alice.handle, TEXTS[1]]);
    alice.ok(&["send", &group, TEXTS[2]]);
    bob.ok(&["send", &group, TEXTS[3]]);
    carol.ok(&["send", &group, TEXTS[4]]);
    for home in homes {
        eventually("the group is read", || {
            home.transcript(&group).iter().map(|line| &line.2[..]).eq(TEXTS[2..].iter().copied())
        });
    }
    eventually("the answer is read", || alice.transcript(&bob.handle).len() == 2);
    let direct = alice.ok(&["conversations"]).into_iter().find(|line| line["kind"] == "dm").unwrap();
    [direct["id"].as_str().unwrap(), &group].map(|id| id.parse().unwrap())
}

/// What must be nowhere: words, names, and what brings an account back.
fn canaries(people: &[Person]) -> Vec<(String, Vec<u8>)> {
    let texts = TEXTS.iter().chain([&GROUP]).map(|text| (format!("{text:?}"), text.as_bytes().to_vec()));
    // A half of a text is as bad.
    let halves = TEXTS.iter().map(|text| (format!("a part of {text:?}"), text.as_bytes()[text.len() / 2..].to_vec()));
    let phrases = people.iter().flat_map(|person| {
        let entropy = recovery_entropy(&person.phrase).unwrap();
        [("phrase", person.phrase.clone().into_bytes()), ("recovery entropy", entropy.to_vec())]
            .map(|(what, bytes)| (format!("the {what} of {}", person.handle), bytes))
    });
    texts.chain(halves).chain(phrases).collect()
}

/// Who takes part.
struct Person {
    handle: String,
    phrase: String,
    account: AccountId,
    device: DeviceId,
    id: Needles,
}

impl Person {
    fn new(home: &Home) -> Self {
        let field = |name: &str| home.signed_up[name].as_str().unwrap();
        let account: AccountId = field("account").parse().unwrap();
        Self {
            handle: home.handle.clone(),
            phrase: field("recovery_phrase").into(),
            account,
            device: field("device").parse().unwrap(),
            id: Needles::new([("id".into(), &account.0[..])]),
        }
    }

    /// Whether bytes name this person, by the account's id in any form, or by the handle.
    fn is_named_in(&self, bytes: &[u8]) -> bool {
        !self.id.found_in(bytes).is_empty() || contains(bytes, self.handle.trim_start_matches('@').as_bytes())
    }
}

/// What clients presented to the server.
#[derive(Default)]
struct Presented {
    capabilities: BTreeSet<[u8; 32]>,
    tokens: BTreeSet<[u8; 32]>,
    logged_in: BTreeSet<AccountId>,
}

impl Presented {
    fn collect(&mut self, connection: &Connection) {
        for message in connection.answered.iter() {
            decode::<ServerFrame>(message).expect("the recorder reads what the server says");
        }
        let Some((first, requests)) = connection.asked.split_first() else { return };
        decode::<Hello>(first).expect("a connection begins with a hello");
        for message in requests {
            self.note(decode::<ClientFrame>(message).expect("the recorder reads what the client says").request);
        }
    }

    fn note(&mut self, request: Request) {
        match request {
            Request::Append { write, .. } => self.capability(&write),
            Request::Follow { read, .. } => self.capability(&read),
            Request::PostEnvelope { admission: Admission::Contact(contact), .. } => self.capability(&contact),
            Request::PostEnvelope { admission: Admission::Token(token), .. }
            | Request::TakeKeyPackages { token, .. }
            | Request::CreateConversation { token, .. } => self.token(&token),
            Request::AppendBlob { write, token, .. } => {
                self.capability(&write);
                token.iter().for_each(|token| self.token(token));
            }
            Request::Authenticate { account, .. } => {
                self.logged_in.insert(account);
            }
            _ => {}
        }
    }

    fn capability(&mut self, capability: &Capability) {
        self.capabilities.insert(*capability.danger_bytes());
    }

    fn token(&mut self, token: &Token) {
        self.tokens.insert(token.nonce);
    }

    fn secrets(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let capabilities = self.capabilities.iter().map(|bytes| ("a capability".into(), bytes.to_vec()));
        capabilities.chain(self.tokens.iter().map(|bytes| ("a token".into(), bytes.to_vec())))
    }
}

impl Connection {
    /// Everything in it, as it passed and unmasked.
    fn text(&self) -> Vec<u8> {
        let messages = self.asked.iter().chain(&self.answered);
        self.bytes.iter().chain(messages).flatten().copied().collect()
    }
}

/// Who logs in says who they are, and nothing of anybody else.
fn a_device_connection_names_one_account(connection: &Connection, people: &[Person]) {
    let mut account = None;
    for message in &connection.asked {
        if let Ok(ClientFrame { request: Request::Authenticate { account: who, .. }, .. }) = decode(message) {
            account = Some(who);
        }
    }
    let Some(account) = account else { return };
    let named: Vec<_> = people.iter().filter(|person| person.is_named_in(&connection.text())).collect();
    assert!(
        named.len() == 1 && named[0].account == account,
        "the connection of {account} names {:?}",
        named.iter().map(|person| &person.handle).collect::<Vec<_>>()
    );
}

/// No row of the store holds two people, or a person and a conversation, and no two rows of different ones hold a common
/// secret-looking value by which they could be matched.
fn no_record_relates_two(data: &Path, people: &[Person], conversations: &[ConversationId]) {
    let mut by_value: BTreeMap<[u8; 32], String> = BTreeMap::new();
    let mut owners = BTreeSet::new();
    for (table, row) in rows(data) {
        let named = people.iter().filter(|person| person.is_named_in(&row)).map(|person| person.handle.clone());
        let conversations = conversations.iter().filter(|id| contains(&row, &id.0)).map(ToString::to_string);
        let named: Vec<String> = named.chain(conversations).collect();
        assert!(named.len() <= 1, "a row of {table} holds {named:?}");
        let Some(owner) = named.into_iter().next() else { continue };
        for value in row.windows(32).filter(|value| looks_random(value)) {
            let other = by_value.entry(value.try_into().unwrap()).or_insert_with(|| owner.clone());
            assert_eq!(*other, owner, "a row of {table} shares a value with a row of the other");
        }
        owners.insert(owner);
    }
    assert_eq!(owners.len(), people.len() + conversations.len(), "everybody and everything has rows: {owners:?}");
}

/// Every row of every table, its columns one behind the other with a gap.
fn rows(data: &Path) -> Vec<(String, Vec<u8>)> {
    let db = rusqlite::Connection::open_with_flags(data.join("store.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = Vec::new();
    for name in names {
        let mut statement = db.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut bytes = Vec::new();
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    rusqlite::types::ValueRef::Blob(value) | rusqlite::types::ValueRef::Text(value) => {
                        bytes.extend(value);
                    }
                    rusqlite::types::ValueRef::Integer(value) => bytes.extend(value.to_be_bytes()),
                    _ => {}
                }
                bytes.extend([0; 32]);
            }
            all.push((name.clone(), bytes));
        }
    }
    all
}

/// 32 random bytes have fewer than 24 different ones about once in a million; structure and text have no more than that.
fn looks_random(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    value.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count() >= 24
}

/// No name, and no id even in part.
fn the_log_names_nobody(log: &[u8], people: &[Person], conversations: &[ConversationId]) {
    assert!(contains(log, b"TRACE"), "the log has the lowest level");
    let text = String::from_utf8_lossy(log).to_lowercase();
    for person in people {
        assert!(!person.is_named_in(log), "the log names {}", person.handle);
        for id in [person.account.to_string(), person.device.to_string()] {
            assert!(!text.contains(&id[..PREFIX_CHARS]), "the log has the start of an id of {}", person.handle);
        }
    }
    for id in conversations {
        assert!(!text.contains(&id.to_string()[..PREFIX_CHARS]), "the log has the start of a conversation's id");
    }
}

/// As much of an id as `Debug` prints.
const PREFIX_CHARS: usize = 8;

/// The control: what is public or planted is found, in each of the places, by the same means.
fn the_search_finds_what_is_there(
    server: &Server,
    people: &[Person],
    recorded: &[Connection],
    presented: &Presented,
    files: &[(String, Vec<u8>)],
) {
    for person in people {
        assert!(files.iter().any(|(_, bytes)| person.is_named_in(bytes)), "{} is public", person.handle);
        assert!(
            recorded.iter().any(|c| person.is_named_in(&c.text())),
            "{} signed up through the recorder",
            person.handle
        );
    }
    let capabilities = Needles::new(presented.capabilities.iter().map(|bytes| ("a capability".into(), &bytes[..])));
    assert!(recorded.iter().any(|connection| !capabilities.found_in(&connection.text()).is_empty()));
    let mark = Needles::new([("mark".into(), MARK_OF_THE_PROCESS.1.as_bytes())]);
    assert!(memory(server).iter().any(|(_, bytes)| !mark.found_in(bytes).is_empty()), "memory is read");

    let said = Needles::new(TEXTS.iter().map(|text| ((*text).into(), text.as_bytes())));
    let utf16: Vec<u8> = TEXTS[3].encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex: String = TEXTS[0].bytes().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(server.data().join("planted"), [b"..", TEXTS[1].as_bytes(), &utf16, hex.as_bytes()].concat())
        .unwrap();
    // "xThe third lighthouse keeper knowsx", by `base64`.
    std::fs::write(server.data().join("coded"), "eFRoZSB0aGlyZCBsaWdodGhvdXNlIGtlZXBlciBrbm93c3g=").unwrap();
    let found: BTreeSet<String> = self::files(&server.data())
        .iter()
        .flat_map(|(_, bytes)| said.found_in(bytes).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let planted = [(1, "as it is"), (3, "UTF-16LE"), (0, "hex"), (4, "base64")];
    assert_eq!(found, planted.iter().map(|(text, form)| format!("{} ({form})", TEXTS[*text])).collect());
}

/// Every file under a folder. The operator's socket is none: it holds nothing.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// All memory of the server's process that can be read: more than a core dump has.
fn memory(server: &Server) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("/proc").join(server.child.as_ref().unwrap().id().to_string());
    let maps = std::fs::read_to_string(folder.join("maps")).expect("Linux tells a process's memory");
    let memory = File::open(folder.join("mem")).expect(
        "the test must read the server's memory: allow it to trace its own child (root, or kernel.yama.ptrace_scope = 1 \
         and the same user)",
    );
    let mut regions = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        // The kernel's own pages, which it does not let read this way.
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A region may shrink or go while the process runs: what is left of it is searched.
        let mut read = 0;
        while let Ok(count @ 1..) = memory.read_at(&mut bytes[read..], from + read as u64) {
            read += count;
        }
        bytes.truncate(read);
        regions.push((line.into(), bytes));
    }
    regions
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
