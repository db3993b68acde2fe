//! Amounts of memory for people to read.

/// An amount of memory or of a file: `480 MiB`, `1.2 GiB`.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    // A number that would be rounded to the next unit is in that unit.
    let amounts = (1..).map(|power| bytes as f64 / 1024f64.powi(power));
    let mut amounts = amounts.zip(UNITS);
    match amounts.find(|(amount, _)| *amount < 1023.95) {
        Some((amount, unit)) if amount < 9.95 => format!("{amount:.1} {unit}"),
        Some((amount, "GiB")) => format!("{amount:.1} GiB"),
        Some((amount, unit)) => format!("{amount:.0} {unit}"),
        None => format!("{:.0} EiB", bytes as f64 / 1024f64.powi(6)),
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn an_amount_has_a_unit() {
        let amounts = [0, 1500, 30 << 20, 5 << 29, 1 << 54, u64::MAX].map(amount);
        assert_eq!(
            amounts,
            [
                "0 bytes", "1.5 KiB", "30 MiB", "2.5 GiB", "16 PiB", "16 EiB"
            ]
        );
        assert_eq!(amount((1 << 20) - 1), "1.0 MiB");
        assert_eq!(amount(123 << 30), "123.0 GiB");
    }
}
