//! Classes by their name or number.

use fewstep_formats::nearest;

/// A class that a model does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownClass {
    /// The model has no classes.
    #[error(
        "class `{given}` was requested, but this model was trained without classes: omit the class"
    )]
    NoClasses {
        /// As given.
        given: String,
    },
    /// None of its classes has this name or number.
    #[error("the model has no class `{given}`.{guess} Its classes are 0 to {last}: {some}")]
    NoSuchClass {
        /// As given.
        given: String,
        /// The nearest name as a question, if one is near.
        guess: String,
        /// The highest number.
        last: usize,
        /// The first few names.
        some: String,
    },
}

/// A class of a model by its name, in any case, or by its number. A name that looks like a number
/// is a name first.
///
/// # Errors
/// When there is none; names the nearest.
pub fn find_class(given: &str, classes: &[String]) -> Result<u32, UnknownClass> {
    if classes.is_empty() {
        return Err(UnknownClass::NoClasses {
            given: given.into(),
        });
    }
    let wanted = given.to_lowercase();
    let named = classes
        .iter()
        .position(|name| name.to_lowercase() == wanted);
    let numbered = || given.parse().ok().filter(|&index| index < classes.len());
    match named.or_else(numbered) {
        Some(index) => Ok(index as u32),
        None => Err(unknown(given, classes)),
    }
}

fn unknown(given: &str, classes: &[String]) -> UnknownClass {
    const SHOWN: usize = 20;
    let guess = nearest(given, classes.iter().map(String::as_str));
    let more = match classes.len() > SHOWN {
        true => ", ...",
        false => "",
    };
    UnknownClass::NoSuchClass {
        given: given.into(),
        guess: guess.map_or(String::new(), |name| format!(" Did you mean `{name}`?")),
        last: classes.len() - 1,
        some: classes[..classes.len().min(SHOWN)].join(", ") + more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_name_in_any_case_and_by_number() {
        let classes = ["T-shirt/top", "Bag", "0"].map(String::from);
        let find = |given| find_class(given, &classes).ok();
        assert_eq!(find("bag"), Some(1));
        assert_eq!(find("1"), Some(1));
        // A name that looks like a number is a name first.
        assert_eq!(find("0"), Some(2));
        assert_eq!((find("3"), find("shoe")), (None, None));
        let error = find_class("bags", &classes).expect_err("there is none");
        assert!(error.to_string().contains("Did you mean `Bag`?"), "{error}");
    }

    /// Some of the classes, and all that is left out is said to be.
    #[test]
    fn an_unknown_class_is_answered_with_the_known_ones() {
        let message = |count: usize| {
            let classes: Vec<String> = (0..count).map(|class| format!("c{class}")).collect();
            let error = find_class("zebra", &classes).expect_err("there is none");
            error.to_string()
        };
        assert!(message(0).contains("trained without classes"));
        assert!(message(20).contains("are 0 to 19: c0, ") && message(20).ends_with("c19"));
        assert!(message(21).contains("are 0 to 20: c0, ") && message(21).ends_with("c19, ..."));
    }
}
