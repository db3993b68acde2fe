//! The name that was probably meant.

/// How alike two names are at least, from 0 to 1.
const ALIKE: f64 = 0.8;

/// The known name that is nearest to another in any case, if there is one like it; of equally near
/// ones the first.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let mut nearest: Option<(f64, &str)> = None;
    for known in known {
        let likeness = strsim::jaro_winkler(&name, &known.to_lowercase());
        if likeness > nearest.map_or(ALIKE, |(best, _)| best) {
            nearest = Some((likeness, known));
        }
    }
    nearest.map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_like_it_is_found_in_any_case() {
        let known = ["batch", "Bag", "micro_batch"];
        assert_eq!(nearest("bacth", known), Some("batch"));
        assert_eq!(nearest("BAGS", known), Some("Bag"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("ab", ["abc", "abd"]), Some("abc"));
    }
}
