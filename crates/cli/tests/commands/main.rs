//! The program against a real server: what is typed, what is printed, how it ends.

mod full_disk;
mod support;
mod tls;

use std::net::TcpListener;
use std::process::Stdio;

use support::{Home, Server, eventually, refusal, rest};

/// Alice and Bob, who accepted her.
fn friends(server: &Server) -> (Home, Home) {
    let (alice, bob) = (server.home("@alice"), server.home("@bob"));
    assert_eq!(alice.ok(&["send", "@bob", "hello"])[0]["status"], "sent");
    eventually("Alice's request arrives", || !bob.ok(&["requests"]).is_empty());
    bob.ok(&["accept", "@alice"]);
    eventually("Bob is in", || bob.texts("@alice") == ["hello"]);
    (alice, bob)
}

#[test]
fn signing_up_shows_24_words_once_and_who_one_is() {
    let server = Server::start();
    let home = Home::empty();
    let answer = home.ok(&["signup", "@alice", "--server", &server.url()]);
    let phrase = answer[0]["recovery_phrase"].as_str().unwrap();
    assert_eq!(phrase.split(' ').count(), 24);
    let me = &home.ok(&["whoami"])[0];
    assert_eq!(
        (&me["handle"], &me["account"], &me["device"]),
        (&"@alice".into(), &answer[0]["account"], &answer[0]["device"])
    );
    assert_eq!((&me["registered"], &me["server"]), (&true.into(), &server.url().into()));
    let (exit, code, message) = home.fails(&["signup", "@alice2", "--server", &server.url()]);
    assert_eq!((exit, code.as_str()), (6, "already_signed_up"), "{message}");
    let people = Home::empty().text(&["signup", "@bob", "--server", &server.url()]);
    assert!(people.contains(" 1 ") && people.contains("24 ") && people.contains("recovery words"), "{people}");
}

#[test]
fn a_server_with_closed_sign_up_takes_whoever_has_an_invitation() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[signup]\nmode = \"invite\"\n").unwrap();
    let server = Server::start_with(&config);
    let home = Home::empty();
    let (_, _, message) = home.fails(&["signup", "@alice", "--server", &server.url()]);
    assert!(message.contains("needs an invitation"), "{message}");
    let code = server.admin(&["invite"])["code"].as_str().unwrap().to_uppercase();
    home.ok(&["signup", "@alice", "--server", &server.url(), "--invite", &code]);
    assert_eq!(home.ok(&["whoami"])[0]["registered"], true);
    let (_, _, used) = Home::empty().fails(&["signup", "@bob", "--server", &server.url(), "--invite", &code]);
    assert!(used.contains("needs an invitation"), "{used}");
}

#[test]
fn a_direct_message_waits_as_a_request_and_then_both_talk() {
    let server = Server::start();
    let (alice, bob) = (server.home("@alice"), server.home("@bob"));
    let sent = &alice.ok(&["send", "@bob", "hello \u{1b}[31m"])[0];
    assert_eq!(sent["status"], "sent");
    eventually("the request arrives", || bob.ok(&["requests"]).len() == 1);
    let request = &bob.ok(&["requests"])[0];
    assert_eq!((&request["handle"], &request["kind"]), (&"@alice".into(), &"dm".into()));
    let (exit, code, message) = bob.fails(&["read", "@alice"]);
    assert_eq!((exit, code.as_str()), (4, "request_pending"));
    assert!(message.contains("stonechat accept @alice"), "{message}");
    bob.ok(&["accept", "@alice"]);
    eventually("Bob reads", || !bob.ok(&["read", "@alice"]).is_empty());
    let line = &bob.ok(&["read", "@alice"])[0];
    assert_eq!(
        (&line["id"], &line["conversation"], &line["sender"]),
        (&sent["id"], &sent["conversation"], &"@alice".into())
    );
    assert_eq!(line["body"]["text"], "hello \u{1b}[31m");
    let at = line["sent_at"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "RFC 3339 with milliseconds: {at}");
    let shown = bob.text(&["read", "@alice"]);
    assert!(shown.contains("hello ␛[31m") && !shown.contains('\u{1b}'), "{shown:?}");

    assert_eq!(bob.ok(&["send", "@alice", "hi"])[0]["status"], "sent");
    let unread = &alice.ok(&["conversations"])[0];
    assert_eq!((&unread["kind"], &unread["unread"], &unread["lock"]), (&"dm".into(), &1.into(), &"closed".into()));
    assert_eq!((&unread["last"]["body"]["text"], &unread["members"].as_array().unwrap().len()), (&"hi".into(), &2));
    assert_eq!(alice.texts("@bob"), ["hello \u{1b}[31m", "hi"]);
    assert_eq!(alice.ok(&["conversations"])[0]["unread"], 0, "read");
    assert_eq!(alice.ok(&["read", "@bob", "--limit", "1"])[0]["body"]["text"], "hi", "the latest");
}

#[test]
fn two_people_compare_safety_numbers_and_read_why_the_lock_is_closed() {
    let server = Server::start();
    let (alice, bob) = friends(&server);
    let (hers, his) = (&alice.ok(&["safety", "@bob"])[0], &bob.ok(&["safety", "@alice"])[0]);
    let digits = hers["digits"].as_str().unwrap();
    assert!(digits.len() == 60 && hers["digits"] == his["digits"] && hers["code"] != his["code"]);
    assert!(alice.text(&["safety", "@bob"]).contains(&digits[..5]));

    let (exit, code, message) = alice.fails(&["verify", "@bob", &"1".repeat(60)]);
    assert_eq!((exit, code.as_str()), (5, "mismatch"), "{message}");
    let (exit, code, _) = alice.fails(&["verify", "@bob", "12345"]);
    assert_eq!((exit, code.as_str()), (2, "invalid"));
    assert_eq!(alice.ok(&["conversations"])[0]["verified"], false);
    assert_eq!(alice.ok(&["verify", "@bob", &digits[..30], &digits[30..]])[0]["verified"], "@bob");
    assert_eq!(bob.ok(&["verify", "@alice", "--scan", hers["code"].as_str().unwrap()])[0]["verified"], "@alice");
    assert_eq!(alice.ok(&["conversations"])[0]["verified"], true);

    let why = &alice.ok(&["why", "@bob"])[0];
    assert_eq!((&why["lock"], &why["verified"][0]), (&"closed".into(), &"@bob".into()));
    assert!(why["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{why}");
    assert!(alice.text(&["why", "@bob"]).contains("the directory proved that the handle is this account's"));
}

#[test]
fn ones_devices_are_listed_and_neither_this_one_nor_a_strange_one_is_revoked() {
    let server = Server::start();
    let alice = server.home("@alice");
    let devices = alice.ok(&["devices"]);
    assert!(devices.len() == 1 && devices[0]["this"] == true);
    let (exit, code, _) = alice.fails(&["device", "revoke", devices[0]["device"].as_str().unwrap()]);
    assert_eq!((exit, code.as_str()), (2, "this_device"));
    let (exit, code, _) = alice.fails(&["device", "revoke", &"0".repeat(32)]);
    assert_eq!((exit, code.as_str()), (4, "unknown_device"));
    let (exit, code, _) = alice.fails(&["device", "revoke", "phone"]);
    assert_eq!((exit, code.as_str()), (2, "bad_device"));
    assert!(alice.ok(&["alarms"]).is_empty());
}

#[test]
fn a_declined_request_goes_and_is_gone() {
    let server = Server::start();
    let (alice, bob) = (server.home("@alice"), server.home("@bob"));
    alice.ok(&["send", "@bob", "hello"]);
    eventually("the request arrives", || bob.ok(&["requests"]).len() == 1);
    assert_eq!(bob.ok(&["decline", "@alice"])[0]["declined"], "@alice");
    assert!(bob.ok(&["requests"]).is_empty());
    let (exit, code, _) = bob.fails(&["accept", "@alice"]);
    assert_eq!((exit, code.as_str()), (4, "unknown_request"));
}

#[test]
fn three_people_talk_in_a_group_and_one_leaves() {
    let server = Server::start();
    let (alice, bob) = friends(&server);
    let carol = server.home("@carol");
    let made = &alice.ok(&["group", "create", "Dinner on Friday", "@bob", "@carol"])[0];
    let id = made["conversation"].as_str().unwrap();
    for (home, name) in [(&bob, "Bob"), (&carol, "Carol")] {
        eventually(&format!("{name} is invited or in"), || {
            let invited = home.ok(&["requests"]).iter().any(|r| r["kind"] == "group");
            if invited {
                home.ok(&["accept", "@alice"]);
            }
            home.ok(&["conversations"]).iter().any(|c| c["title"] == "Dinner on Friday")
        });
    }
    alice.ok(&["send", "Dinner on Friday", "at eight?"]);
    carol.ok(&["send", &id[..8], "yes"]);
    bob.ok(&["send", id, "me too"]);
    for home in [&alice, &bob, &carol] {
        eventually("all of it arrives, once", || home.texts(id) == ["at eight?", "yes", "me too"]);
    }
    let members = alice.ok(&["group", "members", id]);
    let roles: Vec<_> =
        members.iter().map(|m| format!("{} {}", m["handle"].as_str().unwrap(), m["role"].as_str().unwrap())).collect();
    assert!(roles.contains(&"@alice owner".to_owned()) && roles.contains(&"@bob member".to_owned()), "{roles:?}");
    assert_eq!(bob.fails(&["group", "rename", id, "Mine"]).0, 5, "only owner and admins rename");
    assert_eq!(alice.ok(&["group", "role", id, "@bob", "admin"])[0]["status"], "done");
    eventually("Bob renames", || bob.output(&["group", "rename", id, "Lunch"]).status.success());
    eventually("Alice sees the name", || alice.ok(&["conversations"]).iter().any(|c| c["title"] == "Lunch"));
    carol.ok(&["group", "leave", id]);
    eventually("Carol is out", || alice.ok(&["group", "members", id]).len() == 2);
    alice.ok(&["group", "remove", id, "@bob"]);
    eventually("Bob is out", || alice.ok(&["group", "members", id]).len() == 1);
    assert_ne!(bob.output(&["send", id, "still here?"]).status.code(), Some(0));
}

#[test]
fn what_is_written_offline_is_kept_and_sent_later_once() {
    let mut server = Server::start();
    let (alice, bob) = friends(&server);
    server.kill();
    let output = alice.output(&["send", "@bob", "later", "--json"]);
    assert!(output.status.success());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["status"], "queued");
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"code\":\"saved\""));
    let read = alice.output(&["read", "@bob"]);
    let (shown, told) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success() && shown.contains("later  (queued)"), "{shown}");
    assert!(told.contains("This is what is here"), "{told}");
    assert_eq!(alice.fails(&["sync"]).0, 3);
    server.run();
    assert_eq!(alice.ok(&["sync"])[0]["status"], "synced");
    eventually("it arrives", || bob.texts("@alice").len() >= 2);
    assert_eq!(bob.texts("@alice"), ["hello", "later"]);
}

#[test]
fn following_prints_each_message_once_across_a_restart_of_the_server() {
    let mut server = Server::start();
    let (alice, bob) = friends(&server);
    let follow = bob.follow("@alice");
    assert_eq!(follow.next(), "hello");
    alice.ok(&["send", "@bob", "one"]);
    assert_eq!(follow.next(), "one");
    server.kill();
    server.run();
    alice.ok(&["send", "@bob", "two"]);
    assert_eq!(follow.next(), "two");
    follow.end();
}

#[test]
fn bad_words_are_refused_before_anything_is_opened() {
    let home = Home::empty();
    let long = "x".repeat(102_400);
    let name = "x".repeat(129);
    for (args, exit, code, says) in [
        (&["send", "@bob", ""][..], 2, "empty_text", "empty"),
        (&["send", "@bob", &long], 2, "text_too_long", "102400 bytes, and at most 65536"),
        (&["send", "@Bob!", "x"], 2, "bad_handle", "lower case"),
        (&["read", "@abcdefghijklmnop"], 2, "bad_handle", "at most 15"),
        (&["accept", "@b b"], 2, "bad_handle", "a to z"),
        (&["group", "create", "", "@bob"], 2, "bad_name", "needs a name"),
        (&["group", "create", &name, "@bob"], 2, "bad_name", "129 bytes"),
        (&["signup", "@Ünder", "--server", "http://127.0.0.1:1"], 2, "bad_handle", "a to z"),
        (&["signup", "@alice", "--server", "chat.example.org"], 2, "bad_address", "https://"),
        (&["signup", "@alice", "--server", "ftp://example.org"], 2, "bad_address", "ftp"),
        (&["signup", "@alice", "--server", "http://127.0.0.1:1"], 3, "offline", "nothing answers at 127.0.0.1:1"),
        (&["nonsense"], 2, "usage", "nonsense"),
        (&["send", "@bob", "x", "y"], 2, "usage", "unexpected argument"),
        (&["group", "role", "team", "@bob", "king"], 2, "usage", "king"),
        (&[], 2, "usage", "--help"),
        (&["whoami"], 6, "no_account", "stonechat signup"),
        (&["send", "@bob", "x"], 6, "no_account", "stonechat signup"),
    ] {
        let (found_exit, found_code, message) = home.fails(args);
        assert_eq!((found_exit, found_code.as_str()), (exit, code), "{message}");
        assert!(message.contains(says), "{says:?} is not in {message:?}");
        assert!(!home.path().exists(), "nothing is made by {code}");
    }
    for (input, code) in [
        (&b""[..], "empty_text"),
        (b"\n", "empty_text"),
        (&[b'x'; 102_400], "text_too_long"),
        (b"\xff\xfe", "bad_text"),
    ] {
        assert_eq!(refusal(&home.pipe(&["send", "@bob", "-", "--json"], input)).1, code);
    }
    let full_screen = home.output(&[]);
    assert!(full_screen.status.code() == Some(2) && String::from_utf8_lossy(&full_screen.stderr).contains("terminal"));
}

#[test]
fn people_that_are_not_there_and_handles_that_are_taken_have_clear_errors() {
    let server = Server::start();
    let alice = server.home("@alice");
    for (args, exit, code, says) in [
        (&["send", "@nobody", "x"][..], 4, "unknown_handle", "nobody called @nobody"),
        (&["send", "@alice", "x"], 2, "yourself", "your own"),
        (&["send", "team", "x"], 4, "unknown_target", "no group"),
        (&["read", "@bob"], 4, "no_conversation", "stonechat send @bob"),
        (&["accept", "@bob"], 4, "unknown_handle", "nobody called @bob"),
        (&["group", "leave", "@bob"], 2, "not_a_group", "person"),
        (&["group", "create", "team", "@nobody"], 4, "unknown_handle", "@nobody"),
    ] {
        let (found_exit, found_code, message) = alice.fails(args);
        assert_eq!((found_exit, found_code.as_str()), (exit, code), "{args:?}: {message}");
        assert!(message.contains(says), "{says:?} is not in {message:?}");
    }
    let other = Home::empty();
    let (exit, code, message) = other.fails(&["signup", "@alice", "--server", &server.url()]);
    assert_eq!((exit, code.as_str()), (5, "handle_taken"), "{message}");
    assert!(!other.path().exists(), "nothing is left of it");
}

#[test]
fn something_else_at_the_address_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream;
            // A web server that knows nothing of us.
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let (exit, code, message) = Home::empty().fails(&["signup", "@alice", "--server", &format!("http://{address}")]);
    assert_eq!((exit, code.as_str()), (3, "offline"));
    assert!(message.contains("not a Stonechat server"), "{message}");
}

#[test]
fn a_home_with_a_passphrase_opens_with_it_alone() {
    let server = Server::start();
    let home = Home::empty();
    let with = |words: &str, args: &[&str]| home.command(args).env("STONECHAT_PASSPHRASE", words).output().unwrap();
    let made = with("correct horse", &["signup", "@alice", "--server", &server.url(), "--json"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let me = with("correct horse", &["whoami", "--json"]);
    assert!(String::from_utf8_lossy(&me.stdout).contains("\"key\":\"passphrase\""));
    let (exit, code, _) = refusal(&with("battery staple", &["whoami", "--json"]));
    assert_eq!((exit, code.as_str()), (6, "wrong_passphrase"));
    let (exit, code, message) = home.fails(&["whoami"]);
    assert_eq!((exit, code.as_str()), (6, "passphrase_needed"));
    assert!(message.contains("STONECHAT_PASSPHRASE"), "{message}");
    let plain = server.home("@bob");
    let (exit, code, message) =
        refusal(&plain.command(&["whoami", "--json"]).env("STONECHAT_PASSPHRASE", "x").output().unwrap());
    assert_eq!((exit, code.as_str()), (6, "passphrase_unexpected"), "{message}");
}

#[test]
fn a_corrupt_vault_is_named_and_left_as_it_is() {
    let server = Server::start();
    let home = server.home("@alice");
    let vault = home.path().join("vault.db");
    let mut bytes = std::fs::read(&vault).unwrap();
    bytes[..200].fill(0x5a);
    std::fs::write(&vault, &bytes).unwrap();
    let (exit, code, message) = home.fails(&["whoami"]);
    assert_eq!((exit, code.as_str()), (6, "vault_corrupt"), "{message}");
    assert!(message.contains("backup"), "{message}");
    assert_eq!(std::fs::read(&vault).unwrap(), bytes);
}

#[test]
fn a_home_is_used_by_one_process_at_a_time() {
    let server = Server::start();
    let (alice, _bob) = friends(&server);
    let follow = alice.follow("@bob");
    assert_eq!(follow.next(), "hello");
    let (exit, code, message) = alice.fails(&["whoami"]);
    assert_eq!((exit, code.as_str()), (6, "home_in_use"), "{message}");
    follow.end();
    assert_eq!(alice.ok(&["whoami"])[0]["handle"], "@alice");
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_logs_say_nothing() {
    let server = Server::start();
    let (alice, bob) = friends(&server);
    let mut child = bob.command(&["read", "@alice"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let told = rest(child.stderr.take().unwrap());
    assert!(child.wait().unwrap().success(), "{told}");
    let loud = alice.output(&["-vvv", "send", "@bob", "canary-4711"]);
    let log = String::from_utf8_lossy(&loud.stderr);
    assert!(loud.status.success() && !log.contains("canary-4711") && !log.contains("@bob"), "{log}");
}
