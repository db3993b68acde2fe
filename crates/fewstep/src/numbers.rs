//! Numbers for people to read.

/// Whether a number is not worth storing.
pub(crate) fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A number with three significant digits.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let decimals = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A whole number with commas: 60,000.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time for people to read: `48 s`, `6 min 12 s`, `3 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A count with its noun: `1 step`, `4 steps`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let numbers = [0, 600, 999, 1000, 1234567].map(thousands);
        assert_eq!(numbers, ["0", "600", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(duration(47.6), "48 s");
        assert_eq!(duration(372.0), "6 min 12 s");
        assert_eq!(duration(11_100.0), "3 h 5 min");
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let texts = [0.012345, 1.0, 12.345, 1234.5, 0.0].map(significant);
        assert_eq!(texts, ["0.0123", "1.00", "12.3", "1234", "0"]);
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(
            (plural(1, "call"), plural(2, "call")),
            ("1 call".into(), "2 calls".into())
        );
    }
}
