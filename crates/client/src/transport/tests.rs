//! The transport against servers that are down, wrong, silent, old or honest.

use futures_util::{SinkExt as _, StreamExt as _};
use stonechat_wire::limits::FRAME_BYTES_MAX;
use stonechat_wire::{Hello, PROTOCOL_VERSION, Request, Timestamp, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::rt::timeout;

async fn listener() -> (TcpListener, ServerUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    (listener, url)
}

/// Answers every connection with these bytes, whatever it says.
async fn plain_server(answer: &'static str) -> ServerUrl {
    let (listener, url) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = [0; 1_024];
            let _ = socket.read(&mut asked).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

type Accepted = WebSocketStream<TcpStream>;

async fn accept(listener: &TcpListener) -> Accepted {
    let (socket, _) = listener.accept().await.unwrap();
    tokio_tungstenite::accept_async(socket).await.unwrap()
}

async fn say(socket: &mut Accepted, frame: &ServerFrame) {
    socket.send(Message::Binary(encode(frame).into())).await.unwrap();
}

async fn hear(socket: &mut Accepted) -> Vec<u8> {
    loop {
        if let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() {
            return bytes.to_vec();
        }
    }
}

async fn hear_frame(socket: &mut Accepted) -> ClientFrame {
    decode(&hear(socket).await).unwrap()
}

/// Hears the client's greeting and answers it.
async fn greet(socket: &mut Accepted) {
    assert_eq!(decode::<Hello>(&hear(socket).await).unwrap().version, PROTOCOL_VERSION);
    let hello = HelloReply { nonce: [1; 32], now: Timestamp(1), token_key: [2; 32] };
    say(socket, &ServerFrame::Hello(hello)).await;
}

fn ping(id: u32) -> ClientFrame {
    ClientFrame { id, request: Request::Ping }
}

fn words(result: Result<(), ConnectError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
    for (given, authority, endpoint) in [
        ("https://chat.example.org", "chat.example.org", "wss://chat.example.org/v1/ws"),
        ("https://chat.example.org/", "chat.example.org", "wss://chat.example.org/v1/ws"),
        ("https://chat.example.org:443", "chat.example.org", "wss://chat.example.org/v1/ws"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "ws://127.0.0.1:8000/v1/ws"),
        ("http://[::1]:8000", "[::1]:8000", "ws://[::1]:8000/v1/ws"),
    ] {
        let url: ServerUrl = given.parse().unwrap();
        assert_eq!((url.authority().as_str(), url.endpoint().as_str()), (authority, endpoint));
        assert_eq!(url.to_string().parse::<ServerUrl>().unwrap(), url);
    }
    for (given, hint) in [
        ("", "https://"),
        ("chat.example.org", "https://"),
        ("localhost:8000", "https://"),
        ("https://", "address"),
        ("ftp://chat.example.org", "ftp"),
        ("wss://chat.example.org", "https://"),
        ("https://chat.example.org/v1/ws", "https://chat.example.org"),
        ("https://me@chat.example.org", "user name"),
        ("https://chat.example.org?x=1", "query"),
        ("https://chat example.org", "address"),
        ("https://chat.example.org:99999", "address"),
    ] {
        let error = given.parse::<ServerUrl>().unwrap_err().to_string();
        assert!(error.contains(hint), "{given}: {error}");
    }
}

#[tokio::test]
async fn what_keeps_a_client_from_its_server_is_told_apart() {
    let nobody = { listener().await.1 };
    assert!(words(probe(&nobody).await).contains("nothing answers"));

    let nowhere = "http://no-such-host.invalid".parse().unwrap();
    assert!(words(probe(&nowhere).await).contains("cannot be found"));

    let web = plain_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let error = probe(&web).await.unwrap_err();
    assert!(error.is_lasting() && error.to_string().contains("not a Stonechat server"), "{error}");

    let gateway = plain_server("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    let error = probe(&gateway).await.unwrap_err();
    assert!(!error.is_lasting() && error.to_string().contains("not available"), "{error}");

    let mail = plain_server("220 mail.example.org ESMTP\r\n").await;
    assert!(words(probe(&mail).await).contains("not a Stonechat server"));

    let no_tls = web.to_string().replace("http://", "https://").parse().unwrap();
    let error = probe(&no_tls).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }) && error.is_lasting(), "{error}");
}

#[tokio::test]
async fn another_web_socket_and_another_version_are_told_apart() {
    let (listener, url) = listener().await;
    tokio::spawn(async move {
        let mut other = accept(&listener).await;
        other.send(Message::Text("welcome to the game".into())).await.unwrap();
        let mut newer = accept(&listener).await;
        hear(&mut newer).await;
        say(&mut newer, &ServerFrame::Closing(Failure::new(ErrorCode::Version))).await;
        let mut fine = accept(&listener).await;
        greet(&mut fine).await;
        let _ = fine.next().await;
    });
    assert!(words(probe(&url).await).contains("not a Stonechat server"));
    let version = probe(&url).await.unwrap_err();
    assert!(version.is_lasting() && version.to_string().contains("update"), "{version}");
    probe(&url).await.unwrap();
}

#[tokio::test]
async fn a_link_passes_frames_and_comes_back_with_a_queue_of_its_own() {
    let (listener, url) = listener().await;
    let (events, mut arrivals) = mpsc::channel(16);
    let running = tokio::spawn(run(Link::Device, url.clone(), events));

    let mut server = accept(&listener).await;
    greet(&mut server).await;
    let Some((Link::Device, LinkEvent::Connected { host, outgoing, .. })) = arrivals.recv().await else { panic!() };
    assert_eq!(host, url.authority());
    outgoing.send(ping(7)).await.unwrap();
    assert_eq!(hear_frame(&mut server).await, ping(7));
    say(&mut server, &ServerFrame::Refused(7, Failure::new(ErrorCode::NotFound))).await;
    assert!(matches!(arrivals.recv().await, Some((_, LinkEvent::Frame(ServerFrame::Refused(7, _))))));

    drop(server);
    let Some((_, LinkEvent::Down { was_up: true, why: Some(_) })) = arrivals.recv().await else { panic!() };
    assert!(outgoing.send(ping(8)).await.is_err(), "a dead connection's queue takes nothing");

    let mut server = accept(&listener).await;
    greet(&mut server).await;
    let Some((_, LinkEvent::Connected { outgoing, .. })) = arrivals.recv().await else { panic!() };
    // Closed from this side: what is queued goes out first.
    outgoing.send(ping(9)).await.unwrap();
    drop(outgoing);
    assert_eq!(hear_frame(&mut server).await, ping(9));
    assert!(matches!(arrivals.recv().await, Some((_, LinkEvent::Down { was_up: true, why: None }))));

    drop(arrivals);
    timeout(Duration::from_secs(1), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_frame_that_is_too_large_or_none_at_all_ends_the_connection() {
    for bad in [vec![0; FRAME_BYTES_MAX + 1], b"\xff\xff".to_vec()] {
        let (listener, url) = listener().await;
        let (events, mut arrivals) = mpsc::channel(16);
        let running = tokio::spawn(run(Link::Anonymous, url, events));
        let mut server = accept(&listener).await;
        greet(&mut server).await;
        // The client may be gone before all of it is out.
        let _ = server.send(Message::Binary(bad.into())).await;
        let Some((_, LinkEvent::Connected { outgoing: _open, .. })) = arrivals.recv().await else { panic!() };
        let Some((_, LinkEvent::Down { was_up: true, why: Some(_) })) = arrivals.recv().await else { panic!() };
        running.abort();
    }
}

#[test]
fn the_backoff_grows_to_its_bound_and_never_to_nothing() {
    let mut backoff = Backoff::default();
    let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
    assert!(waits[0] >= BACKOFF_FIRST / 2 && waits[0] <= BACKOFF_FIRST, "{:?}", waits[0]);
    assert!(waits[20..].iter().all(|wait| *wait >= BACKOFF_MAX / 2 && *wait <= BACKOFF_MAX));
}
