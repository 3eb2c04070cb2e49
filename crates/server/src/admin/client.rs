//! The other end of the operator's socket: one question, one answer.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::socket_of;

/// Why there is no answer. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No server runs there.
    #[error("no server runs on {data}: start it, or name its data folder with --data")]
    NotRunning {
        /// The data folder.
        data: String,
    },
    /// This user may not.
    #[error("this user may not use the server in {data}: run the command as the server's user")]
    NotPermitted {
        /// The data folder.
        data: String,
    },
    /// The server did not answer as it should.
    #[error("the server did not answer: {cause}")]
    Broken {
        /// What went wrong.
        cause: String,
    },
    /// The server refuses.
    #[error("{why}")]
    Refused {
        /// In its words.
        why: String,
    },
}

/// Asks the server that runs on a data folder.
///
/// # Errors
/// [`AdminError`].
pub async fn ask(data: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, AdminError> {
    let answered = timeout(ANSWER_TIMEOUT, exchange(data, method, path, body)).await;
    answered.unwrap_or_else(|_| Err(broken("it took too long")))
}

async fn exchange(data: &Path, method: Method, path: &str, body: Option<Value>) -> Result<Value, AdminError> {
    let shown = || data.display().to_string();
    let stream = UnixStream::connect(socket_of(data)).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AdminError::NotRunning { data: shown() },
        io::ErrorKind::PermissionDenied => AdminError::NotPermitted { data: shown() },
        _ => broken(error),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let request = Request::builder().method(method).uri(path).header("Host", "stonechatd").body(Full::new(body));
    let answer = sender.send_request(request.map_err(broken)?).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(broken)?.to_bytes();
    driver.abort();
    let value: Value = serde_json::from_slice(&body).map_err(broken)?;
    if status.is_success() {
        return Ok(value);
    }
    Err(AdminError::Refused { why: value["error"].as_str().unwrap_or("it refuses").to_owned() })
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AdminError {
    AdminError::Broken { cause: cause.into().to_string() }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
const ANSWER_BYTES_MAX: usize = 16 << 20;
