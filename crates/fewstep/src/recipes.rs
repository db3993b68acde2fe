//! The recipes of the `recipes` folder, built into the program.

use fewstep_formats::nearest;

/// A recipe by its name, such as `cifar10/distill`, and its text.
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

const MAX_SUMMARY: usize = 100;

macro_rules! recipe {
    ($name:literal) => {
        Embedded {
            name: $name,
            text: include_str!(concat!("../../../recipes/", $name, ".toml")),
        }
    };
}

/// All of them, sorted by name.
pub(crate) const ALL: &[Embedded] = &[
    recipe!("cifar10/distill"),
    recipe!("cifar10/gpu-distill"),
    recipe!("cifar10/gpu-teacher"),
    recipe!("cifar10/small-adversarial"),
    recipe!("cifar10/small-distill"),
    recipe!("cifar10/small-matching"),
    recipe!("cifar10/small-teacher"),
    recipe!("cifar10/teacher"),
    recipe!("conditional/codi"),
    recipe!("conditional/condition"),
    recipe!("conditional/consistency"),
    recipe!("conditional/consistency-after"),
    recipe!("conditional/guided"),
    recipe!("conditional/guided-after"),
    recipe!("conditional/inpaint"),
    recipe!("fashion-mnist/adapt"),
    recipe!("fashion-mnist/adapt-next"),
    recipe!("fashion-mnist/adversarial"),
    recipe!("fashion-mnist/distill"),
    recipe!("fashion-mnist/encoder"),
    recipe!("fashion-mnist/matching"),
    recipe!("fashion-mnist/quickstart"),
    recipe!("fashion-mnist/quickstart-matching"),
    recipe!("fashion-mnist/quickstart-plain"),
    recipe!("fashion-mnist/stochastic"),
    recipe!("fashion-mnist/teacher"),
    recipe!("imagenet64/distill"),
    recipe!("imagenet64/gpu-distill"),
    recipe!("imagenet64/gpu-teacher"),
    recipe!("imagenet64/teacher"),
    recipe!("ldm-imagenet256/distill"),
    recipe!("stable-diffusion/pix2pix-lora"),
    recipe!("stable-diffusion/sd15"),
    recipe!("stable-diffusion/sd15-adversarial"),
    recipe!("stable-diffusion/sd15-guided-lora"),
    recipe!("stable-diffusion/sd15-lora"),
    recipe!("stable-diffusion/sd15-matching"),
    recipe!("stable-diffusion/sdxl-guided-lora"),
    recipe!("stable-diffusion/sdxl-lora"),
    recipe!("text-to-image/emoji-distill"),
    recipe!("text-to-image/emoji-edit"),
    recipe!("text-to-image/emoji-encoder"),
    recipe!("text-to-image/emoji-teacher"),
    recipe!("text-to-image/instruct-distill"),
    recipe!("text-to-image/instruct-teacher"),
];

impl Embedded {
    /// What it is, in the words of its first comment: a sentence of at most a line.
    pub(crate) fn summary(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let comment: Vec<&str> = comment.map(str::trim).collect();
        let comment = comment.join(" ");
        let sentence = comment.split(". ").next().unwrap_or_default();
        let sentence = sentence.trim_end_matches('.');
        let end = sentence.char_indices().map(|(i, _)| i).nth(MAX_SUMMARY);
        match end.and_then(|end| sentence[..end].rfind(' ')) {
            Some(space) => format!("{} ...", sentence[..space].trim_end_matches([',', ':'])),
            None => sentence.into(),
        }
    }
}

/// The recipe of this name, which may start with `recipes/` and end with `.toml`, and may omit its
/// folder if that is clear.
pub(crate) fn find(name: &str) -> Result<&'static Embedded, String> {
    let plain = name.strip_prefix("recipes/").unwrap_or(name);
    let plain = plain.strip_suffix(".toml").unwrap_or(plain);
    if let Some(found) = ALL.iter().find(|recipe| recipe.name == plain) {
        return Ok(found);
    }
    let named: Vec<&Embedded> = ALL.iter().filter(|recipe| last(recipe) == plain).collect();
    match named[..] {
        [one] => Ok(one),
        [] => Err(format!(
            "there is no recipe `{name}`{}: `fewstep recipe` lists them",
            like(plain)
        )),
        _ => Err(format!(
            "there are several recipes `{name}`: {}",
            named
                .iter()
                .map(|recipe| recipe.name)
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

/// A question for the recipe that is nearest to a name, with its folder or without.
fn like(name: &str) -> String {
    let names = |recipe: &Embedded| [recipe.name, last(recipe)];
    let nearest = nearest(name, ALL.iter().flat_map(names));
    let found = nearest.and_then(|name| ALL.iter().find(|recipe| names(recipe).contains(&name)));
    found.map_or(String::new(), |recipe| {
        format!(". Did you mean `{}`?", recipe.name)
    })
}

/// Its name without its folder.
fn last(recipe: &Embedded) -> &'static str {
    let (_, last) = recipe.name.rsplit_once('/').unwrap_or_default();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_of_the_folder_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes");
        let mut stored = vec![];
        for below in std::fs::read_dir(folder).expect("there").flatten() {
            for file in std::fs::read_dir(below.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = file
                    .path()
                    .strip_prefix(folder)
                    .expect("inside")
                    .to_path_buf();
                if name.extension().is_some_and(|ending| ending == "toml") {
                    stored.push(name.with_extension("").display().to_string());
                }
            }
        }
        stored.sort();
        assert_eq!(
            ALL.iter().map(|recipe| recipe.name).collect::<Vec<_>>(),
            stored
        );
        assert!(
            ALL.iter()
                .all(|recipe| (10..=MAX_SUMMARY + 4).contains(&recipe.summary().len()))
        );
    }

    #[test]
    fn names_may_be_short() {
        let found = |name| find(name).map(|recipe| recipe.name);
        assert_eq!(found("cifar10/distill"), Ok("cifar10/distill"));
        assert_eq!(found("recipes/cifar10/distill.toml"), Ok("cifar10/distill"));
        assert_eq!(found("sd15"), Ok("stable-diffusion/sd15"));
        assert!(found("distill").is_err_and(|error| error.contains("imagenet64/distill")));
        assert!(
            found("sd15-lra").is_err_and(|error| error.contains("`stable-diffusion/sd15-lora`?"))
        );
        assert!(found("zzz").is_err_and(|error| !error.contains("mean")));
    }
}
