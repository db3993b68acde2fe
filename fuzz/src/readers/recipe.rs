//! Recipes of all kinds; each line of a second file is a `section.key=value` of the command line.

use super::parts::parts;
use fewstep_distill::recipe::{DistillRecipe, PhaseRecipe, TrainRecipe, parse_with};

pub fn read(bytes: &[u8]) -> bool {
    let Ok(texts) = parts(bytes)
        .into_iter()
        .map(std::str::from_utf8)
        .collect::<Result<Vec<_>, _>>()
    else {
        return false;
    };
    let set: Vec<String> = texts
        .iter()
        .skip(1)
        .flat_map(|text| text.lines().map(String::from))
        .collect();
    let (text, origin) = (texts[0], "recipe.toml");
    let train = parse_with::<TrainRecipe>(text, origin, &set).is_ok_and(|mut recipe| {
        recipe.complete(None);
        recipe.validate().is_ok() && !recipe.phases().is_empty()
    });
    let distill = parse_with::<DistillRecipe>(text, origin, &set).is_ok_and(|mut recipe| {
        recipe.complete(None);
        recipe.validate().is_ok() && recipe.phases().is_ok()
    });
    let phase = parse_with::<PhaseRecipe>(text, origin, &set).is_ok_and(|mut recipe| {
        recipe.complete(None);
        recipe.validate().is_ok() && !recipe.phases(None, None).is_empty()
    });
    train || distill || phase
}
