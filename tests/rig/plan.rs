//! What the bank publishes, and what must become of it: a seed in, notifications out, each with its phone's behaviour and its expected end.
//!
//! Easily got wrong: the end follows from recipient → behaviour → route, never from what Recado says. Times are those of life; `HURRY` divides them, in
//! Recado by `time.hurry`, in the simulator by its time factor.

use crate::dice::Dice;
use recado::delivery::{Channel, StatusWord};
use recado::simulator::{Answer, Behaviour, Phone, Report, Script, Word};
use std::time::Duration;

/// Waits, leases and the providers' delays are divided by it.
pub const HURRY: u32 = 10;
/// A call that takes longer is *unknown*: `dispatcher.call_timeout` of `stage.rs`, divided.
pub const CALL_TIMEOUT_MS: i64 = 2_000;
/// A dispatcher that leaves waits so much longer for its calls in flight. Source: `leave_margin` of src/dispatch/settings.rs, which nobody divides.
pub const LEAVE_MARGIN_MS: i64 = 2_000;
/// So much of a lease is left for the call: the time-out and `dispatcher.call_margin`, divided.
pub const CALL_MAX_MS: i64 = CALL_TIMEOUT_MS + 500;
/// The longest that the bank takes a code. No route gives it less: where the two differ the bank's own end counts.
pub const CODE_LIFE_MAX: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PixReceived,
    PixSent,
    Code,
    Bill,
    /// Bytes that are no record: a dead letter.
    Broken,
}

impl Kind {
    /// The real waits of its route's steps, in ms. They stand in the routes that `stage.rs` writes.
    pub fn waits(self) -> &'static [i64] {
        match self {
            Self::PixReceived => &[3_300, 3_000],
            Self::PixSent => &[3_300, 3_000, 9_000],
            Self::Code => &[3_300, 3_000, 6_000],
            Self::Bill => &[3_300, 3_000],
            Self::Broken => &[],
        }
    }

    /// With less of a code's life left, in real ms, no step begins. Source: privacy.md §4.
    pub fn life_min(self, channel: Channel) -> i64 {
        match (self, channel) {
            (Self::Code, Channel::WhatsApp | Channel::Sms) => 2_000,
            (Self::Code, Channel::Voice) => 4_500,
            _ => 0,
        }
    }

    /// How long after its record it may leave, in real ms: the route's `expiry`, which `HURRY` does not divide. Of codes the bank's own word is the smaller one.
    pub fn expiry_ms(self) -> Option<i64> {
        match self {
            Self::PixReceived | Self::PixSent => Some(900_000),
            Self::Bill => Some(86_400_000),
            Self::Code | Self::Broken => None,
        }
    }

    /// Whether the route asks for one more copy when nobody knows whether the last step went out.
    pub fn resends(self) -> bool {
        self == Self::Code
    }

    /// The bank's topic.
    pub fn topic(self) -> &'static str {
        match self {
            Self::PixReceived | Self::PixSent | Self::Broken => "pix.transactions",
            Self::Code => "auth.challenges",
            Self::Bill => "billing.invoices",
        }
    }
}

/// How some codes begin: they have the 15 characters that a code can have at most, and are looked for wherever something could rest.
pub const CANARY: &str = "Q7XZ2KJ9W";

/// How all customers' numbers begin; five digits more are the event's own.
pub const PHONES: &str = "55119800";
/// The same as it is dialled within the country, and as WhatsApp may call it: of its ninth digit, which older numbers did not have, it knows nothing (`wa_id`).
pub const PHONES_NATIONAL: &str = "119800";
pub const PHONES_WITHOUT_NINE: &str = "5511800";
/// How many digits of a number are the event's own.
pub const PHONE_OWN_DIGITS: usize = 5;

/// The topic of used codes.
pub const USED: &str = "auth.codes-used";

/// What is to become of a notification.
#[derive(Debug)]
pub struct Story {
    pub name: &'static str,
    weight: u64,
    /// On WhatsApp, by SMS, on the phone.
    phones: [&'static str; 3],
    /// Where no fault touches its life.
    pub end: StatusWord,
    /// How many steps it takes until then, at least and at most. Webhooks may overtake each other.
    pub steps: [u8; 2],
}

const fn story(name: &'static str, weight: u64, phones: [&'static str; 3], end: StatusWord, steps: [u8; 2]) -> Story {
    Story { name, weight, phones, end, steps }
}

use StatusWord::{Cancelled, Delivered, Expired, Failed, Unconfirmed};

const RECEIVED: &[Story] = &[
    story("well", 22, ["well", "quick", "quick"], Delivered, [1, 1]),
    story("near", 9, ["near", "quick", "quick"], Delivered, [1, 2]),
    story("sms", 4, ["offline", "quick", "quick"], Delivered, [2, 2]),
    story("sms_at_once", 3, ["undeliverable", "quick", "quick"], Delivered, [2, 2]),
    story("sms_after_rejected", 1, ["rejected", "quick", "quick"], Delivered, [2, 2]),
    story("answer_lost", 2, ["lost_answer", "quick", "quick"], Delivered, [1, 1]),
    story("hangs_accepted", 1, ["hang_accepted", "quick", "quick"], Delivered, [1, 1]),
    story("sms_after_unknown", 1, ["lost_call", "quick", "quick"], Delivered, [2, 2]),
    story("throttled", 1, ["throttled_once", "quick", "quick"], Delivered, [1, 1]),
    story("late", 1, ["late", "quick", "quick"], Delivered, [1, 2]),
    story("failed_then_delivered", 1, ["failed_then_delivered", "quick", "quick"], Delivered, [1, 2]),
    story("delivered_then_failed", 1, ["delivered_then_failed", "quick", "quick"], Delivered, [1, 2]),
    story("failed", 2, ["undeliverable", "undeliverable", "nobody"], Failed, [2, 2]),
    story("unconfirmed", 2, ["offline", "sent_only", "nobody"], Unconfirmed, [2, 2]),
];
const SENT: &[Story] = &[
    story("well", 14, ["well", "quick", "quick"], Delivered, [1, 1]),
    story("near", 3, ["near", "near", "quick"], Delivered, [1, 3]),
    story("sms", 3, ["offline", "quick", "quick"], Delivered, [2, 2]),
    story("voice", 1, ["offline", "undeliverable", "quick"], Delivered, [3, 3]),
    story("failed", 1, ["undeliverable", "undeliverable", "nobody"], Failed, [3, 3]),
    story("unknown_at_last", 1, ["undeliverable", "undeliverable", "lost_call"], Unconfirmed, [3, 3]),
];
const CODE: &[Story] = &[
    story("well", 12, ["well", "quick", "quick"], Delivered, [1, 1]),
    story("sms", 3, ["offline", "quick", "quick"], Delivered, [2, 2]),
    story("voice", 1, ["undeliverable", "undeliverable", "quick"], Delivered, [3, 3]),
    // On a busy machine a cancel may come before its request is decided.
    story("cancelled", 3, ["offline", "quick", "quick"], Cancelled, [0, 1]),
    // And such a code may be over before anybody could call.
    story("expired", 2, ["offline", "quick", "quick"], Expired, [0, 1]),
    story("expired_before_the_call", 2, ["offline", "undeliverable", "quick"], Expired, [1, 2]),
    story("copy", 1, ["undeliverable", "undeliverable", "lost_once"], Delivered, [3, 3]),
    story("copy_unknown_too", 1, ["undeliverable", "undeliverable", "lost_call"], Unconfirmed, [3, 3]),
];
const BILL: &[Story] = &[
    story("well", 8, ["well", "quick", "quick"], Delivered, [1, 1]),
    story("near", 2, ["near", "quick", "quick"], Delivered, [1, 2]),
    story("sms_at_once", 2, ["undeliverable", "quick", "quick"], Delivered, [2, 2]),
    story("failed", 1, ["undeliverable", "undeliverable", "quick"], Failed, [2, 2]),
];
const BROKEN: &[Story] = &[story("broken", 1, ["quick", "quick", "quick"], Failed, [0, 0])];

/// What is told of each kind. The weights together are one deck: of a hundred notifications about 45 are Pix received, 20 Pix sent, 22 codes, 12 bills, and one is
/// no record.
const STORIES: [(Kind, &[Story]); 5] = [(Kind::PixReceived, RECEIVED), (Kind::PixSent, SENT), (Kind::Code, CODE), (Kind::Bill, BILL), (Kind::Broken, BROKEN)];

/// All stories that end with a status, by their kind.
pub fn stories() -> impl Iterator<Item = (Kind, &'static Story)> {
    STORIES.into_iter().flat_map(|(kind, stories)| stories.iter().map(move |story| (kind, story))).filter(|(kind, _)| *kind != Kind::Broken)
}

/// Dealt until it is empty, then anew: so each story comes once at least in any stretch as long as two decks, where chance alone would leave one out now and then.
fn deck() -> Vec<(Kind, &'static Story)> {
    let all = STORIES.into_iter().flat_map(|(kind, stories)| stories.iter().map(move |story| (kind, story)));
    all.flat_map(|(kind, story)| (0..story.weight).map(move |_| (kind, story))).collect()
}

/// One notification.
#[derive(Clone, Debug)]
pub struct Planned {
    pub kind: Kind,
    pub story: &'static Story,
    pub event_id: String,
    pub customer_id: String,
    /// Digits of E.164, unlike every other of the run: who gets a call says whose it is.
    pub phone: String,
    /// Unlike every other of the run: it must stand in the text.
    pub centavos: i64,
    /// As above, for codes.
    pub code: String,
    pub partition: i32,
    /// When it is published, from the beginning of the run.
    pub at: Duration,
    /// Codes: how long the bank takes it, in real time.
    pub expires_after: Duration,
    /// Codes: when it is used, after `at`.
    pub used_after: Option<Duration>,
    /// The bank publishes the same event once more, after `at`.
    pub again_after: Option<Duration>,
}

impl Planned {
    /// How long after its record it may leave, in real ms.
    pub fn life_ms(&self) -> i64 {
        self.kind.expiry_ms().unwrap_or_else(|| i64::try_from(self.expires_after.as_millis()).unwrap())
    }
}

/// Everything that the bank publishes in one run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub events: Vec<Planned>,
}

impl Plan {
    /// So many a second over this span. `run` stands in event ids, so that the parts of a run are not each other's repetition. `used_after`: by then a code that
    /// arrives has arrived.
    pub fn seeded(seed: u64, run: &str, per_second: u32, span: Duration, used_after: Duration, partitions: u16) -> Self {
        let mut dice = Dice::new(seed, run);
        let count = u32::try_from(span.as_millis()).unwrap() * per_second / 1_000;
        let mut left = Vec::new();
        let mut next = |number: u32| {
            if left.is_empty() {
                left = deck();
            }
            let (kind, story) = left.swap_remove(usize::try_from(dice.below(left.len() as u64)).unwrap());
            planned(&mut dice, run, number, (kind, story), Duration::from_secs(1) / per_second * number, used_after, partitions)
        };
        let events = (0..count).map(&mut next).collect();
        Self { seed, events }
    }

    /// How the phones behave.
    pub fn script(&self) -> Script {
        let mut dice = Dice::new(self.seed, "phones");
        let mut script = Script { seed: self.seed, ..Script::default() };
        for event in &self.events {
            let [whatsapp, sms, voice] = event.story.phones.map(|name| behaviour(name, &mut dice));
            let wa_id_without_nine = dice.below(5) == 0;
            script.phones.insert(event.phone.clone(), Phone { whatsapp, sms, voice, wa_id_without_nine });
        }
        script
    }
}

fn planned(dice: &mut Dice, run: &str, number: u32, (kind, story): (Kind, &'static Story), at: Duration, used_after: Duration, partitions: u16) -> Planned {
    let again = kind != Kind::Broken && dice.below(50) == 0;
    let used = match (kind, story.name) {
        (Kind::Code, "cancelled") => Some(Duration::from_millis(dice.between(300, 1_500))),
        // Whoever got the code uses it; its delivery has ended by then.
        (Kind::Code, "well") if dice.below(3) == 0 => Some(used_after),
        _ => None,
    };
    Planned {
        kind,
        story,
        event_id: format!("{run}-{number:06}"),
        customer_id: format!("C{:06}", dice.between(100_000, 101_000)),
        phone: format!("{PHONES}{number:0PHONE_OWN_DIGITS$}"),
        centavos: 1_000_003 + i64::from(number) * 7,
        code: if number.is_multiple_of(4) { format!("{CANARY}{number:06}") } else { format!("{:08}", 10_000_019 + number * 7) },
        partition: i32::try_from(dice.below(u64::from(partitions))).unwrap(),
        at,
        expires_after: match story.name {
            "expired" => Duration::from_millis(4_000),
            // The wait on WhatsApp over, there is time enough for a call to go out, and too little for somebody to use what it says.
            "expired_before_the_call" => Duration::from_millis(7_700),
            _ => CODE_LIFE_MAX,
        },
        used_after: used,
        again_after: again.then(|| Duration::from_millis(dice.between(200, 4_000))),
    }
}

fn behaviour(name: &str, dice: &mut Dice) -> Behaviour {
    let seconds = Duration::from_secs;
    let mut behaviour = match name {
        "well" => Behaviour::named(dice.one(&["quick", "quick", "read", "slow", "double", "reordered", "receipt_first", "stray"])).unwrap(),
        // Its receipt comes within two tenths of a second of the deadline, on either side of it.
        "near" => Behaviour {
            receipts: vec![Report::new(Word::Sent, Duration::from_millis(200)), Report { spread: seconds(4), ..Report::new(Word::Delivered, seconds(31)) }],
            ..Behaviour::default()
        },
        "lost_once" => Behaviour { only_first: Some(1), ..Behaviour::named("lost_call").unwrap() },
        name => Behaviour::named(name).unwrap(),
    };
    // Many calls are in flight when somebody dies.
    let fast = name == "near" || matches!(behaviour.answer, Answer::Hang { .. });
    behaviour.answer_after = if fast { Duration::ZERO } else { Duration::from_millis(dice.one(&[0, 500, 2_000, 4_000])) };
    behaviour
}
