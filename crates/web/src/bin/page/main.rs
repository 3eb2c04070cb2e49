//! The page: draws what the worker tells, and asks it for what a person does. It keeps no key and stores nothing.
//!
//! Text is text: there is no path from a string to markup. Leptos makes elements whose attributes and children are all literals
//! by `innerHTML`, which the content security policy refuses: such an element gets one value in braces.

#![cfg_attr(
    target_arch = "wasm32",
    expect(unreachable_pub, reason = "`#[component]` makes the types of a component's properties public"),
    expect(clippy::needless_pass_by_value, reason = "a component owns its properties")
)]

#[cfg(target_arch = "wasm32")]
mod alarms;
#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod camera;
#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(target_arch = "wasm32")]
mod composer;
#[cfg(target_arch = "wasm32")]
mod conversation;
#[cfg(target_arch = "wasm32")]
mod details;
#[cfg(target_arch = "wasm32")]
mod devices;
#[cfg(target_arch = "wasm32")]
mod dialogs;
#[cfg(target_arch = "wasm32")]
mod list;
#[cfg(target_arch = "wasm32")]
mod log;
#[cfg(target_arch = "wasm32")]
mod message;
#[cfg(target_arch = "wasm32")]
mod picture;
#[cfg(target_arch = "wasm32")]
mod requests;
#[cfg(target_arch = "wasm32")]
mod settings;
#[cfg(target_arch = "wasm32")]
mod start;
#[cfg(target_arch = "wasm32")]
mod state;
#[cfg(target_arch = "wasm32")]
mod status;
#[cfg(target_arch = "wasm32")]
mod text;
#[cfg(target_arch = "wasm32")]
mod trust;

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    println!("This program runs in a browser's page: build it with `cargo xtask web`.");
}

#[cfg(target_arch = "wasm32")]
fn main() {
    app::start();
}
