//! What a recipe is for, as its keys say.

use fewstep_distill::recipe::MethodName;
use fewstep_formats::nearest;
use toml::Table;

/// What a recipe is for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum RecipeKind {
    /// A teacher from data.
    Teacher,
    /// Guided distillation: stage one, then halvings.
    Guided,
    /// One phase of the method that it names.
    OnePhase,
    /// A student that follows a changed teacher.
    Adapt,
}

/// The commands that run recipes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Command {
    Train,
    Distill,
    Adapt,
}

impl RecipeKind {
    /// The kind of a recipe, if its keys are those of one.
    pub(crate) fn of(keys: &Table) -> Option<Self> {
        let any = |names: &[&str]| names.iter().any(|name| keys.contains_key(*name));
        let trains = any(&["network", "text"]);
        let adapts = any(&["adapt", "fine_tune", "student"]);
        let distils = any(&["teacher", "method", "guided", "progressive"]);
        match (trains, distils) {
            (false, _) if adapts => Some(Self::Adapt),
            (true, false) => Some(Self::Teacher),
            (false, true) => Some(Self::of_distillation(keys)),
            _ => None,
        }
    }

    /// The kind of a recipe that distils.
    pub(crate) fn of_distillation(keys: &Table) -> Self {
        match keys.contains_key("method") {
            true => Self::OnePhase,
            false => Self::Guided,
        }
    }

    /// The command that runs it.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Teacher => Command::Train,
            Self::Guided | Self::OnePhase => Command::Distill,
            Self::Adapt => Command::Adapt,
        }
    }
}

impl Command {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Distill => "distill",
            Self::Adapt => "adapt",
        }
    }
}

/// What is wrong with the method of a recipe that distils: one that there is not, or its key
/// misspelt, which would make it a recipe of another kind.
pub(crate) fn wrong_method(keys: &Table) -> Option<String> {
    let Some(method) = keys.get("method") else {
        let alike = |key: &&String| nearest(key, ["method"]).is_some();
        let key = keys.keys().find(alike)?;
        return Some(format!("unknown key `{key}`. Did you mean `method`?"));
    };
    let name = method.as_str().unwrap_or_default();
    if MethodName::ALL.contains(&name) {
        return None;
    }
    let like = nearest(name, MethodName::ALL.iter().copied());
    let like = like.map_or(String::new(), |like| format!(". Did you mean \"{like}\"?"));
    Some(format!(
        "there is no `method = {method}`: expected one of \"{}\", or no `method` for guided distillation with [guided] and [progressive]{like}",
        MethodName::ALL.join("\", \"")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Table {
        text.parse().expect("TOML")
    }

    #[test]
    fn a_recipe_is_known_by_its_keys() {
        let kind = |text| RecipeKind::of(&keys(text)).map(RecipeKind::command);
        assert!(kind("[network]") == Some(Command::Train));
        assert!(kind("teacher = \"a\"") == Some(Command::Distill));
        assert!(kind("method = 3") == Some(Command::Distill));
        assert!(kind("teacher = \"a\"\n[adapt]") == Some(Command::Adapt));
        assert!(kind("seed = 1").is_none() && kind("method = 3\n[network]").is_none());
    }

    #[test]
    fn a_method_that_there_is_not_is_refused() {
        let wrong = |text| wrong_method(&keys(text)).unwrap_or_default();
        assert_eq!(wrong("method = \"codi\""), "");
        assert_eq!(wrong("seed = 1\nteacher = \"a\"\n[guided]"), "");
        for (text, said) in [
            ("method = 7", "`method = 7`"),
            ("method = \"codii\"", "Did you mean \"codi\"?"),
            ("method = \"progressive\"", "[progressive]"),
            ("methd = \"codi\"", "Did you mean `method`?"),
        ] {
            assert!(wrong(text).contains(said), "{}", wrong(text));
        }
    }
}
