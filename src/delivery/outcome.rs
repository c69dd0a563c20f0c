//! The immediate answer to a dispatch, and the closed list of reasons that statuses and metrics speak of.

/// What became of a call. Only [`Outcome::Unknown`] leaves open whether the message went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The provider took the message.
    Accepted,
    /// The provider, or our own last check, refused it for good.
    Rejected,
    /// Too many at once; not sent.
    Throttled,
    /// The provider could not be reached or says that it is down; not sent.
    Unavailable,
    /// Past `not_after`: not sent, by our own delay.
    TooLate,
    /// The call may or may not have gone out.
    Unknown,
}

impl Outcome {
    /// All outcomes, in the order of their ordinals.
    pub const ALL: [Self; 6] = [Self::Accepted, Self::Rejected, Self::Throttled, Self::Unavailable, Self::TooLate, Self::Unknown];

    /// The word in records and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TooLate => "too_late",
            Self::Unknown => "unknown",
        }
    }

    /// The inverse of [`Outcome::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }
}

/// Why: the closed list of words behind an outcome, a failed receipt, a fallback or a terminal status. A provider's own number travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Nothing more to say.
    None = 0,
    /// The wait ended without the receipt that the step waits for.
    Timer = 1,
    /// The outcome stayed unknown.
    Unknown = 2,
    /// The provider refused it; its number says more.
    Provider = 3,
    /// The provider reported a final failure in a receipt.
    Failed = 4,
    /// Rate limit of a provider, number or customer.
    Throttled = 5,
    /// The provider is down, or its circuit breaker is open.
    Unavailable = 6,
    /// Our own delay.
    TooLate = 7,
    /// The expiry has passed.
    Expired = 8,
    /// The bank's cancel event came.
    Cancelled = 9,
    /// The route asked for one more copy after an unknown outcome.
    Resend = 10,
    /// The record names no phone number that this channel can reach.
    Unreachable = 11,
    /// A text over the channel's limit.
    TooLong = 12,
    /// A code of a wrong shape (under 6 digits, over 15 characters).
    CodeShape = 13,
    /// The last scan found something in the text that must not be said.
    Scan = 14,
    /// The template cannot be rendered from this record.
    Template = 15,
    /// The key under which the payload was sealed is gone.
    Erased = 16,
    /// Accepted but held back by the provider for its own checks.
    Held = 17,
    /// The process died three times at this record.
    Poison = 18,
    /// A timer was held because the gateway was silent, then fired at the cap.
    GatewaySilent = 19,
    /// A timer was held by the storm guard, then fired at the cap.
    Storm = 20,
    /// A timer was held because the dispatcher was silent, then fired at the cap.
    DispatcherSilent = 21,
    /// The number is a landline.
    Landline = 22,
    /// The customer asked not to be written to.
    OptedOut = 23,
    /// The customer's device changed: no fallback for a code.
    IdentityChanged = 24,
}

impl Reason {
    /// All reasons, in the order of their ordinals.
    pub const ALL: [Self; 25] = [
        Self::None,
        Self::Timer,
        Self::Unknown,
        Self::Provider,
        Self::Failed,
        Self::Throttled,
        Self::Unavailable,
        Self::TooLate,
        Self::Expired,
        Self::Cancelled,
        Self::Resend,
        Self::Unreachable,
        Self::TooLong,
        Self::CodeShape,
        Self::Scan,
        Self::Template,
        Self::Erased,
        Self::Held,
        Self::Poison,
        Self::GatewaySilent,
        Self::Storm,
        Self::DispatcherSilent,
        Self::Landline,
        Self::OptedOut,
        Self::IdentityChanged,
    ];

    /// The word in statuses and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Timer => "timer",
            Self::Unknown => "unknown",
            Self::Provider => "provider",
            Self::Failed => "failed",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TooLate => "too_late",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Resend => "resend",
            Self::Unreachable => "unreachable",
            Self::TooLong => "too_long",
            Self::CodeShape => "code_shape",
            Self::Scan => "scan",
            Self::Template => "template",
            Self::Erased => "erased",
            Self::Held => "held",
            Self::Poison => "poison",
            Self::GatewaySilent => "gateway_silent",
            Self::Storm => "storm",
            Self::DispatcherSilent => "dispatcher_silent",
            Self::Landline => "landline",
            Self::OptedOut => "opted_out",
            Self::IdentityChanged => "identity_changed",
        }
    }

    /// The inverse of [`Reason::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// The number in stored bytes; never reused.
    pub const fn ordinal(self) -> u8 {
        self as u8
    }

    /// The inverse of [`Reason::ordinal`].
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.ordinal() == ordinal)
    }
}
