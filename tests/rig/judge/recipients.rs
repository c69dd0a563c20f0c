//! I6: whom a call reached, and with what. From the seed, not from Recado's state.

use super::messages::Message;
use super::{Court, PROVIDER_MS};
use crate::plan::{Kind, Planned};
use recado::delivery::MessageId;
use recado::simulator::{self, Line};

impl Court<'_> {
    /// I6: the recipient of each call is that of the event, and what is unique of the event stands in the text.
    pub(super) fn recipients(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        for (attempt, call) in message.calls() {
            if call.to != event.phone {
                self.fault("I6 wrong recipient", Some(id), format!("{attempt} went to another phone than the event's."));
            }
            let unique = if event.kind == Kind::Code { event.code.clone() } else { reais(event.centavos) };
            let text = call.text.as_deref().unwrap_or_default();
            if call.channel != simulator::Channel::Voice && !text.contains(&unique) {
                self.fault("I6 wrong text", Some(id), format!("{attempt}: {unique:?} does not stand in {text:?}."));
            }
            self.counts.one("recipients compared");
        }
        let lives_until = self.written(message).map_or(0, |written| written.at) + i64::try_from(event.expires_after.as_millis()).unwrap();
        for line in message.lines.iter().filter(|_| event.kind == Kind::Code) {
            let Line::Spoken { time_ms, text: Some(text), .. } = line else { continue };
            // A code whose life is over is not said, nor one that cannot be opened while a fault is near.
            if text.contains("já não vale") {
                if *time_ms < lives_until - PROVIDER_MS {
                    self.fault("I6 code withheld", Some(id), format!("Its life was not over: {text:?}"));
                }
                continue;
            }
            if text.contains("Não conseguimos") {
                if self.calm(*time_ms - PROVIDER_MS, *time_ms) {
                    self.fault("I6 code withheld", Some(id), format!("No fault was near: {text:?}"));
                }
                continue;
            }
            self.counts.one("codes spoken");
            // Sign by sign, and "meia" for 6.
            let said: String = text.replace("meia", "6").split_whitespace().collect();
            if !said.contains(&event.code) {
                self.fault("I6 wrong code spoken", Some(id), format!("{:?} does not stand in {text:?}.", event.code));
            }
        }
    }
}

/// As Brazil writes it.
fn reais(centavos: i64) -> String {
    let whole = (centavos / 100).to_string();
    let grouped: Vec<&str> = whole.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    format!("R$ {},{:02}", grouped.join("."), centavos % 100)
}
