//! Why a record of the bank's is not processed: closed lists of words for dead letters, metrics and logs.

/// Why a record becomes a dead letter. Final: the same bytes give the same reason again, but for the two that speak of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// The first bytes are neither the Confluent wire format nor the single-object encoding.
    WrongMagic,
    /// The registry does not know the schema id, or the fingerprint is not that of the route's schema.
    UnknownSchema,
    /// The writer's schema has a field that the route needs in a type or a class that does not fit.
    IncompatibleSchema,
    /// The bytes end too early.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// The bytes do not follow the schema.
    NotAvro,
    /// The bytes are not one JSON object.
    NotJson,
    /// The record, or one text in it, is over its limit.
    TooLarge,
    /// A text is not UTF-8.
    InvalidUtf8,
    /// An amount is below zero.
    NegativeAmount,
    /// An amount is no number, holds a part of a centavo, is a text with more decimals than its unit has, or does not fit.
    AmountShape,
    /// A time or date is none, or lies outside the years 1 to 9999.
    TimeShape,
    /// A field holds something of another kind than the route says.
    FieldShape,
    /// The record names no customer.
    MissingCustomer,
    /// A cancel record names no event.
    MissingEventId,
    /// The bank's event id is empty, longer than 200 bytes, or has control characters.
    EventIdShape,
    /// The bank's event id holds a CPF, a phone number or an e-mail address: it would stand in clear in keys and statuses.
    PersonalEventId,
    /// The process died, or the transaction was aborted, three times at this record.
    Poison,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 18] = [
        Self::WrongMagic,
        Self::UnknownSchema,
        Self::IncompatibleSchema,
        Self::Truncated,
        Self::Trailing,
        Self::NotAvro,
        Self::NotJson,
        Self::TooLarge,
        Self::InvalidUtf8,
        Self::NegativeAmount,
        Self::AmountShape,
        Self::TimeShape,
        Self::FieldShape,
        Self::MissingCustomer,
        Self::MissingEventId,
        Self::EventIdShape,
        Self::PersonalEventId,
        Self::Poison,
    ];

    /// The word in metrics, logs and the header `recado.reason`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WrongMagic => "wrong_magic",
            Self::UnknownSchema => "unknown_schema",
            Self::IncompatibleSchema => "incompatible_schema",
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::NotAvro => "not_avro",
            Self::NotJson => "not_json",
            Self::TooLarge => "too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NegativeAmount => "negative_amount",
            Self::AmountShape => "amount_shape",
            Self::TimeShape => "time_shape",
            Self::FieldShape => "field_shape",
            Self::MissingCustomer => "missing_customer",
            Self::MissingEventId => "missing_event_id",
            Self::EventIdShape => "event_id_shape",
            Self::PersonalEventId => "personal_event_id",
            Self::Poison => "poison",
        }
    }

    /// The inverse of [`DeadReason::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// One sentence for people, without anything of the record's.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::WrongMagic => "The record begins neither with the Confluent wire format nor with the single-object encoding.",
            Self::UnknownSchema => "The registry does not know the record's schema, or its fingerprint is not that of the route's schema.",
            Self::IncompatibleSchema => "The record's schema has a field that the route needs in a type or a class that does not fit.",
            Self::Truncated => "The record ends too early.",
            Self::Trailing => "Bytes are left over after the record.",
            Self::NotAvro => "The record does not follow its schema.",
            Self::NotJson => "The record is not one JSON object.",
            Self::TooLarge => "The record, or a text in it, is over its limit.",
            Self::InvalidUtf8 => "A text in the record is not UTF-8.",
            Self::NegativeAmount => "An amount is below zero.",
            Self::AmountShape => "An amount is no number, has more decimals than its unit, or does not fit.",
            Self::TimeShape => "A time or date cannot be read.",
            Self::FieldShape => "A field holds something of another kind than the route says.",
            Self::MissingCustomer => "The record names no customer.",
            Self::MissingEventId => "The cancel record names no event.",
            Self::EventIdShape => "The event id is empty, too long, or has control characters.",
            Self::PersonalEventId => "The event id holds what looks like a person's document, phone number or e-mail address.",
            Self::Poison => "The process ended three times at this record.",
        }
    }
}

/// Why a record is left aside without being wrong. It is counted, not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IgnoredWhy {
    /// No route's `when` matches.
    NoRoute,
    /// It has no value.
    Tombstone,
}

impl IgnoredWhy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::NoRoute, Self::Tombstone];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Tombstone => "tombstone",
        }
    }
}
