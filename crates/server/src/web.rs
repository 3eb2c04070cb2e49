//! The web app as files in this program, and the headers that hold a browser to it.
//!
//! Every answer of the server carries [`harden`]'s headers, errors included: a browser runs no script that is not one of the
//! files, loads nothing from anywhere else, sends nothing anywhere else, and shows nothing of ours inside another page. The
//! files come from the folder that was there when the program was built (`build.rs`); the server reads none at run time.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

/// One file of the web app.
pub(crate) struct File {
    name: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
}

/// The web app of this build; empty without one.
pub(crate) const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Routes to the files; `/` is the app, or a page that says that there is none.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(files: &'static [File]) -> Router<S> {
    if files.is_empty() {
        return Router::new().route("/", get(|| async { Html(HOME) }));
    }
    files.iter().fold(Router::new(), |router, file| {
        let path = if file.name == INDEX { "/".to_owned() } else { format!("/{}", file.name) };
        let etag = format!("\"{}\"", &hex::encode(Sha256::digest(file.plain))[..32]);
        let etag = HeaderValue::try_from(etag).expect("hex digits and quotes");
        router.route(&path, get(move |headers: HeaderMap| async move { send(file, etag, &headers) }))
    })
}

fn send(file: &File, etag: HeaderValue, request: &HeaderMap) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(file.name)));
    // Other names tell their content: what is under them never changes.
    let caching =
        if [INDEX, OFFLINE].contains(&file.name) { "no-cache" } else { "public, max-age=31536000, immutable" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let is_known = request.get(header::IF_NONE_MATCH).is_some_and(|known| known == etag);
    headers.insert(header::ETAG, etag);
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    match file.brotli.filter(|_| takes_brotli(request)) {
        Some(packed) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
            (headers, Body::from(Bytes::from_static(packed))).into_response()
        }
        None => (headers, Body::from(Bytes::from_static(file.plain))).into_response(),
    }
}

/// `Accept-Encoding: gzip, br;q=0.9`. A refusal is `br;q=0`; a wildcard is not worth a rule.
fn takes_brotli(request: &HeaderMap) -> bool {
    let accepted = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("br") && weight.is_some_and(|weight| weight > 0.0)
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        // Without this type browsers refuse to compile it while it arrives.
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What [`harden`] is told.
#[derive(Clone, Copy)]
pub(crate) struct Hardening {
    /// Whether the server itself terminates TLS.
    pub(crate) tls: bool,
}

/// Puts the headers on an answer that hold a browser to the promise. See docs/threat-model.md, "the web app".
pub(crate) async fn harden(State(hardening): State<Hardening>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    for (name, value) in HARDENING {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if hardening.tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

const HARDENING: &[(&str, &str)] = &[
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("origin-agent-cluster", "?1"),
    ("permissions-policy", PERMISSIONS_POLICY),
];

/// Nothing, and then what the app needs: its own scripts, programs, styles, pictures and manifest, its own server, its worker.
/// No inline script or style, no text that becomes markup or script (Trusted Types, with policies for the
/// addresses of the two workers only), no frame around it, no form that leaves.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self'; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types stonechat stonechat-offline";

/// What no page here ever asks for, so that nothing that runs in one can. The camera is for the code of a safety number, and only
/// when the person asks for it.
const PERMISSIONS_POLICY: &str = "accelerometer=(), browsing-topics=(), camera=(self), display-capture=(), geolocation=(), gyroscope=(), \
    hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
    publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()";

const INDEX: &str = "index.html";
/// Keeps the app's files in the browser; browsers ask for it again to see whether there is a new version.
const OFFLINE: &str = "offline.js";

const HOME: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Stonechat</title>\n<h1>Stonechat</h1>\n\
<p>This is a Stonechat server. It delivers end-to-end encrypted messages and cannot read them.</p>\n\
<p>The web app is not in this build of it. To use the server, give its address to another app: \
<code>stonechat signup @you --server ADDRESS</code></p>\n</html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[File] = &[
        File { name: "index.html", plain: b"<!doctype html><p>the app", brotli: None },
        File { name: "offline.js", plain: b"keep", brotli: None },
        File { name: "page-0011.js", plain: b"a long script", brotli: Some(b"short") },
    ];

    async fn ask(files: &'static [File], tls: bool, path: &str, headers: &[(HeaderName, &'static str)]) -> Response {
        use hyper::service::Service as _;
        let hardened = axum::middleware::from_fn_with_state(Hardening { tls }, harden);
        let router: Router<()> = routes(files).layer(hardened);
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let service = hyper_util::service::TowerToHyperService::new(router);
        service.call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn body(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), 4096).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn without_a_web_app_the_home_page_says_so() {
        let response = ask(&[], false, "/", &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(String::from_utf8(body(response).await).unwrap().contains("not in this build"));
        assert_eq!(ask(&[], false, "/page-0011.js", &[]).await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_index_is_asked_for_each_time_and_named_files_are_kept_for_ever() {
        let index = ask(TABLE, false, "/", &[]).await;
        assert_eq!(index.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(index.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let script = ask(TABLE, false, "/page-0011.js", &[]).await;
        assert_eq!(script.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(ask(TABLE, false, "/index.html", &[]).await.status(), StatusCode::NOT_FOUND);
        let offline = ask(TABLE, false, "/offline.js", &[]).await;
        assert_eq!(offline.headers()[header::CACHE_CONTROL], "no-cache");
    }

    #[tokio::test]
    async fn brotli_goes_to_those_who_take_it() {
        for (accepted, packed) in
            [("gzip, br", true), ("BR;q=0.5", true), ("br;q=0", false), ("gzip", false), ("brr", false)]
        {
            let response = ask(TABLE, false, "/page-0011.js", &[(header::ACCEPT_ENCODING, accepted)]).await;
            assert_eq!(response.headers().get(header::CONTENT_ENCODING).is_some(), packed, "{accepted}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            assert_eq!(body(response).await, if packed { &b"short"[..] } else { b"a long script" }, "{accepted}");
        }
        let index = ask(TABLE, false, "/", &[(header::ACCEPT_ENCODING, "br")]).await;
        assert!(index.headers().get(header::CONTENT_ENCODING).is_none());
    }

    #[tokio::test]
    async fn an_index_that_the_browser_has_is_not_sent_again() {
        let etag = ask(TABLE, false, "/", &[]).await.headers()[header::ETAG].to_str().unwrap().to_owned();
        let etag = Box::leak(etag.into_boxed_str());
        assert_eq!(ask(TABLE, false, "/", &[(header::IF_NONE_MATCH, etag)]).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(TABLE, false, "/", &[(header::IF_NONE_MATCH, "\"00\"")]).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn every_answer_holds_the_browser_to_it_errors_included() {
        for (files, path) in [(TABLE, "/"), (TABLE, "/page-0011.js"), (TABLE, "/none"), (&[], "/"), (&[], "/none")] {
            let plain = ask(files, false, path, &[]).await;
            for (name, value) in HARDENING {
                assert_eq!(plain.headers()[*name], value, "{path}");
            }
            assert!(plain.headers().contains_key(header::CACHE_CONTROL), "{path}");
            assert!(!plain.headers().contains_key(header::STRICT_TRANSPORT_SECURITY), "{path}");
            let tls = ask(files, true, path, &[]).await;
            assert_eq!(tls.headers()[header::STRICT_TRANSPORT_SECURITY], "max-age=63072000", "{path}");
        }
    }
}
