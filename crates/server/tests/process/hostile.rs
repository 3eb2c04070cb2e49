//! Clients that are wrong, broken or malicious, and those beside them who notice nothing.

use std::time::{Duration, Instant};

use stonechat_wire::{ErrorCode, Hello, PROTOCOL_VERSION, Request, Seq, ServerFrame, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Server, http_get};

#[tokio::test]
async fn an_unknown_version_is_told_the_servers() {
    let server = Server::start();
    let mut socket = server.socket().await;
    socket.send(encode(&Hello { version: 99 })).await;
    let failure = socket.goodbye().await;
    assert_eq!(failure.code, ErrorCode::Version);
    assert!(failure.detail.unwrap().contains(&format!("version {PROTOCOL_VERSION}")));
}

#[tokio::test]
async fn frames_that_are_not_of_the_protocol_end_their_connection_only() {
    let server = Server::start();
    let mut bystander = server.client().await;
    let ping = encode(&stonechat_wire::ClientFrame { id: 1, request: Request::Ping });
    for bad in [Vec::new(), ping[..ping.len() - 1].to_vec(), [ping.as_slice(), &[0]].concat(), vec![0xff; 100]] {
        let mut client = server.client().await;
        client.socket.send(bad).await;
        assert_eq!(client.socket.goodbye().await.code, ErrorCode::Malformed);
    }
    let mut texting = server.client().await;
    futures_util::SinkExt::send(&mut texting.socket.0, Message::text("hello")).await.unwrap();
    assert_eq!(texting.socket.goodbye().await.code, ErrorCode::Malformed);
    let mut early = server.socket().await;
    early.send(vec![1, 2, 3]).await;
    assert_eq!(early.goodbye().await.code, ErrorCode::Malformed);
    bystander.ask(Request::Ping).await.unwrap();
}

#[tokio::test]
async fn a_frame_of_ten_megabytes_is_refused_before_it_is_read() {
    let server = Server::start();
    let mut client = server.client().await;
    let failure = tokio::join!(
        async {
            // The server hangs up in the middle of it.
            let message = Message::Binary(vec![0; 10 << 20].into());
            let _ = futures_util::SinkExt::send(&mut client.socket.0, message).await;
        },
        async { tokio::time::sleep(Duration::from_millis(100)).await }
    );
    let ((), ()) = failure;
    match client.socket.receive().await {
        Some(ServerFrame::Closing(failure)) => assert!(failure.detail.unwrap().contains("1048576 bytes")),
        None => {}
        other => panic!("{other:?}"),
    }
    let mut other = server.client().await;
    other.ask(Request::Ping).await.unwrap();
}

#[tokio::test]
async fn a_thousand_silent_connections_are_closed_while_a_talking_one_goes_on() {
    // The server inherits the bound; both ends of each connection are files.
    raise_open_files(4_096);
    let server = Server::start_with("hello_timeout_secs = 1\n");
    let mut talking = server.client().await;
    let mut silent = Vec::new();
    for n in 0..1_000 {
        if n % 3 == 0 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        } else {
            // Of these, the HTTP part is done.
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let request = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            silent.push(stream);
        }
    }
    // All of them are open, and somebody new is served at once.
    let asked = Instant::now();
    server.client().await.ask(Request::Ping).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let started = Instant::now();
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        // Closed, or reset: gone either way.
        assert!(ended.is_ok(), "still open");
        talking.ask(Request::Ping).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Lets this process and those that it starts open so many files, as far as the system allows it.
fn raise_open_files(files: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(files, |maximum| files.min(maximum));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).expect("a limit below the maximum");
    }
}

#[tokio::test]
async fn connections_past_the_bound_are_told_so() {
    let server = Server::start_with("connections_max = 2\n");
    let _seated = [server.client().await, server.client().await];
    let url = format!("ws://{}/v1/ws", server.address);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let refused = tokio_tungstenite::client_async(url, stream).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
}

#[tokio::test]
async fn a_slow_reader_loses_its_connection_and_nobody_elses() {
    let server = Server::start();
    let mut writer = server.client().await;
    let chat = server.chat(&mut writer).await;
    let mut slow = server.client().await;
    let mut reader = server.client().await;
    slow.follow(chat.follow(&chat.first, 0)).await;
    reader.follow(chat.follow(&chat.first, 0)).await;
    // More than the sockets between will hold.
    let blob = vec![7; 900_000];
    for n in 0..24_u8 {
        writer.append(chat.say(&chat.first, &[&[n], blob.as_slice()].concat())).await;
        let _page = reader.push().await;
    }
    let began = Instant::now();
    while !http_get(server.address, "/metrics").await.contains("reason=\"SlowReader\"") {
        assert!(began.elapsed() < Duration::from_secs(20), "the slow reader is still connected");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(writer.append(chat.say(&chat.first, b"last")).await, Seq(26));
}

#[tokio::test]
async fn too_many_requests_are_refused_and_the_connection_stays() {
    let server = Server::start_with("requests_per_sec = 10\n");
    let mut client = server.client().await;
    let mut refused = 0;
    for _ in 0..150 {
        refused += u32::from(client.ask(Request::Ping).await.is_err_and(|failure| failure.code == ErrorCode::Slow));
    }
    assert!((1..=50).contains(&refused), "{refused}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.ask(Request::Ping).await.unwrap();
}
