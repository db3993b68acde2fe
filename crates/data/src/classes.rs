//! Which class of a model each class of a set is.

use crate::DataError;
use std::collections::{HashMap, HashSet};
use unicode_normalization::UnicodeNormalization;

/// More classes than any set of images has: without names to check against, a larger label is an
/// error.
pub(crate) const MAX_CLASSES: usize = 1_000_000;

/// The number that a model has for each class of a set: by name, in any case, where both have
/// names. Classes whose names are the numbers from 0 have none; these are matched by number.
///
/// # Errors
/// Other names, a name of several classes whose order differs, or, without names, another number of
/// classes.
pub(crate) fn match_classes(
    origin: &str,
    found: &[String],
    model: &[String],
) -> Result<Vec<u32>, DataError> {
    let in_order = || (0..found.len() as u32).collect();
    if found == model {
        return Ok(in_order());
    }
    if model.is_empty() {
        return Err(DataError::NoClasses {
            origin: origin.into(),
            found: found.len(),
        });
    }
    let numbers = (numbers(found), numbers(model));
    if let (None, None) = numbers {
        return matched(found, model, String::clone)
            .or_else(|| matched(found, model, |name| plain(name)))
            .ok_or_else(|| DataError::ClassNames {
                origin: origin.into(),
                difference: first_difference(found, model),
            });
    }
    if found.len() != model.len() {
        return Err(DataError::ClassCount {
            origin: origin.into(),
            found: found.len(),
            expected: model.len(),
        });
    }
    Ok(match numbers {
        (Some(found), Some(model)) => {
            let places: HashMap<u32, u32> = model.into_iter().zip(0..).collect();
            found.iter().map(|number| places[number]).collect()
        }
        (Some(found), None) => found,
        (None, _) => in_order(),
    })
}

/// The number that a model has for each class that is seen in a part of a set: by name, in any case.
///
/// # Errors
/// A model whose classes have no names, or names that it does not have once.
pub(crate) fn match_some(
    origin: &str,
    seen: &[String],
    model: &[String],
) -> Result<Vec<u32>, DataError> {
    let unclear = |difference: String| DataError::ClassNames {
        origin: origin.into(),
        difference,
    };
    if numbers(model).is_some() {
        return Err(unclear(
            "its labels are names and the model's classes are numbers: which is which follows from all files of the set, which must be in a folder of this machine for that".into(),
        ));
    }
    placed(seen, model, String::clone)
        .or_else(|| placed(seen, model, |name| plain(name)))
        .ok_or_else(|| {
            let known: HashSet<String> = model.iter().map(|name| plain(name)).collect();
            let unknown = seen.iter().find(|name| !known.contains(&plain(name)));
            unclear(match unknown {
                Some(name) => format!("the model has no class `{name}`"),
                None => "several have one name".into(),
            })
        })
}

/// The same classes under other names, in the order of the labels.
///
/// # Errors
/// If there are not as many names as classes. Classes that are only numbered may be fewer than the
/// names, as a set may not show them all.
pub(crate) fn renamed(
    found: &[String],
    names: &[String],
    origin: &str,
) -> Result<Vec<String>, DataError> {
    let is_numbered = !found.is_empty() && (0..).zip(found).all(|(i, name)| *name == i.to_string());
    match names.len() == found.len() || is_numbered && names.len() > found.len() {
        true => Ok(names.to_vec()),
        false => Err(DataError::Config {
            key: "class_names",
            got: format!("{} names", names.len()),
            origin: origin.into(),
            expected: format!("{}, one for each class that it has", found.len()),
        }),
    }
}

/// The names "0", "1", ... for labels whose classes have none.
pub(crate) fn numbered_classes(labels: &[u32]) -> Vec<String> {
    let largest = labels.iter().max();
    numbered(largest.map_or(0, |&largest| u64::from(largest) + 1))
}

/// The same names for as many classes as a model has.
pub(crate) fn numbers_of(model: &[String]) -> Vec<String> {
    numbered(model.len() as u64)
}

fn numbered(classes: u64) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

/// The classes of labels: those with these names, or numbered ones.
///
/// # Errors
/// A label that is no class.
pub(crate) fn classes_of_labels(
    labels: &[u32],
    names: Vec<String>,
    origin: &str,
) -> Result<Vec<String>, DataError> {
    let names = match names.is_empty() {
        false => names,
        true => {
            check_labels(labels, MAX_CLASSES, origin)?;
            numbered_classes(labels)
        }
    };
    check_labels(labels, names.len(), origin)?;
    Ok(names)
}

/// The names as numbers, where they are all the numbers from 0, in any order.
fn numbers(names: &[String]) -> Option<Vec<u32>> {
    let number = |name: &String| {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        name.parse().ok().filter(|_| digits)
    };
    let numbers: Vec<u32> = names.iter().map(number).collect::<Option<_>>()?;
    let different: HashSet<_> = numbers.iter().collect();
    let is_below = |number: &u32| (*number as usize) < names.len();
    (different.len() == names.len() && numbers.iter().all(is_below)).then_some(numbers)
}

/// The place of each name in `model`, if both have the same names, each once, or in the same order.
fn matched(
    found: &[String],
    model: &[String],
    key: impl Fn(&String) -> String,
) -> Option<Vec<u32>> {
    let is_in_order = found.iter().map(&key).eq(model.iter().map(&key));
    if is_in_order {
        return Some((0..found.len() as u32).collect());
    }
    placed(found, model, key).filter(|_| found.len() == model.len())
}

/// The place of each name in `model`, if that has them and no name is twice on either side.
fn placed(found: &[String], model: &[String], key: impl Fn(&String) -> String) -> Option<Vec<u32>> {
    let [found, model] = [found, model].map(|names| names.iter().map(&key).collect::<Vec<_>>());
    let places: HashMap<&String, u32> = model.iter().zip(0..).collect();
    let different: HashSet<&String> = found.iter().collect();
    let once = places.len() == model.len() && different.len() == found.len();
    let place = |name| places.get(name).copied();
    found
        .iter()
        .map(place)
        .collect::<Option<_>>()
        .filter(|_| once)
}

/// A name without what file systems and people spell differently.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().nfc().collect()
}

/// The first name that only one of both has.
fn first_difference(found: &[String], model: &[String]) -> String {
    let lacks = |names: &[String], name: &String| !names.iter().any(|n| plain(n) == plain(name));
    let counts = match (found.len(), model.len()) {
        (found, model) if found == model => String::new(),
        (found, model) => format!(" ({found} classes, and the model has {model})"),
    };
    let only_here = found.iter().find(|name| lacks(model, name));
    let only_there = model.iter().find(|name| lacks(found, name));
    match (only_here, only_there) {
        (Some(name), _) => format!("the model has no class `{name}`{counts}"),
        (None, Some(name)) => format!("it has no class `{name}`{counts}"),
        (None, None) => format!("several have one name, and their order is another{counts}"),
    }
}

/// Refuses the first label that is not below `classes`.
pub(crate) fn check_labels(labels: &[u32], classes: usize, origin: &str) -> Result<(), DataError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(record) => {
            let origin = format!("{origin}, record {record}");
            Err(DataError::LabelRange {
                origin,
                label: i64::from(labels[record]),
                classes,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &str) -> Vec<String> {
        words.split_whitespace().map(String::from).collect()
    }

    fn matched(found: &str, model: &str) -> Result<Vec<u32>, String> {
        let matched = match_classes("here", &names(found), &names(model));
        matched.map_err(|error| error.to_string())
    }

    #[test]
    fn classes_are_matched_by_name() {
        assert_eq!(matched("cat dog", "cat dog"), Ok(vec![0, 1]));
        assert_eq!(matched("ant bee cat", "cat ant bee"), Ok(vec![1, 2, 0]));
        // As a file system may spell it, and with a name twice in the same order.
        assert_eq!(matched("cafe\u{301} Dog", "dog caf\u{e9}"), Ok(vec![1, 0]));
        assert_eq!(matched("a crane crane", "A crane crane"), Ok(vec![0, 1, 2]));
        // What differs only by case are two classes.
        assert_eq!(matched("A a", "a A"), Ok(vec![1, 0]));
    }

    #[test]
    fn other_names_are_refused_with_the_first_difference() {
        for (found, model, parts) in [
            ("cat cow", "cat dog", ["here", "no class `cow`"]),
            ("cat", "cat dog", ["it has no class `dog`", "1 classes"]),
            ("a b c", "a b", ["no class `c`", "3 classes"]),
            ("a crane crane", "crane a crane", ["several", "one name"]),
            // One is missing, though there are as many.
            ("a a", "a b", ["it has no class `b`", "class_names"]),
        ] {
            let message = matched(found, model).unwrap_err();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn a_part_of_a_set_may_lack_classes() {
        let matched = |seen: &str, model: &str| {
            let matched = match_some("here", &names(seen), &names(model));
            matched.map_err(|error| error.to_string())
        };
        assert_eq!(matched("dog", "cat dog owl"), Ok(vec![1]));
        assert_eq!(matched("Owl cafe\u{301}", "caf\u{e9} owl"), Ok(vec![1, 0]));
        assert_eq!(matched("a", "A a"), Ok(vec![1]));
        for (seen, model, part) in [
            ("cow dog", "cat dog", "no class `cow`"),
            ("Dog dog", "cat dog", "several have one name"),
            ("a", "b a a", "several have one name"),
            ("dog", "0 1", "a folder of this machine"),
        ] {
            let message = matched(seen, model).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn numbers_are_no_names() {
        assert_eq!(matched("0 1 2", "cat dog owl"), Ok(vec![0, 1, 2]));
        assert_eq!(matched("cat dog owl", "0 1 2"), Ok(vec![0, 1, 2]));
        // Folders are sorted as texts: 10 comes before 2.
        let [sorted, numbered] = ["0 1 10 2 3 4 5 6 7 8 9", "0 1 2 3 4 5 6 7 8 9 10"];
        let by_number = vec![0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(
            matched(sorted, "a b c d e f g h i j k"),
            Ok(by_number.clone())
        );
        assert_eq!(matched(sorted, numbered), Ok(by_number));
        assert_eq!(matched("00 01", "1 0"), Ok(vec![1, 0]));
        let unlabelled = matched("a b", "").unwrap_err();
        assert!(unlabelled.contains("it has 2 classes, and the model has none"));
        for (found, model) in [("0 1", "a b c"), ("", "a b"), ("0 1", "0 1 2")] {
            let message = matched(found, model).unwrap_err();
            let counts = [names(found).len(), names(model).len()];
            let said = format!(
                "{} classes, expected labelled images of {}",
                counts[0], counts[1]
            );
            assert!(message.contains(&said), "{message}");
        }
        // Numbers from 1 may be anything.
        assert!(matched("1 2", "a b").is_err());
    }
}
