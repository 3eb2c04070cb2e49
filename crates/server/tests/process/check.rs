//! `stonechatd check` says everything that is wrong at once, and nothing of what is right.
#![expect(clippy::unwrap_used, reason = "a test harness: a surprise ends the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use crate::harness::{Server, stonechatd};

fn check(config: &Path, more: &[&str]) -> Output {
    stonechatd().args(["check", "--config"]).arg(config).args(more).output().unwrap()
}

/// What it found, as `(level, about, says)`.
fn findings(config: &Path) -> Vec<(String, String, String)> {
    let output = check(config, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let text = |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let found: Vec<_> =
        findings.iter().map(|one| (text(one, "level"), text(one, "about"), text(one, "says"))).collect();
    let problems = found.iter().filter(|(level, ..)| level == "problem").count();
    assert_eq!(output.status.code(), Some(i32::from(problems > 0)));
    found
}

#[test]
fn every_problem_of_a_file_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    let text = format!(
        "lisen = \"127.0.0.1:0\"\nretention_secs = 5\nconnections_max = \"many\"\npublic_host = \"https://Chat\"\n\
         data = {:?}\n[directory]\ntreshold = 2\nwitnesses = [\"no key\"]\n[tls]\ncert_file = \"/none.pem\"\n",
        dir.path().join("data")
    );
    std::fs::write(&config, text).unwrap();
    let found = findings(&config);
    let says = |about: &str| -> &str {
        let one = found.iter().find(|(level, its, _)| level == "problem" && its.starts_with(about));
        &one.unwrap_or_else(|| panic!("nothing about {about} in {found:#?}")).2
    };
    assert!(says("lisen (line 1)").contains("Did you mean `listen`?"), "{found:#?}");
    assert!(says("directory.treshold (line 7)").contains("Did you mean `threshold`?"), "{found:#?}");
    assert!(says("retention_secs").contains("60 to 34560000"));
    assert!(says("connections_max (line 3)").contains("invalid type"));
    assert!(says("public_host").contains("https://"));
    says("directory.witnesses (line 8)");
    assert!(says("tls (line 9)").contains("key_file"));
}

#[test]
fn what_is_not_toml_is_shown_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(&config, "retention_secs = 60\nlisten = = 3\n").unwrap();
    assert!(findings(&config).iter().any(|(level, about, _)| level == "problem" && about == "line 2"));
    let missing = findings(&dir.path().join("none.toml"));
    assert!(missing.len() == 1 && missing[0].2.contains("none.toml"), "{missing:#?}");
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_folder_that_is_not_private_are_found() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("c.toml");
    let write = |data: &Path| {
        std::fs::write(&config, format!("listen = \"{}\"\ndata = {data:?}\n", server.address)).unwrap();
    };
    write(&data);
    let found = findings(&config);
    assert!(
        found
            .iter()
            .any(|(level, about, says)| level == "problem" && about == "listen" && says.contains("another program"))
    );
    assert!(
        found.iter().any(|(level, about, says)| level == "warning" && about == "data" && says.contains("chmod 700"))
    );

    // Its own server's port is not a fault.
    write(&server.data());
    let found = findings(&config);
    assert!(found.iter().all(|(level, ..)| level == "warning"), "{found:#?}");

    std::fs::remove_file(server.data().join("directory-key")).unwrap();
    let found = findings(&config);
    assert!(found.iter().any(|(level, _, says)| level == "problem" && says.contains("directory-key is missing")));
}

#[test]
fn a_certificate_is_judged_as_clients_judge_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let config = path("c.toml");
    std::fs::create_dir(path("data")).unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\npublic_host = \"chat.example.org\"\ndata = {:?}\n[tls]\ncert_file = {:?}\nkey_file = {:?}\n",
        path("data"),
        path("cert.pem"),
        path("key.pem")
    );
    std::fs::write(&config, text).unwrap();
    let issue = |name: &str, not_after: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        std::fs::write(path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    };
    let says = |level: &str, what: &str| {
        let found = findings(&config);
        assert!(found.iter().any(|(its, _, says)| its == level && says.contains(what)), "{what} in {found:#?}");
    };
    issue("chat.example.org", (2021, 1, 1));
    says("problem", "expired");
    says("warning", "chmod 600");
    issue("other.example.org", (2099, 1, 1));
    says("warning", "does not trust");
    says("problem", "not for chat.example.org");
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(path("key.pem"), other.serialize_pem()).unwrap();
    says("problem", "belong together");
}

#[test]
fn a_sound_configuration_has_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(&config, format!("listen = \"127.0.0.1:0\"\ndata = {:?}\n", dir.path().join("data"))).unwrap();
    let output = check(&config, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("no problems"), "{text}");
    assert!(!dir.path().join("data").exists(), "a check makes nothing");
}
