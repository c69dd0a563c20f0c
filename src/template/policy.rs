//! `masking.toml`: which class is shown how on which channel. Enters: the file's text; leaves: the policy, or all its faults.
//!
//! What is easily got wrong: the file may only tighten the built-in table; loosening is open for the two cells marked † in it, and for no other.

use crate::config::{Fault, parse};
use crate::delivery::Channel;
use crate::privacy::Class;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a class is shown on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As it is.
    Plain,
    /// As it is, but on a call only after a keypress.
    AfterKeypress,
    /// As it is, but on WhatsApp only in a template of category AUTHENTICATION.
    Authentication,
    /// In its class's masked form.
    Masked,
    /// Not at all: a template that names it is refused.
    Never,
}

impl Show {
    const ALL: [Self; 5] = [Self::Plain, Self::AfterKeypress, Self::Authentication, Self::Masked, Self::Never];

    /// The word in `masking.toml`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::AfterKeypress => "after_keypress",
            Self::Authentication => "authentication",
            Self::Masked => "masked",
            Self::Never => "never",
        }
    }

    const fn strictness(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::AfterKeypress | Self::Authentication => 1,
            Self::Masked => 2,
            Self::Never => 3,
        }
    }
}

/// The masking policy of the bank, with its name and its own contacts.
#[derive(Clone, Debug)]
pub struct Masking {
    cells: [[Show; 3]; Class::ALL.len()],
    mask_char: [char; 3],
    balance_routes: Vec<String>,
    bank: String,
    contact: String,
    contacts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bank: Bank,
    #[serde(default)]
    mask_char: BTreeMap<String, String>,
    #[serde(default)]
    classes: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bank {
    name: String,
    contact: String,
    #[serde(default)]
    contacts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    whatsapp: Option<String>,
    sms: Option<String>,
    voice: Option<String>,
    routes: Option<Vec<String>>,
}

impl Masking {
    /// Reads `masking.toml`. `file` names it in faults. A class or cell that the file leaves out is as in the built-in table.
    ///
    /// Errors: every fault at once; none of them carries more of the file than a class, a cell and its word.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let parsed: File = parse(file, text)?;
        let mut masking = Self {
            cells: table(),
            mask_char: ['*'; 3],
            balance_routes: Vec::new(),
            bank: parsed.bank.name.trim().to_owned(),
            contact: parsed.bank.contact.trim().to_owned(),
            contacts: parsed.bank.contacts.iter().map(|contact| contact.trim().to_owned()).collect(),
        };
        let mut faults = Vec::new();
        masking.check_bank(file, &mut faults);
        masking.set_mask_chars(file, &parsed.mask_char, &mut faults);
        for (word, row) in &parsed.classes {
            match Class::from_word(word) {
                Some(class) => masking.set_row(file, class, row, &mut faults),
                None => faults.push(Fault::refuse(file, format!("classes.{word}"), format!("There is no class `{word}`."))),
            }
        }
        if !masking.contacts.contains(&masking.contact) {
            masking.contacts.push(masking.contact.clone());
        }
        if faults.is_empty() { Ok(masking) } else { Err(faults) }
    }

    /// How `class` is shown on `channel`.
    pub fn show(&self, class: Class, channel: Channel) -> Show {
        self.cells[usize::from(class.ordinal() - 1)][column(channel)]
    }

    /// The character that stands for what is hidden; on voice none is ever said.
    pub fn mask_char(&self, channel: Channel) -> char {
        self.mask_char[column(channel)]
    }

    /// Whether a route may use a template that shows `class` where the table's † was loosened: a balance only on the routes named for it.
    pub fn route_may_show(&self, class: Class, route: &str) -> bool {
        class != Class::Balance || self.balance_routes.iter().any(|name| name == route)
    }

    /// The bank's name, `{{ bank }}` in a template.
    pub fn bank(&self) -> &str {
        &self.bank
    }

    /// Where customers reach the bank, `{{ contact }}` in a template.
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Numbers and addresses of the bank itself, which the last scan lets pass.
    pub fn contacts(&self) -> &[String] {
        &self.contacts
    }

    fn check_bank(&self, file: &str, faults: &mut Vec<Fault>) {
        for (key, value) in [("bank.name", &self.bank), ("bank.contact", &self.contact)] {
            if value.is_empty() || value.chars().any(char::is_control) {
                faults.push(Fault::refuse(file, key, "It must be one line of text and not empty.".to_owned()));
            }
        }
        if self.contacts.iter().any(|contact| contact.chars().filter(|c| c.is_alphanumeric()).count() < 4) {
            faults.push(Fault::refuse(file, "bank.contacts", "A contact has at least four letters or digits, or it would open the last scan.".to_owned()));
        }
    }

    fn set_mask_chars(&mut self, file: &str, chars: &BTreeMap<String, String>, faults: &mut Vec<Fault>) {
        for (word, text) in chars {
            let key = format!("mask_char.{word}");
            let Some(channel) = Channel::from_word(word).filter(|channel| *channel != Channel::Voice) else {
                faults.push(Fault::refuse(file, &key, "Only `whatsapp` and `sms` have a mask character.".to_owned()));
                continue;
            };
            let mut rest = text.chars();
            match (rest.next(), rest.next()) {
                (Some(c), None) if is_mask_char(c) && (channel != Channel::Sms || super::gsm7::septets(c) == Some(1)) => self.mask_char[column(channel)] = c,
                _ => faults.push(Fault::refuse(
                    file,
                    &key,
                    "It is one visible sign, no letter, digit or sign of an e-mail address; on SMS one of the GSM-7 alphabet (a `•` would make the SMS a long one)."
                        .to_owned(),
                )),
            }
        }
    }

    fn set_row(&mut self, file: &str, class: Class, row: &Row, faults: &mut Vec<Fault>) {
        for (channel, cell) in [(Channel::WhatsApp, &row.whatsapp), (Channel::Sms, &row.sms), (Channel::Voice, &row.voice)] {
            let Some(word) = cell else { continue };
            let key = format!("classes.{}.{}", class.word(), channel.word());
            let default = self.show(class, channel);
            match Show::ALL.into_iter().find(|show| show.word() == word) {
                None => faults.push(Fault::refuse(file, &key, "It is one of `plain`, `masked`, `never`.".to_owned())),
                Some(show) if show == default || is_tighter(show, default) || is_loosening_open(class, channel) => {
                    self.cells[usize::from(class.ordinal() - 1)][column(channel)] = show;
                }
                Some(_) => faults.push(Fault::refuse(file, &key, format!("`{}` may not be loosened: it is `{}` or stricter.", class.word(), default.word()))),
            }
        }
        match (&row.routes, class) {
            (Some(routes), Class::Balance) => self.balance_routes.clone_from(routes),
            (Some(_), _) => faults.push(Fault::refuse(file, format!("classes.{}.routes", class.word()), "Only `balance` is opened route by route.".to_owned())),
            (None, _) => {}
        }
        if class == Class::Balance && self.show(class, Channel::WhatsApp) != Show::Never && self.balance_routes.is_empty() {
            faults.push(Fault::refuse(file, "classes.balance.routes", "A balance that is shown names the routes that may show it.".to_owned()));
        }
    }
}

fn is_tighter(show: Show, default: Show) -> bool {
    show.strictness() > default.strictness() && !matches!(show, Show::AfterKeypress | Show::Authentication)
}

/// The cells marked † in privacy.md §1.
fn is_loosening_open(class: Class, channel: Channel) -> bool {
    matches!((class, channel), (Class::Balance | Class::FreeText, Channel::WhatsApp))
}

/// Letters, digits and the signs of an e-mail's local part would make a masked value look like a value.
fn is_mask_char(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !c.is_control() && !"._%+-@".contains(c)
}

const fn column(channel: Channel) -> usize {
    match channel {
        Channel::WhatsApp => 0,
        Channel::Sms => 1,
        Channel::Voice => 2,
    }
}

/// The table of privacy.md §1, in the order of the classes' ordinals; columns WhatsApp, SMS, voice.
const fn table() -> [[Show; 3]; Class::ALL.len()] {
    use Show::{AfterKeypress, Authentication, Masked, Never, Plain};
    [
        [Masked, Masked, Masked],               // name; on voice the first name alone
        [Masked, Masked, Never],                // cpf
        [Masked, Masked, Never],                // cnpj
        [Masked, Masked, Masked],               // card
        [Masked, Masked, Never],                // account
        [Masked, Masked, Never],                // pix_key
        [Masked, Masked, Never],                // phone
        [Masked, Masked, Never],                // email
        [Plain, Plain, AfterKeypress],          // amount
        [Never, Never, Never],                  // balance, † on WhatsApp
        [Authentication, Plain, AfterKeypress], // otp
        [Never, Never, Never],                  // secret
        [Plain, Plain, Plain],                  // public
        [Plain, Plain, Never],                  // payment_code
        [Never, Never, Never],                  // free_text, † on WhatsApp
        [Never, Never, Never],                  // reference
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(classes: &str) -> Result<Masking, Vec<Fault>> {
        Masking::parse("masking.toml", &format!("[bank]\nname = \"Banco Exemplo\"\ncontact = \"0800 000 0000\"\n{classes}"))
    }

    fn keys(classes: &str) -> Vec<String> {
        parse(classes).unwrap_err().into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn any_cell_may_be_tightened() {
        let masking = parse("[classes.amount]\nwhatsapp = \"masked\"\nvoice = \"never\"\n[classes.name]\nsms = \"never\"\n").unwrap();
        assert_eq!(masking.show(Class::Amount, Channel::WhatsApp), Show::Masked);
        assert_eq!(masking.show(Class::Amount, Channel::Sms), Show::Plain);
        assert_eq!(masking.show(Class::Amount, Channel::Voice), Show::Never);
        assert_eq!(masking.show(Class::Name, Channel::Sms), Show::Never);
    }

    #[test]
    fn no_cell_may_be_loosened_but_the_two_marked_ones() {
        let tighter = |show: Show, default: Show| show == default || is_tighter(show, default);
        for class in Class::ALL {
            for channel in Channel::ALL {
                for show in Show::ALL {
                    let default = table()[usize::from(class.ordinal() - 1)][column(channel)];
                    let text = format!("[classes.{}]\n{} = \"{}\"\n", class.word(), channel.word(), show.word());
                    let routes = if class == Class::Balance { "routes = [\"saldo\"]\n" } else { "" };
                    let open = matches!((class, channel), (Class::Balance | Class::FreeText, Channel::WhatsApp));
                    assert_eq!(parse(&format!("{text}{routes}")).is_ok(), open || tighter(show, default), "{text}");
                }
            }
        }
        for class in [Class::Secret, Class::Reference] {
            assert!(Channel::ALL.iter().all(|channel| table()[usize::from(class.ordinal() - 1)][column(*channel)] == Show::Never));
        }
    }

    #[test]
    fn a_balance_is_opened_route_by_route() {
        assert_eq!(keys("[classes.balance]\nwhatsapp = \"plain\"\n"), ["classes.balance.routes"]);
        let masking = parse("[classes.balance]\nwhatsapp = \"plain\"\nroutes = [\"saldo\"]\n").unwrap();
        assert!(masking.route_may_show(Class::Balance, "saldo") && !masking.route_may_show(Class::Balance, "pix"));
        assert_eq!(keys("[classes.name]\nroutes = [\"a\"]\n"), ["classes.name.routes"]);
    }

    #[test]
    fn all_faults_of_the_file_are_named_at_once() {
        let text = "[mask_char]\nsms = \"•\"\nvoice = \"*\"\nwhatsapp = \"x\"\n[classes.cpf]\nwhatsapp = \"plain\"\nsms = \"hidden\"\n[classes.iban]\nsms = \"never\"\n";
        assert_eq!(keys(text), ["mask_char.sms", "mask_char.voice", "mask_char.whatsapp", "classes.cpf.whatsapp", "classes.cpf.sms", "classes.iban"]);
        assert_eq!(keys("[classes.cpf]\nfax = \"never\"\nsms = 1\n[mask_char]\nsms = 2\n"), ["classes.cpf.fax", "classes.cpf.sms", "mask_char.sms"]);
    }
}
