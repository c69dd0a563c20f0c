//! I6: whom a call reached, and with what. From the seed, not from Recado's state.

use super::Court;
use super::messages::Message;
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
        for line in &message.lines {
            let Line::Spoken { text: Some(text), .. } = line else { continue };
            // Sign by sign, and "meia" for 6. A code whose life is over is not said.
            let said: String = text.replace("meia", "6").split_whitespace().collect();
            let over = text.contains("já não vale") || text.contains("Não conseguimos");
            if event.kind == Kind::Code && !over {
                self.counts.one("codes spoken");
                if !said.contains(&event.code) {
                    self.fault("I6 wrong code spoken", Some(id), format!("{:?} does not stand in {text:?}.", event.code));
                }
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
