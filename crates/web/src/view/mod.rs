//! What a page works out before it draws: pictures, links, days, and which rows of a long list are in view.
//!
//! Nothing here touches a browser, so that all of it is tested natively.

pub mod days;
pub mod identicon;
pub mod links;
pub mod window;
