//! What somebody sees who stands between the end of TLS and the server: every byte, both ways.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes connections on to a server and records them.
pub(crate) struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Recording>>>,
}

type Recording = [Arc<Mutex<Vec<u8>>>; 2];

/// One connection: its bytes as they passed, and the WebSocket messages in them, unmasked.
pub(crate) struct Connection {
    /// As they passed: from the client, from the server.
    pub(crate) bytes: [Vec<u8>; 2],
    /// Binary messages from the client.
    pub(crate) asked: Vec<Vec<u8>>,
    /// Binary messages from the server.
    pub(crate) answered: Vec<Vec<u8>>,
}

impl Proxy {
    /// Listens on a port of its own, until the process ends.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&connections);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let recording = Recording::default();
                pass_on(&client, &server, Arc::clone(&recording[0]));
                pass_on(&server, &client, Arc::clone(&recording[1]));
                recorded.lock().unwrap().push(recording);
            }
        });
        Self { address, connections }
    }

    /// What clients dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far.
    pub(crate) fn recorded(&self) -> Vec<Connection> {
        let connections = self.connections.lock().unwrap();
        connections
            .iter()
            .map(|recording| {
                let bytes = recording.each_ref().map(|bytes| bytes.lock().unwrap().clone());
                let [asked, answered] = bytes.each_ref().map(|bytes| messages(bytes));
                Connection { bytes, asked, answered }
            })
            .collect()
    }
}

fn pass_on(from: &TcpStream, to: &TcpStream, recorded: Arc<Mutex<Vec<u8>>>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            recorded.lock().unwrap().extend_from_slice(&buffer[..count]);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side may have closed first.
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// The binary messages behind an HTTP head: RFC 6455 section 5. A connection that was cut ends with a part, which is left out.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let (mut rest, mut messages, mut message) = (&bytes[head..], Vec::new(), Vec::new());
    while let Some((first, payload, behind)) = frame(rest) {
        rest = behind;
        let (last, kind) = (first & 0x80 != 0, first & 0x0f);
        assert_eq!(first & 0x70, 0, "no extension is agreed on, so nothing is compressed");
        assert!(matches!(kind, 0 | 2 | 8 | 9 | 10), "a frame of kind {kind}");
        // Continuation and binary; the others control the connection.
        if matches!(kind, 0 | 2) {
            message.extend(payload);
            if last {
                messages.push(std::mem::take(&mut message));
            }
        }
    }
    messages
}

/// The first byte of a frame, its payload and what is behind it.
fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match second & 0x7f {
        126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
        len => (u64::from(len), rest),
    };
    let (mask, rest) =
        if second & 0x80 == 0 { ([0; 4], rest) } else { rest.split_first_chunk().map(|(m, r)| (*m, r))? };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((first, payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(), rest))
}
