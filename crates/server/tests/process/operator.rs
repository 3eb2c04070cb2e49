//! What an operator sees: readiness, errors that say what to do, metrics, disclosure, logs.

use stonechat_wire::{Admission, Bytes, Request};

use crate::harness::{Server, disclose, fails, http_get, stonechatd};

#[tokio::test]
async fn health_metrics_and_home_answer() {
    let server = Server::start();
    let mut client = server.client().await;
    client.ask(Request::Ping).await.unwrap();
    assert!(http_get(server.address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(server.address, "/").await.contains("Stonechat"));
    let metrics = http_get(server.address, "/metrics").await;
    assert!(metrics.contains("stonechat_requests_total{name=\"ping\",result=\"ok\"} 1"), "{metrics}");
    assert!(metrics.contains("stonechat_connections{kind=\"open\"} 1"), "{metrics}");
}

/// A dashboard that asks for what there is not shows an empty panel, and nobody notices.
#[tokio::test]
async fn every_metric_of_the_dashboard_is_one_of_the_servers() {
    let server = Server::start();
    let mut anonymous = server.client().await;
    let chat = server.chat(&mut anonymous).await;
    anonymous.append(chat.say(&chat.first, b"x")).await;
    let mut hostile = server.client().await;
    hostile.socket.send(b"garbage".to_vec()).await;
    hostile.socket.goodbye().await;
    let metrics = http_get(server.address, "/metrics").await;
    let dashboard = include_str!("../../../../packaging/grafana/stonechatd.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let name = expression
                .split(|c: char| !c.is_ascii_lowercase() && c != '_')
                .find(|word| word.starts_with("stonechat_"));
            let name = name.unwrap_or_else(|| panic!("{expression} asks for nothing of ours"));
            assert!(
                metrics.contains(&format!("\n{name}{{")) || metrics.contains(&format!("\n{name} ")),
                "{name} in {metrics}"
            );
            asked += 1;
        }
    }
    assert!(asked >= 6, "{asked}");
}

#[test]
fn the_printed_configuration_is_one_that_is_accepted() {
    let output = stonechatd().arg("config").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, &text).unwrap();
    assert_eq!(stonechat_server::config::Config::load(&file).unwrap(), stonechat_server::config::Config::default());
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();

    let taken = fails(&["serve", "--data", &path("a"), "--listen", &server.address.to_string()]);
    assert!(taken.contains("another program") && taken.contains("--listen"), "{taken}");

    let in_use = fails(&["serve", "--data", server.data().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(in_use.contains("another server") && in_use.contains("--data"), "{in_use}");

    std::fs::write(path("file"), b"").unwrap();
    let not_a_folder = fails(&["serve", "--data", &path("file/data"), "--listen", "127.0.0.1:0"]);
    assert!(not_a_folder.contains("cannot make the data folder"), "{not_a_folder}");

    std::fs::write(path("c.toml"), "lisen = \"x\"\n").unwrap();
    let unknown = fails(&["serve", "--config", &path("c.toml")]);
    assert!(unknown.contains("lisen") && unknown.contains("stonechatd config"), "{unknown}");

    let tls = format!("[tls]\ncert_file = {:?}\nkey_file = {:?}\n", path("none.pem"), path("none.pem"));
    std::fs::write(path("tls.toml"), tls).unwrap();
    let no_certificate = fails(&["serve", "--config", &path("tls.toml"), "--data", &path("b")]);
    assert!(no_certificate.contains("none.pem") && no_certificate.contains("PEM"), "{no_certificate}");

    let nobody = disclose(&server.data(), "@nobody", &[]);
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("nobody holds @nobody"));
}

#[tokio::test]
async fn disclosure_is_complete_and_names_nobody_else() {
    let server = Server::start();
    let millis = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let began = millis();
    let (mut alice, person) = server.sign_up("alice").await;
    let (mut bob, bobs) = server.sign_up("bob").await;
    let mut anonymous = server.client().await;
    let chat = server.chat(&mut anonymous).await;
    anonymous.append(chat.say(&chat.first, b"ciphertext")).await;
    let package = |byte| Bytes::new(vec![byte; 40]).unwrap();
    let packages = stonechat_wire::List::new(vec![package(0xaa), package(0xab)]).unwrap();
    alice.ask(Request::PublishKeyPackages { packages, last_resort: Some(package(0xac)) }).await.unwrap();
    let (account, device) = (person.account, person.device);
    let token = bob.token().await;
    anonymous.ask(Request::TakeKeyPackages { account, token }).await.unwrap();
    let admission = Admission::Token(bob.token().await);
    let sealed = Bytes::new(vec![0xcd; 40]).unwrap();
    anonymous.ask(Request::PostEnvelope { account, device, admission, sealed }).await.unwrap();
    let contacts = stonechat_wire::List::new(vec![chat.first.caps().read]).unwrap();
    alice.ask(Request::ConfigureInbox { contacts, strangers: true }).await.unwrap();
    let (_one, _two) = (alice.token().await, alice.token().await);

    let json = String::from_utf8(disclose(&server.data(), "@alice", &["--json"]).stdout).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["account"], account.to_string());
    let its = &parsed["devices"][0];
    // One of two key packages was taken: what is left, and how many there ever were.
    assert_eq!(its["key_packages"]["last_seq"], 2);
    assert_eq!(its["key_packages"]["records"].as_array().unwrap().len(), 1);
    assert_eq!(its["key_packages"]["records"][0]["bytes"], "ab".repeat(40));
    assert_eq!(its["last_resort"]["records"][0]["bytes"], "ac".repeat(40));
    assert_eq!(its["envelopes_from_strangers"]["records"][0]["bytes"], "cd".repeat(40));
    assert_eq!(its["envelopes_from_contacts"]["last_seq"], 0);
    assert_eq!(parsed["inbox"]["contact_capability_hashes"][0], chat.first.caps().read.to_string());
    let draws = parsed["tokens_drawn"].as_array().unwrap();
    assert_eq!(draws.iter().map(|draw| draw["tokens_so_far"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    // When they were stored follows from when they expire.
    let timed =
        [&its["key_packages"]["records"][0], &its["envelopes_from_strangers"]["records"][0], &draws[0], &draws[1]];
    for record in timed {
        let at = record["stored_at_millis"].as_u64().unwrap();
        assert!((began..=millis()).contains(&at) && record["expires_at_millis"].as_u64().unwrap() > at, "{record}");
    }
    for record in [&parsed["handle_record"], &parsed["account_log"][0], &its["last_resort"]["records"][0]] {
        assert!(record["expires_at_millis"].is_null() && record["seq"].as_u64() == Some(1), "{record}");
    }
    for absent in [bobs.account.to_string(), bobs.device.to_string(), chat.id.to_string(), "bob".to_owned()] {
        assert!(!json.contains(&absent), "{absent}");
    }
    let text = String::from_utf8(disclose(&server.data(), "@alice", &["--raw"]).stdout).unwrap();
    for part in
        ["@alice", &account.to_string(), &"cd".repeat(40), "No conversations", "No contacts", "2 were ever stored"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Every row of the database is in somebody's disclosure, or is of a kind that says nothing about an account.
#[tokio::test]
async fn no_row_that_names_an_account_is_left_out_of_its_disclosure() {
    let server = Server::start();
    let (mut alice, person) = server.sign_up("alice").await;
    let packages = stonechat_wire::List::new(vec![Bytes::new(vec![1; 40]).unwrap()]).unwrap();
    alice.ask(Request::PublishKeyPackages { packages: packages.clone(), last_resort: None }).await.unwrap();
    alice.ask(Request::ConfigureInbox { contacts: Default::default(), strangers: false }).await.unwrap();
    alice.ask(Request::ConfigureInbox { contacts: Default::default(), strangers: true }).await.unwrap();
    let _token = alice.token().await;
    let suspend = ["admin", "suspend", "@alice", "--reason", "Spam.", "--data"];
    assert!(stonechatd().args(suspend).arg(server.data()).status().unwrap().success());
    let json = String::from_utf8(disclose(&server.data(), "@alice", &["--json"]).stdout).unwrap();
    let mut printed = Vec::new();
    rows_in(&serde_json::from_str(&json).unwrap(), &mut printed);
    printed.sort_unstable();

    let db = rusqlite::Connection::open(server.data().join("store.db")).unwrap();
    let mut rows = db.prepare("SELECT id FROM entries WHERE instr(key, ?1) OR instr(key, ?2) OR bytes = ?1 AND substr(key, 1, 1) = x'12' ORDER BY id").unwrap();
    let stored = rows.query_map((&person.account.0, b"alice"), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(printed, stored.map(Result::unwrap).collect::<Vec<_>>());
}

fn rows_in(value: &serde_json::Value, rows: &mut Vec<i64>) {
    match value {
        serde_json::Value::Object(fields) => {
            rows.extend(fields.get("row").and_then(serde_json::Value::as_i64));
            fields.values().for_each(|value| rows_in(value, rows));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| rows_in(value, rows)),
        _ => {}
    }
}

#[tokio::test]
async fn logs_at_trace_name_nobody() {
    let server = Server::start_with("[log]\nlevel = \"trace\"\nformat = \"json\"\n");
    let (mut alice, person) = server.sign_up("canaryhandle").await;
    let token = alice.token().await;
    let nonce = token.nonce;
    let mut anonymous = server.client().await;
    let chat = server.chat(&mut anonymous).await;
    anonymous.append(chat.say(&chat.first, b"canary of a message")).await;
    anonymous.follow(chat.follow(&chat.first, 0)).await;
    let admission = Admission::Token(token);
    let sealed = Bytes::new(b"canary of an envelope".to_vec()).unwrap();
    let (account, device) = (person.account, person.device);
    anonymous.ask(Request::PostEnvelope { account, device, admission, sealed }).await.unwrap();
    let mut wrong = server.client().await;
    wrong.socket.send(b"canary of garbage".to_vec()).await;
    wrong.socket.goodbye().await;

    let log = server.log();
    assert!(log.contains("answered"), "{log}");
    let ids = [account.to_string(), device.to_string(), chat.id.to_string(), hex::encode(nonce)];
    let short = ids.iter().map(|id| id[..8].to_owned()).collect::<Vec<_>>();
    let secrets = chat.first.secrets.map(|secret| hex::encode(&secret[..4]));
    for canary in ids.iter().chain(&short).chain(&secrets).map(String::as_str).chain(["canary", "127.0.0.1"]) {
        assert!(!log.contains(canary), "{canary} in {log}");
    }
}
