//! Messages in plain words: what the libraries for configuration files say in terms of Rust is said
//! in those of the file, and long quotations are cut.

use std::borrow::Cow;

/// A line of a message is cut in its middle if it has more characters.
const LONGEST_LINE: usize = 1000;
const KEPT_START: usize = 600;
const KEPT_END: usize = 200;

/// The message in plain words.
pub(crate) fn plain(message: &str) -> String {
    let lines = message.split('\n').map(|line| {
        let line = in_plain_words(line);
        short(&line).into_owned()
    });
    lines.collect::<Vec<String>>().join("\n")
}

/// The line with its middle left out if it is long.
pub(crate) fn short(line: &str) -> Cow<'_, str> {
    let count = line.chars().count();
    if count <= LONGEST_LINE {
        return line.into();
    }
    let start: String = line.chars().take(KEPT_START).collect();
    let end: String = line.chars().skip(count - KEPT_END).collect();
    let omitted = count - KEPT_START - KEPT_END;
    format!("{start} [... {omitted} more characters ...] {end}").into()
}

fn in_plain_words(line: &str) -> String {
    let mut line = line.to_string();
    for (theirs, plain) in [
        ("unknown variant `", "unknown value `"),
        ("unknown field `", "unknown key `"),
        ("duplicate field `", "duplicate key `"),
        ("there are no fields", "there are no keys"),
        ("EOF while parsing ", "it ends within "),
        ("expected value at line ", "expected a value at line "),
        ("key must be a string", "expected a key in quotes"),
        ("recursion limit exceeded", "nested too deeply"),
        ("trailing characters at ", "more follows after its end, at "),
        ("expected ident at ", "expected a value at "),
        ("u64 value was too large", "a number is too large"),
        (
            "lone leading surrogate in hex escape",
            "half of a character written as \\u",
        ),
        (
            "unexpected end of hex escape",
            "half of a character written as \\u",
        ),
    ] {
        line = line.replace(theirs, plain);
    }
    if let Some((before, rest)) = line.split_once("missing field `")
        && let Some((key, after)) = rest.split_once('`')
    {
        line = format!("{before}the key `{key}` is missing{after}");
    }
    if let Some(start) = line.find("data did not match any variant of untagged enum") {
        line.truncate(start);
        line.push_str("the value has not the expected form");
    }
    for theirs in ["invalid type: ", "invalid value: ", "invalid length "] {
        let Some((before, rest)) = line.split_once(theirs) else {
            continue;
        };
        let Some((got, rest)) = rest.split_once(", expected ") else {
            continue;
        };
        // The place in the file, or what comes after in our words.
        let ends = [" at line ", "; ", ". ", ")", ": "];
        let end = ends.iter().filter_map(|end| rest.find(end)).min();
        let (wanted, after) = rest.split_at(end.unwrap_or(rest.len()));
        let got = match theirs {
            "invalid length " => format!("{got} values"),
            _ => given(got),
        };
        line = format!("{before}expected {}, got {got}{after}", expected(wanted));
    }
    line
}

/// What a value must be.
fn expected(theirs: &str) -> Cow<'_, str> {
    let first = theirs.split(' ').next().unwrap_or_default();
    match theirs {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" | "a borrowed string" => "a text in quotes".into(),
        "a sequence" => "a list".into(),
        "a map" | "map" => "a section with keys".into(),
        "any valid TOML value" => "a smaller number".into(),
        "string or map" => "a name, or a section with keys".into(),
        _ if ["struct", "internally", "adjacently"].contains(&first) => {
            "a section with keys".into()
        }
        _ if first == "enum"
            || ["variant identifier", "map with a single key"].contains(&theirs) =>
        {
            "one of its names".into()
        }
        _ => match theirs
            .rsplit_once(" of length ")
            .or(theirs.rsplit_once(" of size "))
        {
            Some(("an array" | "a tuple", count)) => format!("a list of {count}").into(),
            _ => theirs.into(),
        },
    }
}

/// What a value is.
fn given(theirs: &str) -> String {
    let names = [
        ("integer `", "the number "),
        ("floating point `", "the number "),
        ("boolean `", ""),
        ("character `", "the text "),
    ];
    for (start, plain) in names {
        if let Some(value) = theirs.strip_prefix(start) {
            // Large ones with their type: "1` as i128".
            let value = value.split('`').next().unwrap_or_default();
            return format!("{plain}{value}");
        }
    }
    match theirs {
        "sequence" => "a list".into(),
        "map" => "a section with keys".into(),
        "null" | "unit value" | "Option value" => "nothing".into(),
        _ => match theirs.strip_prefix("string ") {
            Some(text) => format!("the text {text}"),
            None => theirs.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use std::collections::BTreeMap;

    fn message<T: DeserializeOwned>(toml: &str) -> String {
        match toml::from_str::<BTreeMap<String, T>>(toml) {
            Ok(_) => panic!("it is valid"),
            Err(error) => plain(error.message()),
        }
    }

    #[test]
    fn types_of_rust_are_said_in_plain_words() {
        for (said, plain) in [
            (
                message::<u64>("a = -1"),
                "expected a whole number of at least 0, got the number -1",
            ),
            (
                message::<usize>("a = 1.5"),
                "expected a whole number of at least 0, got the number 1.5",
            ),
            (
                message::<f64>("a = 'x'"),
                "expected a number, got the text \"x\"",
            ),
            (
                message::<bool>("a = 1"),
                "expected true or false, got the number 1",
            ),
            (
                message::<toml::Value>("a = 18446744073709551615"),
                "a number is too large",
            ),
            (
                message::<toml::Value>("a = 99999999999999999999999"),
                "expected a smaller number, got the number 99999999999999999999999",
            ),
            (
                message::<String>("a = [1]"),
                "expected a text in quotes, got a list",
            ),
            (
                message::<Vec<u8>>("a = 5"),
                "expected a list, got the number 5",
            ),
            (
                message::<[f64; 2]>("a = [1.0]"),
                "expected a list of 2, got 1 values",
            ),
            (
                message::<BTreeMap<String, u8>>("a = 5"),
                "expected a section with keys, got the number 5",
            ),
        ] {
            assert_eq!(said, plain);
        }
        let json = serde_json::from_str::<Vec<usize>>("[-1]").expect_err("not valid");
        assert_eq!(
            plain(&json.to_string()),
            "expected a whole number of at least 0, got the number -1 at line 1 column 3"
        );
        let cut = serde_json::from_str::<Vec<usize>>("[1").expect_err("not valid");
        assert_eq!(
            plain(&cut.to_string()),
            "it ends within a list at line 1 column 2"
        );
        for (json, said) in [
            ("{\"a\": NaN}", "expected a value at line 1 column 7"),
            ("{5: 1}", "expected a key in quotes at line 1 column 2"),
            (&"[".repeat(200), "nested too deeply at line 1 column 128"),
            ("[1] 2", "more follows after its end, at line 1 column 5"),
            ("trie", "expected a value at line 1 column 3"),
            (
                "\"\\ud800x\"",
                "half of a character written as \\u at line 1 column 8",
            ),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(json).expect_err("not valid");
            assert_eq!(plain(&error.to_string()), said);
        }
        let nameless = serde_json::json!({});
        let name = serde_json::from_value::<fewstep_diffusion::Task>(nameless);
        let said = plain(&name.expect_err("no name").to_string());
        assert!(said.contains("expected one of its names"), "{said}");
        let other = "a is a file: choose another place";
        assert_eq!(plain(other), other);
    }

    #[test]
    fn long_lines_are_cut() {
        let long = format!("{}end", "x".repeat(100_000));
        let cut = plain(&format!("{long}\nnext"));
        assert!(
            cut.len() < 1000 && cut.ends_with("end\nnext"),
            "{}",
            cut.len()
        );
    }
}
