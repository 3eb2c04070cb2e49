//! The worker: holds the client in a browser. Natively it only says so.

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("This program runs in a browser's worker: build it with `cargo xtask web`.");
}

#[cfg(target_arch = "wasm32")]
fn main() {}
