//! What the values of a public field look like (`recado.pattern`). Enters: a regular expression from schema or route; leaves: whether a value is of that shape.
//!
//! What is easily got wrong: a value of that shape passes the last scan whatever it resembles. So it must have the shape as a whole, and a pattern that anything
//! fits is refused.

use regex_lite::Regex;

/// The longest pattern; more is no shape of an id (judgement).
const CHARS_MAX: usize = 200;
/// What the last scan is there for, in one text that no public value looks like.
const ANYTHING: &str = "senha 4821, 4111 1111 1111 1111, 529.982.247-25, maria@exemplo.com.br, (11) 99999-8888";

/// One field's pattern, compiled. Matching takes time in proportion to the text, whatever the pattern.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Errors: what is wrong, as the end of a sentence.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        if text.chars().count() > CHARS_MAX {
            return Err("is longer than 200 characters");
        }
        // Alone first: `a)|(b` is an expression only between the brackets below.
        let whole = Regex::new(text).and_then(|_| Regex::new(&format!("^(?:{text})$"))).map_err(|_| "is no regular expression")?;
        if whole.is_match(ANYTHING) { Err("fits anything, so it tells nothing") } else { Ok(Self(whole)) }
    }

    /// Whether all of `text` is of this shape.
    pub(super) fn fits(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_shape_as_a_whole_or_not() {
        let protocol = Pattern::new("[0-9]{16}|P-[0-9]{4}").unwrap();
        for (text, fits) in [("4111111111111111", true), ("P-0001", true), ("411111111111111", false), ("x4111111111111111", false), ("P-00012", false)] {
            assert_eq!(protocol.fits(text), fits, "{text}");
        }
        assert!(!protocol.fits("4111111111111111\n") && !protocol.fits("x\nP-0001") && !protocol.fits(""));
    }

    #[test]
    fn a_pattern_that_is_none_or_tells_nothing_is_refused() {
        for (text, why) in
            [("[0-9", "no regular"), ("a)|(b", "no regular"), ("(?x)a #", "no regular"), (".*", "anything"), ("(?s).+|x", "anything"), ("[^;]*", "anything")]
        {
            assert!(Pattern::new(text).unwrap_err().contains(why), "{text}");
        }
        assert!(Pattern::new(&"a".repeat(201)).unwrap_err().contains("200"));
    }
}
