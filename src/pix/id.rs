//! The end-to-end id of a Pix and the id of its return.

/// Whether this is an EndToEndId or a return id: 32 characters, `E` or `D`, the ISPB (8 of `[0-9A-Z]`), `yyyyMMddHHmm` in UTC, 11 letters or digits.
/// Only the form: that the payment exists, the bank knows. Source: bacen/pix-api 2.9.0.
pub fn is_end_to_end_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 32
        && matches!(bytes[0], b'E' | b'D')
        && bytes[1..9].iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && is_minute(&bytes[9..21])
        && bytes[21..].iter().all(u8::is_ascii_alphanumeric)
}

fn is_minute(bytes: &[u8]) -> bool {
    let number = |part: &[u8]| part.iter().try_fold(0_i16, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i16::from(byte - b'0')));
    let parts = (number(&bytes[..4]), number(&bytes[4..6]), number(&bytes[6..8]), number(&bytes[8..10]), number(&bytes[10..]));
    let (Some(year), Some(month), Some(day), Some(hour), Some(minute)) = parts else { return false };
    let (Ok(month), Ok(day)) = (u8::try_from(month), u8::try_from(day)) else { return false };
    super::is_date(year, month, day) && hour < 24 && minute < 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_to_end_ids_have_their_form_or_are_refused() {
        assert!(is_end_to_end_id("E12345678202512051432abcDEF12345"));
        assert!(is_end_to_end_id("D1234ABCD202512052359abcDEF12345"));
        for bad in [
            "",
            "E12345678202512051432abcDEF1234",
            "E12345678202512051432abcDEF123456",
            "X12345678202512051432abcDEF12345",
            "E1234567a202512051432abcDEF12345",
            "E12345678202513051432abcDEF12345",
            "E12345678202502301432abcDEF12345",
            "E12345678202512052432abcDEF12345",
            "E12345678202512051460abcDEF12345",
            "E12345678202512051432abcDEF1234-",
            "E12345678202512051432abcDEF123é",
        ] {
            assert!(!is_end_to_end_id(bad), "{bad}");
        }
    }
}
