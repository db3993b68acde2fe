//! The flags that say what to generate.

use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_generate::{Generator, Subject, find_class};
use std::ops::Range;
use std::path::PathBuf;

/// Prompts, and the size of the images.
#[derive(clap::Args)]
pub(crate) struct PromptArgs {
    /// What to generate; may be given several times, and the images take the prompts in turn.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// A file with one prompt per line, instead of --prompt.
    #[arg(long, value_name = "FILE", conflicts_with = "prompts")]
    prompts_file: Option<PathBuf>,
    /// What not to generate; only for teachers with classifier-free guidance, as students have only
    /// one branch.
    #[arg(long, value_name = "TEXT")]
    pub(crate) negative_prompt: Option<String>,
    /// Height and width of the images, such as 512x768 [default: the size that the model was
    /// trained on].
    #[arg(long, value_name = "HxW", value_parser = size, allow_hyphen_values = true)]
    pub(crate) size: Option<[usize; 2]>,
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x');
    let sides = sides.and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.ok_or_else(|| "expected height and width such as 512x768".into())
}

/// Refuses a flag for a model that reads no prompts.
pub(crate) fn reads_no_prompts(flag: &str) -> CliError {
    CliError::input(format!(
        "{flag} needs a model that generates from prompts: the folder of a latent diffusion model, with `unet`, `vae`, `text_encoder` and `tokenizer` in it"
    ))
}

impl PromptArgs {
    /// Reads the file of prompts, once, as it may be a pipe.
    ///
    /// # Errors
    /// When it cannot be read, or has no prompt.
    pub(crate) fn read(&mut self) -> CliResult {
        let Some(file) = &self.prompts_file else {
            return Ok(());
        };
        let text = fewstep_data::read_text(file).input_error()?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        self.prompts = lines.map(String::from).collect();
        if self.prompts.is_empty() {
            return Err(CliError::input(format!(
                "{} has no prompt: give it one on each line",
                file.display()
            )));
        }
        Ok(())
    }

    /// How many prompts there are.
    pub(crate) fn len(&self) -> usize {
        self.prompts.len()
    }

    /// The prompts of images with these numbers, which take turns, and the negative one; nothing where
    /// there is no prompt.
    pub(crate) fn texts(&self, numbers: Range<u64>) -> Vec<String> {
        let turns = self.prompts.len();
        let prompts = numbers
            .take(turns)
            .map(|number| self.prompts[(number % turns as u64) as usize].clone());
        texts(
            &prompts.collect::<Vec<_>>(),
            self.negative_prompt.as_deref(),
        )
    }

    fn flags(&self) -> [(bool, &'static str); 4] {
        [
            // Before --prompt: its lines are among the prompts.
            (self.prompts_file.is_some(), "--prompts-file"),
            (!self.prompts.is_empty(), "--prompt"),
            (self.negative_prompt.is_some(), "--negative-prompt"),
            (self.size.is_some(), "--size"),
        ]
    }

    /// The subjects of the images, which take turns. `classes` has those of --class, for commands
    /// with that flag; without any, all classes of the model take turns.
    pub(crate) fn subjects(
        &self,
        generator: &Generator,
        classes: Option<&[String]>,
    ) -> CliResult<Vec<Subject>> {
        let all = generator.classes();
        if generator.takes_prompts() {
            return match classes {
                Some([_, ..]) => Err(CliError::input(
                    "--class does not go with this model, which generates from prompts: use --prompt",
                )),
                _ => self.prompts(),
            };
        }
        let Some(classes) = classes else {
            return Err(CliError::input(
                "this model generates classes, with `fewstep sample`: to change or fill an image, use a model that generates from prompts",
            ));
        };
        let unused = match generator.is_latent() {
            true => &self.flags()[..3],
            false => &self.flags()[..],
        };
        match (
            unused.iter().find(|(is_set, _)| *is_set),
            generator.is_latent(),
        ) {
            (None, _) => {}
            (Some((_, flag)), false) => return Err(reads_no_prompts(flag)),
            (Some((_, flag)), true) => {
                return Err(CliError::input(format!(
                    "{flag} does not go with this model, which generates classes: use --class"
                )));
            }
        }
        let find = |class: &String| Ok(Subject::Class(find_class(class, all)?));
        match classes.is_empty() {
            false => classes.iter().map(find).collect(),
            true if all.is_empty() => Ok(vec![Subject::Any]),
            true => Ok((0..all.len() as u32).map(Subject::Class).collect()),
        }
    }

    fn prompts(&self) -> CliResult<Vec<Subject>> {
        match &self.prompts[..] {
            [] => Err(CliError::input(
                "this model generates from prompts: use --prompt, such as --prompt \"a lighthouse at night\", or --prompts-file",
            )),
            prompts => Ok(prompts.iter().cloned().map(Subject::Prompt).collect()),
        }
    }

    /// The prompt to generate from control images with, if there is one.
    pub(crate) fn single(&self) -> CliResult<Option<String>> {
        let unused = [
            (self.prompts_file.is_some(), "--prompts-file"),
            (self.size.is_some(), "--size"),
            (self.prompts.len() > 1, "a second --prompt"),
        ];
        match unused.iter().find(|(is_set, _)| *is_set) {
            None => Ok(self.prompts.first().cloned()),
            Some((_, flag)) => Err(CliError::input(format!(
                "{flag} does not go with this model, which generates from control images"
            ))),
        }
    }
}

/// The texts that a model reads for images with these prompts.
pub(crate) fn texts(prompts: &[String], negative: Option<&str>) -> Vec<String> {
    let negative = negative.unwrap_or_default().to_string();
    match prompts {
        [] => vec![],
        prompts => [prompts, &[negative]].concat(),
    }
}

/// Warns that the end of a prompt is cut off, if it is too long.
pub(crate) fn warn_if_cut(generator: &Generator, prompt: &str) -> CliResult {
    if let Some((cut, length)) = generator.cut_off(prompt)? {
        eprintln!(
            "warning: the model reads {length} tokens of a prompt, start and end included, so this is cut off: {cut}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few images of many prompts have few texts.
    #[test]
    fn texts_are_those_of_the_images() {
        let of = |prompts: &[&str], numbers| {
            let prompts = PromptArgs {
                prompts: prompts.iter().map(|prompt| prompt.to_string()).collect(),
                prompts_file: None,
                negative_prompt: Some("rain".into()),
                size: None,
            };
            prompts.texts(numbers)
        };
        let all = ["a", "b", "c"];
        assert_eq!(of(&all, 0..3), ["a", "b", "c", "rain"]);
        assert_eq!(of(&all, 0..1), ["a", "rain"]);
        assert_eq!(of(&all, 5..7), ["c", "a", "rain"]);
        assert_eq!(of(&all, 4..100), ["b", "c", "a", "rain"]);
        assert!(of(&all, 4..4).is_empty() && of(&[], 0..9).is_empty());
    }
}
