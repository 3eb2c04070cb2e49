//! The program over TLS: a certificate that this machine trusts, and those that it does not.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{Home, Server, eventually};

/// An authority of the test's own, and a server with a certificate from it.
struct Trusted {
    server: Server,
    authority: PathBuf,
    _dir: TempDir,
}

/// The certificate names `name`.
fn server_called(name: &str) -> Trusted {
    let dir = TempDir::new().unwrap();
    let write = |file: &str, pem: String| {
        let path = dir.path().join(file);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "An authority for a test");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let (cert_file, key_file) = (write("cert.pem", certificate.pem()), write("key.pem", key.serialize_pem()));
    let config = write("config.toml", format!("[tls]\ncert_file = {cert_file:?}\nkey_file = {key_file:?}\n"));
    Trusted { server: Server::start_with(&config), authority: write("authority.pem", authority.pem()), _dir: dir }
}

#[test]
fn two_people_talk_over_tls() {
    let Trusted { server, authority, _dir } = server_called("127.0.0.1");
    assert!(server.url().starts_with("https://"));
    let home = |handle| {
        let home = Home::trusting(&authority);
        home.ok(&["signup", handle, "--server", &server.url()]);
        home
    };
    let (alice, bob) = (home("@alice"), home("@bob"));
    alice.ok(&["send", "@bob", "hello"]);
    eventually("the request arrives", || !bob.ok(&["requests"]).is_empty());
    bob.ok(&["accept", "@alice"]);
    eventually("Bob reads it", || bob.texts("@alice") == ["hello"]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_what_to_do() {
    let (Trusted { server, .. }, other) = (server_called("127.0.0.1"), server_called("127.0.0.1"));
    let home = Home::trusting(&other.authority);
    let (exit, code, message) = home.fails(&["signup", "@alice", "--server", &server.url()]);
    assert_eq!((exit, code.as_str()), (3, "offline"), "{message}");
    for part in ["does not trust", "SSL_CERT_FILE", "Nothing was sent"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(!home.path().exists(), "nothing is left of it");
}

#[test]
fn a_certificate_for_another_name_is_refused_with_what_to_do() {
    let Trusted { server, authority, _dir } = server_called("chat.example.org");
    let (exit, code, message) = Home::trusting(&authority).fails(&["signup", "@alice", "--server", &server.url()]);
    assert_eq!((exit, code.as_str()), (3, "offline"), "{message}");
    assert!(message.contains("for another name") && message.contains("check the address"), "{message}");
}
