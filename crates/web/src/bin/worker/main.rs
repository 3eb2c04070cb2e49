//! The worker: holds the client in a browser, answers the pages' requests and tells them what happens.
//!
//! It opens the vault and keeps the connections; keys and plaintext stay in here and in the vault, but for what a page asks to show.
//! It writes nothing to the browser's console. Natively it only says what it is.

#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(target_arch = "wasm32")]
mod host;

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("This program runs in a browser's worker: build it with `cargo xtask web`.");
}

#[cfg(target_arch = "wasm32")]
fn main() {
    host::start();
}
