//! What `recado check` says about templates. Enter: the catalogue, and each place where a route uses a template; leave: all faults.
//!
//! What is easily got wrong: a template is right or wrong only together with a route, since the route says of which class its fields are and how long it waits.

use super::catalogue::{AfterKeypress, Body, BodyPart, Catalogue, Category, Template, WhatsApp, is_name};
use super::gsm7;
use super::masking::Format;
use super::policy::Show;
use super::render::{BODY_CHARS_MAX, RenderError};
use super::signs::has_link;
use super::text::{CODE, Part, Text};
use crate::config::Fault;
use crate::delivery::{Channel, Lane, Timestamp};
use crate::privacy::{Class, Content, Payload, Secret, Value};
use std::sync::Arc;
use std::time::Duration;

/// One step of a route, as far as its template is concerned.
#[derive(Clone, Copy, Debug)]
pub struct TemplateUse<'a> {
    /// The route's name.
    pub route: &'a str,
    /// The step's channel.
    pub channel: Channel,
    /// The template's name in the catalogue.
    pub template: &'a str,
    /// The fields that the route reads from its record, with their classes.
    pub fields: &'a [(&'a str, Class)],
    /// The route's lane.
    pub lane: Lane,
    /// How long the step waits for its receipt.
    pub wait: Duration,
    /// Whether there is no step behind it.
    pub last_step: bool,
    /// Whether the route reads a one-time code.
    pub has_code: bool,
}

/// Meta's range of TTLs. Source: channels.md §2.6.
const TTL_SECS_MIN: u64 = 30;
const TTL_SECS_MAX_UTILITY: u64 = 43_200;
const TTL_SECS_MAX_AUTHENTICATION: u64 = 900;
/// The longest life of a code. Source: privacy.md §4.
const CODE_MINUTES_MAX: u8 = 10;
/// The longest greeting: some 25 seconds of speech (judgement), far below what a TwiML document takes.
const GREETING_CHARS_MAX: usize = 400;
/// Source: channels.md §1.2.
const SPACES_IN_A_ROW_MAX: usize = 4;

/// All that is wrong with the catalogue and with its use, in the order of the templates and then of the uses.
pub fn lint(catalogue: &Catalogue, uses: &[TemplateUse<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for template in catalogue.templates.values() {
        lint_template(template, &mut faults);
    }
    for one in uses {
        match catalogue.templates.get(one.template) {
            Some(template) => Using { catalogue, template, one, faults: &mut faults }.lint(),
            None => faults.push(Fault::refuse("templates", one.template, format!("Route `{}` uses a template that is not there.", one.route))),
        }
    }
    faults.dedup();
    faults
}

/// What can be said without a route.
fn lint_template(template: &Template, faults: &mut Vec<Fault>) {
    let mut refuse = |key: &str, sentence: String| faults.push(Fault::refuse(&template.file, key, sentence));
    if let Some(whatsapp) = &template.whatsapp {
        lint_whatsapp(whatsapp, &mut refuse);
    }
    if let Some(sms) = &template.sms {
        if sms.words().iter().any(|words| gsm7::transliterate(words, &mut String::new()) > 0) {
            refuse("sms.text", "It holds a character that no SMS alphabet of 160 characters has and that has no plain form.".to_owned());
        }
        if is_code_beside_link(sms) {
            refuse("sms.text", "A code and a link never stand in one message: that is what a thief's message looks like.".to_owned());
        }
    }
    if let Some(voice) = &template.voice {
        if voice.greeting.fields.contains(CODE) {
            refuse("voice.greeting", "A code is never said before a keypress: write `after_keypress = \"code\"`.".to_owned());
        }
        if voice.greeting.words().iter().any(|words| words.chars().count() > GREETING_CHARS_MAX) {
            refuse("voice.greeting", format!("A greeting has at most {GREETING_CHARS_MAX} characters."));
        }
    }
}

fn lint_whatsapp(whatsapp: &WhatsApp, refuse: &mut impl FnMut(&str, String)) {
    if !is_name(&whatsapp.name) {
        refuse("whatsapp.name", "A template's name at Meta has small letters, digits and `_` only.".to_owned());
    }
    let ttl_secs_max = match whatsapp.category {
        Category::Utility => TTL_SECS_MAX_UTILITY,
        Category::Authentication => TTL_SECS_MAX_AUTHENTICATION,
    };
    if whatsapp.ttl.is_some_and(|ttl| ttl.subsec_nanos() != 0 || !(TTL_SECS_MIN..=ttl_secs_max).contains(&ttl.as_secs())) {
        refuse("whatsapp.ttl", format!("Meta takes whole seconds from {TTL_SECS_MIN} to {ttl_secs_max} for this category."));
    }
    match (whatsapp.category, whatsapp.code_expiration_minutes) {
        (Category::Utility, Some(_)) => refuse("whatsapp.code_expiration_minutes", "Only an AUTHENTICATION template has it.".to_owned()),
        (Category::Authentication, Some(minutes)) if !(1..=CODE_MINUTES_MAX).contains(&minutes) => {
            refuse("whatsapp.code_expiration_minutes", format!("A code lives 1 to {CODE_MINUTES_MAX} minutes."));
        }
        (Category::Authentication | Category::Utility, _) => {}
    }
    if let Some(body) = &whatsapp.body {
        lint_body(whatsapp, body, refuse);
    }
}

fn lint_body(whatsapp: &WhatsApp, body: &Body, refuse: &mut impl FnMut(&str, String)) {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.source.as_bytes());
    let sha256 = hex::encode(digest.as_ref());
    if whatsapp.approved_sha256.as_deref() != Some(sha256.as_str()) {
        refuse("whatsapp.approved_sha256", format!("The body is not the approved one. If Meta has approved exactly this text, write \"{sha256}\"."));
    }
    if body.source.chars().count() > BODY_CHARS_MAX {
        refuse("whatsapp.body", format!("A body has at most {BODY_CHARS_MAX} characters."));
    }
    if [body.parts.first(), body.parts.last()].iter().any(|part| matches!(part, Some(BodyPart::Parameter(_)))) {
        refuse("whatsapp.body", "Meta refuses a body that begins or ends with a variable.".to_owned());
    }
    for (index, (name, text)) in body.parameters.iter().enumerate() {
        let key = format!("whatsapp.parameters.{}", name.clone().unwrap_or_else(|| (index + 1).to_string()));
        if text.least.is_empty() || !is_one_line(&text.source) || text.least.iter().any(|part| matches!(part, Part::Words(words) if !is_one_line(words))) {
            refuse(&key, "A parameter is one line, not empty, with at most four spaces in a row.".to_owned());
        }
        if text.fields.contains(CODE) {
            refuse(&key, "On WhatsApp a code goes in a template of category AUTHENTICATION only.".to_owned());
        }
    }
}

fn is_one_line(words: &str) -> bool {
    !words.contains(['\n', '\t']) && !words.contains(&" ".repeat(SPACES_IN_A_ROW_MAX + 1))
}

/// Whether the bank's own words hold a link in a text that shows a code.
fn is_code_beside_link(text: &Text) -> bool {
    text.fields.contains(CODE) && text.words().iter().any(|words| has_link(words))
}

/// One use of one template.
struct Using<'a> {
    catalogue: &'a Catalogue,
    template: &'a Template,
    one: &'a TemplateUse<'a>,
    faults: &'a mut Vec<Fault>,
}

impl Using<'_> {
    fn lint(&mut self) {
        let (template, channel) = (self.template, self.one.channel);
        let shows_code = match channel {
            Channel::WhatsApp => template.whatsapp.as_ref().map(|whatsapp| {
                self.ttl(whatsapp);
                self.whatsapp_fields(whatsapp);
                whatsapp.category == Category::Authentication
            }),
            Channel::Sms => template.sms.as_ref().map(|sms| {
                self.fields("sms.text", sms);
                sms.fields.contains(CODE)
            }),
            Channel::Voice => template.voice.as_ref().map(|voice| {
                self.fields("voice.greeting", &voice.greeting);
                voice.after_keypress == AfterKeypress::Code
            }),
        };
        match shows_code {
            Some(shows_code) => {
                self.code(shows_code);
                self.sample();
            }
            None => self.refuse(channel.word(), "uses it on this channel, for which it has no text"),
        }
    }

    fn whatsapp_fields(&mut self, whatsapp: &WhatsApp) {
        for (name, text) in whatsapp.body.iter().flat_map(|body| &body.parameters) {
            self.fields(&format!("whatsapp.parameters{}", name.as_ref().map(|name| format!(".{name}")).unwrap_or_default()), text);
        }
    }

    /// Each field that the text names is in the route, of a class that may be shown.
    fn fields(&mut self, key: &str, text: &Text) {
        for field in text.fields.iter().filter(|field| *field != CODE) {
            let Some(class) = self.class(field) else {
                self.refuse(key, &format!("has no field `{field}`, which it shows"));
                continue;
            };
            let (word, channel) = (class.word(), self.one.channel.word());
            if class == Class::Otp {
                self.refuse(key, &format!("gives it a code as `{field}`: a code is written `{{{{ code }}}}`"));
            } else if class == Class::PaymentCode {
                self.refuse(key, &format!("gives it the payment code `{field}`, which nothing compares with its record yet"));
            } else if !self.catalogue.masking.route_may_show(class, self.one.route) {
                self.refuse(key, &format!("is not among the routes that may show `{field}`, of class {word}"));
            } else {
                match self.catalogue.masking.show(class, self.one.channel) {
                    Show::Plain | Show::Masked => {}
                    Show::Never | Show::Authentication => self.refuse(key, &format!("gives it `{field}`, of class {word}, which {channel} never shows")),
                    Show::AfterKeypress => self.refuse(key, &format!("gives it `{field}`, of class {word}, which is never said before a keypress")),
                }
            }
        }
    }

    fn code(&mut self, shows_code: bool) {
        let channel = self.one.channel.word();
        match (shows_code, self.one.has_code) {
            (true, false) => self.refuse(channel, "reads no code, which it shows"),
            (true, true) if self.one.lane == Lane::Bulk => self.refuse(channel, "is on the bulk lane: a code goes by `express` only"),
            (false, true) => self.warn(channel, "reads a code, which it does not show"),
            (true, true) | (false, false) => {}
        }
        let show = self.catalogue.masking.show(Class::Otp, self.one.channel);
        if shows_code && matches!(show, Show::Masked | Show::Never) {
            self.refuse(channel, "shows a code there, which the masking policy forbids");
        }
    }

    /// The message leaves the provider's queue before the fallback goes out. That the receipt also needs time to come back, the check of the routes says.
    fn ttl(&mut self, whatsapp: &WhatsApp) {
        match whatsapp.ttl {
            None if !self.one.last_step => {
                self.refuse("whatsapp.ttl", "falls back from it, so it needs a TTL of its own: Meta's default would deliver it weeks after the fallback")
            }
            None if self.one.has_code => {
                self.refuse("whatsapp.ttl", "sends a code by it, so it needs a TTL: by Meta's default it could arrive when the code is long over")
            }
            None => {}
            Some(ttl) if ttl > self.one.wait => {
                let wait = humantime::format_duration(self.one.wait);
                self.refuse(
                    "whatsapp.ttl",
                    &format!("waits {wait}, so it would be delivered after the fallback: make a template with a shorter TTL, or wait longer"),
                );
            }
            Some(_) => {}
        }
    }

    /// Renders it with values as long as they usually get, and once more without the fields that have a `default`.
    fn sample(&mut self) {
        let key = match self.one.channel {
            Channel::WhatsApp => "whatsapp.body",
            Channel::Sms => "sms.text",
            Channel::Voice => "voice.greeting",
        };
        let whole = self.stopped_by(&self.payload(|_| true));
        let least = || self.stopped_by(&self.payload(|field| self.is_needed(field))).map(|what| format!("{what}, where the record lacks what has a `default`"));
        let fault = whole.or_else(least);
        if let Some(what) = fault {
            self.refuse(key, &what);
        }
    }

    /// What would keep every message like this one back: it is too long, has a link beside its code, or something in it stops the last scan.
    fn stopped_by(&self, payload: &Payload) -> Option<String> {
        let code = Secret::new("48209315".to_owned());
        match self.catalogue.render(self.one.template, self.one.channel, payload, Some(&code)) {
            Err(RenderError::TooLong) => Some("would make it longer than the channel takes, with values of usual length".to_owned()),
            Err(RenderError::Scan(rule)) => Some(format!("would have it stopped by the last scan every time ({})", rule.word())),
            Err(RenderError::Link) if !self.texts().into_iter().any(is_code_beside_link) => {
                Some("would put what a phone reads as a link beside the code every time (a word, a point and a word without a space)".to_owned())
            }
            // What else it may refuse was said above, with the field's name.
            Err(RenderError::Unknown | RenderError::Missing | RenderError::Forbidden(_) | RenderError::Link | RenderError::CodeShape) | Ok(_) => None,
        }
    }

    /// Invented values for those of the route's fields that are there.
    fn payload(&self, is_there: impl Fn(&str) -> bool) -> Payload {
        let fields = self.one.fields.iter().filter(|(field, _)| is_there(field));
        let values = fields.map(|(field, class)| (Arc::from(*field), Value { class: *class, content: sample(*class, self.format(field)) }));
        Payload { values: values.collect(), ..Payload::default() }
    }

    /// Whether a text of the channel cannot do without a field.
    fn is_needed(&self, field: &str) -> bool {
        self.texts().into_iter().any(|text| text.fields.contains(field) && !text.optional.contains(field))
    }

    /// The texts of the channel.
    fn texts(&self) -> Vec<&Text> {
        match self.one.channel {
            Channel::WhatsApp => {
                let bodies = self.template.whatsapp.iter().flat_map(|whatsapp| &whatsapp.body);
                bodies.flat_map(|body| &body.parameters).map(|(_, text)| text).collect()
            }
            Channel::Sms => self.template.sms.iter().collect(),
            Channel::Voice => self.template.voice.iter().map(|voice| &voice.greeting).collect(),
        }
    }

    /// How the template writes a field, where it says so.
    fn format(&self, field: &str) -> Format {
        let whatsapp = self.template.whatsapp.iter().flat_map(|whatsapp| &whatsapp.body).flat_map(|body| &body.parameters).map(|(_, text)| text);
        let texts = whatsapp.chain(&self.template.sms).chain(self.template.voice.iter().map(|voice| &voice.greeting));
        let mut formats = texts.flat_map(|text| &text.parts).filter_map(|part| match part {
            Part::Place { field: name, format } if name == field && *format != Format::Usual => Some(*format),
            Part::Place { .. } | Part::Words(_) => None,
        });
        formats.next().unwrap_or(Format::Usual)
    }

    fn class(&self, field: &str) -> Option<Class> {
        self.one.fields.iter().find(|(name, _)| *name == field).map(|(_, class)| *class)
    }

    fn refuse(&mut self, key: &str, what: &str) {
        self.faults.push(Fault::refuse(&self.template.file, key, format!("Route `{}` {what}.", self.one.route)));
    }

    fn warn(&mut self, key: &str, what: &str) {
        self.faults.push(Fault::warn(&self.template.file, key, format!("Route `{}` {what}.", self.one.route)));
    }
}

/// An invented value of a class, about as long as such values get (judgement).
fn sample(class: Class, format: Format) -> Content {
    let text = match class {
        Class::Amount | Class::Balance => return Content::Amount(Secret::new(99_999_999_999)),
        Class::Public if matches!(format, Format::Date | Format::Day | Format::Time) => return Content::Time(Timestamp::from_millis(1_764_900_000_000)),
        Class::Public => "Cooperativa de Credito Exemplo",
        Class::Name => "Maximiliana Aparecida da Silva",
        Class::Cpf | Class::PixKey => "52998224725",
        Class::Cnpj => "12ABC34501DE35",
        Class::Card => "4111111111111111",
        Class::Account => "1234567-8",
        Class::Phone => "+5511999998888",
        Class::Email => "maria.aparecida@cooperativa.exemplo.com.br",
        Class::FreeText => "Almoço de domingo, com as sobremesas e o café que você pagou para todos",
        Class::Otp | Class::Secret | Class::PaymentCode | Class::Reference => "x",
    };
    Content::Text(Secret::new(text.to_owned()))
}
