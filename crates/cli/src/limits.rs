//! The core's bounds on what a person writes.
pub(crate) use stonechat_client::{GROUP_NAME_BYTES_MAX, TEXT_BYTES_MAX};
