//! PURE: the work that every program gets: so many lifecycles, and what must become of each. All of it follows from a lifecycle's number.

use recado::delivery::{Attempt, MessageId, Partition, SourcePosition, StatusWord, Timestamp};

/// Of every topic.
pub const PARTITIONS: u16 = 8;
/// Of so many lifecycles one is never confirmed on WhatsApp and falls back to SMS.
pub const FALLS_BACK_EACH: u32 = 50;
/// Of so many …
const READ_OF: u32 = 5;
/// … so many are read (of those that do not fall back).
const READ: u32 = 3;
/// Records that say they are of the same millisecond.
const RECORDS_A_MS: u32 = 10;
/// Of so many lifecycles one is no new one: the bank sends the event of another a second time.
const REPEATED_EACH: u32 = 1_000;
/// Which one of them. It does not fall back.
const REPEATED: u32 = 500;
/// So far back lies what it repeats: in the same transaction, or in one of some commits before. Both are of its partition, and no repetitions themselves.
const REPEATED_SOON: u32 = 8;
const REPEATED_LATE: u32 = 20_008;
/// So many customers, in turn.
const CUSTOMERS: u32 = 100_000;

/// One lifecycle, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u32);

impl Life {
    /// Its home.
    pub fn partition(self) -> Partition {
        Partition(u16::try_from(self.0 % u32::from(PARTITIONS)).expect("below the number of partitions"))
    }

    /// Where its request lies: the input holds nothing else.
    pub fn offset(self) -> i64 {
        i64::from(self.0 / u32::from(PARTITIONS))
    }

    /// What its request says of its own time.
    pub fn time(self, began: Timestamp) -> Timestamp {
        Timestamp::from_millis(began.millis() + i64::from(self.0 / RECORDS_A_MS))
    }

    /// The name that every program must give it.
    pub fn id(self, topic: &str, began: Timestamp) -> MessageId {
        let source = SourcePosition { topic: topic.to_owned(), partition: self.partition(), offset: self.offset() };
        MessageId::derive(self.time(began), &source, 0)
    }

    /// Whose event this request repeats, in the same partition: nothing may come of it. To plain work it is one as all others.
    pub fn repeats(self) -> Option<Self> {
        let late = self.0 > REPEATED_LATE && self.0 / REPEATED_EACH % 2 == 1;
        (self.0 % REPEATED_EACH == REPEATED).then(|| Self(self.0 - if late { REPEATED_LATE } else { REPEATED_SOON }))
    }

    /// Whether WhatsApp stays silent.
    pub fn falls_back(self) -> bool {
        self.0 % FALLS_BACK_EACH == FALLS_BACK_EACH - 1
    }

    /// Whether the customer opens it.
    pub fn is_read(self) -> bool {
        !self.falls_back() && self.0 % READ_OF < READ
    }

    /// Whose it is.
    pub fn customer(self) -> u32 {
        self.0 % CUSTOMERS
    }

    /// The statuses that it must have, no more and no fewer.
    pub fn told(self) -> impl Iterator<Item = Told> {
        let first = Attempt::FIRST;
        let second = Attempt { step: 2, n: 1 };
        let of = move |word: StatusWord, seq, attempt| Told { life: self, word, seq, attempt };
        let ladder = if self.falls_back() {
            [of(StatusWord::Requested, Some(0), first), of(StatusWord::Fallback, Some(1), second), of(StatusWord::Delivered, Some(2), second)]
        } else {
            [of(StatusWord::Requested, Some(0), first), of(StatusWord::Sent, Some(1), first), of(StatusWord::Delivered, Some(2), first)]
        };
        let read = self.is_read().then(|| of(StatusWord::Read, None, first));
        ladder.into_iter().chain(read)
    }
}

/// One status, as far as all programs must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Of which.
    pub life: Life,
    /// What it says.
    pub word: StatusWord,
    /// `None`: after the delivery was forgotten.
    pub seq: Option<u32>,
    /// Which attempt it speaks of.
    pub attempt: Attempt,
}
