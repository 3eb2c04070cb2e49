//! What a witness answers: the newest head that it cosigned, under `GET /checkpoint`, and nothing else.
//!
//! One path with one file behind it: an HTTP library would be this program's largest part. A connection has a few seconds
//! and a few kilobytes, and there are a few of them at one time; whoever is over these bounds is cut off, and the witness
//! goes on witnessing.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::WitnessError;
use crate::folder::CHECKPOINT_FILE;

/// Answers on an address for as long as the program runs. Returns the address, with the port that was picked.
///
/// # Errors
/// [`WitnessError::Listen`].
pub fn answer(address: SocketAddr, folder: &Path) -> Result<SocketAddr, WitnessError> {
    let failed = |source| WitnessError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let checkpoint = folder.join(CHECKPOINT_FILE);
    thread::Builder::new().name("answers".to_owned()).spawn(move || accept(&listener, &checkpoint)).map_err(failed)?;
    Ok(bound)
}

fn accept(listener: &TcpListener, checkpoint: &Path) {
    // Each connection that is served holds one more.
    let seats = Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely. Accepting again at once would spin.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if Arc::strong_count(&seats) > CONNECTIONS_MAX {
            continue;
        }
        let (seat, checkpoint) = (Arc::clone(&seats), PathBuf::from(checkpoint));
        let served = thread::Builder::new().name("answer".to_owned()).spawn(move || {
            // A client that went away is no failure of ours.
            let _ = serve(stream, &checkpoint);
            drop(seat);
        });
        if let Err(error) = served {
            tracing::warn!(%error, "cannot answer somebody who asks what was seen");
        }
    }
}

fn serve(mut stream: TcpStream, checkpoint: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = Vec::new();
    let mut piece = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        if read == 0 || head.len() + read > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    }
    let (status, body) = if !head.starts_with(b"GET /checkpoint HTTP/1.") {
        ("404 Not Found", b"there is GET /checkpoint only\n".to_vec())
    } else {
        match fs::read(checkpoint) {
            Ok(note) => ("200 OK", note),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ("404 Not Found", b"this witness has cosigned nothing yet\n".to_vec())
            }
            Err(_) => ("503 Service Unavailable", b"the witness cannot read its folder\n".to_vec()),
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nCache-Control: \
         no-store\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

const CONNECTIONS_MAX: usize = 32;
const HEAD_BYTES_MAX: usize = 4 * 1024;
const TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_newest_head_is_answered_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let address = answer("127.0.0.1:0".parse().unwrap(), dir.path()).unwrap();
        let get = |path: &str| ask(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(get("/checkpoint").starts_with("HTTP/1.1 404"), "nothing was cosigned");
        fs::write(dir.path().join(CHECKPOINT_FILE), "a note\n").unwrap();
        fs::write(dir.path().join("witness-key"), "secret").unwrap();
        let found = get("/checkpoint");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\na note\n"), "{found}");
        for other in ["/", "/witness-key", "/checkpoint/../witness-key", "/checkpoint?x"] {
            let answer = get(other);
            assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("secret"), "{other}: {answer}");
        }
    }

    #[test]
    fn whoever_says_nothing_or_too_much_is_cut_off_and_others_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let address = answer("127.0.0.1:0".parse().unwrap(), dir.path()).unwrap();
        let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(ask(address, b"GET /checkpoint HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        let mut stream = TcpStream::connect(address).unwrap();
        // Cut off on the way: a write or the read fails, or nothing comes.
        let _ = stream.write_all(&[b'x'; 64 * 1024]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
        drop(silent);
    }
}
