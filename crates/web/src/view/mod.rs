//! What a page works out before it draws: pictures, links, days and codes.
//!
//! Nothing here touches a browser, so that all of it is tested natively.

pub mod days;
pub mod identicon;
pub mod links;
pub mod safety;
