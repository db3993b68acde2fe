//! Every recipe of the repository parses and is valid, as far as that can be said without data and teacher.

use fewstep_distill::recipe::{AdaptRecipe, DistillRecipe, PhaseRecipe, TrainRecipe, parse};
use std::path::{Path, PathBuf};

/// All TOML files below a folder.
fn recipes(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of recipes");
    let mut files = vec![];
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(recipes(&path));
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Reads and checks a recipe as what its keys say that it is.
fn check(text: &str, name: &str) -> Result<(), String> {
    let keys: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    if keys.contains_key("method") {
        let recipe: PhaseRecipe = parse(text, name).map_err(|error| error.to_string())?;
        return recipe.validate().map_err(|error| error.to_string());
    }
    if keys.contains_key("adapt") {
        let recipe: AdaptRecipe = parse(text, name).map_err(|error| error.to_string())?;
        return recipe.validate().map_err(|error| error.to_string());
    }
    if keys.contains_key("network") {
        let recipe: TrainRecipe = parse(text, name).map_err(|error| error.to_string())?;
        return recipe.validate().map_err(|error| error.to_string());
    }
    let recipe: DistillRecipe = parse(text, name).map_err(|error| error.to_string())?;
    recipe.validate().map_err(|error| error.to_string())
}

#[test]
fn every_recipe_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let files = recipes(&folder);
    assert!(files.len() >= 31, "only {} recipes found", files.len());
    let mut wrong = vec![];
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable recipe");
        if let Err(error) = check(&text, &file.display().to_string()) {
            wrong.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of the recipes that compare guidance before and after the condition, one learns the condition.
#[test]
fn guidance_is_compared_with_and_without_a_condition() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/conditional");
    for (file, conditional) in [("guided-after.toml", true), ("guided.toml", false)] {
        let text = std::fs::read_to_string(folder.join(file)).expect("a readable recipe");
        let recipe: DistillRecipe = parse(&text, file).expect("valid");
        assert_eq!(recipe.condition.is_some(), conditional, "{file}");
    }
}

/// Old names of keys and values are still read, but the recipes use the new ones.
#[test]
fn no_recipe_uses_an_old_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    for file in recipes(&folder) {
        let text = std::fs::read_to_string(&file).expect("a readable recipe");
        for old in ["adapter", "picture"] {
            assert!(!text.contains(old), "{} says `{old}`", file.display());
        }
    }
}
