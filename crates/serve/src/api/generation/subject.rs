//! What an image shows, for a model.

use super::{Generation, Manners, WantedImage, WantedSubject};
use crate::error::ApiError;
use fewstep_generate::{Generator, Subject, find_class};

impl Generation {
    /// The class or prompt of an image. Where prompts may name classes, a note says which.
    pub(super) fn subject(
        &self,
        wanted: &WantedImage,
        generator: &Generator,
        notes: &mut Vec<String>,
    ) -> Result<Subject, ApiError> {
        let classes = generator.classes();
        let text = match &wanted.subject {
            WantedSubject::Class(name) if generator.takes_prompts() => {
                let message = format!(
                    "the class `{name}` was asked for, but this model generates from prompts"
                );
                return Err(ApiError::field("class", message));
            }
            WantedSubject::Class(name) => return Ok(Subject::Class(find_class(name, classes)?)),
            WantedSubject::Prompt(text) => text,
            WantedSubject::Any => "",
        };
        let is_empty = text.trim().is_empty() && wanted.subject != WantedSubject::Any;
        let is_needed = generator.takes_prompts() || !classes.is_empty();
        if is_empty && is_needed && self.manners == Manners::ClassesInPrompts {
            return Err(empty_prompt(classes));
        }
        if generator.takes_prompts() {
            return Ok(Subject::Prompt(text.into()));
        }
        if text.trim().is_empty() {
            return Ok(match classes.len() as u64 {
                0 => Subject::Any,
                number => Subject::Class((wanted.index % number) as u32),
            });
        }
        if self.manners == Manners::Strict {
            let message = "this model reads no prompts: it generates classes, so name a `class`";
            return Err(ApiError::field("prompt", message));
        }
        if let Ok(class) = find_class(text.trim(), classes) {
            return Ok(Subject::Class(class));
        }
        match class_in(text, classes) {
            Some(class) => {
                let name = &classes[class as usize];
                notes.push(format!(
                    "this model generates classes, and the prompt names `{name}`"
                ));
                Ok(Subject::Class(class))
            }
            None => Err(find_class(text.trim(), classes)
                .err()
                .map_or_else(ApiError::internal, |error| {
                    ApiError::field("prompt", error.to_string())
                })),
        }
    }
}

/// The refusal of an empty prompt; names the classes of a model that has some.
fn empty_prompt(classes: &[String]) -> ApiError {
    const SHOWN: usize = 20;
    let message = match classes {
        [] => "the `prompt` is empty: say what the image is to show".into(),
        classes => format!(
            "the `prompt` is empty, and this model generates classes: name one of {}{}",
            classes[..classes.len().min(SHOWN)].join(", "),
            if classes.len() > SHOWN { ", ..." } else { "" }
        ),
    };
    ApiError::field("prompt", message)
}

/// The class whose name, or a part of it between slashes, is a word of the text; of several the
/// longest.
fn class_in(text: &str, classes: &[String]) -> Option<u32> {
    let text = text.to_lowercase();
    let is_there = |name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + name.len()..].chars().next();
            let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            ends(before) && ends(after)
        })
    };
    let named = classes.iter().enumerate().filter_map(|(class, name)| {
        let name = name.to_lowercase();
        let parts = name
            .split('/')
            .filter(|part| !part.is_empty() && is_there(part));
        let longest = parts.map(str::len).max()?;
        Some((longest, class as u32))
    });
    named
        .max_by_key(|(longest, _)| *longest)
        .map(|(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::class_in;

    #[test]
    fn a_prompt_names_a_class_by_whole_words() {
        let classes = ["T-shirt/top", "Bag", "Ankle boot", "Boot"].map(String::from);
        let find = |text| class_in(text, &classes);
        assert_eq!(find("a photo of a bag, studio light"), Some(1));
        assert_eq!(find("a red TOP"), Some(0));
        assert_eq!(find("an ankle boot"), Some(2));
        assert_eq!(find("baggage on a stop sign"), None);
    }
}
