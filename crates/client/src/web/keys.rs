//! The vault's key in a browser: 32 random bytes, encrypted under an AES-GCM key that the browser keeps and never shows.
//!
//! Both lie in IndexedDB: the wrapping key as a `CryptoKey` that cannot be extracted, the vault's key as ciphertext. No script,
//! ours included, can read the wrapping key; one of this origin could ask the browser to unwrap with it, which is why the page is
//! served as it is (design section 11). On the disk the browser keeps the wrapping key as it keeps everything: Chromium's is in its
//! profile in clear. Who copies the whole profile opens the vault; who has the vault's files alone does not.

use std::fmt;
use std::path::Path;

use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Crypto, CryptoKey, IdbDatabase, IdbFactory, IdbObjectStore, IdbOpenDbRequest, IdbRequest, IdbTransactionMode,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What the caller offers.
#[derive(Clone, Debug)]
pub enum KeyChoice {
    /// The browser keeps it.
    Auto,
}

/// Where a vault's key is. Its text completes "the vault's key is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// With the browser.
    Browser,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Browser => {
                "kept by this browser, which shows it to no script; its profile folder on this machine holds it"
            }
        })
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No cryptography, as on a page that came over plain HTTP.
    #[error("this browser gives this page no cryptography; open it over https")]
    NoCrypto,
    /// No IndexedDB, as in some private windows.
    #[error("this browser gives this page no storage for its key ({detail}); that happens in private windows")]
    NoStorage {
        /// What the browser said.
        detail: String,
    },
    /// There is no key.
    #[error("the vault's key is gone from this browser's storage; what was encrypted under it cannot be read any more")]
    Missing,
    /// What is stored is not what this module writes.
    #[error("the vault's key in this browser's storage is damaged or was written by a newer Stonechat")]
    Malformed,
}

/// The key that the vault is encrypted under. 32 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct VaultKey([u8; 32]);

impl VaultKey {
    /// The secret bytes.
    pub(crate) const fn danger_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(..)")
    }
}

/// Whether this browser gives this page cryptography.
///
/// # Errors
/// [`KeyError::NoCrypto`].
pub(crate) fn check() -> Result<(), KeyError> {
    crypto().map(drop)
}

/// Whether there is a key for the home `dir`.
///
/// # Errors
/// [`KeyError::NoStorage`].
pub(crate) async fn exists(dir: &Path) -> Result<bool, KeyError> {
    Ok(!read(dir).await?.is_undefined())
}

/// The key of the home `dir`.
///
/// # Errors
/// [`KeyError`].
pub(crate) async fn open(dir: &Path) -> Result<VaultKey, KeyError> {
    let record = read(dir).await?;
    if record.is_undefined() {
        return Err(KeyError::Missing);
    }
    let field = |name: &str| Reflect::get(&record, &name.into()).map_err(|_| KeyError::Malformed);
    let wrapping: CryptoKey = field("wrapping")?.dyn_into().map_err(|_| KeyError::Malformed)?;
    let nonce: Uint8Array = field("nonce")?.dyn_into().map_err(|_| KeyError::Malformed)?;
    let wrapped: Uint8Array = field("wrapped")?.dyn_into().map_err(|_| KeyError::Malformed)?;
    let opened = crypto()?
        .subtle()
        .decrypt_with_object_and_js_u8_array(&algorithm(&nonce), &wrapping, &wrapped)
        .map_err(|_| KeyError::Malformed)?;
    let opened = Uint8Array::new(&wait(&opened).await.map_err(|_| KeyError::Malformed)?);
    let bytes = Zeroizing::new(opened.to_vec());
    opened.fill(0, 0, opened.length());
    bytes.as_slice().try_into().map(VaultKey).map_err(|_| KeyError::Malformed)
}

/// Makes a key for the home `dir` and stores it, wrapped.
///
/// # Errors
/// [`KeyError`].
pub(crate) async fn create(dir: &Path) -> Result<VaultKey, KeyError> {
    let crypto = crypto()?;
    let no_crypto = |_| KeyError::NoCrypto;
    let mut key = VaultKey([0; 32]);
    getrandom::getrandom(&mut key.0).map_err(|_| KeyError::NoCrypto)?;
    let mut nonce = [0; NONCE_BYTES];
    getrandom::getrandom(&mut nonce).map_err(|_| KeyError::NoCrypto)?;
    let nonce = Uint8Array::from(nonce.as_slice());

    let kind = object(&[("name", "AES-GCM".into()), ("length", 256.into())]);
    let uses = Array::of2(&"encrypt".into(), &"decrypt".into());
    let subtle = crypto.subtle();
    // Not extractable: the browser uses it, and gives it to nobody.
    let wrapping = subtle.generate_key_with_object(&kind, false, &uses).map_err(no_crypto)?;
    let wrapping: CryptoKey = wait(&wrapping).await.map_err(no_crypto)?.unchecked_into();
    let plain = Uint8Array::from(key.0.as_slice());
    let wrapped =
        subtle.encrypt_with_object_and_js_u8_array(&algorithm(&nonce), &wrapping, &plain).map_err(no_crypto)?;
    let wrapped = wait(&wrapped).await.map_err(no_crypto)?;
    plain.fill(0, 0, plain.length());
    let record = object(&[
        ("wrapping", wrapping.into()),
        ("nonce", nonce.into()),
        ("wrapped", Uint8Array::new(&wrapped).into()),
    ]);
    change(|store| store.put_with_key(&record, &name(dir))).await?;
    Ok(key)
}

/// Deletes the key of the home `dir`: what was encrypted under it is gone.
///
/// # Errors
/// [`KeyError::NoStorage`].
pub(crate) async fn forget(dir: &Path) -> Result<(), KeyError> {
    change(|store| store.delete(&name(dir))).await
}

fn name(dir: &Path) -> JsValue {
    dir.to_string_lossy().as_ref().into()
}

/// AES-GCM with this nonce. What is encrypted is named in the additional data.
fn algorithm(nonce: &Uint8Array) -> Object {
    let about = Uint8Array::from(ABOUT);
    object(&[("name", "AES-GCM".into()), ("iv", nonce.into()), ("additionalData", about.into())])
}

fn object(fields: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a field of a plain object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

fn crypto() -> Result<Crypto, KeyError> {
    let crypto: Crypto = global("crypto").dyn_into().map_err(|_| KeyError::NoCrypto)?;
    // On a page without TLS there is `crypto`, but nothing in it.
    if crypto.subtle().is_undefined() { Err(KeyError::NoCrypto) } else { Ok(crypto) }
}

fn global(name: &str) -> JsValue {
    Reflect::get(&js_sys::global(), &name.into()).unwrap_or(JsValue::UNDEFINED)
}

async fn wait(promise: &Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise.clone()).await
}

// --- IndexedDB: one database, one store, a record a home ---

async fn read(dir: &Path) -> Result<JsValue, KeyError> {
    let database = database().await?;
    let found = async {
        let transaction = database.transaction_with_str(STORE)?;
        let request = transaction.object_store(STORE)?.get(&name(dir))?;
        settled(&request).await
    };
    let found = found.await;
    database.close();
    found.map_err(no_storage)
}

async fn change(change: impl FnOnce(&IdbObjectStore) -> Result<IdbRequest, JsValue>) -> Result<(), KeyError> {
    let database = database().await?;
    let changed = async {
        let transaction = database.transaction_with_str_and_mode(STORE, IdbTransactionMode::Readwrite)?;
        let done = Promise::new(&mut |resolve, reject| {
            transaction.set_oncomplete(Some(&resolve));
            transaction.set_onerror(Some(&reject));
            transaction.set_onabort(Some(&reject));
        });
        change(&transaction.object_store(STORE)?)?;
        // Not when the request succeeds: when the transaction is stored.
        wait(&done).await
    };
    let changed = changed.await;
    database.close();
    changed.map(drop).map_err(no_storage)
}

async fn database() -> Result<IdbDatabase, KeyError> {
    let opened = async {
        let factory: IdbFactory = global("indexedDB").dyn_into()?;
        let request: IdbOpenDbRequest = factory.open_with_u32(DATABASE, 1)?;
        let made = request.clone();
        let upgrade = Closure::once(move |_: JsValue| {
            if let Ok(database) = made.result().and_then(wasm_bindgen::JsCast::dyn_into::<IdbDatabase>) {
                // If it cannot be made, the request fails.
                let _ = database.create_object_store(STORE);
            }
        });
        request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
        settled(&request).await?.dyn_into()
    };
    opened.await.map_err(no_storage)
}

async fn settled(request: &IdbRequest) -> Result<JsValue, JsValue> {
    let done = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    wait(&done).await?;
    request.result()
}

fn no_storage(error: JsValue) -> KeyError {
    // An event of a failed request, or an exception.
    let failure = Reflect::get(&error, &"target".into())
        .and_then(|target| Reflect::get(&target, &"error".into()))
        .unwrap_or_else(|_| error.clone());
    let failure = if failure.is_object() { failure } else { error };
    let detail = Reflect::get(&failure, &"name".into()).ok().and_then(|name| name.as_string());
    KeyError::NoStorage { detail: detail.unwrap_or_else(|| "no IndexedDB".into()) }
}

const DATABASE: &str = "stonechat";
const STORE: &str = "vault keys";
const ABOUT: &[u8] = b"stonechat v1 vault key";
/// AES-GCM's own.
const NONCE_BYTES: usize = 12;
