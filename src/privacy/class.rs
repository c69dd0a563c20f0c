//! What kind of data a field holds: it decides how the field may be shown, for each channel.

/// The class of one field of an input record. Words: `privacy.class` in a schema (`"recado.class"`) or in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// A person's name.
    Name = 1,
    /// A person's tax number.
    Cpf = 2,
    /// A company's tax number, digits or letters.
    Cnpj = 3,
    /// A payment card's number.
    Card = 4,
    /// A bank account's number.
    Account = 5,
    /// A Pix key of any kind.
    PixKey = 6,
    /// A phone number.
    Phone = 7,
    /// An e-mail address.
    Email = 8,
    /// What a payment is worth.
    Amount = 9,
    /// What an account holds.
    Balance = 10,
    /// A one-time code.
    Otp = 11,
    /// A password, PIN, CVV, token or key: dropped by the decoder.
    Secret = 12,
    /// Anything that may be shown to everyone.
    Public = 13,
    /// A Pix string or bill line.
    PaymentCode = 14,
    /// What a person wrote.
    FreeText = 15,
    /// An id (customer, the bank's event): never shown.
    Reference = 16,
}

impl Class {
    /// All classes, in the order of their ordinals.
    pub const ALL: [Self; 16] = [
        Self::Name,
        Self::Cpf,
        Self::Cnpj,
        Self::Card,
        Self::Account,
        Self::PixKey,
        Self::Phone,
        Self::Email,
        Self::Amount,
        Self::Balance,
        Self::Otp,
        Self::Secret,
        Self::Public,
        Self::PaymentCode,
        Self::FreeText,
        Self::Reference,
    ];

    /// The word in schemas, routes and `masking.toml`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Cpf => "cpf",
            Self::Cnpj => "cnpj",
            Self::Card => "card",
            Self::Account => "account",
            Self::PixKey => "pix_key",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Amount => "amount",
            Self::Balance => "balance",
            Self::Otp => "otp",
            Self::Secret => "secret",
            Self::Public => "public",
            Self::PaymentCode => "payment_code",
            Self::FreeText => "free_text",
            Self::Reference => "reference",
        }
    }

    /// The inverse of [`Class::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }

    /// The number in sealed bytes; never reused.
    pub const fn ordinal(self) -> u8 {
        self as u8
    }

    /// The inverse of [`Class::ordinal`].
    pub fn from_ordinal(ordinal: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.ordinal() == ordinal)
    }
}
