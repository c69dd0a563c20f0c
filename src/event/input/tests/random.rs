//! Whatever the bytes are, the door says what they are and never falls.

use super::*;
use proptest::prelude::*;

fn framed(datum: &[u8]) -> Vec<u8> {
    confluent(1, datum)
}

/// Valid records of all inputs: number of the input, value.
fn valid() -> Vec<(usize, Vec<u8>)> {
    let used = record(vec![("challenge_id", text("ch-17")), ("used_at", Avro::TimestampMillis(0))]);
    vec![
        (0, framed(&datum(PIX_SCHEMA, pix_with("phone", null())))),
        (1, framed(&datum(CODE_SCHEMA, code_record("493817", null())))),
        (2, framed(&datum(USED_SCHEMA, used))),
        (3, framed(&datum(BILL_SCHEMA, bill()))),
    ]
}

fn json_input() -> Inputs {
    one(foreign::JSON)
}

#[test]
fn every_truncation_of_a_valid_record_is_truncated_and_every_addition_trails() {
    let inputs = reference();
    for (input, value) in valid() {
        assert_eq!(dead(&decode(&inputs, input, &value, &NoRegistry)), None);
        for end in 0..value.len() {
            assert_eq!(dead(&decode(&inputs, input, &value[..end], &NoRegistry)), Some(DeadReason::Truncated), "input {input} cut at {end}");
        }
        for more in [0, 1, 0xff] {
            let longer = [value.as_slice(), &[more]].concat();
            assert_eq!(dead(&decode(&inputs, input, &longer, &NoRegistry)), Some(DeadReason::Trailing), "input {input}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), input in 0_usize..4) {
        let inputs = shared();
        let _ = decode(inputs, input, &bytes, &NoRegistry);
        let _ = decode(inputs, input, &framed(&bytes), &NoRegistry);
        let _ = decode(shared_json(), 0, &bytes, &NoRegistry);
    }

    #[test]
    fn changed_bytes_of_a_valid_record_never_panic(which in 0_usize..4, at in any::<prop::sample::Index>(), bytes in proptest::collection::vec(any::<u8>(), 1..12)) {
        let (input, mut value) = valid().swap_remove(which);
        let at = at.index(value.len());
        for (old, new) in value[at..].iter_mut().zip(&bytes) {
            *old = *new;
        }
        let _ = decode(shared(), input, &value, &NoRegistry);
    }

    #[test]
    fn random_text_never_panics_as_json(text in "[\\{\\}\\[\\]\",:0-9a-z\\\\. -]{0,200}") {
        let _ = decode(shared_json(), 0, text.as_bytes(), &NoRegistry);
    }

    #[test]
    fn an_amount_of_whole_centavos_is_exact_in_every_form(centavos in 0_i64..1_000_000_000_000, scale in 2_u32..9) {
        let unscaled = i128::from(centavos) * 10_i128.pow(scale - 2);
        let reais = format!("{}.{:02}", centavos / 100, centavos % 100);
        let digits = centavos.to_string();
        let forms = [
            (Raw::Decimal { unscaled, scale }, None),
            (Raw::Integer(centavos), Some(AmountUnit::Centavos)),
            (Raw::Text(value::Text::Borrowed(&reais)), Some(AmountUnit::Reais)),
            (Raw::Text(value::Text::Borrowed(&digits)), Some(AmountUnit::Centavos)),
            (Raw::Double(reais.parse().unwrap()), Some(AmountUnit::Reais)),
        ];
        for (raw, unit) in forms {
            let content = value::content(&raw, Class::Amount, FieldKind::Amount(unit));
            let Ok(Some(Content::Amount(amount))) = content else { panic!("{reais}") };
            prop_assert_eq!(*clear(&amount), centavos);
        }
        // Surplus zeros of a decimal are its type's; those of a text may be a thousand's.
        let zeros = &"0000000"[..usize::try_from(scale - 1).unwrap()];
        for (text, unit) in [(format!("{reais}{zeros}"), AmountUnit::Reais), (format!("{digits}.{zeros}"), AmountUnit::Centavos)] {
            let read = value::content(&Raw::Text(value::Text::Borrowed(&text)), Class::Amount, FieldKind::Amount(Some(unit)));
            prop_assert_eq!(read.err(), Some(DeadReason::AmountShape), "{}", text);
        }
        let half = Raw::Decimal { unscaled: i128::from(centavos) * 10 + 5, scale: 3 };
        prop_assert_eq!(value::content(&half, Class::Amount, FieldKind::Amount(None)).err(), Some(DeadReason::AmountShape), "half a centavo is nobody's money");
    }
}

fn shared() -> &'static Inputs {
    static INPUTS: std::sync::LazyLock<Inputs> = std::sync::LazyLock::new(reference);
    &INPUTS
}

fn shared_json() -> &'static Inputs {
    static INPUTS: std::sync::LazyLock<Inputs> = std::sync::LazyLock::new(json_input);
    &INPUTS
}
