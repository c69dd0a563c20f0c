//! How a webhook ends when it does not end in records: one variant for each answer and each metric's word.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a webhook was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No such app or account.
    Unknown,
    /// Over the size cap, by its header or while it was read.
    TooLarge,
    /// Not read before the deadline.
    Slow,
    /// The connection broke, or the form has too many fields.
    Broken,
    /// Compressed.
    Encoded,
    /// Not signed, signed twice, or by somebody else.
    Signature,
    /// Too many bodies in memory.
    Busy,
    /// Kafka did not acknowledge in time, or its partitions are not known yet.
    KafkaAway,
    /// The dead letter of a signed body could not be sealed.
    KeysAway,
}

impl Refusal {
    /// The metric's word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Encoded => "encoded",
            Self::Signature => "signature",
            Self::Busy => "busy",
            Self::KafkaAway => "kafka_away",
            Self::KeysAway => "keys_away",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Signature => StatusCode::FORBIDDEN,
            Self::Busy | Self::KafkaAway | Self::KeysAway => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.status().into_response()
    }
}
