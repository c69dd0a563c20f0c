//! Bookkeeping of the bank: enters one status after the other, leaves a line of story when a notification that fell back has ended, and the counts of
//! the table.
//!
//! What is easily got wrong: each notification is counted once, by its one terminal status; a second one, or a gap in `seq`, is a fault to be shown.

use super::told::Told;
use super::{Kind, Plan, Planned};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One try at one channel, as the statuses tell it.
#[derive(Debug)]
struct Leg {
    channel: String,
    began: i64,
    /// Why it was given up, when, and the provider's number.
    given_up: Option<(String, i64, i64)>,
}

/// One notification.
#[derive(Debug)]
struct Page {
    planned: Planned,
    seqs: BTreeSet<i32>,
    legs: Vec<Leg>,
    /// Word and channel of its terminal statuses: one, or there is a fault.
    ends: Vec<(String, Option<String>)>,
    double: bool,
    took_ms: Option<i64>,
}

/// The counts of a demo.
#[derive(Debug)]
pub struct Tally {
    pub(super) seed: u64,
    pages: BTreeMap<String, Page>,
    pub(super) fallbacks: BTreeMap<String, usize>,
    pub(super) unreadable: usize,
    ended: usize,
}

impl Tally {
    /// All notifications of a plan, with nothing told yet.
    pub fn new(plan: &Plan) -> Self {
        let page = |it: &Planned| Page { planned: it.clone(), seqs: BTreeSet::new(), legs: Vec::new(), ends: Vec::new(), double: false, took_ms: None };
        let pages = plan.notifications.iter().map(|it| (it.event_id.clone(), page(it))).collect();
        Self { seed: plan.seed, pages, fallbacks: BTreeMap::new(), unreadable: 0, ended: 0 }
    }

    /// How many notifications there are.
    pub fn total(&self) -> usize {
        self.pages.len()
    }

    /// How many have a terminal status.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// Books one status. `took_ms` is the time from the bank's record to this moment, where it is known. Returns the story of a notification that ends
    /// here and did not simply arrive by WhatsApp; statuses of others than the plan's, and repeated ones, change nothing.
    pub(super) fn hear(&mut self, told: &Told, took_ms: Option<i64>) -> Option<String> {
        let page = self.pages.get_mut(told.event_id.as_deref()?)?;
        if !page.seqs.insert(told.seq?) {
            return None;
        }
        page.double |= told.double_delivered;
        let channel = told.channel.clone().unwrap_or_default();
        match told.status.as_str() {
            "requested" => page.legs.push(Leg { channel, began: told.decided, given_up: None }),
            "fallback" => {
                if let Some(leg) = page.legs.last_mut() {
                    leg.given_up = Some((told.reason.clone(), told.decided, told.provider_code));
                }
                page.legs.push(Leg { channel, began: told.decided, given_up: None });
                *self.fallbacks.entry(told.reason.clone()).or_default() += 1;
            }
            _ => {}
        }
        if !told.terminal {
            return None;
        }
        let first = page.ends.is_empty();
        page.ends.push((told.status.clone(), told.channel.clone()));
        if !first {
            return Some(format!("{}: a SECOND terminal status, {}", page.title(), told.status));
        }
        self.ended += 1;
        if told.status == "delivered" {
            page.took_ms = took_ms;
        }
        let plain = page.legs.len() < 2 && told.status == "delivered";
        (!plain).then(|| page.story(told))
    }

    /// Terminal statuses by word.
    pub(super) fn by_end(&self) -> BTreeMap<&str, usize> {
        self.count(|page| page.ends.first().map(|(word, _)| word.as_str()))
    }

    /// Delivered ones by channel.
    pub(super) fn by_channel(&self) -> BTreeMap<&str, usize> {
        self.count(Page::delivered_by)
    }

    fn count<'a>(&'a self, of: impl Fn(&'a Page) -> Option<&'a str>) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        self.pages.values().filter_map(of).for_each(|word| *counts.entry(word).or_default() += 1);
        counts
    }

    /// How many were perhaps delivered twice.
    pub(super) fn doubles(&self) -> usize {
        self.pages.values().filter(|page| page.double).count()
    }

    /// How many there are of a kind, and how many of them were delivered.
    pub(super) fn of_kind(&self, kind: Kind) -> (usize, usize) {
        let pages = || self.pages.values().filter(|page| page.planned.kind == kind);
        (pages().count(), pages().filter(|page| page.delivered_by().is_some()).count())
    }

    /// From the bank's record to the status `delivered`, in ms, sorted; of one channel, or of all.
    pub(super) fn latencies(&self, channel: Option<&str>) -> Vec<i64> {
        let of = |page: &&Page| page.delivered_by().is_some_and(|it| channel.is_none_or(|channel| it == channel));
        let mut all: Vec<i64> = self.pages.values().filter(of).filter_map(|page| page.took_ms).collect();
        all.sort_unstable();
        all
    }

    /// What is not as it should be, one sentence each; empty when every notification ended exactly once, without a gap, and every ending occurred.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (event_id, page) in &self.pages {
            match page.ends.len() {
                0 => faults.push(format!("{event_id} ({:?}) has no terminal status.", page.planned.story)),
                1 => {}
                ends => faults.push(format!("{event_id} has {ends} terminal statuses.")),
            }
            let gapless = page.seqs.iter().zip(0..).all(|(seq, expected)| *seq == expected);
            if !gapless {
                faults.push(format!("The statuses of {event_id} have a gap."));
            }
        }
        let (channels, ends) = (self.by_channel(), self.by_end());
        let missing = |what: &str| format!("Nothing was {what}, and the demo is made so that something is.");
        for (channel, name) in [("whatsapp", "WhatsApp"), ("sms", "SMS"), ("voice", "voice")] {
            if !channels.contains_key(channel) {
                faults.push(missing(&format!("delivered by {name}")));
            }
        }
        faults.extend(["failed", "expired", "cancelled"].into_iter().filter(|word| !ends.contains_key(word)).map(missing));
        if self.doubles() == 0 {
            faults.push(missing("double_delivered"));
        }
        if self.unreadable > 0 {
            faults.push(format!("{} statuses could not be read.", self.unreadable));
        }
        faults
    }
}

impl Page {
    fn delivered_by(&self) -> Option<&str> {
        let (word, channel) = self.ends.first()?;
        (word == "delivered").then_some(channel.as_deref()?)
    }

    fn title(&self) -> String {
        format!("{} para {}", self.planned.kind.title(), self.planned.short_name())
    }

    /// `Código para Maria S.: WhatsApp silent for 33.0 s → SMS → delivered after 41.2 s`.
    fn story(&self, end: &Told) -> String {
        let mut story = format!("{}: ", self.title());
        for leg in &self.legs {
            let name = channel_name(&leg.channel);
            match &leg.given_up {
                Some((reason, at, code)) => {
                    let _ = write!(story, "{} → ", given_up(name, reason, at - leg.began, *code));
                }
                None => {
                    let _ = write!(story, "{name} → ");
                }
            }
        }
        let after = seconds(end.decided - self.legs.first().map_or(end.decided, |leg| leg.began));
        let last = self.legs.last().map(|leg| leg.channel.as_str());
        let elsewhere = end.channel.as_deref().filter(|channel| Some(*channel) != last);
        let _ = match (end.status.as_str(), elsewhere) {
            ("delivered", Some(channel)) => write!(story, "{} arrives after all, after {after}: perhaps delivered twice", channel_name(channel)),
            ("delivered", None) => write!(story, "delivered after {after}"),
            ("failed", _) => write!(story, "FAILED after {after}: {}", because(&end.reason, end.provider_code)),
            ("expired", _) => write!(story, "EXPIRED after {after}: nothing more is sent"),
            ("cancelled", _) => write!(story, "CANCELLED after {after}: the code was used"),
            ("unconfirmed", _) => write!(story, "UNCONFIRMED after {after}: it left, and nobody said more"),
            (other, _) => write!(story, "{other} after {after}"),
        };
        story
    }
}

fn channel_name(channel: &str) -> &str {
    match channel {
        "whatsapp" => "WhatsApp",
        "sms" => "SMS",
        "voice" => "call",
        other => other,
    }
}

fn given_up(name: &str, reason: &str, lasted_ms: i64, code: i64) -> String {
    match reason {
        "timer" => format!("{name} silent for {}", seconds(lasted_ms)),
        "unknown" => format!("{name} gave no answer, {} waited", seconds(lasted_ms)),
        reason => format!("{name} {}", because(reason, code)),
    }
}

fn because(reason: &str, code: i64) -> String {
    let words = match reason {
        "failed" => "cannot deliver it",
        "provider" => "refuses it",
        "throttled" => "is too busy",
        "unavailable" => "is down",
        "landline" => "finds a landline",
        "held" => "holds it back",
        "opted_out" => "may not write to this customer",
        "timer" => "no receipt in time",
        other => other,
    };
    if code == 0 { words.to_owned() } else { format!("{words} ({code})") }
}

pub(super) fn seconds(ms: i64) -> String {
    let tenths = (ms.max(0) + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}
