//! Names out of files, which a user reads.

use fewstep_diffusion::{Provenance, SamplerRecipe};

/// A name with a mark in place of each control character: such could move the cursor of a terminal,
/// or make lines that look like ours.
pub(crate) fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(plain).collect()
}

/// A recipe with plain names.
pub(crate) fn with_plain_names(recipe: SamplerRecipe) -> SamplerRecipe {
    let said = recipe.provenance;
    SamplerRecipe {
        classes: recipe.classes.iter().map(|name| plain(name)).collect(),
        provenance: Provenance {
            data: plain(&said.data),
            teacher: plain(&said.teacher),
            teacher_lora: said.teacher_lora.iter().map(|name| plain(name)).collect(),
            method: plain(&said.method),
            program: plain(&said.program),
            ..said
        },
        ..recipe
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_have_no_control_characters() {
        assert_eq!(plain("café 猫"), "café 猫");
        assert_eq!(
            plain("a\u{1b}[0m\nb\u{9b}"),
            "a\u{fffd}[0m\u{fffd}b\u{fffd}"
        );
    }
}
