//! Copies of what was said to whom, and of what rests where it must not.

use super::{Breaking, life_end};
use crate::bank::NAME;
use crate::judge;
use crate::plan::{CANARY, PHONES_NATIONAL, PHONES_WITHOUT_NINE};
use recado::simulator::Line;

pub const BREAKINGS: &[(&str, Breaking)] = &[
    ("I6 wrong recipient", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| if let Line::Call(call) = line { Some(call) } else { None });
        call.map(|call| call.to = "5511900000000".into()).is_some()
    }),
    ("I6 wrong text", |evidence| {
        let call = evidence.lines.iter_mut().find_map(|line| match line {
            Line::Call(call) if call.text.is_some() && call.channel == recado::simulator::Channel::Whatsapp => Some(call),
            _ => None,
        });
        call.map(|call| call.text = Some("R$ 0,01".into())).is_some()
    }),
    ("I6 code withheld", |evidence| {
        (evidence.kills, evidence.slow) = (Vec::new(), Vec::new());
        let said = evidence.lines.iter_mut().filter_map(|line| if let Line::Spoken { text, .. } = line { Some(text) } else { None });
        said.map(|text| *text = Some("Não conseguimos ler o código.".into())).count() > 0
    }),
    ("I6 code withheld", |evidence| {
        // As if its life were over, a ms before the judge would believe that.
        let told = |line: &Line| if let Line::Spoken { attempt_id: Some(id), text: Some(_), .. } = line { life_end(evidence, id) } else { None };
        let Some((at, ends)) = evidence.lines.iter().enumerate().find_map(|(at, line)| Some((at, told(line)?))) else { return false };
        let Line::Spoken { time_ms, text, .. } = &mut evidence.lines[at] else { return false };
        (*time_ms, *text) = (ends - judge::PROVIDER_MS - 1, Some("Este código já não vale.".into()));
        true
    }),
    ("I6 refused by the provider's checks", |evidence| {
        let Some(Line::Call(call)) = evidence.lines.iter().find(|line| matches!(line, Line::Call(_))) else { return false };
        let (time_ms, channel, attempt_id) = (call.time_ms, call.channel, call.attempt_id.clone());
        evidence.lines.push(Line::Refused { time_ms, channel, attempt_id, status: 400, code: 132_000, message: "a parameter is missing".into() });
        true
    }),
    ("I6 wrong code spoken", |evidence| {
        let said = evidence.lines.iter_mut().filter_map(|line| if let Line::Spoken { text, .. } = line { Some(text) } else { None });
        said.map(|text| *text = Some("Seu código é: 0 0 0 0".into())).count() > 0
    }),
    ("I7 canary at rest", |evidence| {
        // As a log would have it, and a table of the store.
        let planted = evidence.canaries.folder().join("planted.sst");
        std::fs::write(&planted, format!("{{\"message\":\"{}\"}}", hex::encode(format!("{CANARY}000000")))).unwrap();
        evidence.canaries.instances();
        std::fs::remove_file(planted).unwrap();
        true
    }),
    ("I7 canary at rest", |evidence| {
        // In a compressed batch: what was planted in a topic when all else was read, if the search found it.
        let planted = std::mem::take(&mut evidence.canaries.planted);
        evidence.canaries.found.extend(planted);
        true
    }),
    ("I7 canary at rest", |evidence| {
        evidence.canaries.bytes("an environment", format!("HOME=/\0NAME={NAME}\0").as_bytes());
        true
    }),
    ("I7 canary at rest", |evidence| {
        // As a table of the store would have it: the number of the run's first event, as its customer writes it.
        evidence.canaries.bytes("a stored value", format!("\u{16}{PHONES_NATIONAL}00000\u{2}").as_bytes());
        true
    }),
    ("I7 canary at rest", |evidence| {
        // As WhatsApp's webhook names it, in a log that quotes one.
        evidence.canaries.bytes("a log", format!("{{\"wa_id\":\"{PHONES_WITHOUT_NINE}00042\"}}").as_bytes());
        true
    }),
];
