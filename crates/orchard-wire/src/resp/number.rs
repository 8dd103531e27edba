//! Numbers as Redis reads and writes them.

/// A whole number as Redis takes one: decimal digits, no sign but `-`, no leading zero, no space.
///
/// ```
/// use orchard_wire::resp::number::parse_integer;
/// assert_eq!(parse_integer(b"-42"), Some(-42));
/// for text in [&b""[..], b"+1", b"01", b" 1", b"-0", b"9223372036854775808"] {
///     assert_eq!(parse_integer(text), None);
/// }
/// ```
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 19 => {}
        _ => return None,
    }
    let mut number = 0_i64;
    for byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // Downwards, so that the smallest number fits.
        number = number.checked_mul(10)?.checked_sub(digit)?;
    }
    if is_negative { Some(number) } else { number.checked_neg() }
}

/// A floating-point number as Redis takes one: no space, no NaN; `inf` in any case.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    // What Rust takes and C does not, or the other way round, is `nan` and hexadecimal digits: neither is taken here.
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// `%.17g` of C: how Redis 7.0 writes doubles. Infinities are `inf` and `-inf`.
///
/// ```
/// use orchard_wire::resp::number::double_text;
/// assert_eq!(double_text(3.0), "3");
/// assert_eq!(double_text(0.1), "0.10000000000000001");
/// assert_eq!(double_text(1e100), "1e+100");
/// ```
pub fn double_text(number: f64) -> String {
    const PRECISION: i32 = 17;
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number == number.trunc() && number.abs() < 1e15 {
        let whole = number as i64;
        return if whole == 0 && number.is_sign_negative() { "-0".to_owned() } else { whole.to_string() };
    }
    let scientific = format!("{:.*e}", PRECISION as usize - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..PRECISION).contains(&exponent) {
        let decimals = usize::try_from(PRECISION - 1 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

/// The digits of `number`, without an allocation; `digits` is room for them.
pub fn integer_text(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'-';
        }
    }
    digits.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_look_as_printf_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.1, "3.1000000000000001"),
            (-1.5, "-1.5"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(double_text(number), text);
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(number: i64) {
            let mut digits = [0; 20];
            let text = number.to_string();
            prop_assert_eq!(integer_text(number, &mut digits), text.as_bytes());
            prop_assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }

        #[test]
        fn doubles_come_back(number: f64) {
            prop_assume!(!number.is_nan());
            prop_assert_eq!(parse_double(double_text(number).as_bytes()), Some(number));
        }

        #[test]
        fn any_text_is_safe(text in prop::collection::vec(any::<u8>(), 0..30)) {
            let expected = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
            if let Some(number) = parse_integer(&text) {
                prop_assert_eq!(expected, Some(number));
            }
            let _ = parse_double(&text);
        }
    }
}
