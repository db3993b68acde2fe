//! What of a recipe may be other when a run is resumed.

use fewstep_data::expand_home;
use std::path::Path;
use toml::{Table, Value};

/// How a run reports, saves and shows what it does, and where it computes.
const FREE: [&str; 9] = [
    "run.log_every",
    "run.checkpoint_every",
    "run.keep",
    "run.device",
    "run.mirror",
    "prompts",
    "text.prompts",
    "data.max_pixels",
    "data.cache",
];

/// The library judges these, by the phases that come out.
const JUDGED: [&str; 10] = [
    "updates",
    "guided.updates",
    "progressive.updates",
    "fine_tune.updates",
    "adapt.updates",
    "optim.micro_batch",
    "guided.optim.micro_batch",
    "progressive.optim.micro_batch",
    "fine_tune.optim.micro_batch",
    "adapt.optim.micro_batch",
];

/// The names of what is known by its contents, where the run has stored their digests.
const KNOWN_BY_CONTENTS: [&str; 8] = [
    "data.path",
    "condition.path",
    "teacher",
    "teacher_before",
    "teacher_lora",
    "matching.student",
    "student",
    "adversarial.student",
];

/// The first key with which a run cannot be resumed, and its values. `by_contents` is whether data
/// and teacher are known by their contents.
pub(super) fn first_change(stored: &Table, now: &Table, by_contents: bool) -> Option<String> {
    let (stored, now) = (leaves(stored), leaves(now));
    let value = |leaves: &[(String, &Value)], key: &str| {
        let leaf = leaves.iter().find(|(known, _)| known == key);
        leaf.map(|(_, value)| (*value).clone())
    };
    let keys = stored.iter().chain(&now).map(|(key, _)| key.as_str());
    let mut changes = keys.filter_map(|key| {
        let (before, after) = (value(&stored, key), value(&now, key));
        let may_change = FREE.contains(&key)
            || JUDGED.contains(&key)
            || by_contents && KNOWN_BY_CONTENTS.contains(&key)
            || before == after
            || is_one_place(before.as_ref(), after.as_ref());
        (!may_change).then(|| format!("`{key}` was {} and is {} now", text(before), text(after)))
    });
    changes.next()
}

/// All values that are no tables, with their keys.
fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let below = table.iter().flat_map(|(key, value)| match value {
        Value::Table(table) => {
            let within = |(rest, value)| (format!("{key}.{rest}"), value);
            leaves(table).into_iter().map(within).collect()
        }
        value => vec![(key.clone(), value)],
    });
    below.collect()
}

/// Whether two texts are paths of one file or folder.
fn is_one_place(a: Option<&Value>, b: Option<&Value>) -> bool {
    let place = |value: Option<&Value>| {
        let path = expand_home(Path::new(value?.as_str()?));
        path.canonicalize().ok()
    };
    place(a).is_some_and(|a| place(b) == Some(a))
}

fn text(value: Option<Value>) -> String {
    const LONGEST: usize = 60;
    let text = value.map_or("not set".into(), |value| value.to_string());
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(stored: &str, now: &str, by_contents: bool) -> Option<String> {
        let [stored, now] = [stored, now].map(|text| text.parse().expect("TOML"));
        first_change(&stored, &now, by_contents)
    }

    #[test]
    fn what_changes_the_result_is_named() {
        let stored = "seed = 1\nw = [0, 4]\n[optim]\nlr = 1.0\n[run]\nkeep = 2";
        assert_eq!(change(stored, stored, false), None);
        for (now, said) in [
            (
                "seed = 2\nw = [0, 4]\n[optim]\nlr = 1.0",
                "`seed` was 1 and is 2 now",
            ),
            (
                "seed = 1\nw = [0, 4]\n[optim]\nlr = 2.0",
                "`optim.lr` was 1.0 and is 2.0 now",
            ),
            (
                "seed = 1\n[optim]\nlr = 1.0",
                "`w` was [0, 4] and is not set now",
            ),
            (
                "seed = 1\nw = [0, 4]\n[optim]\nlr = 1.0\nclip = 3.0",
                "`optim.clip` was not set and is 3.0",
            ),
        ] {
            let change = change(stored, now, true).expect("refused");
            assert!(change.contains(said), "{change}");
        }
    }

    #[test]
    fn what_changes_no_result_may_change() {
        let stored = "updates = 4\nprompts = [\"a\"]\n[run]\nkeep = 2\nlog_every = 50";
        let now = "updates = 8\n[run]\nkeep = 3\ncheckpoint_every = 5";
        assert_eq!(change(stored, now, false), None);
        let [here, there] = ["[data]\npath = \".\"", "[data]\npath = \"..\""];
        assert!(change(here, there, false).is_some());
        assert_eq!(change(here, there, true), None);
    }

    #[test]
    fn a_path_may_be_written_in_another_way() {
        let absolute = std::env::current_dir().expect("here").join("src");
        let absolute = format!("encoder = {absolute:?}");
        let relative = "encoder = \"src/../src/\"";
        assert_eq!(change(relative, &absolute, false), None);
        assert!(change(relative, "encoder = \"tests\"", false).is_some());
        assert!(change("a = \"gone\"", "a = \"./gone\"", false).is_some());
    }
}
