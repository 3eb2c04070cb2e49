//! What a browser gets: the web app where this build has it, and the headers that hold the browser to it everywhere.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Server;

/// The status line and headers, in lower case, and the body.
async fn get(address: SocketAddr, path: &str, accept_encoding: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: {accept_encoding}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("a head of ASCII").to_lowercase();
    (head, answer[end + 4..].to_vec())
}

/// The value of a header that stands there once.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {head}"));
    assert!(values.next().is_none(), "{name} twice in {head}");
    value
}

#[tokio::test]
async fn every_answer_holds_a_browser_to_its_own_server() {
    let server = Server::start();
    for path in ["/", "/healthz", "/metrics", "/none", "/v1/ws"] {
        let (head, _) = get(server.address, path, "identity").await;
        let policy = header(&head, "content-security-policy");
        let directives = policy.split(';').map(str::trim).collect::<Vec<_>>();
        for directive in [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "connect-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types stonechat stonechat-offline",
        ] {
            assert!(directives.contains(&directive), "{path}: no {directive} in {policy}");
        }
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'") && !policy.contains("http"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(&head, name), value, "{path}");
        }
        let permissions = header(&head, "permissions-policy");
        // The camera is for the code that people compare, and for this page alone.
        assert!(
            permissions.contains("camera=(self)") && permissions.contains("microphone=()"),
            "{path}: {permissions}"
        );
        // Over plain HTTP it would be a promise that the server cannot keep.
        assert!(!head.contains("strict-transport-security"), "{path}");
        assert!(head.contains("\r\ncache-control: no-"), "{path}: {head}");
    }
}

#[tokio::test]
async fn the_web_app_is_served_where_this_build_has_it() {
    let server = Server::start();
    let (head, body) = get(server.address, "/", "identity").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-type"), "text/html; charset=utf-8");
    let html = String::from_utf8(body).unwrap();
    if option_env!("STONECHAT_WEB_DIR").is_none() {
        assert!(html.contains("The web app is not in this build"), "{html}");
        return;
    }
    let (_, script) = html.split_once("<script type=\"module\" src=\"").expect("the app starts with a module");
    let (path, rest) = script.split_once('"').unwrap();
    assert!(rest.trim_start().starts_with("integrity=\"sha384-"), "{html}");
    let (head, plain) = get(server.address, path, "identity").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header(&head, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header(&head, "vary"), "accept-encoding");
    let (head, packed) = get(server.address, path, "gzip, br").await;
    assert_eq!(header(&head, "content-encoding"), "br");
    assert!(packed.len() < plain.len());
    // A name that tells another content is nobody's.
    let (head, _) = get(server.address, &path.replace("-", "-0"), "br").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
}
