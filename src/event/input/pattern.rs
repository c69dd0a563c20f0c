//! What the values of a public field look like (`recado.pattern`). Enters: a regular expression from schema or route; leaves: whether a value is of that shape.
//!
//! What is easily got wrong: a value of that shape passes the last scan whatever it resembles. So it must have the shape as a whole, and a pattern that anything
//! fits is refused.

use regex_lite::Regex;

/// The longest pattern; more is no shape of an id (judgement).
const CHARS_MAX: usize = 200;
/// What the last scan is there for, and words that anybody may write: a shape that one of these has is that of no public value.
const SAMPLES: [&str; 7] = ["Maria Souza", "529.982.247-25", "maria@exemplo.com.br", "+5511999998888", "(11) 99999-8888", "4111 1111 1111 1111", "senha 4821"];
/// A CPF and a card as plain digits. A protocol may be as long as one of them, but not now as long as this one, now as that.
const NUMBERS: [&str; 2] = ["52998224725", "4111111111111111"];

/// One field's pattern, compiled. Matching takes time in proportion to the text, whatever the pattern.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Errors: what is wrong, as the end of a sentence.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.chars().count() > CHARS_MAX {
            return Err("is longer than 200 characters".into());
        }
        // Alone first: `a)|(b` is an expression only between the brackets below.
        let whole = Regex::new(text).and_then(|_| Regex::new(&format!("^(?:{text})$"))).map_err(|_| "is no regular expression".to_owned())?;
        if let Some(sample) = SAMPLES.into_iter().find(|sample| whole.is_match(sample)) {
            return Err(format!("fits almost anything (`{sample}` too), so it tells nothing"));
        }
        if NUMBERS.into_iter().all(|number| whole.is_match(number)) {
            return Err("fits a CPF as well as a card: it must say how long the number is".into());
        }
        Ok(Self(whole))
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
        for (text, why) in [("[0-9", "no regular"), ("a)|(b", "no regular"), ("(?x)a #", "no regular"), ("[0-9]+", "how long"), ("[0-9-]{4,20}", "how long")] {
            assert!(Pattern::new(text).unwrap_err().contains(why), "{text}");
        }
        for text in [".*", "(?s).+|x", "[^;]*", ".{1,40}", "[^;,]*", "[A-Za-z ]+", "[a-z]+ [0-9]{4}", "[0-9 ]+", "[0-9.-]+", "[^ ]+", "[+][0-9]+", "[-0-9() ]+"]
        {
            assert!(Pattern::new(text).unwrap_err().contains("anything"), "{text}");
        }
        for text in ["[0-9]{11}", "[0-9]{13,19}", "Banco [A-Z].{0,80}", "[A-Z]{2}-[0-9]+"] {
            assert!(Pattern::new(text).is_ok(), "{text}");
        }
        assert!(Pattern::new(&"a".repeat(201)).unwrap_err().contains("200"));
    }
}
