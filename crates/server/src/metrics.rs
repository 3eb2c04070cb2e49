//! What an operator can watch. Counts and times only: no label names a person, a device or a conversation.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use stonechat_wire::{ErrorCode, Request};

use crate::services::ConnectionKind;

/// Every metric of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections: Family<KindLabel, Gauge>,
    requests: Family<RequestLabel, Counter>,
    append_seconds: Histogram,
    closed: Family<ReasonLabel, Counter>,
    expired: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: ConnectionKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    name: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

impl EncodeLabelValue for ConnectionKind {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Open => "open",
            Self::Device => "device",
            Self::Anonymous => "anonymous",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Reason {
    /// The client left.
    Left,
    /// It said nothing in time, or did not answer pings.
    Silent,
    /// It sent what is not of this protocol.
    Malformed,
    /// It speaks another version.
    Version,
    /// It did not read what it was sent.
    SlowReader,
    /// The server is going down.
    Draining,
    /// The store failed.
    StoreFailed,
    /// Its device is no longer one of its account.
    Revoked,
    /// Its account was suspended.
    Suspended,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stonechat");
        let connections = Family::default();
        registry.register("connections", "WebSocket connections now, by kind", connections.clone());
        let requests = Family::default();
        registry.register("requests", "Requests answered, by name and result", requests.clone());
        let append_seconds = Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        registry.register_with_unit(
            "append_duration",
            "From reading an append to its durable answer",
            Unit::Seconds,
            append_seconds.clone(),
        );
        let closed = Family::default();
        registry.register("connections_closed", "Connections ended, by reason", closed.clone());
        let expired = Counter::default();
        registry.register("expired_entries", "Entries deleted because their time was over", expired.clone());
        Self { registry, connections, requests, append_seconds, closed, expired }
    }
}

impl Metrics {
    /// The OpenMetrics text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing into a String is infallible");
        out
    }

    pub(crate) fn connection_opened(&self, kind: ConnectionKind) {
        self.connections.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn connection_closed(&self, kind: ConnectionKind, reason: Reason) {
        self.connections.get_or_create(&KindLabel { kind }).dec();
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn connection_became(&self, before: ConnectionKind, now: ConnectionKind) {
        if before != now {
            self.connections.get_or_create(&KindLabel { kind: before }).dec();
            self.connections.get_or_create(&KindLabel { kind: now }).inc();
        }
    }

    pub(crate) fn request(&self, name: &'static str, failure: Option<ErrorCode>) {
        let result = failure.map_or("ok", code_name);
        self.requests.get_or_create(&RequestLabel { name, result }).inc();
    }

    pub(crate) fn append(&self, seconds: f64) {
        self.append_seconds.observe(seconds);
    }

    pub(crate) fn expired(&self, entries: u64) {
        self.expired.inc_by(entries);
    }
}

/// A request's name, for metrics and logs.
pub(crate) fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Ping => "ping",
        Request::GetHead => "get_head",
        Request::GetConsistency { .. } => "get_consistency",
        Request::GetDirectoryPolicy => "get_directory_policy",
        Request::ExtendAccount { .. } => "extend_account",
        Request::GetOwnHistory { .. } => "get_own_history",
        Request::CreateAccount { .. } => "create_account",
        Request::Authenticate { .. } => "authenticate",
        Request::PublishKeyPackages { .. } => "publish_key_packages",
        Request::ConfigureInbox { .. } => "configure_inbox",
        Request::AckInbox { .. } => "ack_inbox",
        Request::IssueTokens { .. } => "issue_tokens",
        Request::LookUpHandle { .. } => "look_up_handle",
        Request::GetAccount { .. } => "get_account",
        Request::TakeKeyPackages { .. } => "take_key_packages",
        Request::CreateConversation { .. } => "create_conversation",
        Request::Append { .. } => "append",
        Request::Follow { .. } => "follow",
        Request::Unfollow { .. } => "unfollow",
        Request::PostEnvelope { .. } => "post_envelope",
        Request::AppendBlob { .. } => "append_blob",
        Request::ReadBlob { .. } => "read_blob",
    }
}

fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Malformed => "malformed",
        ErrorCode::Version => "version",
        ErrorCode::WrongConnection => "wrong_connection",
        ErrorCode::NotAuthenticated => "not_authenticated",
        ErrorCode::NotFound => "not_found",
        ErrorCode::HandleTaken => "handle_taken",
        ErrorCode::InvalidAccount => "invalid_account",
        ErrorCode::EpochOver => "epoch_over",
        ErrorCode::Conflict => "conflict",
        ErrorCode::InvalidToken => "invalid_token",
        ErrorCode::Quota => "quota",
        ErrorCode::Full => "full",
        ErrorCode::Closed => "closed",
        ErrorCode::Slow => "slow",
        ErrorCode::Unavailable => "unavailable",
        ErrorCode::Unpublished => "unpublished",
        ErrorCode::InviteNeeded => "invite_needed",
        ErrorCode::Suspended => "suspended",
    }
}
