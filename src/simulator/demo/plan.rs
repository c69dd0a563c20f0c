//! What the demo sends: enters a seed, leaves 200 notifications, each with the behaviour of its phone and the ending that the routes in `config/routes`
//! should give it.
//!
//! What is easily got wrong: times are those of life; the factor that scales Recado's waits is applied when the plan is carried out.

use super::customers::{self, Dice};
use crate::simulator::{Answer, Behaviour, Phone, Report, Script, Word};
use std::time::Duration;

/// What the bank tells its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Money came.
    PixReceived,
    /// Money left.
    PixSent,
    /// A one-time code.
    Code,
    /// A bill.
    Bill,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PixReceived, Self::PixSent, Self::Code, Self::Bill];

    /// As the screen names it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::PixReceived => "Pix recebido",
            Self::PixSent => "Pix enviado",
            Self::Code => "Código",
            Self::Bill => "Fatura",
        }
    }
}

/// What is to become of a notification, by the behaviour of its phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// Delivered by WhatsApp; some are read, some take long, some are reported twice or out of order.
    WhatsApp,
    /// As above, after the provider asked once to come again.
    Throttled,
    /// WhatsApp's answer is lost, its receipts are not: no fallback.
    AnswerLost,
    /// The phone has no internet: silence, then SMS.
    Sms,
    /// WhatsApp says that it cannot be delivered: SMS at once.
    SmsAtOnce,
    /// WhatsApp breaks before taking it, so nobody knows: SMS when the wait ends.
    SmsAfterUnknown,
    /// Neither WhatsApp nor SMS arrives: a call, and a key is pressed.
    Voice,
    /// The WhatsApp message was delivered, but its receipt comes after the SMS went out.
    Doubled,
    /// Nothing arrives anywhere.
    Failed,
    /// The code's time runs out before a fallback would make sense.
    Expired,
    /// The code is used while its message is under way.
    Cancelled,
    /// The last SMS leaves, and its carrier never says more.
    Unconfirmed,
}

/// One notification of the demo.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it is.
    pub kind: Kind,
    /// What is to become of it.
    pub story: Story,
    /// The bank's own id of the event, unlike that of any other run.
    pub event_id: String,
    /// The bank's customer id.
    pub customer_id: String,
    /// Given name and family name.
    pub name: (&'static str, &'static str),
    /// Digits of E.164.
    pub phone: String,
    /// Reais, in centavos.
    pub centavos: i64,
    /// Pix: the other side.
    pub counterparty: String,
    /// Pix: its bank.
    pub institution: &'static str,
    /// Code: the digits. Invented, and good for nothing.
    pub code: String,
    /// Code: what for.
    pub purpose: &'static str,
    /// Code: how long it is good for.
    pub expires_after: Duration,
    /// Code: when it is used, from the record.
    pub used_after: Option<Duration>,
}

impl Planned {
    /// As the screen names the customer.
    pub fn short_name(&self) -> String {
        let (first, last) = self.name;
        format!("{first} {}.", last.chars().next().unwrap_or('?'))
    }
}

/// The whole demo.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// In the order in which they are sent.
    pub notifications: Vec<Planned>,
}

/// How many of each kind have which story: 200 in all. A bill waits half an hour for WhatsApp, so it has only stories without a timer.
const PARTS: &[(Kind, &[(Story, usize)])] = &[
    (
        Kind::PixReceived,
        &[
            (Story::WhatsApp, 50),
            (Story::Throttled, 2),
            (Story::AnswerLost, 2),
            (Story::Sms, 7),
            (Story::SmsAtOnce, 4),
            (Story::SmsAfterUnknown, 1),
            (Story::Doubled, 1),
            (Story::Failed, 1),
            (Story::Unconfirmed, 2),
        ],
    ),
    (Kind::PixSent, &[(Story::WhatsApp, 35), (Story::Sms, 5), (Story::SmsAtOnce, 2), (Story::Voice, 4), (Story::Doubled, 2), (Story::Failed, 2)]),
    (
        Kind::Code,
        &[
            (Story::WhatsApp, 30),
            (Story::AnswerLost, 1),
            (Story::Sms, 5),
            (Story::SmsAtOnce, 2),
            (Story::Voice, 4),
            (Story::Doubled, 1),
            (Story::Expired, 3),
            (Story::Cancelled, 4),
        ],
    ),
    (Kind::Bill, &[(Story::WhatsApp, 25), (Story::SmsAtOnce, 3), (Story::Failed, 2)]),
];

impl Plan {
    /// The demo of a seed. Its event ids carry the present, so that a second run on the same broker is no repetition of the first.
    pub fn seeded(seed: u64) -> Self {
        Self::of_run(seed, &format!("{:x}", crate::clock::wall().millis()))
    }

    /// The demo of a seed, with this word in its event ids.
    pub fn of_run(seed: u64, run: &str) -> Self {
        let mut dice = Dice::new(seed);
        let mut stories: Vec<(Kind, Story)> = Vec::new();
        for (kind, parts) in PARTS {
            for (story, count) in *parts {
                stories.extend(std::iter::repeat_n((*kind, *story), *count));
            }
        }
        dice.shuffle(&mut stories);
        let notifications = stories.into_iter().enumerate().map(|(at, (kind, story))| planned(&mut dice, run, at, kind, story)).collect();
        Self { seed, notifications }
    }

    /// How the simulator's phones behave, so that each story can happen.
    pub fn script(&self) -> Script {
        let mut script = Script { seed: self.seed, ..Script::default() };
        for (at, it) in self.notifications.iter().enumerate() {
            script.phones.insert(it.phone.clone(), Phone { wa_id_without_nine: at % 5 == 0, ..phone(it.story, at) });
        }
        script
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.notifications.iter().filter(|it| it.kind == kind).count()
    }
}

fn planned(dice: &mut Dice, run: &str, at: usize, kind: Kind, story: Story) -> Planned {
    let expires_after = if story == Story::Expired { Duration::from_secs(45) } else { Duration::from_secs(300) };
    let used_after = match (kind, story) {
        (Kind::Code, Story::Cancelled) => Some(Duration::from_secs(8)),
        // Whoever got the code uses it; by then its delivery has ended, and the record changes nothing.
        (Kind::Code, Story::WhatsApp) if dice.below(3) == 0 => Some(Duration::from_secs(40)),
        _ => None,
    };
    Planned {
        kind,
        story,
        event_id: format!("demo-{run}-{at:03}"),
        customer_id: format!("C{:06}", dice.below(900_000) + 100_000),
        name: customers::name(dice),
        phone: customers::mobile(dice, at),
        centavos: i64::try_from(dice.below(90_000) + 100).unwrap_or(100),
        counterparty: customers::counterparty(dice),
        institution: customers::institution(dice),
        code: customers::code(dice),
        purpose: customers::purpose(dice),
        expires_after,
        used_after,
    }
}

fn phone(story: Story, at: usize) -> Phone {
    // What WhatsApp does well, in its variety.
    let well = ["quick", "quick", "read", "read", "quick", "slow", "double", "reordered"][at % 8];
    let nobody = ["nobody", "busy"][at % 2];
    let (whatsapp, sms, voice) = match story {
        Story::WhatsApp => (well, "quick", "quick"),
        Story::Throttled => ("throttled_once", "quick", "quick"),
        Story::AnswerLost => ("lost_answer", "quick", "quick"),
        Story::Sms => ("offline", "quick", "quick"),
        Story::SmsAtOnce => ("undeliverable", "quick", "quick"),
        Story::SmsAfterUnknown => ("server_error", "quick", "quick"),
        Story::Voice => ("offline", "undeliverable", "quick"),
        Story::Doubled => return doubled(),
        Story::Failed => ("undeliverable", "undeliverable", nobody),
        Story::Cancelled => ("offline", "quick", "quick"),
        Story::Expired | Story::Unconfirmed => ("offline", "sent_only", "nobody"),
    };
    let mut phone = Phone::named(whatsapp, sms, voice).expect("the names of behaviours are known: a test makes every phone");
    if story == Story::Voice && at.is_multiple_of(2) {
        // In Brazil Twilio refuses a number without SMS at once, with 21614.
        phone.sms = Behaviour { answer: Answer::Error { code: 21_614, status: None, retry_after_secs: None }, ..Behaviour::default() };
    }
    phone
}

/// On the phone before the template's TTL of 30 s ends, but the receipt comes long after the wait of 33 s; the SMS takes its time meanwhile.
fn doubled() -> Phone {
    let sent = || Report::new(Word::Sent, Duration::from_millis(200));
    let receipts = |delivered| Behaviour { receipts: vec![sent(), delivered], ..Behaviour::default() };
    let late = Report { lag: Duration::from_secs(20), ..Report::new(Word::Delivered, Duration::from_secs(29)) };
    let slow = Report::new(Word::Delivered, Duration::from_secs(28));
    Phone { whatsapp: receipts(late), sms: receipts(slow), ..Phone::default() }
}
