//! The three channels and the two lanes. Their ordinals are stored and sent: they never change.

/// How a message reaches a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// WhatsApp, through Meta's Cloud API.
    WhatsApp,
    /// A text message.
    Sms,
    /// A spoken call.
    Voice,
}

impl Channel {
    /// All channels, in the order of their ordinals.
    pub const ALL: [Self; 3] = [Self::WhatsApp, Self::Sms, Self::Voice];

    /// The word used in configuration, topic names, metrics and statuses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
            Self::Sms => "sms",
            Self::Voice => "voice",
        }
    }

    /// The inverse of [`Channel::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.word() == word)
    }

    /// The number in stored bytes: 1, 2, 3; never reused.
    pub const fn ordinal(self) -> u8 {
        match self {
            Self::WhatsApp => 1,
            Self::Sms => 2,
            Self::Voice => 3,
        }
    }

    /// The inverse of [`Channel::ordinal`].
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.ordinal() == ordinal)
    }
}

/// Which traffic a notification travels with: a bill never delays a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Codes, approvals and Pix.
    Express,
    /// Bills.
    Bulk,
}

impl Lane {
    /// Both lanes, express first.
    pub const ALL: [Self; 2] = [Self::Express, Self::Bulk];

    /// The word used in configuration and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Bulk => "bulk",
        }
    }

    /// The inverse of [`Lane::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.word() == word)
    }

    /// The number in stored bytes: 1, 2; never reused.
    pub const fn ordinal(self) -> u8 {
        match self {
            Self::Express => 1,
            Self::Bulk => 2,
        }
    }

    /// The inverse of [`Lane::ordinal`].
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.ordinal() == ordinal)
    }
}
