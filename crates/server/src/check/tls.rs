//! The certificate, judged as a client judges it: by the system's trust store, the time and the name.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::Report;
use crate::config::TlsConfig;
use crate::tls::load_tls;

pub(super) fn check(files: &TlsConfig, public_host: Option<&str>, now: SystemTime, report: &mut Report) {
    if let Err(error) = load_tls(files) {
        report.problem("tls", format!("{error}."));
    }
    private(&files.key_file, "tls.key_file", report);
    let chain = CertificateDer::pem_file_iter(&files.cert_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let Ok(chain) = chain else { return };
    let Some((leaf, rest)) = chain.split_first() else { return };
    let Ok(certificate) = ParsedCertificate::try_from(leaf) else {
        report.problem("tls.cert_file", "the first certificate in it cannot be read. The server's own comes first.");
        return;
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    judge_time(&certificate, leaf, rest, now, report);
    let Some(name) = public_host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name)) else { return };
    if let Ok(name) = ServerName::try_from(name)
        && verify_server_name(&certificate, &name).is_err()
    {
        let why = format!("it is not for {}, which is the host of public_host: clients refuse it.", name.to_str());
        report.problem("tls.cert_file", why);
    }
}

fn judge_time(
    certificate: &ParsedCertificate<'_>,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    now: Duration,
    report: &mut Report,
) {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let verify = |roots: &RootCertStore, at| {
        verify_server_cert_signed_by_trust_anchor(certificate, roots, rest, UnixTime::since_unix_epoch(at), algorithms)
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut trusted = verify(&roots, now);
    if matches!(trusted, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))) {
        let why = "this machine does not trust whoever issued it. Clients refuse it unless their machines do; the file \
                   may lack the certificates between the server's and the issuer's.";
        report.warning("tls.cert_file", why);
        // Its time can be judged all the same, by the end of its own chain.
        roots.add_parsable_certificates([rest.last().unwrap_or(leaf).clone().into_owned()]);
        trusted = verify(&roots, now);
    }
    match trusted {
        Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            report.problem("tls.cert_file", "it has expired: clients refuse it. Renew it, and restart the server.");
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            let why = "it is not valid yet: clients refuse it. Is this machine's clock right?";
            report.problem("tls.cert_file", why);
        }
        Ok(()) if is_expired(verify(&roots, now + SOON)) => {
            let why = "it expires within 14 days. Renew it, and restart the server: it is read once.";
            report.warning("tls.cert_file", why);
        }
        _ => {}
    }
}

fn is_expired(verified: Result<(), Error>) -> bool {
    let Err(Error::InvalidCertificate(error)) = verified else { return false };
    matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. })
}

/// A secret that others may read is none.
pub(super) fn private(path: &Path, about: &str, report: &mut Report) {
    let Ok(file) = path.metadata() else { return };
    if file.permissions().mode() & 0o077 != 0 {
        let why = format!("{} can be read by other users of this machine: `chmod 600` it.", path.display());
        report.warning(about, why);
    }
}

const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);
