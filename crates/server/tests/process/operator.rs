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
    let (mut alice, person) = server.sign_up("alice").await;
    let (mut bob, bobs) = server.sign_up("bob").await;
    let mut anonymous = server.client().await;
    let chat = server.chat(&mut anonymous).await;
    anonymous.append(chat.say(&chat.first, b"ciphertext")).await;
    let packages = stonechat_wire::List::new(vec![Bytes::new(vec![0xab; 40]).unwrap()]).unwrap();
    alice.ask(Request::PublishKeyPackages { packages, last_resort: None }).await.unwrap();
    let admission = Admission::Token(bob.token().await);
    let sealed = Bytes::new(vec![0xcd; 40]).unwrap();
    let (account, device) = (person.account, person.device);
    anonymous.ask(Request::PostEnvelope { account, device, admission, sealed }).await.unwrap();

    let json = String::from_utf8(disclose(&server.data(), "@alice", &["--json"]).stdout).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["account"], account.to_string());
    assert_eq!(parsed["devices"][0]["key_packages"][0], "ab".repeat(40));
    assert_eq!(parsed["devices"][0]["envelopes"][0]["sealed"], "cd".repeat(40));
    assert_eq!(parsed["devices"][0]["envelopes"][0]["lane"], "strangers");
    for absent in [bobs.account.to_string(), bobs.device.to_string(), chat.id.to_string(), "bob".to_owned()] {
        assert!(!json.contains(&absent), "{absent}");
    }
    let text = String::from_utf8(disclose(&server.data(), "@alice", &["--raw"]).stdout).unwrap();
    for part in ["@alice", &account.to_string(), &"cd".repeat(40), "No conversations", "No contacts"] {
        assert!(text.contains(part), "{part} in {text}");
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
