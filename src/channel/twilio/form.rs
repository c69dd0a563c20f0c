//! Forms (`application/x-www-form-urlencoded`), written into a buffer that never grows and read back into values that are cleared when dropped.

use crate::channel::WebhookError;
use zeroize::Zeroizing;

/// A request body under construction: allocated once, so that no copy of text or number stays behind in freed memory.
pub(in crate::channel) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// With room for `fields`, each byte of which may take three, and two signs a field.
    pub(in crate::channel) fn new(fields: &[(&str, &str)]) -> Self {
        let capacity = fields.iter().map(|(name, value)| 2 + 3 * (name.len() + value.len())).sum();
        let mut writer = Self(Zeroizing::new(Vec::with_capacity(capacity)));
        for (name, value) in fields {
            writer.add(name, value);
        }
        debug_assert!(writer.0.len() <= capacity, "three bytes for each are enough");
        writer
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        for part in form_urlencoded::byte_serialize(name.as_bytes()) {
            self.0.extend_from_slice(part.as_bytes());
        }
        self.0.push(b'=');
        for part in form_urlencoded::byte_serialize(value.as_bytes()) {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    pub(in crate::channel) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// The names and values of a webhook's form. Numbers and digits that a customer pressed are among them.
pub struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Form({} fields)", self.0.len())
    }
}

impl Form {
    /// Reads a form of at most [`Form::FIELDS_MAX`] fields. Broken escapes stay as they are and invalid UTF-8 is replaced, as every form reader does: neither then
    /// verifies. `WrongShape { field: "form" }` where there are more fields.
    pub fn read(body: &[u8]) -> Result<Self, WebhookError> {
        let mut fields = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.len() == Self::FIELDS_MAX {
                return Err(WebhookError::WrongShape { field: "form" });
            }
            fields.push((Zeroizing::new(name.into_owned()), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(fields))
    }

    /// Twilio's callbacks have about 30 fields; a limit of our own keeps sorting them before the signature cheap.
    pub const FIELDS_MAX: usize = 200;

    /// All fields in the order of the body, for the signature.
    pub fn fields(&self) -> &[(Zeroizing<String>, Zeroizing<String>)] {
        &self.0
    }

    /// The first value of a name; `None` also where it is empty.
    pub(in crate::channel) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The first value of a name in a URL's query; `None` also where it is empty.
pub(in crate::channel) fn query(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(fields in proptest::collection::vec(("[A-Za-z]{1,9}", ".{0,30}"), 1..9)) {
            let borrowed: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let body = Writer::new(&borrowed).finish();
            let form = Form::read(&body).unwrap();
            let read: Vec<(&str, &str)> = form.fields().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            prop_assert_eq!(read, borrowed);
        }

        #[test]
        fn random_bytes_are_bounded(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(form) = Form::read(&body) {
                prop_assert!(form.fields().len() <= Form::FIELDS_MAX);
            }
        }
    }

    #[test]
    fn too_many_fields_are_refused() {
        assert!(Form::read("a=1&".repeat(200).as_bytes()).is_ok());
        assert_eq!(Form::read("a=1&".repeat(201).as_bytes()).err(), Some(WebhookError::WrongShape { field: "form" }));
    }
}
