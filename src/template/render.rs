//! From opened parameters to a finished message. Enters: a template's name, the channel, payload and code; leaves: what the channel's codec takes, or why not.
//!
//! What is easily got wrong: the text that is scanned is the one the customer reads. On WhatsApp that is the approved body with the parameters in it, though
//! only the parameters are sent.

use super::catalogue::{AfterKeypress, Body, BodyPart, Catalogue, Template, Voice, WhatsApp};
use super::masking::{self, Manner};
use super::policy::Show;
use super::scan::{Rule, Span, scan};
use super::signs;
use super::text::{CODE, Part, Text};
use super::{Rendered, Spoken, WhatsAppTemplate, gsm7};
use crate::delivery::{Channel, Reason};
use crate::privacy::{Class, Content, Payload, Secret, Value};
use jiff::tz::TimeZone;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// Why a message was not made. All are final for the attempt; none carries anything of a text or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The catalogue has no such template, or it has no text for the channel.
    #[error("there is no such template for the channel")]
    Unknown,
    /// The record lacks a field that the template shows, or holds an empty one.
    #[error("a field of the template is missing in the record")]
    Missing,
    /// The template shows a class that may not be shown there; `recado check` refuses such a template.
    #[error("class {} may not be shown there", .0.word())]
    Forbidden(Class),
    /// A code stands beside a link.
    #[error("a code stands beside a link")]
    Link,
    /// There is no code, or not of a shape that every channel takes.
    #[error("the code has a wrong shape")]
    CodeShape,
    /// The text is over the channel's limit: one SMS, or 1,024 characters of a WhatsApp body.
    #[error("the text is too long for the channel")]
    TooLong,
    /// The last scan stopped it.
    #[error("the last scan stopped the text: {}", .0.word())]
    Scan(Rule),
}

impl RenderError {
    /// The reason of the attempt's outcome, which is *rejected*.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Unknown | Self::Missing | Self::Forbidden(_) | Self::Link => Reason::Template,
            Self::CodeShape => Reason::CodeShape,
            Self::TooLong => Reason::TooLong,
            Self::Scan(_) => Reason::Scan,
        }
    }

    /// The word for metrics and logs.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_template",
            Self::Missing => "missing_field",
            Self::Forbidden(_) => "forbidden_class",
            Self::Link => "link",
            Self::CodeShape => "code_shape",
            Self::TooLong => "too_long",
            Self::Scan(rule) => rule.word(),
        }
    }
}

/// The longest WhatsApp template body, parameters included. Source: Meta, channels.md §1.7.
pub(super) const BODY_CHARS_MAX: usize = 1024;
/// The customer's zone where neither the record nor the phone tells one.
const ZONE: &str = "America/Sao_Paulo";

impl Catalogue {
    /// Makes the message that `template` says on `channel`.
    ///
    /// `code`: the one-time code, opened for this moment; a template that shows none ignores it. Of a call it is only checked: it is spoken by the gateway,
    /// which opens it itself. Values that lack the shape of their class are shown as `***`.
    pub fn render(&self, template: &str, channel: Channel, payload: &Payload, code: Option<&Secret<String>>) -> Result<Rendered, RenderError> {
        self.render_noting(template, channel, payload, code, &mut Vec::new())
    }

    /// As [`Catalogue::render`]; the class of each value that lacked its shape is added to `unfit`, for the metric.
    pub fn render_noting(
        &self,
        template: &str,
        channel: Channel,
        payload: &Payload,
        code: Option<&Secret<String>>,
        unfit: &mut Vec<Class>,
    ) -> Result<Rendered, RenderError> {
        let template = self.templates.get(template).ok_or(RenderError::Unknown)?;
        let code = code.map(|code| Value { class: Class::Otp, content: Content::Text(Secret::new(code.expose().clone())) });
        Writer { catalogue: self, channel, payload, code, zone: None, unfit }.message(template)
    }
}

/// Writes one message.
struct Writer<'a> {
    catalogue: &'a Catalogue,
    channel: Channel,
    payload: &'a Payload,
    code: Option<Value>,
    zone: Option<TimeZone>,
    unfit: &'a mut Vec<Class>,
}

/// A WhatsApp body's parameters, with a name where they have one.
type Parameters = Vec<(Option<String>, Secret<String>)>;

/// A piece of a finished text.
enum Piece<'a> {
    Words(Cow<'a, str>),
    Value(Zeroizing<String>, Kind),
}

/// What a value is, for the last scan.
#[derive(Clone, Copy)]
struct Kind {
    class: Class,
    shaped: bool,
}

/// A finished text with the places of its values.
struct Finished {
    text: Zeroizing<String>,
    spans: Vec<Span>,
}

impl Writer<'_> {
    fn message(&mut self, template: &Template) -> Result<Rendered, RenderError> {
        match self.channel {
            Channel::WhatsApp => self.whatsapp(template.whatsapp.as_ref().ok_or(RenderError::Unknown)?).map(Rendered::WhatsApp),
            Channel::Sms => self.sms(template.sms.as_ref().ok_or(RenderError::Unknown)?).map(Rendered::Sms),
            Channel::Voice => self.voice(template.voice.as_ref().ok_or(RenderError::Unknown)?).map(Rendered::Voice),
        }
    }

    fn whatsapp(&mut self, whatsapp: &WhatsApp) -> Result<WhatsAppTemplate, RenderError> {
        let (body, copy_code) = match &whatsapp.body {
            Some(body) => (self.body(body)?, None),
            None => (Vec::new(), Some(self.code()?)),
        };
        Ok(WhatsAppTemplate { name: whatsapp.name.clone(), language: whatsapp.language.clone(), body, copy_code })
    }

    fn body(&mut self, body: &Body) -> Result<Parameters, RenderError> {
        let parameters = body.parameters.iter().map(|(_, text)| self.pieces(text)).collect::<Result<Vec<_>, _>>()?;
        let whole = Finished::join(body.parts.iter().flat_map(|part| match part {
            BodyPart::Words(words) => vec![(words.as_str(), None)],
            BodyPart::Parameter(index) => parameters[*index].iter().map(Piece::parts).collect(),
        }));
        if whole.text.chars().count() > BODY_CHARS_MAX {
            return Err(RenderError::TooLong);
        }
        self.check(&whole)?;
        let texts = parameters.iter().map(|pieces| Finished::join(pieces.iter().map(Piece::parts)).secret());
        Ok(body.parameters.iter().map(|(name, _)| name.clone()).zip(texts).collect())
    }

    fn sms(&mut self, text: &Text) -> Result<Secret<String>, RenderError> {
        let pieces = self.pieces(text)?;
        let finished = Finished::transliterated(pieces.iter().map(Piece::parts));
        // Once more: two pieces may make a link that stands in neither.
        if text.fields.contains(CODE) && signs::has_link(&finished.text) {
            return Err(RenderError::Link);
        }
        if gsm7::length(&finished.text) > gsm7::SEGMENT_SEPTETS {
            return Err(RenderError::TooLong);
        }
        self.check(&finished)?;
        Ok(finished.secret())
    }

    fn voice(&mut self, voice: &Voice) -> Result<Spoken, RenderError> {
        let pieces = self.pieces(&voice.greeting)?;
        let finished = Finished::join(pieces.iter().map(Piece::parts));
        self.check(&finished)?;
        let code_follows = voice.after_keypress == AfterKeypress::Code;
        if code_follows {
            self.code()?;
        }
        Ok(Spoken { greeting: finished.secret(), code_follows })
    }

    fn check(&self, finished: &Finished) -> Result<(), RenderError> {
        scan(&finished.text, &finished.spans, &self.catalogue.contacts).map_or(Ok(()), |rule| Err(RenderError::Scan(rule)))
    }

    /// The code, if it has a code's shape.
    fn code(&self) -> Result<Secret<String>, RenderError> {
        match &self.code {
            Some(Value { content: Content::Text(code), .. }) if masking::is_code(code.expose()) => Ok(Secret::new(code.expose().clone())),
            _ => Err(RenderError::CodeShape),
        }
    }

    /// The words and masked values of one text.
    fn pieces<'t>(&mut self, text: &'t Text) -> Result<Vec<Piece<'t>>, RenderError> {
        if text.fields.contains(CODE) {
            self.code()?;
        }
        let parts = text.parts(&self.catalogue.engine, |field| self.value(field).is_some()).map_err(|_| RenderError::Missing)?;
        let pieces: Vec<_> = match parts {
            Cow::Borrowed(parts) => parts.iter().map(|part| self.piece(part)).collect::<Result<_, _>>()?,
            Cow::Owned(parts) => parts.iter().map(|part| self.piece(part).map(Piece::into_owned)).collect::<Result<_, _>>()?,
        };
        if text.fields.contains(CODE) && pieces.iter().any(|piece| signs::has_link(piece.parts().0)) {
            return Err(RenderError::Link);
        }
        Ok(pieces)
    }

    fn piece<'t>(&mut self, part: &'t Part) -> Result<Piece<'t>, RenderError> {
        let (field, format) = match part {
            Part::Words(words) => return Ok(Piece::Words(Cow::Borrowed(words))),
            Part::Place { field, format } => (field, *format),
        };
        let class = self.value(field).ok_or(RenderError::Missing)?.class;
        let show = self.catalogue.masking.show(class, self.channel);
        if matches!(show, Show::Never | Show::AfterKeypress | Show::Authentication) {
            return Err(RenderError::Forbidden(class));
        }
        let zone = self.zone();
        let mask_char = self.catalogue.masking.mask_char(self.channel);
        let value = self.value(field).ok_or(RenderError::Missing)?;
        let shown = masking::show(value, Manner { show, channel: self.channel, mask_char, format, zone: &zone });
        if !shown.fits {
            self.unfit.push(class);
        }
        Ok(Piece::Value(shown.text, Kind { class, shaped: self.payload.shaped.contains(field) }))
    }

    /// The value of a field; an empty one counts as missing.
    fn value(&self, field: &str) -> Option<&Value> {
        if field == CODE { self.code.as_ref() } else { self.payload.values.get(field).filter(|value| !masking::is_blank(value)) }
    }

    /// The customer's zone: the record's, else that of the phone's area, else Brasília's.
    fn zone(&mut self) -> TimeZone {
        let payload = self.payload;
        self.zone
            .get_or_insert_with(|| {
                let named = payload.zone.as_deref().and_then(|zone| TimeZone::get(zone).ok());
                let area = || payload.phone.as_ref().and_then(|phone| TimeZone::get(phone.zone()).ok());
                named.or_else(area).or_else(|| TimeZone::get(ZONE).ok()).unwrap_or(TimeZone::UTC)
            })
            .clone()
    }
}

impl Piece<'_> {
    fn into_owned(self) -> Piece<'static> {
        match self {
            Self::Words(words) => Piece::Words(Cow::Owned(words.into_owned())),
            Self::Value(text, kind) => Piece::Value(text, kind),
        }
    }

    fn parts(&self) -> (&str, Option<Kind>) {
        match self {
            Self::Words(words) => (words, None),
            Self::Value(text, kind) => (text, Some(*kind)),
        }
    }
}

impl Finished {
    /// Puts the pieces together in a text that is allocated once.
    fn join<'a>(pieces: impl Iterator<Item = (&'a str, Option<Kind>)>) -> Self {
        let pieces: Vec<_> = pieces.collect();
        let capacity = pieces.iter().map(|(text, _)| text.len()).sum();
        Self::write(&pieces, capacity, |text, out| out.push_str(text))
    }

    /// The same in the alphabet of an SMS.
    fn transliterated<'a>(pieces: impl Iterator<Item = (&'a str, Option<Kind>)>) -> Self {
        let pieces: Vec<_> = pieces.collect();
        let capacity = pieces.iter().map(|(text, _)| 2 * text.len()).sum();
        Self::write(&pieces, capacity, |text, out| {
            gsm7::transliterate(text, out);
        })
    }

    fn write(pieces: &[(&str, Option<Kind>)], capacity: usize, put: impl Fn(&str, &mut String)) -> Self {
        let mut finished = Self { text: Zeroizing::new(String::with_capacity(capacity)), spans: Vec::new() };
        for (text, kind) in pieces {
            let start = finished.text.len();
            put(text, &mut finished.text);
            finished.spans.extend(kind.map(|Kind { class, shaped }| Span { range: start..finished.text.len(), class, shaped }));
        }
        finished
    }

    fn secret(mut self) -> Secret<String> {
        Secret::new(std::mem::take(&mut *self.text))
    }
}
