//! The operator's socket: what it says and does, who may, and what becomes of a server whose socket is attacked.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use stonechat_wire::{ErrorCode, Reply, Request};

use crate::harness::{Server, person, stonechatd};

fn admin(data: &Path, args: &[&str]) -> Output {
    stonechatd().args(["admin", "--data"]).arg(data).args(args).output().unwrap()
}

fn asked(data: &Path, args: &[&str]) -> Value {
    let output = admin(data, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Without waiting for the runtime: the command is a process of its own.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn an_operator_sees_accounts_and_no_more_than_the_server_has() {
    let server = Server::start();
    let (mut alice, its) = server.sign_up("alice").await;
    let (_bob, _) = server.sign_up("bob").await;
    let _token = alice.token().await;
    let data = server.data();
    let listed = asked(&data, &["accounts"]);
    let handles: Vec<_> = listed["accounts"].as_array().unwrap().iter().map(|card| card["handle"].clone()).collect();
    assert_eq!(handles, ["@alice", "@bob"]);
    let card = asked(&data, &["account", "@alice"]);
    assert_eq!(card["account"], its.account.to_string());
    assert_eq!((&card["devices"], &card["tokens_left_today"]), (&Value::from(1), &Value::from(1_023)));
    let mut fields: Vec<_> = card.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["account", "devices", "handle", "log_entries", "suspended", "tokens_left_today"]);
    let one = asked(&data, &["accounts", "--limit", "1"]);
    let next = one["next"].as_u64().unwrap().to_string();
    assert_eq!(asked(&data, &["accounts", "--after", &next])["accounts"][0]["handle"], "@bob");
    assert!(refused(&admin(&data, &["account", "@nobody"])).contains("nobody holds that handle"));

    let status = asked(&data, &["status"]);
    assert_eq!((&status["connections"], &status["signup"]), (&Value::from(2), &Value::from("open")));
    assert!(asked(&data, &["storage"])["bytes"].as_u64().unwrap() > 10_000);
    let text = String::from_utf8(admin(&data, &["status"]).stdout).unwrap();
    assert!(text.contains("connections: 2") && text.contains("directory.records: "), "{text}");
}

#[tokio::test]
async fn a_suspended_account_is_cut_off_and_told_why() {
    let server = Server::start();
    let (mut alice, its) = server.sign_up("alice").await;
    let data = server.data();
    let card = asked(&data, &["suspend", "@alice", "--reason", "Spam. Write to abuse@example.org."]);
    assert_eq!(card["suspended"]["reason"], "Spam. Write to abuse@example.org.");
    let goodbye = alice.socket.goodbye().await;
    assert_eq!(goodbye.code, ErrorCode::Suspended);
    assert_eq!(goodbye.detail.as_deref(), Some("Spam. Write to abuse@example.org."));
    let mut again = server.client().await;
    let login = its.login(&again.hello.nonce, &server.address.to_string());
    assert_eq!(again.ask(login).await.unwrap_err().code, ErrorCode::Suspended);
    assert!(!server.log().contains("alice") && !server.log().contains("Spam"), "{}", server.log());
    asked(&data, &["resume", "@alice"]);
    let mut again = server.client().await;
    let login = its.login(&again.hello.nonce, &server.address.to_string());
    assert!(matches!(again.ask(login).await, Ok(Reply::Authenticated { .. })));
    assert!(refused(&admin(&data, &["suspend", "@alice", "--reason", " "])).contains("reason"));
}

#[tokio::test]
async fn closed_sign_up_opens_for_an_invitation() {
    let server = Server::start_with("[signup]\nmode = \"invite\"\n");
    let data = server.data();
    let alice = person("alice");
    let ask = async |invite| {
        server.client().await.ask(Request::CreateAccount { genesis: alice.genesis.clone(), invite }).await
    };
    assert_eq!(ask(None).await.unwrap_err().code, ErrorCode::InviteNeeded);
    let made = asked(&data, &["invite", "--note", "Alice"]);
    let code: stonechat_wire::InviteCode = made["code"].as_str().unwrap().parse().unwrap();
    assert_eq!(ask(Some(code)).await, Ok(Reply::Done));
    let listed = asked(&data, &["invites"]);
    assert_eq!((&listed[0]["uses"], &listed[0]["note"]), (&Value::from(1), &Value::from("Alice")));
    assert!(!listed.to_string().contains(&hex::encode(code.0)), "the code is shown once");
    let other =
        server.client().await.ask(Request::CreateAccount { genesis: person("bob").genesis, invite: Some(code) }).await;
    assert_eq!(other.unwrap_err().code, ErrorCode::InviteNeeded);
    asked(&data, &["end-invite", listed[0]["id"].as_str().unwrap()]);
    assert_eq!(asked(&data, &["invites"]), Value::Array(Vec::new()));
    assert!(refused(&admin(&data, &["end-invite", "../accounts"])).contains("nothing at this address"));
}

#[tokio::test]
async fn a_drain_ends_the_server_and_says_so() {
    let server = Server::start();
    let (mut alice, _) = server.sign_up("alice").await;
    let answer = asked(&server.data(), &["drain"]);
    assert_eq!(answer["connections"], 1);
    assert_eq!(alice.socket.goodbye().await.code, ErrorCode::Unavailable);
    let dir = server.ended(true).await;
    let data = dir.path().join("data");
    assert!(!data.join("admin.sock").exists());
    assert!(refused(&admin(&data, &["status"])).contains("no server runs on"));
}

#[tokio::test]
async fn only_the_servers_own_user_and_root_reach_the_socket() {
    let server = Server::start();
    let socket = server.data().join("admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(server.data()).unwrap().permissions().mode() & 0o777, 0o700);
    if std::fs::metadata(server.data()).unwrap().uid() != 0 {
        // Becoming somebody else takes root.
        return;
    }
    // Even with folder and socket opened wide by mistake, the kernel's word of who asks decides.
    for path in [server.dir.path(), &server.data(), &socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let ask = |user: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", user, "--clear-groups"]).arg(env!("CARGO_BIN_EXE_stonechatd"));
        command.args(["admin", "status", "--json", "--data"]).arg(server.data()).output().unwrap()
    };
    let said = refused(&ask("65534"));
    assert!(said.contains("did not answer"), "closed without a word: {said}");
    assert!(ask("0").status.success());
    assert!(server.log().contains("another user of this machine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_user_of_the_socket_costs_clients_nothing() {
    let server = Server::start();
    let (mut alice, _) = server.sign_up("alice").await;
    let socket = server.data().join("admin.sock");
    let send = |bytes: &[u8]| -> String {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may hang up in the middle.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let post = |path: &str, body: &[u8]| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        send(&[head.as_bytes(), body].concat())
    };
    assert!(post("/invites", &vec![b'x'; 1 << 20]).starts_with("HTTP/1.1 413"));
    assert!(post("/invites", b"{\"uses_max\":4294967296,\"days\":1}").starts_with("HTTP/1.1 400"));
    assert!(post("/invites", b"{\"uses_max\":0,\"days\":1}").contains("1 to 1000"));
    assert!(post("/invites", "[".repeat(16_000).as_bytes()).starts_with("HTTP/1.1 400"));
    assert!(post("/accounts/..%2fstatus/suspend", b"{}").starts_with("HTTP/1.1 400"));
    assert!(
        send(b"GET /accounts?limit=18446744073709551615 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .contains("@alice")
    );
    send(&[b"GET /".as_slice(), &vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat());
    send(b"\x00\xff\x00\xff\r\n\r\n");

    // Connections that say nothing: those over the bound are closed, and clients are served meanwhile.
    let held: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let begin = Instant::now();
    assert_eq!(alice.ask(Request::Ping).await, Ok(Reply::Done));
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(held);
    let data = server.data();
    let begin = Instant::now();
    while !off_thread({
        let data = data.clone();
        move || admin(&data, &["status"])
    })
    .await
    .status
    .success()
    {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}
