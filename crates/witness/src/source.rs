//! A directory over HTTP. Whoever serves it is taken for hostile: each answer has a bound and each request a time limit, and
//! nothing is fetched from anywhere else than the address that was named.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use stonechat_directory::Source;
use ureq::http::Uri;

/// A directory's address, and how to ask it.
pub struct HttpSource {
    agent: ureq::Agent,
    base: String,
}

/// Why an address cannot be that of a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is not the address of a server; one looks like https://chat.example.org")]
pub struct SourceError {
    /// What was given.
    pub address: String,
}

/// Why a cosignature was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is a newer checkpoint.
    Superseded,
    /// In words.
    Other(String),
}

impl HttpSource {
    /// The directory of the server at this address: `https://` or `http://`, a host, perhaps a port and a path.
    ///
    /// # Errors
    /// [`SourceError`] when it is not such an address.
    pub fn new(server: &str) -> Result<Self, SourceError> {
        Self::with_limit(server, REQUEST_TIMEOUT)
    }

    fn with_limit(server: &str, limit: Duration) -> Result<Self, SourceError> {
        let is_address = server.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("https" | "http")) && uri.authority().is_some() && uri.query().is_none()
        });
        if !is_address {
            return Err(SourceError { address: server.to_owned() });
        }
        let certificates = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<_> =
            certificates.iter().map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned()).collect();
        let tls = ureq::tls::TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // A directory must not send us to other machines, such as those of the network that we stand in.
            .max_redirects(0)
            .timeout_global(Some(limit))
            .build();
        Ok(Self { agent: config.into(), base: format!("{}/directory", server.trim_end_matches('/')) })
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Result<(), Refused> {
        let url = format!("{}/{path}", self.base);
        let answer = self.agent.post(&url).send(body).map_err(|error| Refused::Other(format!("{url}: {error}")))?;
        match answer.status().as_u16() {
            200 => Ok(()),
            409 => Err(Refused::Superseded),
            403 => Err(Refused::Other(
                "the directory does not know this witness: its operator puts the verifier key into the configuration"
                    .to_owned(),
            )),
            status => Err(Refused::Other(format!("{url} answered {status}"))),
        }
    }
}

impl Source for HttpSource {
    type Error = String;

    fn get(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
        let url = format!("{}/{path}", self.base);
        let answer = self.agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
        if answer.status() != 200 {
            return Err(format!("{url} answered {}", answer.status()));
        }
        let mut bytes = Vec::new();
        // Grows with what arrives: a length that is only claimed reserves nothing.
        let body = answer.into_body().into_reader();
        body.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| format!("{url}: {error}"))?;
        if bytes.len() > bytes_max {
            return Err(format!("{url} is longer than {bytes_max} bytes"));
        }
        Ok(bytes)
    }
}

/// From the look-up of the name to the last byte. A directory waits half a minute for a checkpoint that is asked for with
/// `after`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// A server that answers every request the same way, until the other side has gone.
    fn serve(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = answer(&mut stream);
            }
        });
        address
    }

    fn source(address: SocketAddr) -> HttpSource {
        HttpSource::with_limit(&format!("http://{address}"), Duration::from_millis(500)).unwrap()
    }

    #[test]
    fn an_answer_within_its_bound_is_taken() {
        let address = serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"));
        assert_eq!(source(address).get("policy", 5), Ok(b"hello".to_vec()));
        let error = source(address).get("policy", 4).unwrap_err();
        assert!(error.ends_with("/directory/policy is longer than 4 bytes"), "{error}");
    }

    #[test]
    fn an_answer_without_an_end_stops_at_its_bound() {
        let address = serve(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000000\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 4096])?;
            }
        });
        let error = source(address).get("checkpoint", 10_000).unwrap_err();
        assert!(error.ends_with("is longer than 10000 bytes"), "{error}");
    }

    #[test]
    fn an_answer_that_comes_byte_by_byte_is_given_up() {
        let address = serve(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
            loop {
                stream.write_all(&[7])?;
                thread::sleep(Duration::from_millis(20));
            }
        });
        let begin = Instant::now();
        assert!(source(address).get("checkpoint", 100_000).is_err());
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }

    #[test]
    fn headers_without_an_end_are_given_up() {
        let address = serve(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(b"x-more: and more\r\n")?;
            }
        });
        assert!(source(address).get("checkpoint", 100_000).is_err());
    }

    #[test]
    fn nobody_is_sent_to_another_address() {
        let (asked, was_asked) = std::sync::mpsc::channel();
        let inner = serve(move |stream| {
            asked.send(()).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
        });
        let address = serve(move |stream| {
            write!(
                stream,
                "HTTP/1.1 307 Elsewhere\r\nlocation: http://{inner}/directory/policy\r\ncontent-length: 0\r\n\r\n"
            )
        });
        let mut source = source(address);
        assert!(source.get("policy", 100).unwrap_err().contains("answered 307"));
        assert!(matches!(source.post("cosignature", b"signed"), Err(Refused::Other(_))));
        assert!(was_asked.try_recv().is_err(), "the other address was asked");
    }

    #[test]
    fn only_addresses_of_servers_are_taken() {
        for good in ["https://chat.example.org", "http://127.0.0.1:8440/", "http://[::1]:8440", "https://a.b/chat/"] {
            assert!(HttpSource::new(good).is_ok(), "{good}");
        }
        for bad in ["", "chat.example.org", "ftp://chat.example.org", "file:///etc/passwd", "https://a.b/?x=1", "a b"] {
            assert_eq!(HttpSource::new(bad).err(), Some(SourceError { address: bad.to_owned() }));
        }
    }
}
